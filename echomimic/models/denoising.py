"""The denoising UNet with its motion modules: the network that every sampling step runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import EchoMimicError
from .config import MAX_WINDOW, UNetConfig
from .layers import AttentionFunction, KeyValue, LayerFactory, channels_last, scaled_dot_product_attention
from .motion import MotionModule
from .transformer import DenoisingBlock, FrameContext, SpatialTransformer
from .unet import LATENT_CHANNELS, DeepFeatures, UNet


@dataclass(frozen=True)
class ProjectedReference:
    """The reference as keys and values: by block name, two `[1 or B, N, C]`."""

    blocks: dict[str, KeyValue]


@dataclass(frozen=True)
class ProjectedAudio:
    """Audio tokens as keys and values: by block name, two `[B, F, tokens, C]`."""

    blocks: dict[str, KeyValue]

    def take(self, index: Tensor) -> ProjectedAudio:
        """The frames of these numbers, `[n]` on the same device."""
        return ProjectedAudio({name: (k[:, index], v[:, index]) for name, (k, v) in self.blocks.items()})

    def as_batch(self, count: int) -> ProjectedAudio:
        """`[1, count * F, ...]` as `[count, F, ...]`: the frames of several windows, one after another."""
        return ProjectedAudio(
            {
                name: (k[0].unflatten(0, (count, -1)), v[0].unflatten(0, (count, -1)))
                for name, (k, v) in self.blocks.items()
            }
        )

    def per_frame(self) -> dict[str, KeyValue]:
        """With batch and frames as one axis: `[B*F, tokens, C]`."""
        return {name: (k.flatten(0, 1), v.flatten(0, 1)) for name, (k, v) in self.blocks.items()}


class DenoisingUNet(UNet):
    """Stable Diffusion 1.5's UNet that also attends to a reference picture, to audio, and along time."""

    def __init__(
        self,
        config: UNetConfig,
        *,
        operations: ModuleType | Any = nn,
        attention: AttentionFunction = scaled_dot_product_attention,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        make = LayerFactory(operations, attention, device, dtype)
        heads, groups = config.attention_heads, config.norm_num_groups

        def transformer(name: str, channels: int) -> nn.Module:
            block = DenoisingBlock(make, f"{name}.transformer_blocks.0", channels, heads, config.audio_dim)
            return SpatialTransformer(make, block, channels, groups)

        super().__init__(config, make, transformer, motion=lambda channels: MotionModule(make, channels, heads))
        self.conv_norm_out = make.group_norm(groups, config.block_out_channels[0], eps=1e-5)
        self.conv_out = make.conv(config.block_out_channels[0], LATENT_CHANNELS, 3)

    def blocks(self) -> Iterator[DenoisingBlock]:
        """The transformer blocks, each with its name."""
        return (module for module in self.modules() if isinstance(module, DenoisingBlock))

    def project_reference(self, reference: dict[str, Tensor]) -> ProjectedReference:
        """Keys and values of the reference, which are the same for every frame, window and step.

        Args:
            reference: what `ReferenceUNet` returned, by block name `[1 or B, N, C]`.

        Raises:
            EchoMimicError: a block of this network is missing there.
        """
        missing = [block.name for block in self.blocks() if block.name not in reference]
        if missing:
            raise EchoMimicError(
                f"the reference lacks {len(missing)} blocks of the denoising UNet (first: {missing[0]}): "
                "the two networks are of different sizes"
            )
        ready = {name: tokens.to(self.activation_dtype(tokens)) for name, tokens in reference.items()}
        return ProjectedReference({block.name: block.attn1.project(ready[block.name]) for block in self.blocks()})

    def project_audio(self, audio: Tensor) -> ProjectedAudio:
        """Keys and values of audio tokens `[B, F, N, audio_dim]`, which are the same at every step."""
        audio = audio.to(self.activation_dtype(audio))
        return ProjectedAudio({block.name: block.attn2.project(audio) for block in self.blocks()})

    def forward(
        self,
        latents: Tensor,
        timestep: Tensor | float,
        audio: Tensor | ProjectedAudio | None = None,
        pose: Tensor | None = None,
        reference: dict[str, Tensor] | ProjectedReference | None = None,
        deep: DeepFeatures | None = None,
    ) -> Tensor:
        """Velocity of one window.

        Args:
            latents: noisy latents `[B, 4, F, h, w]`, F at most 32.
            timestep: 0..999, one for all or one a batch entry.
            audio: tokens `[B, F, N, audio_dim]`, or `project_audio` of them; None stands for all-zero tokens.
            pose: pose features `[B, C0, F, h, w]`; None stands for zeros.
            reference: what `ReferenceUNet` returned, or `project_reference` of it; None: frames attend to themselves.
            deep: lower resolutions' features of an earlier step to use, or an empty place to keep this step's.

        Returns:
            `[B, 4, F, h, w]`.

        Raises:
            EchoMimicError: the window is longer than the position table.
        """
        frames = latents.shape[2]
        if frames > MAX_WINDOW:
            raise EchoMimicError(f"a window holds at most {MAX_WINDOW} frames, got {frames}")
        if isinstance(audio, Tensor):
            audio = self.project_audio(audio)
        if isinstance(reference, dict):
            reference = self.project_reference(reference)
        context = FrameContext(
            frames,
            reference=None if reference is None else reference.blocks,
            audio=None if audio is None else audio.per_frame(),
        )
        hidden = self.conv_in(self.enter(frames_as_batch(latents)))
        if pose is not None:
            hidden += frames_as_batch(pose)
        return self.velocity(hidden, timestep, context, latents, deep)

    def guided(
        self,
        latents: Tensor,
        timestep: Tensor | float,
        audio: ProjectedAudio,
        pose: Tensor | None,
        reference: ProjectedReference,
    ) -> tuple[Tensor, Tensor]:
        """Conditional and unconditional velocity of one window in one batch, each `[1, 4, F, h, w]`.

        What `forward(latents, timestep, audio, pose, reference)` and `forward(latents, timestep)` give, reading the
        weights once; activations take twice the memory.
        """
        plain = self.conv_in(self.enter(frames_as_batch(latents)))
        posed = plain if pose is None else plain + frames_as_batch(pose)
        context = FrameContext(latents.shape[2], reference.blocks, audio.per_frame(), conditioned=len(plain))
        both = torch.cat([posed, plain])
        del posed, plain
        conditional, unconditional = self.velocity(both, timestep, context, latents).chunk(2)
        return conditional, unconditional

    def velocity(
        self,
        hidden: Tensor,
        timestep: Tensor | float,
        context: FrameContext,
        latents: Tensor,
        deep: DeepFeatures | None = None,
    ) -> Tensor:
        """From `conv_in`'s output `[B*F, C0, h, w]` to the velocity `[B, 4, F, h, w]` in the precision of `latents`."""
        # (A number that is written on the device is not waited for, one that is copied there is.)
        if not isinstance(timestep, Tensor):
            timestep = torch.full((1,), float(timestep), device=latents.device)
        time = timestep.to(latents.device).flatten()
        time = self.time_embedding(time, hidden.dtype)
        if len(time) > 1:
            time = time.repeat_interleave(context.frames, dim=0)
        hidden = self.features(hidden, time, context, deep)
        velocity = self.conv_out(F.silu(channels_last(self.conv_norm_out(hidden)), inplace=True))
        return velocity.to(latents.dtype).unflatten(0, (-1, context.frames)).transpose(1, 2)


def frames_as_batch(video: Tensor) -> Tensor:
    """`[B, C, F, h, w]` -> `[B*F, C, h, w]`."""
    return video.transpose(1, 2).flatten(0, 1)
