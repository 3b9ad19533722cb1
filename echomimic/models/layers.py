"""The layers that all networks here are built of: attention, feed-forward, time embedding.

The classes of linear layers, convolutions and norms are an argument (`operations`, a namespace with Linear, Conv2d,
GroupNorm and LayerNorm), and so is the attention function, so that a host such as ComfyUI can supply its own.

Pictures keep their channels last in memory throughout, so tokens `[B, h*w, C]` are a view of pictures `[B, C, h, w]`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import casting_layers
from .attention import AttentionFunction, scaled_dot_product_attention

KeyValue = tuple[Tensor, Tensor]

# The feed-forward's inner activations (eight times the width) are computed in chunks of these bytes: on a CPU small
# enough for its cache, elsewhere large enough to keep the device busy. Chunks of fewer tokens than the minimum make the
# matrix products slow.
CHUNK_BYTES = {"cpu": 8 * 2**20}
CHUNK_BYTES_ON_DEVICE = 64 * 2**20
MIN_TOKENS = 512


def channels_last(pictures: Tensor) -> Tensor:
    """`[B, C, h, w]` with channels last in memory; the tensor itself if it already is."""
    return pictures.contiguous(memory_format=torch.channels_last)


def as_tokens(pictures: Tensor) -> Tensor:
    """`[B, C, h, w]` -> `[B, h*w, C]`, a view where channels are last in memory."""
    return pictures.permute(0, 2, 3, 1).flatten(1, 2)


def as_pictures(tokens: Tensor, height: int, width: int) -> Tensor:
    """`[B, h*w, C]` -> `[B, C, h, w]`, a view with channels last in memory."""
    return tokens.unflatten(1, (height, width)).permute(0, 3, 1, 2)


def frames_as_batch(video: Tensor) -> Tensor:
    """`[B, C, F, h, w]` -> `[B*F, C, h, w]`."""
    return video.transpose(1, 2).flatten(0, 1)


@dataclass(frozen=True)
class LayerFactory:
    """Makes layers of the given classes, on one device and in one dtype.

    Attributes:
        operations: namespace with Linear, Conv2d, GroupNorm and LayerNorm.
        attention: the attention function of the networks' attention layers.
        device, dtype: where the weights are created and in which dtype (None: torch's default).
    """

    operations: ModuleType | Any = casting_layers
    attention: AttentionFunction = scaled_dot_product_attention
    device: torch.device | str | None = None
    dtype: torch.dtype | None = None

    def linear(self, inputs: int, outputs: int, bias: bool = True) -> nn.Module:
        return self.operations.Linear(inputs, outputs, bias=bias, device=self.device, dtype=self.dtype)

    def conv(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
        sizes = {"stride": stride, "padding": kernel // 2}
        return self.operations.Conv2d(inputs, outputs, kernel, **sizes, device=self.device, dtype=self.dtype)

    def group_norm(self, groups: int, channels: int, eps: float) -> nn.Module:
        return self.operations.GroupNorm(groups, channels, eps=eps, device=self.device, dtype=self.dtype)

    def layer_norm(self, channels: int) -> nn.Module:
        return self.operations.LayerNorm(channels, eps=1e-5, device=self.device, dtype=self.dtype)


class Attention(nn.Module):
    """Multi-head attention to keys and values that are projected separately, so that shared ones are projected once."""

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
        """Attention from `hidden [B, N, C]` to keys and values `[B, M, C]`: `[B, N, C]`."""
        return self.to_out[0](self.attention(self.to_q(hidden), *key_value, self.heads))

    def null_output(self, hidden: Tensor) -> Tensor:
        """The output for all-zero context tokens, `[1, 1, C]`: keys and values have no bias, so it is `to_out`'s."""
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
        self.inner_channels = channels * 8
        # Index 1 is the published model's dropout; it has no weights and does nothing at inference.
        self.net = nn.ModuleList(
            [GEGLU(make, channels, channels * 4), nn.Identity(), make.linear(channels * 4, channels)]
        )

    def forward(self, hidden: Tensor, norm: nn.Module) -> Tensor:
        """`hidden + net(norm(hidden))` for `hidden [..., C]`, in chunks of tokens to save memory."""
        tokens = hidden.flatten(0, -2)
        chunk_bytes = CHUNK_BYTES.get(hidden.device.type, CHUNK_BYTES_ON_DEVICE)
        chunk = max(chunk_bytes // (self.inner_channels * hidden.element_size()), MIN_TOKENS)
        result = torch.empty_like(tokens)
        for begin in range(0, len(tokens), chunk):
            part = tokens[begin : begin + chunk]
            result[begin : begin + chunk] = self.net[2](self.net[0](norm(part))).add_(part)
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
    """Timesteps `[B]` to the embeddings `[B, 4 * channels]` that every resnet reads, SiLU included."""

    def __init__(self, make: LayerFactory, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.linear_1 = make.linear(channels, channels * 4)
        self.linear_2 = make.linear(channels * 4, channels * 4)

    def forward(self, timesteps: Tensor, dtype: torch.dtype) -> Tensor:
        """`timesteps [B]` to embeddings of this dtype."""
        hidden = self.linear_1(sinusoid(timesteps, self.channels).to(dtype))
        # Each resnet of the published model applies SiLU to this embedding before projecting it; once is enough.
        return F.silu(self.linear_2(F.silu(hidden)))
