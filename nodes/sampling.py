"""The sampler node."""

from __future__ import annotations

import logging
from typing import Any

import torch
from comfy_api.latest import io

from ..echomimic.errors import DeviceMemoryError
from ..echomimic.files.fingerprint import hash_state, hash_text, hash_weights
from ..echomimic.models import MAX_WINDOW
from ..echomimic.pose import PoseSequence
from ..echomimic.runtime.checkpoint_folder import CheckpointFolder
from ..echomimic.runtime.context import RunContext
from ..echomimic.runtime.memory import clip_bytes
from ..echomimic.runtime.plan import Plan, make_plan
from ..echomimic.sampling import FAST_MODES, DrawnPose, SamplingSettings, check_clip, make_noise, sample
from ..echomimic.sampling.conditions import hash_source
from . import folders, host, widgets
from .progress import progress_callback, says_when_stopped
from .values import to_latents

logger = logging.getLogger("echomimic")

FROM_MODEL, CUSTOM = "from model", "custom"


def reference_latents(reference: dict[str, Any]) -> torch.Tensor:
    """ComfyUI's LATENT, unscaled `[B, 4, h, w]`, as the engine's scaled `[1, 4, h, w]`; the first of a batch."""
    latents = to_latents(reference)
    if len(latents) > 1:
        logger.warning("the reference has %d pictures; the first one is used", len(latents))
    return latents[:1].float() * host.LATENT_SCALE


def to_latent(latents: torch.Tensor) -> dict[str, Any]:
    """The engine's scaled `[1, 4, F, h, w]` as ComfyUI's LATENT: unscaled, frames as batch `[F, 4, h, w]`."""
    return {"samples": (latents[0].transpose(0, 1) / host.LATENT_SCALE).contiguous()}


def plan_sampling(
    model: host.ManagedNetworks, settings: SamplingSettings, size: tuple[int, int, int], device: torch.device
) -> Plan:
    """What to compute at once in the memory that the networks leave in ComfyUI; `size` is the clip's in latents.

    It is logged where there is a choice.
    """
    frames, height, width = size
    free = host.free_bytes(device, model.patchers)
    plan = make_plan(
        model.config,
        free=free,
        weights=0,
        height=height,
        width=width,
        window_length=min(frames, settings.window_length),
        guided=settings.guided,
        element_size=model.precision.compute.itemsize,
    )
    if free is not None:
        logger.info("%s", plan.reason)
    return plan


def drawn_pose(
    model: host.ManagedNetworks, pose: PoseSequence | None, portrait: torch.Tensor, device: torch.device
) -> DrawnPose | None:
    """The poses at the size of the portrait's latents; None without poses."""
    if pose is None:
        return None
    height, width = (side * 8 for side in portrait.shape[-2:])
    return DrawnPose(model.networks.pose_encoder, pose, width, height, device, model.precision.compute)


def checkpoint_for(model: host.ManagedNetworks, portrait: torch.Tensor, audio: Any) -> CheckpointFolder:
    """Where this render's state is kept.

    The voice is identified by its recording's hash; the portrait arrives encoded and is compared with a tolerance.
    """
    inputs = {
        "voice": getattr(audio, "source", "") or hash_source(audio, "tokens", len(audio)),
        "rate": f"{audio.fps:g}",
        "reference network": hash_weights(model.networks.reference_unet),
        **{
            f"patches of the {name}": hash_patches(handle)
            for name, handle in (("denoising UNet", model.denoiser), ("reference UNet", model.reference_unet))
            if handle.patches
        },
    }
    return CheckpointFolder(folders.state_folder(), inputs=inputs, portrait=portrait)


def hash_patches(handle: Any) -> str:
    """One hash for what LoRA loaders and merging nodes have put on a network.

    With little memory, or dynamic VRAM, core adds them while it computes: the weights themselves do not show them.
    """
    tensors: dict[str, torch.Tensor] = {}
    others: list[str] = []

    def collect(name: str, value: Any) -> None:
        value = getattr(value, "weights", value)  # core's WeightAdapter
        if torch.is_tensor(value):
            tensors[name] = value
        elif isinstance(value, (list, tuple)):
            for number, part in enumerate(value):
                collect(f"{name} {number}", part)
        elif not callable(value):  # a function has no text that stays the same
            others.append(f"{name} {value}")

    for key, patches in sorted(handle.patches.items(), key=lambda item: str(item[0])):
        collect(str(key), patches)
    return hash_text(hash_state(tensors), *others)


def render_inputs(reference: str, pose: str = "") -> list[Any]:
    """The model, and the portrait, voice and gestures that guide it; `reference` and `pose` end these tooltips."""
    return [
        host.EchoMimicModel.Input("model", tooltip="From EchoMimic Load Model or EchoMimic Load Bundle."),
        io.Latent.Input(
            "reference",
            tooltip="The portrait, head to waist, through VAE Encode with a Stable Diffusion 1.5 VAE. Its size is the "
            f"video's{reference}",
        ),
        host.EchoMimicAudio.Input("audio", tooltip="The voice, from EchoMimic Encode Audio."),
        host.EchoMimicPose.Input(
            "pose",
            optional=True,
            tooltip=f"The gestures, as many frames as the audio: use EchoMimic Fit Pose Length.{pose}",
        ),
    ]


def window_inputs() -> list[Any]:
    """The windows, and the length of the clip."""
    return [
        widgets.window_length(advanced=True),
        io.Int.Input(
            "overlap",
            default=3,
            min=0,
            max=MAX_WINDOW - 1,
            advanced=True,
            tooltip="Frames that neighbouring windows share, less than the window length. More is smoother and "
            "slower; 3 is the model's own.",
        ),
        io.Boolean.Input(
            "looped",
            default=True,
            label_on="looped",
            label_off="open",
            advanced=True,
            tooltip="Looped: the clip is treated as a ring, as published. Open: it runs from the first frame "
            "to the last, with fewer windows.",
        ),
        io.Int.Input(
            "frames",
            default=0,
            min=0,
            max=1_000_000,
            advanced=True,
            tooltip="Length of the video in frames, at most the audio's; 0 takes the whole audio.",
        ),
    ]


def run_inputs() -> list[Any]:
    """Whether to keep the state for a later run, and approximations."""
    return [
        io.Boolean.Input(
            "resume",
            # Optional, so that graphs saved before this input existed still run.
            optional=True,
            default=False,
            label_on="keep state",
            label_off="off",
            advanced=True,
            tooltip="Keep the state of the work in ComfyUI's user folder, so that the same graph continues "
            "after a crash or a cancel, to the same video. Written from the first window on, at least "
            "every 30 s, and removed when sampling is done.",
        ),
        io.Combo.Input(
            "fast",
            options=list(FAST_MODES),
            optional=True,
            default="exact",
            advanced=True,
            tooltip="Approximations that change the video a little. exact: none. guidance-half: guidance in "
            "the first half of the steps only. reuse-2: coarse features serve for two steps. merge-2: the "
            "reference is read at half its resolution. overlap-1: windows share one frame. fastest: all of "
            "these, coarse features for three steps.",
        ),
    ]


class EchoMimicSampler(io.ComfyNode):
    """From noise to the clip's latents."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicSampler",
            display_name="EchoMimic Sampler",
            category="EchoMimic",
            description="Makes the person in the reference speak the audio and move the hands like the poses. The "
            "latents it returns are decoded by EchoMimic Decode, EchoMimic Save Video or VAE Decode.",
            search_aliases=["echomimic", "talking head", "lip sync", "audio to video", "avatar", "ksampler"],
            inputs=[
                *render_inputs(
                    reference="; 768 x 768 works best. Of a batch the first picture is used.",
                    pose=" Without poses the hands are left to the model.",
                ),
                widgets.seed("Seed of the initial noise: the same seed and inputs give the same video."),
                io.DynamicCombo.Input(
                    "preset",
                    options=[
                        io.DynamicCombo.Option(FROM_MODEL, []),
                        io.DynamicCombo.Option(
                            CUSTOM,
                            [
                                io.Int.Input(
                                    "steps",
                                    default=0,
                                    min=0,
                                    max=200,
                                    tooltip="Denoising steps, 1 to 200; 0 takes what the loaded variant was made for: "
                                    "30 (standard) or 6 (accelerated).",
                                ),
                                io.Float.Input(
                                    "guidance",
                                    default=0.0,
                                    min=0.0,
                                    max=20.0,
                                    step=0.1,
                                    round=0.01,
                                    tooltip="How strictly the inputs are followed, 1 to 20; 1 turns guidance off and "
                                    "halves the time. 0 takes what the loaded variant was made for: 2.5 (standard) or "
                                    "1 (accelerated).",
                                ),
                            ],
                        ),
                    ],
                    tooltip=f"'{FROM_MODEL}': the steps and guidance that the loaded variant was made for. "
                    f"'{CUSTOM}': choose them yourself.",
                ),
                *window_inputs(),
                *widgets.strengths(advanced=True),
                *run_inputs(),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The video's latents, one per frame, unscaled.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: host.ManagedNetworks,
        reference: dict[str, Any],
        audio: Any,
        seed: int,
        preset: dict[str, Any],
        window_length: int,
        overlap: int,
        looped: bool,
        frames: int,
        pose_strength: float,
        audio_scale: float,
        pose: PoseSequence | None = None,
        resume: bool = False,
        fast: str = "exact",
    ) -> io.NodeOutput:
        portrait = reference_latents(reference)
        count = check_clip(model.config, portrait, audio, pose, frames or None)
        recommended = model.networks.settings
        steps, guidance = recommended.steps, recommended.guidance
        if preset["preset"] == CUSTOM:
            steps, guidance = preset["steps"] or steps, preset["guidance"] or guidance
        settings = SamplingSettings(
            steps,
            guidance,
            window_length,
            overlap,
            looped,
            seed,
            pose_strength=pose_strength,
            audio_scale=audio_scale,
            fast=FAST_MODES[fast],
        )

        dtype = model.precision.compute
        height, width = portrait.shape[-2:]
        device = model.to_device(clip_bytes(model.config, count, window_length, height, width, dtype.itemsize))
        context = RunContext(
            device=device,
            dtype=dtype,
            plan=plan_sampling(model, settings, (count, height, width), device),
            on_progress=progress_callback(device, cls.hidden.unique_id),
            checkpoint=checkpoint_for(model, portrait, audio) if resume else None,
        )
        try:
            with says_when_stopped(cls.hidden.unique_id), host.networks_stop_on_cancel(*model.networks.modules()):
                latents = sample(
                    denoiser=model.networks.denoiser,
                    reference=model.networks.reference_unet(portrait.to(device, dtype)),
                    audio=audio,
                    pose=drawn_pose(model, pose, portrait, device),
                    noise=make_noise(count, height, width, seed),
                    settings=settings,
                    context=context,
                )
        except DeviceMemoryError:
            host.free_device()
            raise
        if context.checkpoint is not None:
            context.checkpoint.remove()
        return io.NodeOutput(to_latent(latents))


NODES: list[type[io.ComfyNode]] = [EchoMimicSampler]
