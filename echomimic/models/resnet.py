"""Convolutional blocks of the Stable Diffusion UNet: residual block, down- and upsampling."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .layers import LayerFactory, channels_last


class ResnetBlock(nn.Module):
    """Two 3x3 convolutions with GroupNorm and SiLU; the timestep is added between them.

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
    """Nearest neighbour to the size of the skip connection that comes next, then a 3x3 convolution."""

    def __init__(self, make: LayerFactory, channels: int) -> None:
        super().__init__()
        self.conv = make.conv(channels, channels, 3)

    def forward(self, hidden: Tensor, size: tuple[int, int]) -> Tensor:
        return self.conv(F.interpolate(hidden, size=size, mode="nearest"))
