"""Makes workflows/*.json and their thumbnails.

    python assets/scripts/make_workflows.py

Drawn by a script, so that all of them look alike and a changed node is changed in one place.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from workflow_graph import Group, Model, Node, Workflow
from workflow_kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from echomimic.images import read_image  # noqa: E402
from echomimic.pose import draw_poses, load_poses  # noqa: E402
from echomimic.pose.overlay import overlay_poses  # noqa: E402

FOLDER = ROOT / "workflows"
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
SDXL = Model(
    "sd_xl_base_1.0.safetensors",
    f"{HUB}/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/sd_xl_base_1.0.safetensors",
    "checkpoints",
)


def explanation(about: str, models: list[Model]) -> str:
    """The note: what the workflow does, where its models are from, where they go."""
    folders = list(dict.fromkeys(model.directory for model in models))
    listed = ["## Model links"]
    tree = ["ComfyUI/", "└── models/"]
    for number, folder in enumerate(folders, 1):
        files = [model for model in models if model.directory == folder]
        listed += ["", f"**{folder}**", "", *(f"- [{model.name}]({model.url})" for model in files)]
        last = number == len(folders)
        tree.append(f"    {'└' if last else '├'}── {folder}/")
        for position, model in enumerate(files, 1):
            branch = "└" if position == len(files) else "├"
            tree.append(f"    {' ' if last else '│'}   {branch}── {model.name}")
    return "\n".join([about, "", *listed, "", "## Where they go", "", "```", *tree, "```", ""])


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


def prepare(flow: Workflow, image: tuple[Node, int], side: int, vae: tuple[Node, int]) -> tuple[Node, Node]:
    """The portrait cut to the video's size, and its latent."""
    scaled = flow.add("ImageScale", image=image, width=side, height=side)
    return scaled, flow.add("VAEEncode", pixels=scaled["IMAGE"], vae=vae)


def save(flow: Workflow, latent: tuple[Node, int], vae: tuple[Node, int], speech: Node, prefix: str) -> list[Node]:
    """Decoding, sound, and ComfyUI's own video file."""
    images = flow.add("EchoMimicDecode", latent=latent, vae=vae)
    video = flow.add("CreateVideo", images=images["images"], audio=speech["audio"], fps=speech["fps"])
    return [images, video, flow.add("SaveVideo", video=video["VIDEO"], filename_prefix=prefix)]


def from_portrait(name: str, about: str, suffix: str, clip: str) -> Workflow:
    """Portrait, voice and clip to a video: `echomimic_accelerated` and `echomimic_standard`."""
    flow = Workflow(name, KINDS)
    note = flow.note(explanation(about, [*NETWORKS[suffix], *SHARED, WHISPER, VAE]), (400, 500))
    model, whisper, vae = loaders(flow, suffix)
    image, sound, gestures = flow.add("LoadImage"), flow.add("LoadAudio"), flow.add("EchoMimicLoadPose", clip=clip)
    scaled, reference = prepare(flow, image["IMAGE"], 768, vae["VAE"])
    speech = flow.add("EchoMimicEncodeAudio", audio=sound["AUDIO"], audio_encoder=whisper["audio_encoder"])
    fitted = flow.add("EchoMimicFitPose", pose=gestures["pose"], audio=speech["speech"])
    sampler = flow.add(
        "EchoMimicSampler",
        model=model["model"],
        reference=reference["LATENT"],
        audio=speech["speech"],
        pose=fitted["pose"],
    )
    images, video, saved = save(flow, sampler["latent"], vae["VAE"], speech, "video/EchoMimic")
    flow.arrange(
        note,
        [
            [
                Group("Step 1 - Load models", [[model, whisper, vae]]),
                Group("Step 2 - Portrait, voice and gestures", [[image, sound, gestures]]),
            ],
            [Group("Step 3 - Prepare", [[scaled, reference, speech, fitted]])],
            [Group("Step 4 - Make the video", [[sampler, images, video]]), Group("Step 5 - Save", [[saved]])],
        ],
    )
    return flow


def accelerated() -> Workflow:
    about = (
        "# EchoMimicV2, accelerated\n\nA half-body portrait speaks your recording and moves its hands like the clip. "
        "6 steps, no guidance: start with this one.\n\n"
        "- The portrait: head to waist, facing you; 768 x 768 works best.\n"
        "- The voice decides the length of the video.\n"
        "- Gestures: choose a clip; **Fit Pose Length** makes it as long as the voice."
    )
    return from_portrait("echomimic_accelerated", about, "_acc", "explaining")


def standard() -> Workflow:
    about = (
        "# EchoMimicV2, standard\n\nThe same as *echomimic_accelerated* with the standard model: 30 steps, guidance "
        "2.5, about ten times the work, the best quality.\n\n"
        "- **from model** in the sampler sets steps and guidance by the files that you load.\n"
        "- Denoising UNet and motion module belong together: both without `_acc`."
    )
    return from_portrait("echomimic_standard", about, "", "presenting")


def own_gestures() -> Workflow:
    flow = Workflow("echomimic_own_gestures", KINDS)
    about = (
        "# Your own gestures\n\nFilm yourself from head to waist, hands visible. SDPose finds the keypoints, and the "
        "portrait moves its hands like you.\n\n"
        "- Choose your video in **Load Video**. To speak with its own sound, link *audio* of **Get Video Components** "
        "to **Encode Audio**.\n"
        "- Look at step 4 before the long run: the hands must lie where the portrait's hands could be."
    )
    note = flow.note(explanation(about, [*NETWORKS["_acc"], *SHARED, WHISPER, VAE, SDPOSE]), (400, 590))
    model, whisper, vae = loaders(flow)
    detector = flow.add("CheckpointLoaderSimple", models=[SDPOSE], ckpt_name=SDPOSE.name)
    image, sound, film = flow.add("LoadImage"), flow.add("LoadAudio"), flow.add("LoadVideo")
    parts = flow.add("GetVideoComponents", video=film["VIDEO"])
    keypoints = flow.add("SDPoseKeypointExtractor", model=detector["MODEL"], vae=detector["VAE"], image=parts["images"])
    pose = flow.add("EchoMimicPoseFromKeypoints", keypoints=keypoints["keypoints"], fps=parts["fps"])
    scaled, reference = prepare(flow, image["IMAGE"], 768, vae["VAE"])
    speech = flow.add("EchoMimicEncodeAudio", audio=sound["AUDIO"], audio_encoder=whisper["audio_encoder"])
    fitted = flow.add("EchoMimicFitPose", pose=pose["pose"], audio=speech["speech"])
    overlay = flow.add("EchoMimicPreviewPose", pose=fitted["pose"], image=scaled["IMAGE"])
    overlaid = flow.add("PreviewImage", images=overlay["images"])
    skeleton = flow.add("EchoMimicPoseToKeypoints", pose=fitted["pose"])
    drawn = flow.add("SDPoseDrawKeypoints", keypoints=skeleton["keypoints"])
    drawing = flow.add("PreviewImage", images=drawn["IMAGE"])
    sampler = flow.add(
        "EchoMimicSampler",
        model=model["model"],
        reference=reference["LATENT"],
        audio=speech["speech"],
        pose=fitted["pose"],
    )
    images, video, saved = save(flow, sampler["latent"], vae["VAE"], speech, "video/EchoMimic_own_gestures")
    flow.arrange(
        note,
        [
            [
                Group("Step 1 - Load models", [[model, whisper, vae, detector]]),
                Group("Step 2 - Portrait, voice and your video", [[image, sound, film]]),
            ],
            [Group("Step 3 - Prepare", [[parts, keypoints, pose, scaled, reference, speech, fitted]])],
            [Group("Step 4 - Look at the gestures", [[overlay, overlaid, skeleton, drawn, drawing]])],
            [Group("Step 5 - Make the video", [[sampler, images, video]]), Group("Step 6 - Save", [[saved]])],
        ],
    )
    return flow


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
        "- Until you like the portrait, mute steps 5 and 6 (select their nodes, Ctrl+M) and change the seed of step 3."
    )
    note = flow.note(explanation(about, [*NETWORKS["_acc"], *SHARED, WHISPER, VAE, SDXL]), (400, 570))
    model, whisper, vae = loaders(flow)
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
    portrait = flow.add("PreviewImage", images=image["IMAGE"])
    sound, gestures = flow.add("LoadAudio"), flow.add("EchoMimicLoadPose", clip="open_palms")
    scaled, reference = prepare(flow, image["IMAGE"], 768, vae["VAE"])
    speech = flow.add("EchoMimicEncodeAudio", audio=sound["AUDIO"], audio_encoder=whisper["audio_encoder"])
    fitted = flow.add("EchoMimicFitPose", pose=gestures["pose"], audio=speech["speech"])
    sampler = flow.add(
        "EchoMimicSampler",
        model=model["model"],
        reference=reference["LATENT"],
        audio=speech["speech"],
        pose=fitted["pose"],
    )
    images, video, saved = save(flow, sampler["latent"], vae["VAE"], speech, "video/EchoMimic_from_text")
    flow.arrange(
        note,
        [
            [
                Group("Step 1 - Load models", [[model, whisper, vae, painter]]),
                Group("Step 2 - Voice and gestures", [[sound, gestures]]),
            ],
            [Group("Step 3 - Paint the portrait", [[wanted, unwanted, canvas], [painting, image, portrait]])],
            [Group("Step 4 - Prepare", [[scaled, reference, speech, fitted]])],
            [Group("Step 5 - Make the video", [[sampler, images, video]]), Group("Step 6 - Save", [[saved]])],
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
    note = flow.note(explanation(about, [*NETWORKS["_acc"], *SHARED, WHISPER, VAE]), (400, 500))
    model, whisper, vae = loaders(flow)
    image, sound, gestures = (
        flow.add("LoadImage"),
        flow.add("LoadAudio"),
        flow.add("EchoMimicLoadPose", clip="small_talk"),
    )
    scaled, reference = prepare(flow, image["IMAGE"], 768, vae["VAE"])
    speech = flow.add(
        "EchoMimicEncodeAudio", audio=sound["AUDIO"], audio_encoder=whisper["audio_encoder"], normalize_loudness=True
    )
    fitted = flow.add("EchoMimicFitPose", pose=gestures["pose"], audio=speech["speech"], mode="loop", blend_seconds=1.0)
    sampler = flow.add(
        "EchoMimicSampler",
        model=model["model"],
        reference=reference["LATENT"],
        audio=speech["speech"],
        pose=fitted["pose"],
    )
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
            [Group("Step 3 - Prepare", [[scaled, reference, speech, fitted]])],
            [Group("Step 4 - Make the video", [[sampler]]), Group("Step 5 - Save", [[saved]])],
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
    scaled, reference = prepare(flow, image["IMAGE"], 192, bundle["vae"])
    speech = flow.add("EchoMimicEncodeAudio", audio=sound["AUDIO"], audio_encoder=bundle["audio_encoder"], duration=1.0)
    fitted = flow.add("EchoMimicFitPose", pose=gestures["pose"], audio=speech["speech"])
    sampler = flow.add(
        "EchoMimicSampler",
        model=bundle["model"],
        reference=reference["LATENT"],
        audio=speech["speech"],
        pose=fitted["pose"],
        _control_after_generate="fixed",
    )
    images, video, saved = save(flow, sampler["latent"], bundle["vae"], speech, "video/EchoMimic_demo")
    flow.arrange(
        note,
        [
            [
                Group("Step 1 - Load the demo's weights", [[bundle]]),
                Group("Step 2 - Portrait, voice and gestures", [[image, sound, gestures]]),
            ],
            [Group("Step 3 - Prepare", [[scaled, reference, speech, fitted]])],
            [Group("Step 4 - Make the video", [[sampler, images, video]]), Group("Step 5 - Save", [[saved]])],
        ],
    )
    return flow


# Workflow, and the clip and frames that its thumbnail shows.
WORKFLOWS = {
    accelerated: ("explaining", [20]),
    standard: ("presenting", [40]),
    own_gestures: ("waving", [30]),
    from_text: ("open_palms", [30]),
    long_audio: ("small_talk", [10, 40, 70, 100]),
    demo: ("thumbs_up", [30]),
}


def thumbnail(clip: str, frames: list[int]) -> Image.Image:
    """The portrait with a clip's hands on it, 512 x 512; of four frames, four small ones."""
    side = 512 if len(frames) == 1 else 256
    portrait = np.asarray(
        Image.fromarray(read_image(ROOT / "assets" / "portrait.png")).resize((side, side), Image.LANCZOS)
    )
    poses = load_poses(ROOT / "assets" / "clips" / f"{clip}.safetensors")
    tiles = overlay_poses(draw_poses(poses, frames, side, side), portrait)
    if len(frames) == 1:
        return Image.fromarray(tiles[0])
    return Image.fromarray(np.concatenate([np.concatenate(tiles[:2], axis=1), np.concatenate(tiles[2:], axis=1)]))


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for make, (clip, frames) in WORKFLOWS.items():
        flow = make()
        flow.write(FOLDER)
        thumbnail(clip, frames).save(FOLDER / f"{flow.name}.jpg", quality=85)


if __name__ == "__main__":
    main()
