"""Group norm of pictures whose channels are last in memory, on CUDA in half precision.

torch's own reads `[B, C, h, w]` with the pixels last: it copies pictures into that order first, and what it returns has
to be copied back, each time with strides on one side. Here two sums over the pixels and one multiplication with
addition read the pictures as they lie: four passes over them in place of seven.

It is counted in passes; no GPU was at hand to time it on (`python -m benchmarks.stages --stages "group norm, a level"
"group norm, torch's"` does that).
"""

from __future__ import annotations

import torch
from torch import Tensor

DTYPES = (torch.float16, torch.bfloat16)
# Of fewer numbers the passes are short, and the dozen small operations on sums would take longer.
LEAST_NUMBERS = 2**22


def pays(pictures: Tensor) -> bool:
    """Whether `normalise` is meant for `[B, C, h, w]`: large, half precision, on CUDA, channels last, nobody following.

    float32 is left to torch, which subtracts the mean before it squares.
    """
    if torch.compiler.is_compiling() or (torch.is_grad_enabled() and pictures.requires_grad):
        return False
    ours = pictures.device.type == "cuda" and pictures.dtype in DTYPES and pictures.ndim == 4
    ours = ours and pictures.numel() >= LEAST_NUMBERS
    return ours and pictures.is_contiguous(memory_format=torch.channels_last)


def normalise(pictures: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """What `F.group_norm` gives for `[B, C, h, w]`, with channels last in memory.

    Sums are float32's: the variance is the mean of squares less the square of the mean.

    Args:
        pictures: `[B, C, h, w]` in half precision, channels last in memory.
        groups: number of groups of channels.
        weight, bias: `[C]`, any floating precision.
        eps: added to the variance.
    """
    batch, channels, height, width = pictures.shape
    tokens = pictures.permute(0, 2, 3, 1).view(batch, height * width, channels)
    # Each channel on its own first, [B, C]: rows of channels are read as they lie.
    sums = tokens.sum(1, dtype=torch.float32)
    norms = torch.linalg.vector_norm(tokens, dim=1, dtype=torch.float32)
    count = height * width * channels // groups
    mean = sums.view(batch, groups, -1).sum(2, keepdim=True) / count  # [B, G, 1]
    squares = norms.square().view(batch, groups, -1).sum(2, keepdim=True) / count
    scale = weight.float().view(groups, -1) * (squares - mean.square()).clamp(min=0).add(eps).rsqrt()  # [B, G, C / G]
    shift = bias.float().view(groups, -1) - mean * scale
    result = torch.empty_like(tokens)
    torch.addcmul(shift.view(batch, 1, channels), tokens, scale.view(batch, 1, channels), out=result)
    return result.view(batch, height, width, channels).permute(0, 3, 1, 2)
