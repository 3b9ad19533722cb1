"""The model's own steps for core's samplers: DDIM with diffusers' trailing spacing, as SAMPLER and SIGMAS."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import comfy.samplers
import torch
from comfy.model_sampling import ModelSamplingDiscrete
from torch import Tensor

from ...echomimic.sampling import Schedule
from ..plain_errors import NodeError
from .model import SAMPLING_SETTINGS


def make_sigmas(schedule: Schedule) -> Tensor:
    """Core's noise levels of the schedule's timesteps, and 0 at the end: `[steps + 1]`."""
    table = ModelSamplingDiscrete(SimpleNamespace(sampling_settings=SAMPLING_SETTINGS)).sigmas
    return torch.cat([table[torch.tensor([step.timestep for step in schedule.steps])], torch.zeros(1)])


def make_sampler(schedule: Schedule) -> Any:
    """Core's SAMPLER that takes the schedule's DDIM steps."""
    return comfy.samplers.KSAMPLER(sample_ddim, extra_options={"schedule": schedule})


@torch.no_grad()
def sample_ddim(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Any = None,
    disable: bool | None = None,
    *,
    schedule: Schedule,
) -> Tensor:
    """DDIM on the schedule's own alphas; `x` is in core's scaling, latents times `sqrt(1 + sigma^2)`.

    diffusers steps to `t - 1000 // steps`, which is not always the next timestep of the list, and its alphas end at 0
    where core's end at 4.9e-8: no sampler of core takes exactly these steps.
    """
    extra_args = extra_args or {}
    timestep_of = model.inner_model.inner_model.model_sampling.timestep
    steps = {step.timestep: step for step in schedule.steps}
    for index, (sigma, following) in enumerate(pairwise(sigmas)):
        denoised = model(x, sigma * x.new_ones([x.shape[0]]), **extra_args)
        if callback is not None:
            callback({"x": x, "i": index, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})
        step = steps.get(int(timestep_of(sigma[None])))
        if step is None:
            raise NodeError(
                f"the sigmas are not those of this schedule: {float(sigma):.4g} is none of its {len(steps)} noise "
                "levels; connect the sigmas of EchoMimic Schedule, or take another sampler"
            )
        latents = x * (1 + sigma**2).rsqrt()
        # v from core's estimate of the clean latents: clean = sqrt(alpha) latents - sqrt(1 - alpha) v.
        alpha = 1 / (1 + sigma.double() ** 2)
        velocity = ((alpha.sqrt() * latents - denoised) / (1 - alpha).sqrt()).to(x.dtype)
        x = step.advance(latents, velocity) * (1 + following**2).sqrt()
    mask = extra_args.get("denoise_mask")
    if mask is not None and len(sigmas) > 1 and sigmas[-1] == 0:
        # The published steps leave a little noise in; frames that a mask keeps are to end as they were.
        x = x * mask + denoised * (1 - mask)
    return x
