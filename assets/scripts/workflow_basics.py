"""A portrait from text; minutes of audio; and the one that needs no download."""

from __future__ import annotations

from workflow_blueprint import blueprint, watch
from workflow_graph import Group, Workflow
from workflow_kinds import KINDS, PORTRAIT_MARKS
from workflow_parts import NETWORKS, SDXL, SHARED, VAE, WHISPER, explanation, loaders, prepare, retarget, sample, save

PROMPT = (
    "half-body portrait photo of a friendly woman facing the camera, head to waist, centered, orange sweater, both "
    "hands folded in front of the belly, arms visible, plain light studio background, soft light, sharp focus"
)
NEGATIVE = "close-up, full body, cropped head, hidden hands, extra fingers, deformed hands, side view, text, watermark"


def from_text() -> Workflow:
    flow = Workflow("echomimic_from_text", KINDS)
    about = (
        "# From text to a speaking person\n\nA text-to-image checkpoint paints the portrait, then it speaks.\n\n"
        "- Any checkpoint will do; ask for *half body, facing the camera, hands visible*.\n"
        "- Until you like the portrait, mute steps 4 and 5 (select their nodes, Ctrl+M) and change the seed of step 3."
    )
    note = flow.note(explanation(about, [*NETWORKS["_acc"], *SHARED, WHISPER, VAE, SDXL]), (360, 630))
    painter = flow.add("CheckpointLoaderSimple", models=[SDXL], ckpt_name=SDXL.name)
    wanted = flow.add("CLIPTextEncode", clip=painter["CLIP"], text=PROMPT)
    unwanted = flow.add("CLIPTextEncode", clip=painter["CLIP"], text=NEGATIVE)
    canvas = flow.add("EmptyLatentImage")
    painting = flow.add(
        "KSampler",
        model=painter["MODEL"],
        positive=wanted["CONDITIONING"],
        negative=unwanted["CONDITIONING"],
        latent_image=canvas["LATENT"],
    )
    image = flow.add("VAEDecode", samples=painting["LATENT"], vae=painter["VAE"])
    painted = flow.add("PreviewImage", images=image["IMAGE"])
    sound = flow.add("LoadAudio")
    whole = flow.add_subgraph(blueprint(), image=image["IMAGE"], audio=sound["AUDIO"])
    saved, fit, report = watch(flow, whole, "video/EchoMimic_from_text")
    flow.arrange(
        note,
        [
            [Group("Step 1 - Load the painter", [[painter]]), Group("Step 2 - Voice", [[sound]])],
            [Group("Step 3 - Paint the portrait", [[wanted, unwanted, canvas], [painting, image, painted]])],
            [Group("Step 4 - Make the video", [[whole]])],
            [Group("Step 5 - Watch", [[saved, fit, report]])],
        ],
    )
    return flow


def long_audio() -> Workflow:
    flow = Workflow("echomimic_long", KINDS)
    about = (
        "# Minutes of audio\n\n**EchoMimic Save Video** decodes a few frames at a time straight into the file, so the "
        "memory that is needed does not grow with the length: any length will do.\n\n"
        "- The clip goes round, blended at the seam for a second.\n"
        "- Try *duration* 5 in **Encode Audio** first, then 0 for all.\n"
        "- The file holds this workflow: drag it onto ComfyUI to get it back."
    )
    note = flow.note(explanation(about, [*NETWORKS["_acc"], *SHARED, WHISPER, VAE]), (360, 560))
    model, whisper, vae = loaders(flow)
    image, sound, gestures = (
        flow.add("LoadImage"),
        flow.add("LoadAudio"),
        flow.add("EchoMimicLoadPose", clip="small_talk"),
    )
    portrait, reference = prepare(flow, image["IMAGE"], 768, vae["VAE"])
    speech = flow.add(
        "EchoMimicEncodeAudio", audio=sound["AUDIO"], audio_encoder=whisper["audio_encoder"], normalize_loudness=True
    )
    retargeted, overlay, report = retarget(flow, gestures["pose"], portrait)
    fitted = flow.add(
        "EchoMimicFitPose", pose=retargeted["pose"], audio=speech["speech"], mode="loop", blend_seconds=1.0
    )
    sampler = sample(flow, model, reference, speech, fitted)
    saved = flow.add(
        "EchoMimicSaveVideo",
        latent=sampler["latent"],
        vae=vae["VAE"],
        audio=speech["audio"],
        fps=speech["fps"],
        filename_prefix="video/EchoMimic_long",
    )
    flow.arrange(
        note,
        [
            [
                Group("Step 1 - Load models", [[model, whisper, vae]]),
                Group("Step 2 - Portrait, voice and gestures", [[image, sound, gestures]]),
            ],
            [Group("Step 3 - Prepare", [[portrait, reference, speech]])],
            [Group("Step 4 - Gestures on the portrait", [[retargeted, overlay, report, fitted]])],
            [Group("Step 5 - Make the video", [[sampler]]), Group("Step 6 - Save", [[saved]])],
        ],
    )
    return flow


DEMO_NOTE = """# Does it work here?

Press **Run**: everything that this workflow needs ships with the pack, and it takes under a minute on a CPU.

The demo's weights are random numbers, so what you see is noise that moves, with the sound of the sample voice. It
proves that the pack works on your machine.

For a speaking person open the template **echomimic_accelerated**, which says what to download.
"""


def demo() -> Workflow:
    flow = Workflow("echomimic_demo", KINDS)
    note = flow.note(DEMO_NOTE, (400, 230))
    bundle = flow.add("EchoMimicLoadBundle")
    image, sound, gestures = flow.add("LoadImage"), flow.add("LoadAudio"), flow.add("EchoMimicLoadPose")
    portrait, reference = prepare(flow, image["IMAGE"], 192, bundle["vae"], marks=PORTRAIT_MARKS)
    speech = flow.add("EchoMimicEncodeAudio", audio=sound["AUDIO"], audio_encoder=bundle["audio_encoder"], duration=1.0)
    retargeted, overlay, report = retarget(flow, gestures["pose"], portrait)
    fitted = flow.add("EchoMimicFitPose", pose=retargeted["pose"], audio=speech["speech"])
    sampler = sample(flow, bundle, reference, speech, fitted, _control_after_generate="fixed")
    images, video, saved = save(flow, sampler["latent"], bundle["vae"], speech, "video/EchoMimic_demo")
    flow.arrange(
        note,
        [
            [
                Group("Step 1 - Load the demo's weights", [[bundle]]),
                Group("Step 2 - Portrait, voice and gestures", [[image, sound, gestures]]),
            ],
            [Group("Step 3 - Prepare", [[portrait, reference, speech]])],
            [Group("Step 4 - Gestures on the portrait", [[retargeted, overlay, report, fitted]])],
            [Group("Step 5 - Make the video", [[sampler, images, video]]), Group("Step 6 - Save", [[saved]])],
        ],
    )
    return flow
