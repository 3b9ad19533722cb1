"""Plans grow with memory, say what they chose, and shrink instead of failing."""

from __future__ import annotations

import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from echomimic.errors import DeviceMemoryError
from echomimic.models import UNetConfig
from echomimic.runtime.memory import decode_bytes, window_bytes
from echomimic.runtime.plan import Plan, make_plan
from echomimic.sampling import window_denoiser as velocity
from tests.allocations import PeakCounter
from tests.published import PUBLISHED_VAE, vae_config
from tests.tiny import clip_arguments, sample

GB = 10**9
# All networks of the published size in half precision.
WEIGHTS = int(4.5 * GB)


def plan(free, side=96, **changes):
    return make_plan(UNetConfig(), free=free, weights=WEIGHTS, height=side, width=side, **changes)


def test_six_gigabytes_are_enough_for_768_pixels():
    for free, both in ((5 * GB, False), (6 * GB, True)):
        chosen = plan(free, guided=True)
        assert (chosen.windows_at_once, chosen.batch_guidance, chosen.offload) == (1, both, True)
        assert "may not fit" not in chosen.reason


def test_a_large_device_takes_more_at_once():
    chosen = plan(140 * GB, 32, guided=True)
    assert chosen.windows_at_once == 8 and chosen.batch_guidance and not chosen.offload
    assert "140.0 GB free at 256x256: 8 windows" in chosen.reason


def test_no_more_at_once_than_keeps_a_device_busy():
    assert [plan(140 * GB, side).windows_at_once for side in (32, 48, 64, 96, 128)] == [8, 4, 2, 1, 1]
    assert plan(140 * GB, 96, window_length=3).windows_at_once == 4


def test_unknown_memory_gets_the_cautious_plan():
    assert plan(None) == Plan()
    assert plan(None, compiled=True) == Plan(compile=True)


@given(st.integers(1, 200), st.integers(1, 200), st.sampled_from([32, 64, 96, 128]), st.booleans())
def test_more_memory_never_means_less_at_once(some, more, side, guided):
    some, more = sorted((some, more))
    small, large = plan(some * GB, side, guided=guided), plan(more * GB, side, guided=guided)
    branches = [p.windows_at_once * (1 + p.batch_guidance) for p in (small, large)]
    assert small.offload >= large.offload and small.decode_chunk <= large.decode_chunk
    assert branches[0] <= branches[1] + 1
    assert window_bytes(UNetConfig(), 12, side, side, 2) * branches[1] <= more * GB or branches[1] == 1


@given(st.integers(8, 200), st.sampled_from([32, 64, 96]), st.booleans())
def test_what_cuda_graphs_keep_is_not_given_to_the_decoder(free, side, guided):
    chosen = plan(free * GB, side, guided=guided, compiled=True)
    kept = window_bytes(UNetConfig(), 12, side, side, 2) * chosen.windows_at_once * (1 + chosen.batch_guidance)
    assert chosen.compile
    assert kept + chosen.decode_chunk * decode_bytes(side, side, 2) <= free * GB


def test_decoding_takes_the_estimated_memory():
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        vae = AutoencoderKL(**vae_config(PUBLISHED_VAE)).half()
    for parameter in vae.parameters():
        parameter.requires_grad_(False)
    latents = torch.empty(2, 4, 64, 64, device="meta", dtype=torch.float16)
    with torch.no_grad(), PeakCounter(vae) as counter:
        vae.decode(latents)
    assert 0.8 * counter.peak <= 2 * decode_bytes(64, 64, 2) <= 1.3 * counter.peak


def test_plans_give_the_same_result():
    alone = sample(**clip_arguments())
    for chosen in (Plan(windows_at_once=3), Plan(batch_guidance=True), Plan(windows_at_once=2, batch_guidance=True)):
        torch.testing.assert_close(sample(**clip_arguments(plan=chosen)), alone, atol=1e-5, rtol=1e-4)


def full_above(denoiser, monkeypatch, most):
    """A device whose memory holds so many windows and branches."""
    features = denoiser.features

    def limited(hidden, *rest):
        if len(hidden) > most * 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return features(hidden, *rest)

    monkeypatch.setattr(denoiser, "features", limited)


def test_a_full_device_gets_less_at_once(monkeypatch, caplog):
    alone = sample(**clip_arguments())
    arguments = clip_arguments(plan=Plan(windows_at_once=4, batch_guidance=True))
    full_above(arguments["denoiser"], monkeypatch, most=1)
    torch.testing.assert_close(sample(**arguments), alone, atol=1e-5, rtol=1e-4)
    assert caplog.text.count("continuing with less at once") == 3


def test_a_failed_attempt_is_freed_before_the_next(monkeypatch):
    arguments = clip_arguments(plan=Plan(windows_at_once=2))
    denoiser, held = arguments["denoiser"], []
    features = denoiser.features

    def limited(hidden, *rest):
        if len(hidden) > 4:
            activation = hidden.clone()
            held.append(weakref.ref(activation))
            raise torch.OutOfMemoryError("CUDA out of memory")
        if held:
            assert held.pop()() is None, "the failed attempt's activations are still in memory"
        return features(hidden, *rest)

    monkeypatch.setattr(denoiser, "features", limited)
    sample(**arguments)
    assert not held


def test_nothing_smaller_left_is_an_error(monkeypatch):
    arguments = clip_arguments(plan=Plan(windows_at_once=2))
    full_above(arguments["denoiser"], monkeypatch, most=0)
    with pytest.raises(DeviceMemoryError, match=r"try a window length .*\(CUDA out of memory\)"):
        sample(**arguments)


def test_free_memory_is_read_when_the_failed_attempt_is_freed(monkeypatch):
    arguments, held = clip_arguments(), []

    def full(hidden, *rest):
        activation = hidden.clone()
        held.append(weakref.ref(activation))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(arguments["denoiser"], "features", full)
    monkeypatch.setattr(velocity, "free_bytes", lambda device: held.append(held[0]()))
    with pytest.raises(DeviceMemoryError):
        sample(**arguments)
    assert held[1] is None, "the failed attempt's activations are still in memory"


def test_networks_that_stay_leave_the_decoder_less_room():
    # The smallest card on which all stay, and one that holds a megabyte less.
    least = next(free for free in range(6 * GB, 20 * GB, 10**6) if not plan(free).offload)
    alone, beside = plan(least - 10**6), plan(least)
    assert alone.decode_chunk > beside.decode_chunk
    assert WEIGHTS + beside.decode_chunk * decode_bytes(96, 96, 2) <= least


@pytest.mark.parametrize(
    ("side", "weights", "field", "choice", "least"),
    [
        # The command line: all networks of the published size in half precision come to 4.2 GB.
        (64, 4200, "batch_guidance", True, 4110),
        (64, 4200, "offload", False, 6087),
        (64, 4200, "decode_chunk", 16, 13026),
        (96, 4200, "batch_guidance", True, 5502),
        (96, 4200, "offload", False, 7479),
        (96, 4200, "decode_chunk", 16, 23132),
        # ComfyUI keeps the weights itself.
        (64, 0, "batch_guidance", True, 1145),
        (64, 0, "windows_at_once", 2, 2236),
        (96, 0, "batch_guidance", True, 2538),
    ],
)
def test_the_memory_at_which_the_choice_changes(side, weights, field, choice, least):
    """In MB, with guidance: one MB less gives another choice, and all the cards that are larger give the same."""

    def chosen(megabytes):
        return getattr(
            make_plan(
                UNetConfig(),
                free=megabytes * 10**6,
                weights=weights * 10**6,
                height=side,
                width=side,
                guided=True,
            ),
            field,
        )

    assert chosen(least - 1) != choice
    assert {chosen(megabytes) for megabytes in (least, 24_000, 80_000)} == {choice}
