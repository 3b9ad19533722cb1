"""Steps of the larger workflows, each as one node: a graph that is seen whole can be read at the opening."""

from __future__ import annotations

from typing import Any

from workflow_graph import Group, Workflow
from workflow_kinds import KINDS
from workflow_nodes import Choice, Node
from workflow_parts import loaders, prepare, verdict
from workflow_subgraph import Port, Subgraph, model_ports, ports

WIDTH = 340
# Their inner nodes count from here.
FIRST_IDS = {"models": 301, "prepare": 401, "fit": 501, "animate": 601, "join": 701, "draw": 801, "lora": 901}


def models(suffix: str = "_acc") -> Subgraph:
    """The published files."""
    flow = Workflow("EchoMimic models" + suffix, KINDS, first_id=FIRST_IDS["models"])
    model, whisper, vae = loaders(flow, suffix)
    flow.arrange_groups([[Group("Models", [[model, whisper, vae]])]])
    return Subgraph(
        "EchoMimic models",
        "The published networks, the audio encoder and the VAE.",
        flow,
        model_ports(model, whisper, vae),
        {"model": model["model"], "audio_encoder": whisper["audio_encoder"], "vae": vae["VAE"]},
        (WIDTH, 300),
    )


def retarget_in(flow: Workflow, pose: tuple[Node, int] | None, fitted: Node) -> Node:
    """Retarget Pose onto what Fit Portrait made."""
    return flow.add("EchoMimicRetargetPose", pose=pose, portrait=fitted["portrait"], image=fitted["image"])


def prepared(gestures: str) -> Subgraph:
    """Portrait, voice and gestures as samplers want them.

    Args:
        gestures: where they are from: "voice", or "clip" for poses that are given.
    """
    flow = Workflow(f"EchoMimic prepare by {gestures}", KINDS, first_id=FIRST_IDS["prepare"])
    fitted, reference = prepare(flow, None, 768, None)
    speech = flow.add("EchoMimicEncodeAudio")
    if gestures == "voice":
        made = flow.add("EchoMimicGenerateGestures", audio=speech["audio"], speech=speech["speech"])
        onto = retarget_in(flow, made["pose"], fitted)
        poses, last, given = [made], onto, []
        settings = [*ports(made, "energy"), Port("gestures_seed", made, "seed")]
    else:
        onto = retarget_in(flow, None, fitted)
        last = flow.add("EchoMimicFitPose", pose=onto["pose"], audio=speech["speech"])
        poses, given = [], ports(onto, "pose")
        settings = ports(last, "mode", "blend_seconds")
    flow.arrange_groups(
        [
            [Group("Portrait", [[fitted, reference]])],
            [Group("Voice", [[speech, *poses]])],
            [Group("Gestures on the portrait", [[onto] if last is onto else [onto, last]])],
        ]
    )
    return Subgraph(
        "EchoMimic prepare",
        "Fits the portrait to the video, encodes it and the voice, and brings the gestures onto the portrait's body.",
        flow,
        [
            *ports(fitted, "image"),
            *ports(speech, "audio"),
            *given,
            *ports(speech, "audio_encoder"),
            *ports(reference, "vae"),
            *ports(fitted, "portrait", "width", "height"),
            *ports(speech, "duration"),
            *settings,
        ],
        {
            "reference": reference["LATENT"],
            "speech": speech["speech"],
            "pose": last["pose"],
            "audio": speech["audio"],
            "fps": speech["fps"],
            **verdict(onto),
        },
        (WIDTH, 360),
    )


def add_prepared_by_clip(flow: Workflow, clip: str, **settings: Any) -> list[Node]:
    """Models, picture, sound, a clip that ships, and `prepared` of them; in this order."""
    loaded = flow.add_subgraph(models())
    image, sound = flow.add("LoadImage"), flow.add("LoadAudio")
    gestures = flow.add("EchoMimicLoadPose", clip=clip)
    ready = flow.add_subgraph(
        prepared("clip"),
        image=image["IMAGE"],
        audio=sound["AUDIO"],
        pose=gestures["pose"],
        audio_encoder=loaded["audio_encoder"],
        vae=loaded["vae"],
        **settings,
    )
    return [loaded, image, sound, gestures, ready]


def framed() -> Subgraph:
    """A portrait in the video's frame, and gestures on its body."""
    flow = Workflow("EchoMimic fit", KINDS, first_id=FIRST_IDS["fit"])
    fitted, reference = prepare(flow, None, 768, None)
    onto = retarget_in(flow, None, fitted)
    plot = flow.add(
        "EchoMimicPreviewPose", pose=onto["pose"], view=Choice("hands and voice", {"width": 1280, "height": 480})
    )
    flow.arrange_groups(
        [
            [Group("Portrait", [[fitted, reference]])],
            [Group("Gestures on it", [[onto]])],
            [Group("Hands and voice", [[plot]])],
        ]
    )
    return Subgraph(
        "EchoMimic fit",
        "Fits the portrait to the video and encodes it, brings the gestures onto the portrait's body, and plots how "
        "fast the hands move under the voice.",
        flow,
        [
            *ports(fitted, "image", "portrait"),
            *ports(onto, "pose"),
            *ports(plot, "audio"),
            *ports(reference, "vae"),
            *ports(fitted, "width", "height"),
            *ports(onto, "proportions"),
        ],
        {
            "reference": reference["LATENT"],
            "pose": onto["pose"],
            **verdict(onto),
            "hands_and_voice": plot["images"],
        },
        (WIDTH, 250),
    )


def animated() -> Subgraph:
    """A portrait that was cut out of a picture, a voice and poses to the whole picture's video."""
    flow = Workflow("EchoMimic animate and put back", KINDS, first_id=FIRST_IDS["animate"])
    reference = flow.add("VAEEncode")
    speech = flow.add("EchoMimicEncodeAudio")
    timed = flow.add("EchoMimicFitPose", audio=speech["speech"])
    sampler = flow.add("EchoMimicSampler", reference=reference["LATENT"], audio=speech["speech"], pose=timed["pose"])
    images = flow.add("EchoMimicDecode", latent=sampler["latent"])
    pasted = flow.add("EchoMimicPasteBack", images=images["images"])
    video = flow.add("CreateVideo", images=pasted["images"], audio=speech["audio"], fps=speech["fps"])
    flow.arrange_groups(
        [
            [Group("Voice and portrait", [[speech, reference]])],
            [Group("Gestures", [[timed]])],
            [Group("Frames", [[sampler, images]])],
            [Group("Into the full picture", [[pasted, video]])],
        ]
    )
    return Subgraph(
        "EchoMimic animate and put back",
        "A portrait of the video's size speaks a recording, with the gestures that are given, and is put back into the "
        "picture that it was cut out of.",
        flow,
        [
            *ports(sampler, "model"),
            *ports(speech, "audio_encoder"),
            Port("vae", reference, "vae", ((images, "vae"),)),
            Port("image", reference, "pixels"),
            *ports(speech, "audio"),
            *ports(timed, "pose"),
            *ports(pasted, "picture", "crop_box"),
            *ports(speech, "duration"),
            *ports(timed, "mode"),
            *ports(sampler, "seed"),
        ],
        {"video": video["VIDEO"]},
        (WIDTH, 352),
    )


def with_lora() -> Subgraph:
    """A LoRA that has just been trained, on the model."""
    flow = Workflow("EchoMimic with a LoRA", KINDS, first_id=FIRST_IDS["lora"])
    plain = flow.add("EchoMimicToModel")
    patched = flow.add("LoraModelLoader", model=plain["model"])
    back = flow.add("EchoMimicFromModel", model=patched["model"])
    flow.arrange_groups(
        [[Group("As a MODEL", [[plain]])], [Group("The LoRA on it", [[patched]])], [Group("And back", [[back]])]]
    )
    return Subgraph(
        "EchoMimic with a LoRA",
        "Puts the LoRA that a training gives on the model.",
        flow,
        [*ports(plain, "model"), *ports(patched, "lora"), Port("strength", patched, "strength_model")],
        {"model": back["model"]},
        (WIDTH, 110),
    )


def joined() -> Subgraph:
    """Two people's frames in one picture, each in its half, and both voices."""
    flow = Workflow("EchoMimic two people into one video", KINDS, first_id=FIRST_IDS["join"])
    black = flow.add("SolidMask", value=0.0, width=1280, height=640)
    half = flow.add("SolidMask", value=1.0, width=640, height=640)
    left = flow.add("MaskComposite", destination=black["MASK"], source=half["MASK"], operation="add")
    right = flow.add("InvertMask", mask=left["MASK"])
    first = flow.add("EchoMimicPasteBack", mask=left["MASK"])
    both = flow.add("EchoMimicPasteBack", picture=first["images"], mask=right["MASK"])
    sound = flow.add("AudioMerge")
    video = flow.add("CreateVideo", images=both["images"], audio=sound["AUDIO"])
    flow.arrange_groups(
        [
            [Group("The left half, the right half", [[black, half]])],
            [Group("As masks", [[left, right]])],
            [Group("Put both back", [[first, both]])],
            [Group("Both voices", [[sound, video]])],
        ]
    )
    return Subgraph(
        "EchoMimic two people into one video",
        "Puts two people's frames back into their picture, each into its half, and merges their voices.",
        flow,
        [
            *ports(first, "picture"),
            Port("left_images", first, "images"),
            Port("left_box", first, "crop_box"),
            Port("left_audio", sound, "audio1"),
            Port("right_images", both, "images"),
            Port("right_box", both, "crop_box"),
            Port("right_audio", sound, "audio2"),
            *ports(video, "fps"),
            *ports(black, "width"),
            Port("height", black, "height", ((half, "height"),)),
            Port("left_width", half, "width"),
        ],
        {"video": video["VIDEO"]},
        (WIDTH, 300),
    )


def drawn() -> Subgraph:
    """Poses as keypoints, and six of them as pictures, however long they are."""
    flow = Workflow("EchoMimic draw keypoints", KINDS, first_id=FIRST_IDS["draw"])
    skeleton = flow.add("EchoMimicPoseToKeypoints")
    sheet = Choice("contact sheet", {"pictures": 6, "columns": 3, "side": 256})
    picture = flow.add("EchoMimicPreviewPose", view=sheet)
    flow.arrange_groups([[Group("Keypoints", [[skeleton]])], [Group("Drawn", [[picture]])]])
    return Subgraph(
        "EchoMimic draw keypoints",
        "Poses as ComfyUI's own keypoints, and six of them as a picture.",
        flow,
        [Port("pose", skeleton, "pose", ((picture, "pose"),))],
        {"keypoints": skeleton["keypoints"], "image": picture["images"]},
        (WIDTH, 70),
    )


def sample_prepared(flow: Workflow, loaded: Node, ready: Node, **widgets: object) -> Node:
    """Our sampler on what `prepared` gives."""
    return flow.add(
        "EchoMimicSampler",
        model=loaded["model"],
        reference=ready["reference"],
        audio=ready["speech"],
        pose=ready["pose"],
        **widgets,
    )
