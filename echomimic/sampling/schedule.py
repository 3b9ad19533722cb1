"""The steps of sampling: DDIM (arXiv 2010.02502) on the published noise schedule, as a plain table.

The betas are linear from 0.00085 to 0.012, rescaled to zero terminal SNR, with trailing timesteps (both arXiv
2305.08891). The arithmetic is float32, in the order of diffusers' DDIMScheduler, so both agree to rounding.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import EchoMimicError

TRAINING_STEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012


@dataclass(frozen=True)
class Step:
    """One denoising step.

    Attributes:
        timestep: the network's timestep input, 0..999.
        alpha: share of signal in the latents that go in, the cumulative product of `1 - beta`.
        alpha_next: the same of the latents that come out.
    """

    timestep: int
    alpha: float
    alpha_next: float

    def clean(self, latents: Tensor, velocity: Tensor) -> Tensor:
        """The network's estimate of the latents without noise, from its velocity."""
        return self.alpha**0.5 * latents - (1 - self.alpha) ** 0.5 * velocity

    def advance(self, latents: Tensor, velocity: Tensor) -> Tensor:
        """The latents after this step, without added noise (eta 0)."""
        noise = self.alpha**0.5 * velocity + (1 - self.alpha) ** 0.5 * latents
        return self.alpha_next**0.5 * self.clean(latents, velocity) + (1 - self.alpha_next) ** 0.5 * noise


@dataclass(frozen=True)
class Schedule:
    """All steps of a render, from noise to the clip."""

    steps: tuple[Step, ...]

    def __len__(self) -> int:
        return len(self.steps)


@functools.cache
def make_schedule(count: int) -> Schedule:
    """The schedule with this many steps.

    After timestep t comes `t - 1000 // count`, which is not always the next one of the list. diffusers does so, and the
    published results are made with it (golden cases sample_*).

    Raises:
        EchoMimicError: a count not in 1..1000.
    """
    check_steps(count)
    alphas = signal_shares().tolist()
    # For 62 counts (61 is the first) the end that arange excludes comes out a hair above 0, as one entry too many.
    timesteps = np.round(np.arange(TRAINING_STEPS, 0, -TRAINING_STEPS / count)[:count]).astype(int) - 1
    steps = []
    for timestep in timesteps.tolist():
        following = timestep - TRAINING_STEPS // count
        steps.append(Step(timestep, alphas[timestep], alphas[following] if following >= 0 else 1.0))
    return Schedule(tuple(steps))


def signal_shares() -> Tensor:
    """Cumulative products of `1 - beta` for every timestep, `[1000]`; the last one is 0."""
    betas = torch.linspace(BETA_START, BETA_END, TRAINING_STEPS, dtype=torch.float32)
    roots = (1 - betas).cumprod(0).sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    rescaled = ((roots - last) * (first / (first - last))) ** 2
    ratios = torch.cat([rescaled[:1], rescaled[1:] / rescaled[:-1]])
    return (1 - (1 - ratios)).cumprod(0)


def check_steps(steps: int) -> None:
    """Raises: EchoMimicError for a number of steps not in 1..1000."""
    if not 1 <= steps <= TRAINING_STEPS:
        raise EchoMimicError(f"the number of sampling steps must be 1 to {TRAINING_STEPS}, got {steps}")
