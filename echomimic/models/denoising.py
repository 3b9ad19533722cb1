"""The denoising UNet with its motion modules: the network that every sampling step runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import EchoMimicError
from . import casting_layers
from .attention import AttentionFunction, scaled_dot_product_attention
from .blocks import DenoisingBlock, FrameContext, SpatialTransformer
from .config import MAX_WINDOW, UNetConfig
from .layers import KeyValue, LayerFactory, channels_last, frames_as_batch
from .motion import MotionModule
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
        """The frames with these indices, `[n]` on the same device."""
        return ProjectedAudio(map_blocks(self.blocks, lambda x: x[:, index]))

    def as_batch(self, count: int) -> ProjectedAudio:
        """`[1, count * F, ...]` as `[count, F, ...]`: the frames of several windows, one after another."""
        return ProjectedAudio(map_blocks(self.blocks, lambda x: x[0].unflatten(0, (count, -1))))


def map_blocks(blocks: dict[str, KeyValue], function: Callable[[Tensor], Tensor]) -> dict[str, KeyValue]:
    """The function applied to every key and value."""
    return {name: (function(key), function(value)) for name, (key, value) in blocks.items()}


class DenoisingUNet(UNet):
    """Stable Diffusion 1.5's UNet that also attends to a reference picture, to audio, and along time."""

    def __init__(
        self,
        config: UNetConfig,
        *,
        operations: ModuleType | Any = casting_layers,
        attention: AttentionFunction = scaled_dot_product_attention,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """See `LayerFactory` for the arguments after `config`."""
        make = LayerFactory(operations, attention, device, dtype)
        heads, groups = config.attention_heads, config.norm_num_groups

        def transformer(name: str, channels: int) -> nn.Module:
            block = DenoisingBlock(make, f"{name}.transformer_blocks.0", channels, heads, config.audio_dim)
            return SpatialTransformer(make, block, channels, groups)

        super().__init__(config, make, transformer, motion=lambda channels: MotionModule(make, channels, heads))
        self.conv_norm_out = make.group_norm(groups, config.block_out_channels[0], eps=1e-5)
        self.conv_out = make.conv(config.block_out_channels[0], LATENT_CHANNELS, 3)

    def blocks(self) -> Iterator[DenoisingBlock]:
        """The transformer blocks; each knows its name."""
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
        return ProjectedReference({block.name: block.attn1.project(reference[block.name]) for block in self.blocks()})

    def project_audio(self, audio: Tensor) -> ProjectedAudio:
        """Keys and values of audio tokens `[B, F, N, audio_dim]`, which are the same at every step."""
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
        """`predict` with all rows conditioned alike."""
        return self.predict(latents, timestep, audio, pose, reference, deep=deep)

    def predict(
        self,
        latents: Tensor,
        timestep: Tensor | float,
        audio: Tensor | ProjectedAudio | None = None,
        pose: Tensor | None = None,
        reference: dict[str, Tensor] | ProjectedReference | None = None,
        *,
        audio_mask: Tensor | None = None,
        conditioned: Sequence[bool] | None = None,
        deep: DeepFeatures | None = None,
    ) -> Tensor:
        """Velocity of windows, conditioned and unconditioned ones in one batch.

        Conditions (audio, pose, reference) have a row for every row of the batch, or one for every conditioned row, or
        a single one for all. Unconditioned rows are those of classifier-free guidance: frames attend to themselves
        only, to all-zero audio tokens, and have no pose features.

        Args:
            latents: noisy latents `[B, 4, F, h, w]`, F at most 32; their dtype is computed in.
            timestep: 0..999, one for all rows or one a row.
            audio: tokens `[rows, F, N, audio_dim]`, or `project_audio` of them; None: all-zero tokens.
            pose: pose features `[rows, C0, F, h, w]`; None: zeros.
            reference: what `ReferenceUNet` returned, or `project_reference` of it; None: frames attend to themselves.
            audio_mask: `[B or 1, F, h, w]`, factor on what the audio attention adds at each latent pixel, averaged for
                the lower resolutions; 0: no audio there, conditioned or not. None: 1 everywhere.
            conditioned: for each row whether it has the conditions; None: all have.
            deep: lower resolutions' features of an earlier step to reuse, or an empty object to store this step's.

        Returns:
            `[B, 4, F, h, w]`.

        Raises:
            EchoMimicError: the window is longer than the position table, or an argument has another number of rows.
        """
        batch, frames = latents.shape[0], latents.shape[2]
        flags = [True] * batch if conditioned is None else list(conditioned)
        check_shapes(latents, audio_mask, flags)
        # The blocks compute conditioned rows first, then unconditioned ones, each as one slice.
        chosen = [row for row in range(batch) if flags[row]]
        order = chosen + [row for row in range(batch) if not flags[row]]
        latents, count = take_rows(latents, order), len(chosen)
        if count == 0:
            audio = pose = reference = None

        def rows(condition: Tensor) -> Tensor:  # -> [1 or count, ...]
            return condition_rows(condition, batch, chosen)

        def all_rows(condition: Tensor) -> Tensor:  # -> [count, ...]
            return rows(condition).expand(count, *condition.shape[1:])

        if isinstance(audio, Tensor):
            audio = self.project_audio(rows(audio).to(latents.dtype))
        if isinstance(reference, dict):
            reference = self.project_reference({name: rows(x).to(latents.dtype) for name, x in reference.items()})
        context = FrameContext(
            frames,
            conditioned=count * frames,
            reference=None if reference is None else map_blocks(reference.blocks, rows),
            audio=None if audio is None else map_blocks(audio.blocks, lambda tokens: all_rows(tokens).flatten(0, 1)),
            audio_mask=None if audio_mask is None else self.mask_levels(take_rows(audio_mask, order), latents),
        )
        hidden = self.conv_in(channels_last(frames_as_batch(latents)))  # [B*F, C0, h, w]
        if pose is not None:
            hidden[: count * frames].add_(frames_as_batch(all_rows(pose)))
        hidden = self.features(hidden, self.embed_time(timestep, order, latents, frames), context, deep)
        velocity = self.conv_out(F.silu(channels_last(self.conv_norm_out(hidden)), inplace=True))
        velocity = velocity.unflatten(0, (-1, frames)).transpose(1, 2)
        return take_rows(velocity, [order.index(row) for row in range(batch)])

    def embed_time(self, timestep: Tensor | float, order: Sequence[int], latents: Tensor, frames: int) -> Tensor:
        """Time embeddings `[1 or B*F, 4 * C0]`, rows in this order."""
        if not isinstance(timestep, Tensor):
            # `torch.full` avoids a host-to-device sync.
            timestep = torch.full((1,), float(timestep), device=latents.device)
        timestep = timestep.to(latents.device).flatten()  # [1 or B]
        time = self.time_embedding(take_rows(timestep, order), latents.dtype)
        return time.repeat_interleave(frames, dim=0) if len(time) > 1 else time

    def mask_levels(self, mask: Tensor, latents: Tensor) -> dict[int, Tensor]:
        """The audio mask `[B or 1, F, h, w]` of every level, by its number of pixels: `[B*F, h*w, 1]`."""
        mask = mask.to(latents).expand(len(latents), -1, -1, -1).flatten(0, 1)[:, None]  # [B*F, 1, h, w]
        levels = {}
        for _ in self.config.block_out_channels:
            levels[mask.shape[2] * mask.shape[3]] = mask.flatten(2).transpose(1, 2)
            # Halves as the strided convolutions do: odd sizes round up.
            mask = F.avg_pool2d(mask, 2, ceil_mode=True, count_include_pad=False)
        return levels


def check_shapes(latents: Tensor, audio_mask: Tensor | None, conditioned: Sequence[bool]) -> None:
    """Raises: EchoMimicError when a window is too long, or an argument does not belong to latents `[B, 4, F, h, w]`."""
    batch, _, frames, height, width = latents.shape
    if frames > MAX_WINDOW:
        raise EchoMimicError(f"a window holds at most {MAX_WINDOW} frames, got {frames}")
    if len(conditioned) != batch:
        raise EchoMimicError(f"conditioned must have a bool for each of the {batch} rows, got {len(conditioned)}")
    if audio_mask is None:
        return
    if len(audio_mask) not in (1, batch) or audio_mask.shape[1:] != (frames, height, width):
        raise EchoMimicError(
            f"the audio mask must be [{batch}, {frames}, {height}, {width}] as the latents are, "
            f"got {list(audio_mask.shape)}"
        )


def take_rows(tensor: Tensor, order: Sequence[int]) -> Tensor:
    """The rows in this order; the tensor itself where that changes nothing, or where one row serves all."""
    if len(tensor) == 1 or list(order) == list(range(len(tensor))):
        return tensor
    return torch.stack([tensor[row] for row in order])


def condition_rows(condition: Tensor, batch: int, chosen: Sequence[int]) -> Tensor:
    """The rows of a condition for the conditioned rows of a batch, `[len(chosen) or 1, ...]`.

    Raises:
        EchoMimicError: its number of rows is neither the batch's, nor that of the conditioned rows, nor 1.
    """
    if len(condition) in (1, len(chosen)):
        return condition
    if len(condition) != batch:
        raise EchoMimicError(
            f"a condition has {len(condition)} rows for a batch of {batch}, {len(chosen)} of them conditioned"
        )
    return take_rows(condition, chosen)
