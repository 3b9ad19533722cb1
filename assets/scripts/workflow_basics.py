"""Portrait, voice and a clip to a video; from text; minutes long; and the one that needs no download."""

from __future__ import annotations

from workflow_graph import Group, Workflow
from workflow_kinds import KINDS
from workflow_parts import NETWORKS, SDXL, SHARED, VAE, WHISPER, explanation, loaders, prepare, sample, save


def from_portrait(name: str, about: str, suffix: str, clip: str) -> Workflow:
    """Portrait, voice and clip to a video: `echomimic_accelerated` and `echomimic_standard`."""
    flow = Workflow(name, KINDS)
    note = flow.note(explanation(about, [*NETWORKS[suffix], *SHARED, WHISPER, VAE]), (400, 500))
    model, whisper, vae = loaders(flow, suffix)
    image, sound, gestures = flow.add("LoadImage"), flow.add("LoadAudio"), flow.add("EchoMimicLoadPose", clip=clip)
    scaled, reference = prepare(flow, image["IMAGE"], 768, vae["VAE"])
    speech = flow.add("EchoMimicEncodeAudio", audio=sound["AUDIO"], audio_encoder=whisper["audio_encoder"])
    fitted = flow.add("EchoMimicFitPose", pose=gestures["pose"], audio=speech["speech"])
    sampler = sample(flow, model, reference, speech, fitted)
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
    sampler = sample(flow, model, reference, speech, fitted)
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
    sampler = sample(flow, bundle, reference, speech, fitted, _control_after_generate="fixed")
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
