"""3x3 convolution of small pictures as one matrix product, for CPUs.

At the lowest resolutions of a UNet the filters are larger than the pictures: torch's convolution reorders 60 MB of
filters in each call, which takes longer than the products. Cutting the picture into patches instead copies nine times
the picture, and reads the filters in place.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from . import cpu_matmul

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# Up to this number of output pixels (of all pictures together) and from this number of channels on, this beats torch
# (measured in float32 and bfloat16 on a CPU with AVX-512 and AMX).
MAX_PIXELS = 2048
MIN_CHANNELS = 64


def should_use(pictures: Tensor, weight: Tensor, stride: int = 1) -> bool:
    """Whether `convolve` is expected to beat torch's convolution for `[B, C, h, w]` and `[O, C, 3, 3]`."""
    batch, _, height, width = pictures.shape
    pixels = batch * -(-height // stride) * -(-width // stride)
    return pixels <= MAX_PIXELS and min(weight.shape[:2]) >= MIN_CHANNELS


def convolve(pictures: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1) -> Tensor:
    """What `conv2d` with padding 1 gives, in channels-last layout.

    Args:
        pictures: `[B, C, h, w]`, best in channels-last layout.
        weight: `[O, C, 3, 3]` of the pictures' dtype; read in place in channels-last layout, copied in another.
        bias: `[O]` or None.
        stride: of the convolution.

    Returns:
        `[B, O, ceil(h / stride), ceil(w / stride)]`.
    """
    batch, channels, height, width = pictures.shape
    rows, columns = -(-height // stride), -(-width // stride)
    padded = F.pad(pictures.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))  # [B, h + 2, w + 2, C]
    b, y, x, c = padded.stride()
    patches = padded.as_strided((batch, rows, columns, 3, 3, channels), (b, stride * y, stride * x, y, x, c))
    filters = weight.permute(0, 2, 3, 1).reshape(-1, 9 * channels)  # [O, 9 * C]
    result = cpu_matmul.linear(patches.reshape(batch * rows * columns, -1), filters, bias)
    return result.view(batch, rows, columns, -1).permute(0, 3, 1, 2)
