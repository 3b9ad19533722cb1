"""The model through ComfyUI's own sampling nodes."""

from __future__ import annotations

from workflow_graph import Group, Workflow
from workflow_kinds import KINDS
from workflow_parts import NETWORKS, SHARED, VAE, WHISPER, explanation, loaders, sample, save

ABOUT = """# The model in ComfyUI's own samplers

**To MODEL** turns EchoMimic into a MODEL. Put LoRA loaders, model patches or compilers between it and the guider.

- **Schedule** holds the published steps: the accelerated model wants 6 and cfg 1, the standard one 30 and cfg 2.5.
- **Fit Portrait** brings a picture of any shape to the video's size without cutting off head or hands.
- **Clip Latent** turns the clip into one video latent, as other video nodes want it.
- **From MODEL** goes back, so that **EchoMimic Sampler** uses the same LoRA. Here it makes half a second to compare;
  delete step 6 if you do not need it."""


def native() -> Workflow:
    flow = Workflow("echomimic_native", KINDS)
    note = flow.note(explanation(ABOUT, [*NETWORKS["_acc"], *SHARED, WHISPER, VAE]), (400, 640))
    model, whisper, vae = loaders(flow)
    image, sound = flow.add("LoadImage"), flow.add("LoadAudio")
    gestures = flow.add("EchoMimicLoadPose", clip="presenting")
    fitted_image = flow.add("EchoMimicFitPortrait", image=image["IMAGE"])
    reference = flow.add("VAEEncode", pixels=fitted_image["image"], vae=vae["VAE"])
    speech = flow.add("EchoMimicEncodeAudio", audio=sound["AUDIO"], audio_encoder=whisper["audio_encoder"])
    fitted = flow.add("EchoMimicFitPose", pose=gestures["pose"], audio=speech["speech"])
    patched = flow.add("EchoMimicToModel", model=model["model"])
    conditions = flow.add(
        "EchoMimicConditioning",
        model=model["model"],
        reference=reference["LATENT"],
        audio=speech["speech"],
        pose=fitted["pose"],
    )
    schedule, noise = flow.add("EchoMimicSchedule"), flow.add("RandomNoise")
    guider = flow.add(
        "CFGGuider", model=patched["model"], positive=conditions["positive"], negative=conditions["negative"]
    )
    sampled = flow.add(
        "SamplerCustomAdvanced",
        noise=noise["NOISE"],
        guider=guider["GUIDER"],
        sampler=schedule["sampler"],
        sigmas=schedule["sigmas"],
        latent_image=conditions["latent"],
    )
    images, video, saved = save(flow, sampled["output"], vae["VAE"], speech, "video/EchoMimic_native")
    clip = flow.add("EchoMimicClipLatent", latent=sampled["output"])
    kept = flow.add("SaveLatent", samples=clip["latent"])
    back = flow.add("EchoMimicFromModel", model=patched["model"])
    ours = sample(flow, back, reference, speech, fitted, frames=12, _control_after_generate="fixed")
    decoded = flow.add("EchoMimicDecode", latent=ours["latent"], vae=vae["VAE"])
    compared = flow.add("PreviewImage", images=decoded["images"])
    flow.arrange(
        note,
        [
            [
                Group("Step 1 - Load models", [[model, whisper, vae]]),
                Group("Step 2 - Portrait, voice and gestures", [[image, sound, gestures]]),
            ],
            [Group("Step 3 - Prepare", [[fitted_image, reference, speech, fitted]])],
            [Group("Step 4 - Sample with core's nodes", [[patched, conditions, schedule, noise, guider]])],
            [Group("Step 5 - Make the video", [[sampled, images, video, saved, clip, kept]])],
            [Group("Step 6 - Compare with EchoMimic Sampler", [[back, ours, decoded, compared]])],
        ],
    )
    return flow
