"""A portrait and a voice to a video as one node: the blueprint, and the workflows that begin with it."""

from __future__ import annotations

from workflow_graph import Group, Workflow
from workflow_kinds import KINDS
from workflow_parts import NETWORKS, SHARED, VAE, WHISPER, explanation, loaders, look, prepare, sample
from workflow_subgraph import Subgraph, model_ports, ports, setting_ports

NAME = "EchoMimic portrait and voice to video"
# Inner nodes count from here, so that no graph that uses the subgraph has the same numbers.
FIRST_ID = 101
# With room for the line of the time that is left.
SIZE = (380, 520)


def blueprint(suffix: str = "_acc") -> Subgraph:
    """Everything between a picture, a recording and the video."""
    flow = Workflow(NAME + suffix, KINDS, first_id=FIRST_ID)
    model, whisper, vae = loaders(flow, suffix)
    fitted, reference = prepare(flow, None, 768, vae["VAE"])
    speech = flow.add("EchoMimicEncodeAudio", audio_encoder=whisper["audio_encoder"])
    gestures = flow.add("EchoMimicGenerateGestures", audio=speech["audio"], speech=speech["speech"])
    retargeted = flow.add(
        "EchoMimicRetargetPose", pose=gestures["pose"], portrait=fitted["portrait"], image=fitted["image"]
    )
    sampler = sample(flow, model, reference, speech, retargeted)
    images = flow.add("EchoMimicDecode", latent=sampler["latent"], vae=vae["VAE"])
    video = flow.add("CreateVideo", images=images["images"], audio=speech["audio"], fps=speech["fps"])
    flow.arrange_groups(
        [
            [Group("Models", [[model, whisper, vae]])],
            [Group("Portrait", [[fitted, reference]])],
            [Group("Voice and gestures", [[speech, gestures]])],
            [Group("Fit", [[retargeted]])],
            [Group("Video", [[sampler, images, video]])],
        ]
    )
    return Subgraph(
        NAME,
        "A half-body portrait speaks a recording, with gestures made from the voice. Open it to mark the portrait by "
        "click, or to change anything.",
        flow,
        [
            *ports(fitted, "image"),
            *ports(speech, "audio"),
            *ports(fitted, "portrait"),
            *setting_ports(fitted, speech, gestures, sampler),
            *model_ports(model, whisper, vae),
        ],
        {
            "video": video["VIDEO"],
            "fit": retargeted["overlay"],
            "score": retargeted["score"],
            "report": retargeted["report"],
        },
        SIZE,
    )


def from_portrait(name: str, title: str, about: list[str], suffix: str) -> Workflow:
    """Portrait and voice to a video by the blueprint's node: `echomimic_accelerated` and `echomimic_standard`."""
    flow = Workflow(name, KINDS)
    files = [*NETWORKS[suffix], *SHARED, WHISPER, VAE]
    note = flow.note(explanation(title, about, files), (380, 600 if suffix else 430))
    image, sound = flow.add("LoadImage"), flow.add("LoadAudio")
    whole = flow.add_subgraph(blueprint(suffix), image=image["IMAGE"], audio=sound["AUDIO"])
    saved = flow.add("SaveVideo", video=whole["video"], filename_prefix="video/EchoMimic")
    fit, report = look(flow, whole)
    flow.arrange(
        note,
        [
            [],
            [Group("Step 1 - Portrait and voice", [[image, sound]])],
            [Group("Step 2 - Make it, and look at the fit", [[whole, fit]])],
            [Group("Step 3 - Watch", [[saved, report]])],
        ],
    )
    return flow


def accelerated() -> Workflow:
    about = [
        "A half-body portrait speaks your recording, with gestures made from the voice. Start with this one.",
        "Your own portrait: head to waist, facing you. Open the large node (*Enter subgraph*, or the button at its top "
        "right) and click the marks in **Fit Portrait**.",
        "**duration** 3 tries the first three seconds, 0 takes the whole voice.",
        "**fit** shows how the gestures (white) lie on the person (green), step 3 says what is off.",
        "Anything else can be changed in the large node, too.",
    ]
    return from_portrait("echomimic_accelerated", "EchoMimicV2, accelerated: 6 steps", about, "_acc")


def standard() -> Workflow:
    about = [
        "The same as *echomimic_accelerated*, with the best quality, for about ten times the work: guidance 2.5.",
        "Steps and guidance follow the files that you load: the sampler inside has the preset *from model*.",
        "Denoising UNet and motion module belong together: both without *_acc*.",
    ]
    return from_portrait("echomimic_standard", "EchoMimicV2, standard: 30 steps", about, "")
