"""Where sampling starts."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import EchoMimicError

# The published model starts from noise clamped to this range.
NOISE_LIMIT = 1.5


def check_seed(seed: int) -> None:
    """Raises: EchoMimicError for a seed that torch's generator does not take."""
    if not -(2**63) <= seed < 2**64:
        raise EchoMimicError(f"the seed must be -2^63 to 2^64 - 1, got {seed}")


def make_noise(frames: int, height: int, width: int, seed: int) -> Tensor:
    """Start noise `[1, 4, frames, height, width]` (latent sizes) in -1.5..1.5, float32 on the CPU.

    Frames are drawn one after another from their own generator, so that a shorter clip with the same seed starts from
    the same noise.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    noise = torch.empty(1, 4, frames, height, width)
    for frame in range(frames):
        noise[0, :, frame] = torch.randn(4, height, width, generator=generator)
    return noise.clamp_(-NOISE_LIMIT, NOISE_LIMIT)
