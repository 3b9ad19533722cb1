"""Core's `BaseModel` around the denoising UNet: its schedule, its conditions, its memory."""

from __future__ import annotations

from typing import Any

import comfy.conds
import comfy.context_windows
import comfy.latent_formats
import comfy.supported_models_base
import torch
from comfy.model_base import BaseModel, ModelType
from torch import Tensor

from ...echomimic.audio.tokens import tokens_per_frame
from ...echomimic.runtime.memory import window_bytes
from ...echomimic.sampling.noise import NOISE_LIMIT
from ...echomimic.sampling.schedule import BETA_END, BETA_START
from ..plain_errors import NodeError, plain_errors
from .condition import KEY, Condition, ConditionCond
from .denoiser import NativeDenoisingUNet

# diffusers' "linear" betas, rescaled to zero terminal SNR; core calls them "sqrt_linear".
SAMPLING_SETTINGS = {"beta_schedule": "sqrt_linear", "linear_start": BETA_START, "linear_end": BETA_END, "zsnr": True}
NEED_CONDITIONING = "the positive input needs the conditioning of EchoMimic Conditioning"


class UNetSettings(dict):
    """Core's dict of a UNet's settings. Nodes that need Stable Diffusion's own settings get an error."""

    def __missing__(self, key: str) -> Any:
        raise NodeError(
            f"this node changes Stable Diffusion's own UNet (it needs {key!r}) and cannot change EchoMimic's: remove "
            "it (FreeU is such a node)"
        )


class MiddleFramePreview(comfy.latent_formats.SD15):
    """Stable Diffusion's latents, frames as a batch; previews show the middle frame."""

    def __init__(self) -> None:
        super().__init__()
        self.latent_rgb_factors_reshape = middle_frame


def middle_frame(latents: Tensor) -> Tensor:
    """`[F, 4, h, w]` or `[B, 4, F, h, w]` -> `[1, 4, h, w]`."""
    if latents.ndim == 5:
        return latents[:1, :, latents.shape[2] // 2]
    middle = len(latents) // 2
    return latents[middle : middle + 1]


class ModelConfig(comfy.supported_models_base.BASE):
    """How core is to sample the network; built here, never detected from a file."""

    sampling_settings = SAMPLING_SETTINGS
    unet_extra_config: dict[str, Any] = {}  # noqa: RUF012 - core's class attribute
    latent_format = MiddleFramePreview

    def __init__(self, weights: torch.dtype, manual_cast: torch.dtype | None) -> None:
        super().__init__({"disable_unet_model_creation": True})
        self.unet_config = UNetSettings(self.unet_config)
        self.set_inference_dtype(weights, manual_cast)


class ClampedNoise:
    """Start noise clamped as in the published model."""

    def noise_scaling(self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False) -> Tensor:
        if max_denoise:
            noise = noise.clamp(-NOISE_LIMIT, NOISE_LIMIT)
        return super().noise_scaling(sigma, noise, latent_image, max_denoise)  # type: ignore[misc]


class EchoMimicBaseModel(BaseModel):
    """What a MODEL of this pack holds.

    Attributes:
        diffusion_model: the denoising UNet with its motion modules.
        managed: the pack's other networks, for EchoMimic From MODEL.
    """

    def __init__(self, denoiser: NativeDenoisingUNet, weights: torch.dtype, compute: torch.dtype) -> None:
        config = ModelConfig(weights, None if compute == weights else compute)
        super().__init__(config, ModelType.V_PREDICTION)
        self.diffusion_model = denoiser
        self.weights_dtype = weights
        sampling = type("ModelSampling", (ClampedNoise, type(self.model_sampling)), {})
        self.model_sampling = sampling(config)
        self.managed: Any = None

    def get_dtype(self) -> torch.dtype:
        return self.weights_dtype

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """Audio as `c_crossattn` with frames first (windows slice it), the rest as one `ConditionCond`.

        Both branches have the same keys and shapes, or core would not batch them.
        """
        noise: Tensor = kwargs["noise"]
        condition: Condition | None = kwargs.get(KEY)
        frames = noise.shape[2] if noise.ndim == 5 else noise.shape[0]
        if condition is None:
            if kwargs.get("prompt_type") == "positive":
                raise NodeError(f"EchoMimic cannot be guided by this conditioning: {NEED_CONDITIONING}")
            condition = Condition(tuple(range(frames)))
        check_fits(condition, frames, *noise.shape[-2:])
        tokens: Tensor | None = kwargs.get("cross_attn")
        config = self.diffusion_model.config
        if tokens is None or condition.reference is None or tokens.shape[-1] != config.audio_dim:
            tokens = torch.zeros(frames, tokens_per_frame(config.audio_context), config.audio_dim)
        audio = tokens.clone()[:frames]
        return {
            "c_crossattn": comfy.conds.CONDRegular(audio[None] if noise.ndim == 5 else audio),
            KEY: ConditionCond(condition),
        }

    def resize_cond_for_context_window(
        self, cond_key: str, cond_value: Any, window: Any, x_in: Tensor, device: Any, retain_index_list: Any = ()
    ) -> Any:
        """The part of a condition that belongs to a window."""
        if cond_key == KEY:
            anchor = getattr(window, "causal_anchor_index", None)
            first = [anchor] if anchor is not None and anchor >= 0 else []
            return ConditionCond(cond_value.cond.take([*first, *window.index_list]))
        if cond_key == "c_crossattn" and x_in.ndim == 5:
            return comfy.context_windows.slice_cond(cond_value, window, x_in, device, temporal_dim=1)
        return None

    def _apply_model(
        self,
        x: Tensor,
        t: Tensor,
        c_concat: Any = None,
        c_crossattn: Any = None,
        control: Any = None,
        transformer_options: Any = None,
        **kwargs: Any,
    ) -> Tensor:
        """Draws and encodes the window's poses outside the network, which may be compiled."""
        conditions: list[Condition] = kwargs.pop(KEY)
        height, width = x.shape[-2:]
        device, dtype = x.device, self.get_dtype_inference()
        channels = self.diffusion_model.config.block_out_channels[0]
        pose = None
        if any(condition.pose is not None for condition in conditions):
            pose = torch.zeros(len(conditions), channels, len(conditions[0].frames), height, width)
            pose = pose.to(device, dtype)
            for row, condition in enumerate(conditions):
                if condition.pose is not None and condition.reference is not None:
                    clip = condition.pose
                    with plain_errors():
                        pose[row] = clip.features(condition.frames, width * 8, height * 8, device, dtype)
        return super()._apply_model(
            x,
            t,
            c_concat,
            c_crossattn,
            control,
            transformer_options or {},
            references=[None if c.reference is None else c.reference.on(device, dtype) for c in conditions],
            pose=pose,
            audio_scales=[condition.audio_scale for condition in conditions],
            **kwargs,
        )

    def memory_required(self, input_shape: Any, cond_shapes: Any = None) -> int:
        """Peak bytes of activations in one call, as the engine counts them; core's formula is for other networks."""
        count = input_shape[0] if len(input_shape) == 4 else input_shape[0] * input_shape[2]
        element = self.get_dtype_inference().itemsize
        return window_bytes(self.diffusion_model.config, count, input_shape[-2], input_shape[-1], element)


def check_fits(condition: Condition, frames: int, height: int, width: int) -> None:
    """Raises: NodeError when the latent is of another length or size than the conditioning."""
    if len(condition.frames) != frames:
        raise NodeError(
            f"the latent has {frames} frames, but the conditioning was made for {len(condition.frames)}: connect the "
            "latent of EchoMimic Conditioning, or set its 'frames'"
        )
    reference = condition.reference
    if reference is not None and (reference.height, reference.width) != (height, width):
        raise NodeError(
            f"the latent is for {width * 8}x{height * 8} pixels, but the reference is "
            f"{reference.width * 8}x{reference.height * 8}: connect the latent of EchoMimic Conditioning"
        )
