"""What several workflows have in common: the published files, the loaders, the first steps and the last."""

from __future__ import annotations

from typing import Any

from workflow_graph import Workflow
from workflow_kinds import MARKS, WIDE
from workflow_nodes import Model, Node

HUB = "https://huggingface.co"
PUBLISHED = f"{HUB}/BadToBest/EchoMimicV2/resolve/main"


def published(name: str) -> Model:
    """A file of EchoMimicV2's authors."""
    return Model(name, f"{PUBLISHED}/{name}", "echomimic")


NETWORKS = {
    suffix: [published(f"{n}{suffix}.pth") for n in ("denoising_unet", "motion_module")] for suffix in ("_acc", "")
}
SHARED = [published("reference_unet.pth"), published("pose_encoder.pth")]
WHISPER = published("audio_processor/tiny.pt")
VAE = Model(
    "vae-ft-mse-840000-ema-pruned.safetensors",
    f"{HUB}/stabilityai/sd-vae-ft-mse-original/resolve/main/vae-ft-mse-840000-ema-pruned.safetensors",
    "vae",
)
SDPOSE = Model(
    "sdpose_wholebody_fp16.safetensors",
    f"{HUB}/Comfy-Org/SDPose/resolve/main/checkpoints/sdpose_wholebody_fp16.safetensors",
    "checkpoints",
)
# No loader lists these two: EchoMimic Extract Pose finds them by their names.
DWPOSE = [
    Model(name, f"{HUB}/yzd-v/DWPose/resolve/main/{name}", "echomimic")
    for name in ("yolox_l.onnx", "dw-ll_ucoco_384.onnx")
]
SDXL = Model(
    "sd_xl_base_1.0.safetensors",
    f"{HUB}/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/sd_xl_base_1.0.safetensors",
    "checkpoints",
)


def explanation(title: str, sentences: list[str], models: list[Model]) -> str:
    """The note: what the workflow does, where its models are from, where they go.

    The frontend writes a note's text so small that it cannot be read where a whole workflow is in view; its headings
    can. What has to be read first is a heading each; the files are lines of one paragraph, which takes the least room.
    """
    parts = [f"# {title}", *(f"## {sentence}" for sentence in sentences)]
    for folder in dict.fromkeys(model.directory for model in models):
        files = [f"[{model.name}]({model.url})" for model in models if model.directory == folder]
        parts.append("  \n".join([f"**Into ComfyUI/models/{folder}/**", *files]))
    return "\n\n".join(parts) + "\n"


def loaders(flow: Workflow, suffix: str = "_acc") -> tuple[Node, Node, Node]:
    """The published networks, Whisper, and the VAE."""
    networks = NETWORKS[suffix]
    model = flow.add(
        "EchoMimicLoadModel",
        models=[*networks, *SHARED],
        denoising_unet=networks[0].name,
        motion_module=networks[1].name,
    )
    return (
        model,
        flow.add("EchoMimicLoadAudioEncoder", models=[WHISPER]),
        flow.add("VAELoader", models=[VAE], vae_name=VAE.name),
    )


def prepare(flow: Workflow, image: tuple[Node, int], side: int, vae: tuple[Node, int], **widgets: Any) -> list[Node]:
    """The picture fitted to the video's size, and its latent; `widgets` are those of Fit Portrait."""
    fitted = flow.add("EchoMimicFitPortrait", image=image, width=side, height=side, **widgets)
    return [fitted, flow.add("VAEEncode", pixels=fitted["image"], vae=vae)]


def marked(flow: Workflow, image: tuple[Node, int], shares: tuple[float, ...]) -> Node:
    """Mark Portrait with a person's marks."""
    return flow.add("EchoMimicMarkPortrait", image=image, **dict(zip(MARKS, shares, strict=True)))


def verdict(retargeted: Node) -> dict[str, tuple[Node, int]]:
    """How the gestures lie on the portrait, as outputs of a subgraph."""
    return {"fit": retargeted["overlay"], "report": retargeted["report"]}


# Titles of the nodes that show how the gestures lie on the portrait.
FIT, VERDICT = "Gestures (white) on the person (green)", "How the gestures fit"
# The verdict where a whole one has no room: its box scrolls.
SHORT_REPORT = (WIDE, 175)


def look(flow: Workflow, fitted: Node, report: tuple[int, int] | None = None) -> list[Node]:
    """How the gestures lie on the portrait, in picture and words; the picture as wide as the node that tells it.
    `report` is the size of the words."""
    size = fitted.size[0], flow.kinds["PreviewImage"].size[1]
    return [
        flow.add("PreviewImage", images=fitted["fit"], size=size, title=FIT),
        flow.add("PreviewAny", source=fitted["report"], size=report, title=VERDICT),
    ]


def to_core(flow: Workflow, loaded: Node, ready: Node) -> tuple[Node, Node]:
    """The model and its conditioning for core's samplers."""
    patched = flow.add("EchoMimicToModel", model=loaded["model"])
    conditions = flow.add(
        "EchoMimicConditioning",
        model=loaded["model"],
        reference=ready["reference"],
        audio=ready["speech"],
        pose=ready["pose"],
    )
    return patched, conditions


def guide(flow: Workflow, patched: Node, conditions: Node) -> Node:
    """Core's guider over both of these."""
    return flow.add(
        "CFGGuider", model=patched["model"], positive=conditions["positive"], negative=conditions["negative"]
    )


def sample_with_core(flow: Workflow, noise: Node, guider: Node, schedule: Node, latent: tuple[Node, int]) -> Node:
    """The long run by core's sampler."""
    return flow.add(
        "SamplerCustomAdvanced",
        noise=noise["NOISE"],
        guider=guider["GUIDER"],
        sampler=schedule["sampler"],
        sigmas=schedule["sigmas"],
        latent_image=latent,
    )


def sample(flow: Workflow, model: Node, reference: Node, speech: Node, pose: Node, **widgets: Any) -> Node:
    """The long run; `widgets` are those that differ from the usual."""
    return flow.add(
        "EchoMimicSampler",
        model=model["model"],
        reference=reference["LATENT"],
        audio=speech["speech"],
        pose=pose["pose"],
        **widgets,
    )


def save(flow: Workflow, latent: tuple[Node, int], vae: tuple[Node, int], speech: Node, prefix: str) -> list[Node]:
    """Decoding, sound, and ComfyUI's own video file."""
    images = flow.add("EchoMimicDecode", latent=latent, vae=vae)
    video = flow.add("CreateVideo", images=images["images"], audio=speech["audio"], fps=speech["fps"])
    return [images, video, flow.add("SaveVideo", video=video["VIDEO"], filename_prefix=prefix)]


def stream(
    flow: Workflow,
    latent: tuple[Node, int],
    vae: tuple[Node, int],
    speech: Node,
    prefix: str,
    size: tuple[int, int] | None = None,
) -> Node:
    """Decoding straight into a file; `size` is Save Video's."""
    return flow.add(
        "EchoMimicSaveVideo",
        size=size,
        latent=latent,
        vae=vae,
        audio=speech["audio"],
        fps=speech["fps"],
        filename_prefix=prefix,
    )


def save_frames(
    flow: Workflow, images: tuple[Node, int], voice: Node, prefix: str, size: tuple[int, int] | None = None
) -> list[Node]:
    """Frames and sound as ComfyUI's own video file; `size` is Save Video's."""
    video = flow.add("CreateVideo", images=images, audio=voice["audio"], fps=voice["fps"])
    return [video, flow.add("SaveVideo", size=size, video=video["VIDEO"], filename_prefix=prefix)]
