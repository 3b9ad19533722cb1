"""The model through ComfyUI's own sampling nodes."""

from __future__ import annotations

from workflow_graph import Group, Workflow
from workflow_kinds import KINDS
from workflow_nodes import Node
from workflow_parts import (
    NETWORKS,
    SHARED,
    SHORT_REPORT,
    VAE,
    WHISPER,
    explanation,
    guide,
    look,
    sample_with_core,
    save,
    stream,
    to_core,
)
from workflow_steps import add_prepared_by_clip, models, prepared

ABOUT = """# The model in ComfyUI's own samplers

**To MODEL** turns EchoMimic into a MODEL. Put LoRA loaders, model patches or compilers between it and the guider.

- **Schedule** holds the published steps: the accelerated model wants 6 and cfg 1, the standard one 30 and cfg 2.5.
- **Clip Latent** turns the clip into one video latent, as other video nodes want it.
- **From MODEL** (not used here) goes back, so that **EchoMimic Sampler** uses the same LoRA."""


def native() -> Workflow:
    flow = Workflow("echomimic_native", KINDS)
    note = flow.note(explanation(ABOUT, [*NETWORKS["_acc"], *SHARED, WHISPER, VAE]), (340, 560))
    loaded, image, sound, gestures, ready = add_prepared_by_clip(flow, "presenting")
    fit, report = look(flow, ready, SHORT_REPORT)
    patched, conditions = to_core(flow, loaded, ready)
    schedule, noise = flow.add("EchoMimicSchedule"), flow.add("RandomNoise")
    guider = guide(flow, patched, conditions)
    sampled = sample_with_core(flow, noise, guider, schedule, conditions["latent"])
    images, video, saved = save(flow, sampled["output"], loaded["vae"], ready, "video/EchoMimic_native")
    clip = flow.add("EchoMimicClipLatent", latent=sampled["output"])
    kept = flow.add("SaveLatent", samples=clip["latent"])
    flow.arrange(
        note,
        [
            [Group("Step 1 - Load models", [[loaded]])],
            [Group("Step 2 - Portrait, voice and gestures", [[image, sound, gestures]])],
            [
                Group("Step 3 - Prepare, and look at the fit", [[ready, fit, report]]),
                Group("Step 4 - Make it a MODEL", [[patched]]),
            ],
            [
                Group("Step 5 - Core's samplers", [[conditions, schedule, noise, guider, sampled]]),
                Group("Step 6 - Keep", [[clip, kept]]),
            ],
            [Group("Step 7 - Make the video", [[images, video, saved]])],
        ],
    )
    return flow


# Both takes' videos in view: a square one is as tall as the node is wide.
TAKE = (310, 450)
RETAKE = """# A retake of some frames

A finished clip keeps all frames but those of **Retake Frames**, which are sampled once more: a hand that went wrong, or
other gestures for one sentence. Windows overlap, so they join the frames around them.

- Run, watch the first take, choose **first** and **last** (24 frames are a second), change the seed in step 6, run
  again: the first take is not computed twice.
- Another day: **Save Latent** keeps the first take; put **Load Latent** in its place."""


def retake() -> Workflow:
    flow = Workflow("echomimic_retake", KINDS)
    note = flow.note(explanation(RETAKE, [*NETWORKS["_acc"], *SHARED, WHISPER, VAE]), (340, 600))
    loaded = flow.add_subgraph(models())
    image, sound = flow.add("LoadImage"), flow.add("LoadAudio")
    ready = flow.add_subgraph(
        prepared("voice"),
        image=image["IMAGE"],
        audio=sound["AUDIO"],
        audio_encoder=loaded["audio_encoder"],
        vae=loaded["vae"],
    )
    report = flow.add("PreviewAny", source=ready["report"])
    patched, conditions = to_core(flow, loaded, ready)
    schedule = flow.add("EchoMimicSchedule")
    guider = guide(flow, patched, conditions)

    def take(seed: int, latent: tuple[Node, int], prefix: str) -> tuple[Node, Node, Node]:
        noise = flow.add("RandomNoise", noise_seed=seed)
        sampled = sample_with_core(flow, noise, guider, schedule, latent)
        return noise, sampled, stream(flow, sampled["output"], loaded["vae"], ready, prefix, TAKE)

    noise, first, first_saved = take(0, conditions["latent"], "video/EchoMimic_take")
    kept = flow.add("SaveLatent", samples=first["output"])
    chosen = flow.add("EchoMimicRetakeFrames", latent=first["output"], first=30, last=60)
    other_noise, again, saved = take(1, chosen["latent"], "video/EchoMimic_retake")
    flow.arrange(
        note,
        [
            [Group("Step 1 - Load models", [[loaded]])],
            [Group("Step 2 - Portrait and voice", [[image, sound, ready]])],
            [Group("Step 3 - The model, and the verdict", [[report, patched, conditions, schedule, guider]])],
            [
                Group("Step 4 - The first take", [[noise, first, kept, first_saved]]),
                Group("Step 5 - Choose frames", [[chosen]]),
            ],
            [Group("Step 6 - The retake", [[other_noise, again, saved]])],
        ],
    )
    return flow
