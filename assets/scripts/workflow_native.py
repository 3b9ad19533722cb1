"""The model through ComfyUI's own sampling nodes."""

from __future__ import annotations

from workflow_graph import Group, Node, Workflow
from workflow_kinds import KINDS
from workflow_parts import (
    NETWORKS,
    SHARED,
    VAE,
    WHISPER,
    explanation,
    guide,
    loaders,
    prepare,
    retarget,
    sample_with_core,
    save,
    to_core,
)

ABOUT = """# The model in ComfyUI's own samplers

**To MODEL** turns EchoMimic into a MODEL. Put LoRA loaders, model patches or compilers between it and the guider.

- **Schedule** holds the published steps: the accelerated model wants 6 and cfg 1, the standard one 30 and cfg 2.5.
- **Fit Portrait** brings a picture of any shape to the video's size without cutting off head or hands.
- **Clip Latent** turns the clip into one video latent, as other video nodes want it.
- **From MODEL** (not used here) goes back, so that **EchoMimic Sampler** uses the same LoRA."""


def native() -> Workflow:
    flow = Workflow("echomimic_native", KINDS)
    note = flow.note(explanation(ABOUT, [*NETWORKS["_acc"], *SHARED, WHISPER, VAE]), (360, 710))
    model, whisper, vae = loaders(flow)
    image, sound = flow.add("LoadImage"), flow.add("LoadAudio")
    gestures = flow.add("EchoMimicLoadPose", clip="presenting")
    portrait, reference = prepare(flow, image["IMAGE"], 768, vae["VAE"])
    speech = flow.add("EchoMimicEncodeAudio", audio=sound["AUDIO"], audio_encoder=whisper["audio_encoder"])
    retargeted, overlay, report = retarget(flow, gestures["pose"], portrait)
    fitted = flow.add("EchoMimicFitPose", pose=retargeted["pose"], audio=speech["speech"])
    patched, conditions = to_core(flow, model, reference, speech, fitted)
    schedule, noise = flow.add("EchoMimicSchedule"), flow.add("RandomNoise")
    guider = guide(flow, patched, conditions)
    sampled = sample_with_core(flow, noise, guider, schedule, conditions["latent"])
    images, video, saved = save(flow, sampled["output"], vae["VAE"], speech, "video/EchoMimic_native")
    clip = flow.add("EchoMimicClipLatent", latent=sampled["output"])
    kept = flow.add("SaveLatent", samples=clip["latent"])
    flow.arrange(
        note,
        [
            [
                Group("Step 1 - Load models", [[model, whisper, vae]]),
                Group("Step 2 - Portrait, voice and gestures", [[image, sound, gestures]]),
            ],
            [Group("Step 3 - Prepare", [[portrait, reference, speech]])],
            [Group("Step 4 - Gestures on the portrait", [[retargeted, overlay, report, fitted]])],
            [Group("Step 5 - Sample with core's nodes", [[patched, conditions, schedule, noise, guider, sampled]])],
            [Group("Step 6 - Make the video", [[images, video, saved]]), Group("Step 7 - Keep", [[clip, kept]])],
        ],
    )
    return flow


RETAKE = """# A retake of some frames

A finished clip keeps all frames but those of **Retake Frames**, which are sampled once more: a hand that went wrong, or
other gestures for one sentence. Windows overlap, so they join the frames around them.

- Run, watch the first take, choose **first** and **last** (24 frames are a second), change the seed in step 7, run
  again: the first take is not computed twice.
- Another day: **Save Latent** keeps the first take; put **Load Latent** in its place."""


def retake() -> Workflow:
    flow = Workflow("echomimic_retake", KINDS)
    note = flow.note(explanation(RETAKE, [*NETWORKS["_acc"], *SHARED, WHISPER, VAE]), (360, 850))
    model, whisper, vae = loaders(flow)
    image, sound = flow.add("LoadImage"), flow.add("LoadAudio")
    portrait, reference = prepare(flow, image["IMAGE"], 768, vae["VAE"])
    speech = flow.add("EchoMimicEncodeAudio", audio=sound["AUDIO"], audio_encoder=whisper["audio_encoder"])
    gestures = flow.add("EchoMimicGenerateGestures", audio=speech["audio"], speech=speech["speech"])
    retargeted, overlay, report = retarget(flow, gestures["pose"], portrait)
    patched, conditions = to_core(flow, model, reference, speech, retargeted)
    schedule = flow.add("EchoMimicSchedule")
    guider = guide(flow, patched, conditions)

    def take(seed: int, latent: tuple[Node, int]) -> tuple[Node, Node]:
        noise = flow.add("RandomNoise", noise_seed=seed)
        return noise, sample_with_core(flow, noise, guider, schedule, latent)

    first_noise, first = take(0, conditions["latent"])
    shown, first_video, first_saved = save(flow, first["output"], vae["VAE"], speech, "video/EchoMimic_take")
    kept = flow.add("SaveLatent", samples=first["output"])
    chosen = flow.add("EchoMimicRetakeFrames", latent=first["output"], first=30, last=60)
    noise, again = take(1, chosen["latent"])
    images, video, saved = save(flow, again["output"], vae["VAE"], speech, "video/EchoMimic_retake")
    flow.arrange(
        note,
        [
            [
                Group("Step 1 - Load models", [[model, whisper, vae]]),
                Group("Step 2 - Portrait and voice", [[image, sound]]),
            ],
            [Group("Step 3 - Prepare", [[portrait, reference, speech]])],
            [Group("Step 4 - Gestures on the portrait", [[gestures, retargeted, overlay, report]])],
            [Group("Step 5 - The first take", [[patched, conditions, schedule, guider, first_noise, first]])],
            [Group("Step 6 - Watch it", [[shown, first_video, first_saved, kept]])],
            [Group("Step 7 - The retake", [[chosen, noise, again, images, video, saved]])],
        ],
    )
    return flow
