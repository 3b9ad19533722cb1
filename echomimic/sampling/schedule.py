"""Noise and time steps: where sampling starts and how it goes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import EchoMimicError

# The published model starts from noise without its tails.
NOISE_LIMIT = 1.5
TRAINING_STEPS = 1000


def check_steps(steps: int) -> None:
    """Raises: EchoMimicError for steps not in 1..1000."""
    if not 1 <= steps <= TRAINING_STEPS:
        raise EchoMimicError(f"the number of sampling steps must be 1 to {TRAINING_STEPS}, got {steps}")


def check_seed(seed: int) -> None:
    """Raises: EchoMimicError for a seed that torch's generator does not take."""
    if not -(2**63) <= seed < 2**64:
        raise EchoMimicError(f"the seed must be -2^63 to 2^64 - 1, got {seed}")


def make_noise(frames: int, height: int, width: int, seed: int) -> Tensor:
    """Start noise `[1, 4, frames, height, width]` (latent sizes) in -1.5..1.5, float32 on the CPU.

    Frames are drawn one after another from a generator of their own, so that a shorter clip with the same seed starts
    from the same noise.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    noise = torch.empty(1, 4, frames, height, width)
    for frame in range(frames):
        noise[0, :, frame] = torch.randn(4, height, width, generator=generator)
    return noise.clamp_(-NOISE_LIMIT, NOISE_LIMIT)


def make_scheduler(steps: int) -> Any:
    """diffusers' DDIM with the published settings, its timesteps set.

    v-prediction on linear betas rescaled to zero terminal SNR, trailing spacing (arXiv 2305.08891).

    Raises:
        EchoMimicError: steps not in 1..1000.
    """
    check_steps(steps)
    from diffusers import DDIMScheduler

    scheduler: Any = DDIMScheduler(
        num_train_timesteps=TRAINING_STEPS,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="linear",
        clip_sample=False,
        steps_offset=1,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(steps)
    return scheduler
