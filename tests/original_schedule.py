"""diffusers' scheduler as the original uses it, to compare with."""

from __future__ import annotations

from typing import Any


def make_scheduler(steps: int) -> Any:
    """DDIM with the published settings, its timesteps set."""
    from diffusers import DDIMScheduler

    scheduler: Any = DDIMScheduler(
        num_train_timesteps=1000,
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
