"""Motion modules: attention along time, for every pixel on its own (AnimateDiff's layout, arXiv 2307.04725).

Tokens keep the layout of the spatial layers, `[B*F, h*w, C]`; only the attention looks along time, through a view.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .blocks import FrameContext
from .config import MAX_WINDOW
from .layers import Attention, FeedForward, LayerFactory, as_pictures, as_tokens, channels_last

# Whatever the UNet's own setting (golden case unet_oblong has 16 groups in the UNet).
GROUPS = 32


class PositionEncoding(nn.Module):
    """The window position's sinusoid, sines and cosines interleaved (arXiv 1706.03762), added to `[B, F, N, C]`.

    The table stays float32 for any dtype of the weights: float8 would round half of its entries to their
    neighbours.
    """

    pe: Tensor

    def __init__(self, make: LayerFactory, channels: int) -> None:
        super().__init__()
        positions = torch.arange(MAX_WINDOW, device=make.device, dtype=torch.float32)[:, None]
        frequencies = torch.exp(
            torch.arange(0, channels, 2, device=make.device, dtype=torch.float32) * (-math.log(10000.0) / channels)
        )
        table = torch.stack([(positions * frequencies).sin(), (positions * frequencies).cos()], dim=-1).flatten(1)
        self.register_buffer("pe", table[None])  # [1, 32, C]

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.pe[:, : hidden.shape[1], None].to(hidden)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PositionEncoding:
        """Moves where `fn` moves; where `fn` casts (`half()`, `to(dtype)`), the table stays float32."""
        table = self.pe
        super()._apply(fn, recurse)
        if self.pe.dtype != torch.float32:
            self.pe = table.to(self.pe.device)
        return self


class TemporalAttention(Attention):
    """Self-attention along time; queries, keys and values all come from the position-added sequence."""

    def __init__(self, make: LayerFactory, channels: int, heads: int) -> None:
        super().__init__(make, channels, heads)
        self.pos_encoder = PositionEncoding(make, channels)

    def forward(self, hidden: Tensor, frames: int) -> Tensor:  # type: ignore[override]
        """`hidden [B*F, N, C]` -> the same shape."""
        pixels = hidden.shape[1]
        mixed = self.attend(hidden.unflatten(0, (-1, frames)))  # [B*N, F, C]
        # torch's attention returns the query's layout, so this is a view that the output layer reads in place.
        mixed = mixed.unflatten(0, (-1, pixels)).transpose(1, 2).flatten(0, 1)  # [B*F, N, C]
        return self.to_out[0](mixed)

    def attend(self, hidden: Tensor) -> Tensor:
        """Attention among the frames of `hidden [B, F, N, C]`: `[B*N, F, C]`.

        A function of its own so that queries, keys and values are freed before the output layer runs.
        """
        hidden = self.pos_encoder(hidden)
        query, key, value = (along_time(project(hidden)) for project in (self.to_q, self.to_k, self.to_v))
        return self.attention(query, key, value, self.heads)


def along_time(tokens: Tensor) -> Tensor:
    """`[B, F, N, C]` -> `[B*N, F, C]`, a view for a batch of one."""
    return tokens.transpose(1, 2).flatten(0, 1)


class TemporalBlock(nn.Module):
    """Twice attention along time, then a feed-forward, each with a norm before and a residual."""

    def __init__(self, make: LayerFactory, channels: int, heads: int) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList(TemporalAttention(make, channels, heads) for _ in range(2))
        self.norms = nn.ModuleList(make.layer_norm(channels) for _ in range(2))
        self.ff = FeedForward(make, channels)
        self.ff_norm = make.layer_norm(channels)

    def forward(self, hidden: Tensor, frames: int) -> Tensor:
        for attention, norm in zip(self.attention_blocks, self.norms):
            hidden = hidden + attention(norm(hidden), frames)
        return self.ff(hidden, self.ff_norm)


class TemporalTransformer(nn.Module):
    """`hidden [B*F, C, h, w]` -> the same shape, pixels mixed along time only."""

    def __init__(self, make: LayerFactory, channels: int, heads: int) -> None:
        super().__init__()
        self.norm = make.group_norm(GROUPS, channels, eps=1e-6)
        self.proj_in = make.linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(make, channels, heads)])
        self.proj_out = make.linear(channels, channels)

    def forward(self, hidden: Tensor, frames: int) -> Tensor:
        tokens = self.proj_in(as_tokens(channels_last(self.norm(hidden))))  # [B*F, h*w, C]
        tokens = self.proj_out(self.transformer_blocks[0](tokens, frames))
        return as_pictures(tokens, *hidden.shape[-2:]).add_(hidden)


class MotionModule(nn.Module):
    """The published checkpoint's wrapper around the temporal transformer."""

    def __init__(self, make: LayerFactory, channels: int, heads: int) -> None:
        super().__init__()
        self.temporal_transformer = TemporalTransformer(make, channels, heads)

    def forward(self, hidden: Tensor, context: FrameContext) -> Tensor:
        return self.temporal_transformer(hidden, context.frames)
