"""The pieces that every network here is built of: attention, feed-forward, time embedding.

Layer classes are handed in as `operations` (a namespace with Linear, Conv2d, GroupNorm and LayerNorm) and the attention
kernel as a function, so that a host can bring its own. torch.nn, the default, stands for this package's own
`operations`: torch's layers, quicker on a CPU.

Pictures keep their channels last in memory all the way, so that tokens `[B, h*w, C]` are a view of `[B, C, h, w]`.
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

from ..kernels import layers as own_operations

# (query [B, N, heads*d], key [B, M, heads*d], value [B, M, heads*d], heads) -> [B, N, heads*d]
AttentionFunction = Callable[[Tensor, Tensor, Tensor, int], Tensor]
KeyValue = tuple[Tensor, Tensor]


# CUDA's kernels count batch entries along an axis that ends at 65535; motion modules have one for each pixel.
MOST_ROWS = 32768
# On a CPU, attention over at most so many tokens (the frames of a window) is quicker as plain products.
SHORT_ATTENTION = 32

# The feed-forward's wide middle is computed for so many bytes of tokens at a time: on a CPU small enough to stay in its
# cache, elsewhere large enough to keep the device busy. Below the least number of tokens the products get slow.
PIECE_BYTES = {"cpu": 8 * 2**20}
PIECE_BYTES_ON_DEVICE = 64 * 2**20
LEAST_TOKENS = 512


def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Softmax attention by torch's own kernels, on `[batch, tokens, heads * head size]`."""
    if len(query) > MOST_ROWS:
        parts = zip(*(x.split(MOST_ROWS) for x in (query, key, value)))
        return torch.cat([scaled_dot_product_attention(q, k, v, heads) for q, k, v in parts])
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    short = query.device.type == "cpu" and max(query.shape[2], key.shape[2]) <= SHORT_ATTENTION
    attend = short_attention if short else F.scaled_dot_product_attention
    return attend(query, key, value).transpose(1, 2).flatten(2)


def short_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """What `F.scaled_dot_product_attention` gives on `[B, heads, n, d]`, as batched products of small matrices.

    Flash attention's blocks are mostly padding for the dozen frames that a motion module looks along.
    """
    scores = (query @ key.transpose(-1, -2)).mul_(query.shape[-1] ** -0.5)
    return scores.softmax(-1) @ value


def channels_last(pictures: Tensor) -> Tensor:
    """`[B, C, h, w]` with its channels last in memory; the tensor itself where they are already."""
    return pictures.contiguous(memory_format=torch.channels_last)


def as_tokens(pictures: Tensor) -> Tensor:
    """`[B, C, h, w]` -> `[B, h*w, C]`, a view where channels are last in memory."""
    return pictures.permute(0, 2, 3, 1).flatten(1, 2)


def as_pictures(tokens: Tensor, height: int, width: int) -> Tensor:
    """`[B, h*w, C]` -> `[B, C, h, w]`, a view with channels last in memory."""
    return tokens.unflatten(1, (height, width)).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class LayerFactory:
    """What layers are made with: their classes, the attention kernel, and where and in which precision they live."""

    operations: ModuleType | Any = nn
    attention: AttentionFunction = scaled_dot_product_attention
    device: torch.device | str | None = None
    dtype: torch.dtype | None = None
    placement: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        if self.operations is nn:
            object.__setattr__(self, "operations", own_operations)
        object.__setattr__(self, "placement", {"device": self.device, "dtype": self.dtype})

    def activation_dtype(self, asked: Tensor) -> torch.dtype:
        """The precision that layers get numbers in when the caller's are `asked`; a host decides that for its own."""
        if self.operations is not own_operations:
            return asked.dtype
        return own_operations.activation_dtype(asked.dtype, asked.device)

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
        return F.gelu(gate).mul_(hidden)


class FeedForward(nn.Module):
    """GEGLU to four times the width, and back."""

    def __init__(self, make: LayerFactory, channels: int) -> None:
        super().__init__()
        self.wide = channels * 8
        # Index 1 is the published model's dropout; it has no weights and does nothing at inference.
        self.net = nn.ModuleList(
            [GEGLU(make, channels, channels * 4), nn.Identity(), make.linear(channels * 4, channels)]
        )

    def forward(self, hidden: Tensor, norm: nn.Module) -> Tensor:
        """`hidden + net(norm(hidden))` of `[..., C]`, some tokens at a time: the middle is eight times as wide."""
        tokens = hidden.flatten(0, -2)
        piece = PIECE_BYTES.get(hidden.device.type, PIECE_BYTES_ON_DEVICE) // (self.wide * hidden.element_size())
        piece = max(piece, LEAST_TOKENS)
        result = torch.empty_like(tokens)
        for begin in range(0, len(tokens), piece):
            part = tokens[begin : begin + piece]
            result[begin : begin + piece] = self.net[2](self.net[0](norm(part))).add_(part)
        return result.view_as(hidden)


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
