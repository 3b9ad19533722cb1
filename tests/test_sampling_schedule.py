"""The schedule is diffusers' DDIM with the published settings, step for step."""

from __future__ import annotations

import pytest
import torch

from echomimic.errors import EchoMimicError
from echomimic.sampling import make_schedule
from tests.original_schedule import make_scheduler


@pytest.mark.parametrize("count", [1, 2, 6, 7, 30, 50, 333, 1000])
def test_timesteps_and_results_are_diffusers(count):
    schedule, original = make_schedule(count), make_scheduler(count)
    assert [step.timestep for step in schedule.steps] == original.timesteps.tolist()
    generator = torch.Generator().manual_seed(count)
    for step in schedule.steps[:: max(1, count // 10)]:
        latents, velocity = (torch.randn(1, 4, 3, 2, 2, generator=generator) for _ in range(2))
        result = original.step(velocity, step.timestep, latents)
        torch.testing.assert_close(step.advance(latents, velocity), result.prev_sample, atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(step.clean(latents, velocity), result.pred_original_sample, atol=2e-6, rtol=1e-5)


def test_every_count_has_that_many_steps_the_timesteps_of_diffusers():
    original = make_scheduler(1)
    for count in range(1, 1001):
        original.set_timesteps(count)
        # diffusers lists a timestep -1 after those of some counts, 61 for one.
        expected = [timestep for timestep in original.timesteps.tolist() if timestep >= 0]
        assert len(expected) == count
        assert [step.timestep for step in make_schedule(count).steps] == expected


def test_the_first_step_starts_from_noise_alone():
    first = make_schedule(30).steps[0]
    assert (first.timestep, first.alpha) == (999, 0.0)


@pytest.mark.parametrize("count", [0, 1001, -1])
def test_impossible_counts_are_refused(count):
    with pytest.raises(EchoMimicError, match="1 to 1000"):
        make_schedule(count)
