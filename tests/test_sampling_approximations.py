"""Faster modes save the work that they claim, stay near the exact result, and are off by default."""

from __future__ import annotations

import pytest
import torch

from echomimic.errors import EchoMimicError
from echomimic.models.unet import DeepFeatures
from echomimic.sampling import FAST_MODES, FastMode
from echomimic.sampling.approximations import level_size, merge_tokens
from echomimic.sampling.window_denoiser import WindowDenoiser
from tests.golden_cases import relative_error
from tests.tiny import clip_arguments, sample


@pytest.fixture(scope="module")
def exact():
    return sample(**clip_arguments())


def counted(mode):
    """How often a run calls the whole network and its middle."""
    arguments = clip_arguments(fast=mode)
    denoiser = arguments["denoiser"]
    calls = {"whole": 0, "middle": 0}
    for name, module in (("whole", denoiser.conv_out), ("middle", denoiser.mid_block)):
        module.register_forward_hook(lambda *_, name=name: calls.__setitem__(name, calls[name] + 1))
    return sample(**arguments), calls


def test_the_default_is_exact(exact):
    assert torch.equal(sample(**clip_arguments(fast=FastMode())), exact)
    assert FAST_MODES["exact"] == FastMode()


# 14 frames in windows of 4 that overlap by 1 are 5 windows; 4 steps; 2 branches.
def test_guidance_in_part_of_the_steps_saves_the_other_branch():
    _, calls = counted(FastMode(guided_share=0.5))
    assert calls["whole"] == 5 * (2 * 2 + 2)


def test_no_guided_step_is_no_guidance():
    unguided = sample(**clip_arguments(guidance=1.0))
    assert torch.equal(sample(**clip_arguments(fast=FastMode(guided_share=0.0))), unguided)


def test_reuse_spares_the_lower_resolutions(exact):
    latents, calls = counted(FastMode(reuse_every=2))
    assert calls == {"whole": 5 * 4 * 2, "middle": 5 * 2 * 2}
    assert 0 < relative_error(latents, exact) < 1


def test_features_that_came_from_the_host_are_not_put_there_again(monkeypatch):
    kept, copied = [], []
    keep, to = WindowDenoiser.cache_put, torch.Tensor.to

    def watched(self, windows, branch, deep):
        kept.append(deep)
        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "to", lambda tensor, *where: copied.append(where) or to(tensor, *where))
            keep(self, windows, branch, deep)

    monkeypatch.setattr(WindowDenoiser, "cache_put", watched)
    sample(**clip_arguments(fast=FastMode(reuse_every=2)))
    # 5 windows, 4 steps, 2 branches; in every second step they are computed.
    assert (len(kept), len(copied)) == (40, 20)


@torch.no_grad()
def test_deep_features_of_the_same_step_change_nothing():
    denoiser = clip_arguments()["denoiser"]
    latents, deep = torch.randn(1, 4, 3, 5, 7), DeepFeatures()
    whole = denoiser(latents, 500, deep=deep)
    assert torch.equal(denoiser(latents, 500), whole)
    assert torch.equal(denoiser(latents, 500, deep=deep), whole)


def test_less_overlap_is_fewer_windows():
    latents, calls = counted(FastMode(max_overlap=0))
    assert calls["whole"] == 4 * 4 * 2
    assert torch.equal(latents, sample(**clip_arguments(overlap=0)))
    assert torch.equal(sample(**clip_arguments(overlap=0, fast=FastMode(max_overlap=1))), latents)


def test_merged_reference_stays_near(exact):
    latents = sample(**clip_arguments(fast=FastMode(merge_reference=2)))
    assert 0 < relative_error(latents, exact) < 1


def test_merging_averages_squares_of_every_level():
    picture = torch.arange(15.0).view(1, 15, 1)
    merged = merge_tokens({"a": picture, "b": torch.ones(1, 6, 2)}, 3, 5, 2)
    assert merged["a"].flatten().tolist() == [3, 5, 6.5, 10.5, 12.5, 14]
    assert merged["b"].shape == (1, 2, 2)


def test_tokens_of_another_size_are_refused():
    assert level_size(6, 3, 5) == (2, 3)
    assert level_size(64, 16, 16) == (8, 8)
    with pytest.raises(EchoMimicError, match="has 7 tokens"):
        level_size(7, 3, 5)


@pytest.mark.parametrize(
    "wrong", [{"guided_share": 1.5}, {"reuse_every": 0}, {"merge_reference": 0}, {"max_overlap": -1}]
)
def test_impossible_modes_are_refused(wrong):
    with pytest.raises(EchoMimicError):
        FastMode(**wrong)
