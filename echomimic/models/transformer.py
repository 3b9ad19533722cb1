"""Attention within a frame: over its own pixels and the reference's, then over the frame's audio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .layers import Attention, FeedForward, KeyValue, LayerFactory, as_pictures, as_tokens, channels_last

# Fixed in the released code, and needed with its weights (golden cases unet_*).
AUDIO_SCALE = 3.0


@dataclass(frozen=True)
class FrameContext:
    """What the denoising UNet's blocks look at besides the hidden state.

    Attributes:
        frames: length of the window; the batch axis is (batch, frames).
        reference: by block name, projected keys and values `[1 or B, M, C]`; None in the unconditional branch.
        audio: by block name, projected keys and values `[B*F, tokens, C]`; None stands for all-zero tokens.
        conditioned: so many rows of the batch axis have a reference and audio, the rest have neither; None: all have.
    """

    frames: int
    reference: dict[str, KeyValue] | None = None
    audio: dict[str, KeyValue] | None = None
    conditioned: int | None = None


def append_tokens(own: Tensor, other: Tensor) -> Tensor:
    """`[B*F, N, C]` and `[1 or B, M, C]` -> `[B*F, N + M, C]`, every frame with its batch entry's tokens."""
    batch = other.shape[0]
    frames = own.shape[0] // batch
    spread = other[:, None].expand(-1, frames, -1, -1).flatten(0, 1) if batch > 1 else other.expand(frames, -1, -1)
    return torch.cat([own, spread], dim=1)


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
        rows = len(hidden) if context.conditioned is None else context.conditioned
        parts = [self.conditioned(hidden[:rows], context)] if rows else []
        if rows < len(hidden):
            parts.append(self.unconditioned(hidden[rows:]))
        return self.ff(parts[0] if len(parts) == 1 else torch.cat(parts), self.norm3)

    def conditioned(self, hidden: Tensor, context: FrameContext) -> Tensor:
        """Both attentions, with what the context has."""
        hidden = self.look(hidden, None if context.reference is None else context.reference[self.name])
        if context.audio is None:
            return self.deaf(hidden)
        return torch.add(hidden, self.attn2(self.norm2(hidden), context.audio[self.name]), alpha=AUDIO_SCALE)

    def unconditioned(self, hidden: Tensor) -> Tensor:
        """Both attentions of the unconditional branch: frames look at themselves, and hear zeros."""
        return self.deaf(self.look(hidden, None))

    def look(self, hidden: Tensor, reference: KeyValue | None) -> Tensor:
        """The attention to the frame's own tokens and the reference's, with the residual."""
        tokens = self.norm1(hidden)
        key, value = self.attn1.project(tokens)
        if reference is not None:
            key, value = (append_tokens(own, other) for own, other in zip((key, value), reference))
        return self.attn1(tokens, (key, value)).add_(hidden)

    def deaf(self, hidden: Tensor) -> Tensor:
        return hidden.add_(self.attn2.of_zeros(hidden), alpha=AUDIO_SCALE)


class SpatialTransformer(nn.Module):
    """A transformer block over the pixels of each frame, between 1x1 convolutions, with a residual."""

    def __init__(self, make: LayerFactory, block: nn.Module, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = make.group_norm(groups, channels, eps=1e-6)
        self.proj_in = make.conv(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([block])
        self.proj_out = make.conv(channels, channels, 1)

    def forward(self, hidden: Tensor, context: Any) -> Tensor:
        """`hidden [B, C, h, w]` -> the same shape; `context` is handed to the block."""
        tokens = as_tokens(self.proj_in(channels_last(self.norm(hidden))))  # [B, h*w, C]
        tokens = self.transformer_blocks[0](tokens, context)
        return self.proj_out(as_pictures(tokens, *hidden.shape[-2:])).add_(hidden)
