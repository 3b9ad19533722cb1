"""Faster modes: approximations that change the result a little, each off by default."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor

from ..errors import EchoMimicError


@dataclass(frozen=True)
class FastMode:
    """Which approximations to use; by default none. `python -m benchmarks.fast` prints what each does to the result.

    Attributes:
        guided_share: guidance only in this first share of the steps, 0..1. Late steps settle details, on which the
            unconditional branch has little influence.
        reuse_every: the lower resolutions are computed in every n-th step and reused in between
            (DeepCache, arXiv 2312.00858). It takes host memory: C1 x h/2 x w/2 numbers a frame and branch, 2.9 MB at
            768x768 in half precision.
        merge_reference: reference tokens are averaged over squares of n x n, so that attention has fewer to read.
        max_overlap: windows share at most this many frames, which makes fewer windows; None: as many as set.
            Looped windows move from step to step, so that their seams do not stay in one place.
    """

    guided_share: float = 1.0
    reuse_every: int = 1
    merge_reference: int = 1
    max_overlap: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.guided_share <= 1:
            raise EchoMimicError(f"the share of guided steps must be 0 to 1, got {self.guided_share}")
        if self.reuse_every < 1 or self.merge_reference < 1:
            raise EchoMimicError(
                f"reuse and merging count from 1 (none), got {self.reuse_every} and {self.merge_reference}"
            )
        if self.max_overlap is not None and self.max_overlap < 0:
            raise EchoMimicError(f"windows cannot share fewer than 0 frames, got {self.max_overlap}")

    def uses_guidance(self, step: int, steps: int) -> bool:
        """Whether this step has guidance."""
        return step < math.ceil(self.guided_share * steps)

    def overlap(self, overlap: int) -> int:
        """Frames that neighbouring windows share where the settings say `overlap`."""
        return overlap if self.max_overlap is None else min(overlap, self.max_overlap)

    def source_step(self, step: int) -> int:
        """The step whose deep features this step uses; its own number where it computes them."""
        return step - step % self.reuse_every


EXACT = FastMode()
# Names for the command line and for nodes.
FAST_MODES = {
    "exact": EXACT,
    "guidance-half": replace(EXACT, guided_share=0.5),
    "reuse-2": replace(EXACT, reuse_every=2),
    "merge-2": replace(EXACT, merge_reference=2),
    "overlap-1": replace(EXACT, max_overlap=1),
    "fastest": FastMode(guided_share=0.5, reuse_every=3, merge_reference=2, max_overlap=1),
}


def merge_tokens(reference: dict[str, Tensor], height: int, width: int, side: int) -> dict[str, Tensor]:
    """Reference tokens `[1, N, C]` averaged over squares of `side` x `side`; height and width are the latents'."""
    if side == 1:
        return reference
    merged = {}
    for name, tokens in reference.items():
        h, w = level_size(tokens.shape[1], height, width)
        pictures = tokens.transpose(1, 2).unflatten(2, (h, w))
        merged[name] = F.avg_pool2d(pictures, side, ceil_mode=True).flatten(2).transpose(1, 2)
    return merged


def level_size(count: int, height: int, width: int) -> tuple[int, int]:
    """Height and width of the level with this number of pixels; each level is half of the one above, rounded up."""
    while height * width > count:
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    if height * width != count:
        raise EchoMimicError(f"the reference has {count} tokens, which no level of this picture size has")
    return height, width
