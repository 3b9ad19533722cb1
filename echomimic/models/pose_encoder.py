"""The pose encoder: pose pictures become features that are added to the output of the denoising UNet's first layer."""

from __future__ import annotations

from itertools import pairwise
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import casting_layers
from .layers import LayerFactory, channels_last, frames_as_batch

# Widths of the published encoder; it halves the size between each two of them.
WIDTHS = (16, 32, 96, 256)


class PoseEncoder(nn.Module):
    """Convolutions with SiLU, down to an eighth of the size.

    Args:
        out_channels: channels of the denoising UNet's first level (320 in the published model).
        operations, device, dtype: see `LayerFactory`.
    """

    def __init__(
        self,
        out_channels: int = 320,
        *,
        operations: ModuleType | Any = casting_layers,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        make = LayerFactory(operations, device=device, dtype=dtype)
        self.conv_in = make.conv(3, WIDTHS[0], 3)
        self.blocks = nn.ModuleList()
        for width, next_width in pairwise(WIDTHS):
            self.blocks.append(make.conv(width, width, 3))
            self.blocks.append(make.conv(width, next_width, 3, stride=2))
        self.conv_out = make.conv(WIDTHS[-1], out_channels, 3)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures `[B, 3, F, H, W]` in 0..1, RGB, H and W multiples of 8 -> features `[B, C0, F, H/8, W/8]`."""
        hidden = channels_last(frames_as_batch(pictures))
        hidden = F.silu(self.conv_in(hidden), inplace=True)
        for block in self.blocks:
            hidden = F.silu(block(hidden), inplace=True)
        return self.conv_out(hidden).unflatten(0, pictures.shape[:3:2]).transpose(1, 2)
