"""The pieces that every network here is built of: attention, feed-forward, time embedding.

Layer classes are handed in as `operations` (a namespace with Linear, Conv2d, GroupNorm and LayerNorm, torch.nn by
default) and the attention kernel as a function, so that a host can bring its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# (query [B, N, heads*d], key [B, M, heads*d], value [B, M, heads*d], heads) -> [B, N, heads*d]
AttentionFunction = Callable[[Tensor, Tensor, Tensor, int], Tensor]
KeyValue = tuple[Tensor, Tensor]


def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Softmax attention by torch's own kernels, on `[batch, tokens, heads * head size]`."""
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


@dataclass(frozen=True)
class LayerFactory:
    """What layers are made with: their classes, the attention kernel, and where and in which precision they live."""

    operations: ModuleType | Any = nn
    attention: AttentionFunction = scaled_dot_product_attention
    device: torch.device | str | None = None
    dtype: torch.dtype | None = None
    placement: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "placement", {"device": self.device, "dtype": self.dtype})

    def linear(self, inputs: int, outputs: int, bias: bool = True) -> nn.Module:
        return self.operations.Linear(inputs, outputs, bias=bias, **self.placement)

    def conv(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
        return self.operations.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, **self.placement)

    def group_norm(self, groups: int, channels: int, eps: float) -> nn.Module:
        return self.operations.GroupNorm(groups, channels, eps=eps, **self.placement)

    def layer_norm(self, channels: int) -> nn.Module:
        return self.operations.LayerNorm(channels, eps=1e-5, **self.placement)


class Attention(nn.Module):
    """Multi-head attention whose keys and values can come projected, so that what repeats is projected once."""

    def __init__(self, make: LayerFactory, channels: int, heads: int, context_channels: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.attention = make.attention
        context_channels = context_channels or channels
        self.to_q = make.linear(channels, channels, bias=False)
        self.to_k = make.linear(context_channels, channels, bias=False)
        self.to_v = make.linear(context_channels, channels, bias=False)
        self.to_out = nn.ModuleList([make.linear(channels, channels)])

    def project(self, context: Tensor) -> KeyValue:
        """Keys and values `[..., N, C]` of context tokens `[..., N, context channels]`."""
        return self.to_k(context), self.to_v(context)

    def forward(self, hidden: Tensor, key_value: KeyValue) -> Tensor:
        """Attend from `hidden [B, N, C]` to keys and values `[B, M, C]`."""
        return self.to_out[0](self.attention(self.to_q(hidden), *key_value, self.heads))

    def of_zeros(self, hidden: Tensor) -> Tensor:
        """What attention to all-zero tokens gives: without biases on keys and values, the output layer's bias."""
        return self.to_out[0](hidden.new_zeros(1, 1, hidden.shape[-1]))


class GEGLU(nn.Module):
    """Linear layer whose first half is gated by the exact GELU of its second half (arXiv 2002.05202)."""

    def __init__(self, make: LayerFactory, channels: int, inner: int) -> None:
        super().__init__()
        self.proj = make.linear(channels, inner * 2)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden, gate = self.proj(hidden).chunk(2, dim=-1)
        return hidden * F.gelu(gate)


class FeedForward(nn.Module):
    """GEGLU to four times the width, and back."""

    def __init__(self, make: LayerFactory, channels: int) -> None:
        super().__init__()
        # Index 1 is the published model's dropout; it has no weights and does nothing at inference.
        self.net = nn.ModuleList(
            [GEGLU(make, channels, channels * 4), nn.Identity(), make.linear(channels * 4, channels)]
        )

    def forward(self, hidden: Tensor) -> Tensor:
        for layer in self.net:
            hidden = layer(hidden)
        return hidden


def sinusoid(positions: Tensor, channels: int) -> Tensor:
    """`[n]` positions to `[n, channels]`: cosines first, then sines, wavelengths from 2 pi to 10000 * 2 pi.

    The layout of DDPM's timestep embedding with `flip_sin_to_cos=True, freq_shift=0` (diffusers' names).
    """
    half = channels // 2
    frequencies = torch.exp(
        torch.arange(half, device=positions.device, dtype=torch.float32) * (-math.log(10000) / half)
    )
    angles = positions.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimestepEmbedding(nn.Module):
    """Timesteps `[B]` to the vectors `[B, 4 * channels]` that every resnet sees, SiLU included."""

    def __init__(self, make: LayerFactory, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.linear_1 = make.linear(channels, channels * 4)
        self.linear_2 = make.linear(channels * 4, channels * 4)

    def forward(self, timesteps: Tensor, dtype: torch.dtype) -> Tensor:
        hidden = self.linear_1(sinusoid(timesteps, self.channels).to(dtype))
        # Each resnet of the published model applies SiLU to this vector before projecting it; once is enough.
        return F.silu(self.linear_2(F.silu(hidden)))
