"""The model through ComfyUI's own sampling nodes."""

from __future__ import annotations

from workflow_graph import Group, Workflow
from workflow_kinds import KINDS, WIDE
from workflow_nodes import Node
from workflow_parts import (
    NETWORKS,
    SHARED,
    VAE,
    VERDICT,
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

ABOUT = [
    "**To MODEL** makes a MODEL of EchoMimic: put model patches and compilers between it and the guider.",
    "A LoRA: choose it in **Load LoRA**, select the node and press Ctrl+B.",
    "**Schedule** holds the published steps: the accelerated model wants 6 and cfg 1, the standard one 30 and 2.5.",
]


def native() -> Workflow:
    flow = Workflow("echomimic_native", KINDS)
    files = [*NETWORKS["_acc"], *SHARED, WHISPER, VAE]
    note = flow.note(explanation("The model in ComfyUI's own samplers", ABOUT, files), (340, 470))
    loaded, image, sound, gestures, ready = add_prepared_by_clip(flow, "presenting")
    fit, report = look(flow, ready, (WIDE, 165))
    lora = flow.add("EchoMimicLoadLora", model=loaded["model"])
    lora.bypassed = True
    patched, conditions = to_core(flow, lora, ready)
    schedule, noise = flow.add("EchoMimicSchedule"), flow.add("RandomNoise")
    guider = guide(flow, patched, conditions)
    sampled = sample_with_core(flow, noise, guider, schedule, conditions["latent"])
    images, video, saved = save(flow, sampled["output"], loaded["vae"], ready, "video/EchoMimic_native")
    clip = flow.add("EchoMimicClipLatent", latent=sampled["output"])
    kept = flow.add("SaveLatent", samples=clip["latent"])
    flow.arrange(
        note,
        [
            [Group("Step 1 - Load models, and a LoRA", [[loaded, lora]])],
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
RETAKE = [
    "A finished clip keeps all frames but those of **Retake Frames**, for a hand that went wrong.",
    "Run, watch the first take, choose **first** and **last** (24 frames are a second) and another seed in step 6, run "
    "again. The first take is not computed twice.",
    "Another day: **Save Latent** keeps it; move the file from `output/latents` to `input`, and put **Load Latent** in "
    "its place.",
]


def retake() -> Workflow:
    flow = Workflow("echomimic_retake", KINDS)
    files = [*NETWORKS["_acc"], *SHARED, WHISPER, VAE]
    note = flow.note(explanation("A retake of some frames", RETAKE, files), (340, 450))
    loaded = flow.add_subgraph(models())
    image, sound = flow.add("LoadImage"), flow.add("LoadAudio")
    ready = flow.add_subgraph(
        prepared("voice"),
        image=image["IMAGE"],
        audio=sound["AUDIO"],
        audio_encoder=loaded["audio_encoder"],
        vae=loaded["vae"],
    )
    report = flow.add("PreviewAny", source=ready["report"], title=VERDICT)
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
