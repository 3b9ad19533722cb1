"""The nodes that turn an EchoMimic model into a MODEL of ComfyUI, condition it, and bring it back."""

from __future__ import annotations

from typing import Any

import comfy.context_windows
import comfy.model_management
import torch
from comfy_api.latest import io

from ...echomimic.errors import EchoMimicError
from ...echomimic.models import MAX_WINDOW
from ...echomimic.pose import PoseSequence
from ...echomimic.sampling import audio_source, check_clip, make_schedule
from .. import host, widgets
from ..sampling import reference_latents, render_inputs
from ..values import to_latents
from .condition import KEY, Condition, PoseClip, Reference
from .model import EchoMimicBaseModel
from .schedule import make_sampler, make_sigmas
from .windows import EchoMimicContextHandler

CATEGORY = "EchoMimic/native"


class EchoMimicToModel(io.ComfyNode):
    """For core's samplers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicToModel",
            display_name="EchoMimic To MODEL",
            category=CATEGORY,
            description="Turns an EchoMimic model into a MODEL for KSampler, LoRA loaders and other model nodes. Clips "
            "longer than a window are sampled in overlapping windows, as EchoMimic Sampler does.",
            search_aliases=["echomimic", "model", "ksampler", "context windows", "lora", "native"],
            inputs=[
                host.EchoMimicModel.Input("model", tooltip="From EchoMimic Load Model or EchoMimic Load Bundle."),
                widgets.window_length(),
                io.Int.Input(
                    "overlap",
                    default=3,
                    min=0,
                    max=MAX_WINDOW - 1,
                    tooltip="Frames that neighbouring windows share, less than the window length. 3 is the model's "
                    "own.",
                ),
                io.Boolean.Input(
                    "looped",
                    default=True,
                    label_on="looped",
                    label_off="open",
                    tooltip="Looped: windows wrap around the clip and move from step to step, as published. Open: from "
                    "the first frame to the last; needed for EasyCache.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="For KSampler and all nodes that take a MODEL.")],
        )

    @classmethod
    def execute(cls, model: host.ManagedNetworks, window_length: int, overlap: int, looped: bool) -> io.NodeOutput:
        patcher = model.denoiser.clone()
        patcher.model_options["context_handler"] = EchoMimicContextHandler(window_length, overlap, looped)
        # For From MODEL: a LoRA on the reference UNet is on a handle that the MODEL itself does not have.
        patcher.model_options[KEY] = model
        # Core then plans memory for one window, not for the clip.
        comfy.context_windows.create_prepare_sampling_wrapper(patcher)
        return io.NodeOutput(patcher)


class EchoMimicFromModel(io.ComfyNode):
    """Back, with what other nodes have patched in."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicFromModel",
            display_name="EchoMimic From MODEL",
            category=CATEGORY,
            description="Turns a MODEL made by EchoMimic To MODEL back, so that LoRA and merged weights reach "
            "EchoMimic Sampler. Windows, compilers and caches set on the MODEL stay with core's samplers.",
            search_aliases=["echomimic", "lora", "model", "merge"],
            inputs=[io.Model.Input("model", tooltip="From EchoMimic To MODEL, perhaps through a LoRA loader.")],
            outputs=[host.EchoMimicModel.Output(display_name="model", tooltip="For EchoMimic Sampler.")],
        )

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        return io.NodeOutput(managed_of(model).with_denoiser(model))


class EchoMimicConditioning(io.ComfyNode):
    """What guides core's samplers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicConditioning",
            display_name="EchoMimic Conditioning",
            category=CATEGORY,
            description="The portrait, the voice and the poses as positive and negative conditioning, with an empty "
            "latent of the clip's length, for KSampler and other samplers of ComfyUI.",
            search_aliases=["echomimic", "conditioning", "positive", "negative", "empty latent", "native"],
            inputs=[
                *render_inputs(reference="."),
                io.Int.Input(
                    "frames",
                    default=0,
                    min=0,
                    max=1_000_000,
                    tooltip="Length of the clip in frames, at most the audio's; 0 takes the whole audio.",
                ),
                *widgets.strengths(),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="Portrait, voice and poses."),
                io.Conditioning.Output(display_name="negative", tooltip="None of them: for guidance above 1."),
                io.Latent.Output(display_name="latent", tooltip="Empty, one latent for each frame."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: host.ManagedNetworks,
        reference: dict[str, Any],
        audio: Any,
        frames: int,
        pose_strength: float,
        audio_scale: float,
        pose: PoseSequence | None = None,
    ) -> io.NodeOutput:
        portrait = reference_latents(reference)
        count = check_clip(model.config, portrait, audio, pose, frames or None)
        height, width = portrait.shape[-2:]
        window = tuple(range(count))
        described = Reference(model.encode_reference(portrait), height, width)
        poses = None if pose is None else PoseClip(pose, model.pose_encoder, pose_strength)
        tokens = audio_source(audio, count, model.config).tokens(window)  # [F, 50, audio_dim]
        positive = {KEY: Condition(window, described, poses, audio_scale)}
        if poses is not None:
            # Core loads these with the MODEL.
            positive["additional_models"] = [model.pose_encoder]
        negative = {KEY: Condition(window)}
        device = comfy.model_management.intermediate_device()
        latent = {"samples": torch.zeros(count, 4, height, width, device=device), "downscale_ratio_spacial": 8}
        return io.NodeOutput([[tokens, positive]], [[torch.zeros_like(tokens), negative]], latent)


class EchoMimicSchedule(io.ComfyNode):
    """Exactly the published steps."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicSchedule",
            display_name="EchoMimic Schedule",
            category=CATEGORY,
            description="The sampler and noise levels that the model was published with, for SamplerCustom and "
            "SamplerCustomAdvanced. KSampler's schedulers come close (euler with simple), this one is exact.",
            search_aliases=["echomimic", "sigmas", "sampler", "scheduler", "ddim", "trailing"],
            inputs=[
                io.Int.Input(
                    "steps",
                    default=30,
                    min=1,
                    max=200,
                    tooltip="Denoising steps, 1 to 200. 30 for the standard model, 6 for the accelerated one.",
                )
            ],
            outputs=[
                io.Sampler.Output(display_name="sampler", tooltip="DDIM as published."),
                io.Sigmas.Output(
                    display_name="sigmas",
                    tooltip="The noise levels of these steps; may go through SplitSigmas to start from a finished "
                    "video.",
                ),
            ],
        )

    @classmethod
    def execute(cls, steps: int) -> io.NodeOutput:
        schedule = make_schedule(steps)
        return io.NodeOutput(make_sampler(schedule), make_sigmas(schedule))


class EchoMimicClipLatent(io.ComfyNode):
    """Between the two layouts of a clip."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicClipLatent",
            display_name="EchoMimic Clip Latent",
            category=CATEGORY,
            description="Turns a clip's latent from a batch of pictures [frames, 4, h, w], which this pack and VAE "
            "Decode use, into one video [1, 4, frames, h, w], which LoRA training and video nodes want, and back.",
            search_aliases=["echomimic", "latent", "video latent", "batch to video", "video to batch"],
            inputs=[io.Latent.Input("latent", tooltip="A clip in either layout.")],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The same clip in the other layout.")],
        )

    @classmethod
    def execute(cls, latent: dict[str, Any]) -> io.NodeOutput:
        samples = to_latents(latent)
        if samples.ndim == 4:  # [F, 4, h, w] -> [1, 4, F, h, w]
            turned = samples.transpose(0, 1)[None]
        elif samples.ndim == 5 and len(samples) == 1:  # [1, 4, F, h, w] -> [F, 4, h, w]
            turned = samples[0].transpose(0, 1)
        else:
            raise EchoMimicError(
                f"a clip's latent is [frames, 4, h, w] or [1, 4, frames, h, w], got {list(samples.shape)}"
            )
        return io.NodeOutput({**latent, "samples": turned.contiguous()})


class EchoMimicRetakeFrames(io.ComfyNode):
    """Part of a finished clip once more."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicRetakeFrames",
            display_name="EchoMimic Retake Frames",
            category=CATEGORY,
            description="Chooses frames of a finished clip that core's samplers then sample once more, with another "
            "seed or other gestures; all other frames stay as they are.",
            search_aliases=["echomimic", "retake", "noise mask", "inpaint frames", "redo", "latent"],
            inputs=[
                io.Latent.Input("latent", tooltip="The finished clip: what a sampler gave, or Load Latent."),
                io.Int.Input("first", default=100, min=0, max=1_000_000, tooltip="First frame of the retake, from 0."),
                io.Int.Input(
                    "last",
                    default=150,
                    min=0,
                    max=1_000_000,
                    tooltip="Last frame of the retake; the clip's end at most.",
                ),
            ],
            outputs=[
                io.Latent.Output(
                    display_name="latent", tooltip="For KSampler or SamplerCustomAdvanced: the clip, with a noise mask."
                )
            ],
        )

    @classmethod
    def execute(cls, latent: dict[str, Any], first: int, last: int) -> io.NodeOutput:
        samples = to_latents(latent)
        if samples.ndim != 4:
            raise EchoMimicError(
                f"a clip's latent is [frames, 4, h, w], got {list(samples.shape)}: put EchoMimic Clip Latent before it"
            )
        frames = len(samples)
        if not 0 <= first <= last or first >= frames:
            raise EchoMimicError(
                f"frames {first} to {last} are not in a clip of {frames} frames, counted from 0: choose first and last "
                f"below {frames}, first not after last"
            )
        mask = torch.zeros(frames, *samples.shape[-2:])  # [F, h, w], 1 where it is sampled
        mask[first : last + 1] = 1.0
        return io.NodeOutput({**latent, "samples": samples, "noise_mask": mask})


def managed_of(model: Any) -> host.ManagedNetworks:
    """The pack's networks behind a MODEL.

    Raises:
        EchoMimicError: it is another kind of model.
    """
    inner = getattr(model, "model", None)
    if not isinstance(inner, EchoMimicBaseModel):
        raise EchoMimicError("this MODEL is not one of EchoMimic's: make it with EchoMimic To MODEL")
    return model.model_options.get(KEY, inner.managed)


NODES: list[type[io.ComfyNode]] = [
    EchoMimicToModel,
    EchoMimicFromModel,
    EchoMimicConditioning,
    EchoMimicSchedule,
    EchoMimicClipLatent,
    EchoMimicRetakeFrames,
]
