"""Motion modules: attention along time, for every pixel on its own (AnimateDiff's layout, arXiv 2307.04725)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .config import MAX_WINDOW
from .layers import Attention, FeedForward, LayerFactory
from .transformer import FrameContext

# Whatever the UNet's own setting (golden case unet_oblong has 16 groups in the UNet).
GROUPS = 32


class PositionEncoding(nn.Module):
    """The window position's sinusoid, sines and cosines interleaved (arXiv 1706.03762), added to `[B, F, C]`."""

    pe: Tensor

    def __init__(self, make: LayerFactory, channels: int) -> None:
        super().__init__()
        positions = torch.arange(MAX_WINDOW, device=make.device, dtype=torch.float32)[:, None]
        frequencies = torch.exp(
            torch.arange(0, channels, 2, device=make.device, dtype=torch.float32) * (-math.log(10000.0) / channels)
        )
        table = torch.stack([(positions * frequencies).sin(), (positions * frequencies).cos()], dim=-1).flatten(1)
        self.register_buffer("pe", table[None].to(make.dtype or table.dtype))  # [1, 32, C]

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.pe[:, : hidden.shape[1]].to(hidden)


class TemporalAttention(Attention):
    """Self-attention along time; queries, keys and values all come from the position-added sequence."""

    def __init__(self, make: LayerFactory, channels: int, heads: int) -> None:
        super().__init__(make, channels, heads)
        self.pos_encoder = PositionEncoding(make, channels)

    def forward(self, hidden: Tensor) -> Tensor:  # type: ignore[override]
        """`hidden [B*h*w, F, C]` -> the same shape."""
        hidden = self.pos_encoder(hidden)
        return super().forward(hidden, self.project(hidden))


class TemporalBlock(nn.Module):
    """Twice attention along time, then a feed-forward, each with a norm before and a residual."""

    def __init__(self, make: LayerFactory, channels: int, heads: int) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList(TemporalAttention(make, channels, heads) for _ in range(2))
        self.norms = nn.ModuleList(make.layer_norm(channels) for _ in range(2))
        self.ff = FeedForward(make, channels)
        self.ff_norm = make.layer_norm(channels)

    def forward(self, hidden: Tensor) -> Tensor:
        for attention, norm in zip(self.attention_blocks, self.norms):
            hidden = hidden + attention(norm(hidden))
        return hidden + self.ff(self.ff_norm(hidden))


class TemporalTransformer(nn.Module):
    """`hidden [B*F, C, h, w]` -> the same shape, pixels mixed along time only."""

    def __init__(self, make: LayerFactory, channels: int, heads: int) -> None:
        super().__init__()
        self.norm = make.group_norm(GROUPS, channels, eps=1e-6)
        self.proj_in = make.linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(make, channels, heads)])
        self.proj_out = make.linear(channels, channels)

    def forward(self, hidden: Tensor, frames: int) -> Tensor:
        channels, height, width = hidden.shape[1:]
        tokens = self.norm(hidden).view(-1, frames, channels, height * width)
        tokens = tokens.permute(0, 3, 1, 2).reshape(-1, frames, channels)  # [B*h*w, F, C]
        tokens = self.proj_out(self.transformer_blocks[0](self.proj_in(tokens)))
        tokens = tokens.view(-1, height * width, frames, channels).permute(0, 2, 3, 1)
        return hidden + tokens.reshape(hidden.shape)


class MotionModule(nn.Module):
    """The published checkpoint's wrapper around the temporal transformer."""

    def __init__(self, make: LayerFactory, channels: int, heads: int) -> None:
        super().__init__()
        self.temporal_transformer = TemporalTransformer(make, channels, heads)

    def forward(self, hidden: Tensor, context: FrameContext) -> Tensor:
        return self.temporal_transformer(hidden, context.frames)
