"""The blocks that both UNets are built of: residual block, resampling, and the transformer blocks within a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Attention, FeedForward, KeyValue, LayerFactory, as_pictures, as_tokens, channels_last

# Fixed in the released code, and needed with its weights (golden cases unet_*).
AUDIO_SCALE = 3.0


class ResnetBlock(nn.Module):
    """Two 3x3 convolutions with GroupNorm and SiLU; the time embedding is added between them.

    `hidden [B, C_in, h, w]`, `time [B or 1, time channels]` -> `[B, C_out, h, w]`.
    """

    def __init__(self, make: LayerFactory, inputs: int, outputs: int, time_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = make.group_norm(groups, inputs, eps=1e-5)
        self.conv1 = make.conv(inputs, outputs, 3)
        self.time_emb_proj = make.linear(time_channels, outputs)
        self.norm2 = make.group_norm(groups, outputs, eps=1e-5)
        self.conv2 = make.conv(outputs, outputs, 3)
        self.conv_shortcut = make.conv(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, hidden: Tensor, time: Tensor) -> Tensor:
        shortcut = hidden if self.conv_shortcut is None else self.conv_shortcut(hidden)
        hidden = self.conv1(F.silu(channels_last(self.norm1(hidden)), inplace=True))
        hidden += self.time_emb_proj(time)[:, :, None, None]
        hidden = self.conv2(F.silu(channels_last(self.norm2(hidden)), inplace=True))
        return hidden.add_(shortcut)


class Downsample(nn.Module):
    """Half the size by a strided 3x3 convolution (odd sizes round up)."""

    def __init__(self, make: LayerFactory, channels: int) -> None:
        super().__init__()
        self.conv = make.conv(channels, channels, 3, stride=2)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.conv(hidden)


class Upsample(nn.Module):
    """Nearest neighbour to the size of the next skip connection, then a 3x3 convolution."""

    def __init__(self, make: LayerFactory, channels: int) -> None:
        super().__init__()
        self.conv = make.conv(channels, channels, 3)

    def forward(self, hidden: Tensor, size: tuple[int, int]) -> Tensor:
        return self.conv(F.interpolate(hidden, size=size, mode="nearest"))


@dataclass(frozen=True)
class FrameContext:
    """What the denoising UNet's blocks read besides the hidden state.

    The batch axis is (row, frame), conditioned rows first. Unconditioned rows have no reference and all-zero audio.

    Attributes:
        frames: frames in a window.
        conditioned: entries of the batch axis that are conditioned.
        reference: by block name, projected keys and values `[1 or conditioned rows, M, C]`; None: no reference.
        audio: by block name, projected keys and values `[conditioned, tokens, C]`; None: all-zero audio tokens.
        audio_mask: by a level's number of pixels, the factor on the audio attention's output `[B*F, h*w, 1]`; None: 1.
    """

    frames: int
    conditioned: int
    reference: dict[str, KeyValue] | None = None
    audio: dict[str, KeyValue] | None = None
    audio_mask: dict[int, Tensor] | None = None


def append_tokens(own: Tensor, other: Tensor) -> Tensor:
    """`[B*F, N, C]` and `[1 or B, M, C]` -> `[B*F, N + M, C]`: each frame gets its row's tokens."""
    rows = other.shape[0]
    frames = own.shape[0] // rows
    repeated = other[:, None].expand(-1, frames, -1, -1).flatten(0, 1) if rows > 1 else other.expand(frames, -1, -1)
    return torch.cat([own, repeated], dim=1)


class ReferenceBlock(nn.Module):
    """Self-attention and feed-forward; its normalised tokens are what the reference UNet is run for."""

    def __init__(self, make: LayerFactory, name: str, channels: int, heads: int) -> None:
        super().__init__()
        self.name = name
        self.norm1 = make.layer_norm(channels)
        self.attn1 = Attention(make, channels, heads)
        self.norm3 = make.layer_norm(channels)
        self.ff = FeedForward(make, channels)

    def forward(self, hidden: Tensor, bank: dict[str, Tensor]) -> Tensor:
        """`hidden [1, N, C]` -> `[1, N, C]`; adds the tokens `[1, N, C]` to `bank` under the block's name."""
        tokens = self.norm1(hidden)
        bank[self.name] = tokens
        hidden = hidden + self.attn1(tokens, self.attn1.project(tokens))
        return self.ff(hidden, self.norm3)


class DenoisingBlock(nn.Module):
    """Self-attention that also reads the reference, audio cross-attention, feed-forward."""

    def __init__(self, make: LayerFactory, name: str, channels: int, heads: int, audio_dim: int) -> None:
        super().__init__()
        self.name = name
        self.norm1 = make.layer_norm(channels)
        self.attn1 = Attention(make, channels, heads)
        self.norm2 = make.layer_norm(channels)
        self.attn2 = Attention(make, channels, heads, context_channels=audio_dim)
        self.norm3 = make.layer_norm(channels)
        self.ff = FeedForward(make, channels)

    def forward(self, hidden: Tensor, context: FrameContext) -> Tensor:
        """`hidden [B*F, N, C]` -> `[B*F, N, C]`."""
        mask = None if context.audio_mask is None else context.audio_mask[hidden.shape[1]]
        reference = None if context.reference is None else context.reference[self.name]
        audio = None if context.audio is None else context.audio[self.name]
        count = context.conditioned
        parts = []
        if count > 0:
            parts.append(self.attend(hidden[:count], reference, audio, None if mask is None else mask[:count]))
        if count < len(hidden):
            parts.append(self.attend(hidden[count:], None, None, None if mask is None else mask[count:]))
        return self.ff(parts[0] if len(parts) == 1 else torch.cat(parts), self.norm3)

    def attend(self, hidden: Tensor, reference: KeyValue | None, audio: KeyValue | None, mask: Tensor | None) -> Tensor:
        """Both attentions; None stands for no reference, all-zero audio tokens, and a mask of ones."""
        hidden = self.add_reference_attention(hidden, reference)
        if audio is None:
            return self.add_null_audio(hidden, mask)
        return self.add_audio_attention(hidden, audio, mask)

    def add_reference_attention(self, hidden: Tensor, reference: KeyValue | None) -> Tensor:
        """Attention to the frame's own tokens and the reference's, with the residual."""
        tokens = self.norm1(hidden)
        key, value = self.attn1.project(tokens)
        if reference is not None:
            key, value = (append_tokens(own, other) for own, other in zip((key, value), reference))
        return self.attn1(tokens, (key, value)).add_(hidden)

    def add_audio_attention(self, hidden: Tensor, audio: KeyValue, mask: Tensor | None) -> Tensor:
        """Attention to the frame's audio tokens, with the residual."""
        attended = self.attn2(self.norm2(hidden), audio)
        if mask is not None:
            attended = attended * mask
        return torch.add(hidden, attended, alpha=AUDIO_SCALE)

    def add_null_audio(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """What attention to all-zero audio tokens adds, in place."""
        attended = self.attn2.null_output(hidden)
        if mask is not None:
            attended = attended * mask
        return hidden.add_(attended, alpha=AUDIO_SCALE)


class SpatialTransformer(nn.Module):
    """A transformer block over the pixels of each frame, between 1x1 convolutions, with a residual."""

    def __init__(self, make: LayerFactory, block: nn.Module, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = make.group_norm(groups, channels, eps=1e-6)
        self.proj_in = make.conv(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([block])
        self.proj_out = make.conv(channels, channels, 1)

    def forward(self, hidden: Tensor, context: Any) -> Tensor:
        """`hidden [B, C, h, w]` -> the same shape; `context` is passed to the block."""
        tokens = as_tokens(self.proj_in(channels_last(self.norm(hidden))))  # [B, h*w, C]
        tokens = self.transformer_blocks[0](tokens, context)
        return self.proj_out(as_pictures(tokens, *hidden.shape[-2:])).add_(hidden)
