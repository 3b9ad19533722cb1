"""The sampler gives what the original's gives, cancels, and keeps its promises about windows and memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from echomimic.audio import SpeechFeatures
from echomimic.errors import Cancelled, DeviceMemoryError, EchoMimicError
from echomimic.models import DenoisingUNet, ReferenceUNet
from echomimic.sampling import SamplingSettings, conditions, make_noise, windows
from tests.golden_cases import GoldenCase, relative_error
from tests.recipe import fill
from tests.tiny import CONFIG, clip_conditions, sample, settle


@pytest.mark.parametrize("name", ["sample_standard", "sample_accelerated", "sample_short"])
@torch.no_grad()
def test_golden_run(name):
    case = GoldenCase.read(name)
    golden, meta = case.tensors, case.meta
    latents = sample(
        denoiser=case.network("denoising_unet"),
        reference=case.network("reference_unet")(golden["reference_latents"]),
        audio=golden["audio"],
        pose=case.network("pose_encoder")(case.pictures)[0],
        noise=golden["noise"],
        settings=SamplingSettings(meta["steps"], meta["cfg"], meta["context_frames"], meta["context_overlap"]),
    )
    assert relative_error(latents, golden["latents"]) <= 1e-3


@pytest.fixture(scope="module")
def networks():
    denoiser, reference = fill(DenoisingUNet(CONFIG), "s."), fill(ReferenceUNet(CONFIG), "s.")
    with torch.no_grad():
        return {"denoiser": denoiser, "reference": reference(torch.randn(1, 4, 4, 4))}


def run(networks, frames=7, **changes):
    arguments = {
        **clip_conditions(frames, torch.Generator().manual_seed(3)),
        "steps": 2,
        "guidance": 1.0,
        "window_length": 4,
        "overlap": 1,
    }
    return sample(**networks, **settle(**{**arguments, **changes}))


@torch.no_grad()
def test_the_models_audio_context_decides_which_steps_are_tokens():
    config = replace(CONFIG, audio_context=0)
    denoiser, reference = fill(DenoisingUNet(config), "s."), fill(ReferenceUNet(config), "s.")
    networks = {"denoiser": denoiser, "reference": reference(torch.randn(1, 4, 4, 4))}
    steps = torch.randn(14, 5, CONFIG.audio_dim, generator=torch.Generator().manual_seed(5))
    features = SpeechFeatures(steps, fps=25)
    own = steps.view(7, 10, CONFIG.audio_dim)  # each frame's two steps of five layers
    assert torch.equal(run(networks, audio=features), run(networks, audio=own))


@given(st.integers(1, 200), st.integers(1, 32), st.data(), st.integers(0, 40), st.booleans())
def test_windows_cover_every_frame(frames, length, data, step, looped):
    overlap = data.draw(st.integers(0, length - 1))
    plan = windows(frames, length, overlap, step, looped)
    assert {frame for window in plan for frame in window} == set(range(frames))
    assert all(len(window) == len(set(window)) == min(length, frames) for window in plan)


def test_a_clip_of_one_frame_is_sampled(networks):
    assert run(networks, frames=1).shape == (1, 4, 1, 4, 4)


def test_windows_as_published():
    assert windows(30, 12, 3)[0] == list(range(12))
    assert windows(30, 12, 3)[3] == [27, 28, 29, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert windows(30, 12, 3, step=2)[0] == list(range(6, 18))
    assert windows(7, 12, 3, step=1) == [[3, 4, 5, 6, 0, 1, 2]]


def test_open_windows_end_at_the_last_frame():
    assert windows(30, 12, 3, looped=False) == [list(range(a, a + 12)) for a in (0, 9, 18)]
    assert windows(25, 12, 3, step=5, looped=False) == [list(range(a, a + 12)) for a in (0, 9, 13)]


def test_open_windows_need_fewer_passes():
    assert len(windows(120, 12, 3, looped=False)) < len(windows(120, 12, 3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window_length": 33}, "must be 1 to 32 frames, got 33"),
        ({"window_length": 0}, "must be 1 to 32 frames, got 0"),
        ({"overlap": 4}, "below the window length, got 4 of 4"),
        ({"steps": 0}, "must be 1 to 1000, got 0"),
        ({"guidance": float("nan")}, "must be a number of at least 0 .* got nan"),
        ({"guidance": -1.0}, "must be a number of at least 0 .* got -1"),
        ({"seed": 2**64}, "the seed must be .* got 18446744073709551616"),
        ({"pose_strength": float("inf")}, "the pose strength must be a finite number .* got inf"),
        ({"audio_scale": float("nan")}, "the audio scale must be a finite number .* got nan"),
        ({"noise": torch.zeros(1, 4, 0, 4, 4), "audio": torch.zeros(0, 50, 24)}, "there are no frames"),
        ({"audio": torch.zeros(6, 50, 24)}, r"must be \[7, tokens, width\].*got \[6, 50, 24\]"),
        ({"pose": torch.zeros(32, 7, 4, 5)}, r"must be \[channels, 7, 4, 4\].*got \[32, 7, 4, 5\]"),
        ({"noise": torch.zeros(4, 7, 4, 4)}, r"the noise must be \[1, 4, frames"),
        ({"audio": torch.full((7, 50, 24), float("nan"))}, "returned NaN"),
    ],
)
def test_impossible_settings_are_refused(networks, settings, message):
    with pytest.raises(EchoMimicError, match=message):
        run(networks, **settings)


def test_noise_is_clamped_and_seeded_frame_by_frame():
    noise = make_noise(20, 16, 16, seed=5)
    assert noise.shape == (1, 4, 20, 16, 16)
    assert noise.abs().max() == 1.5
    assert torch.equal(make_noise(3, 16, 16, seed=5), noise[:, :, :3])
    assert not torch.equal(make_noise(3, 16, 16, seed=6), noise[:, :, :3])


def test_noise_beyond_the_clamp_is_clamped_by_the_sampler(networks):
    noise = torch.randn(1, 4, 7, 4, 4, generator=torch.Generator().manual_seed(2)) * 2
    assert torch.equal(run(networks, noise=noise), run(networks, noise=noise.clamp(-1.5, 1.5)))


def test_same_seed_same_latents_other_seed_other_latents(networks):
    first = run(networks)
    assert torch.equal(first, run(networks))
    assert relative_error(run(networks, noise=make_noise(7, 4, 4, seed=2)), first) > 0.1


def test_guidance_of_one_is_the_conditional_velocity_alone(networks):
    calls = []
    denoiser = networks["denoiser"]
    handle = denoiser.conv_in.register_forward_hook(lambda *_: calls.append(1))
    plain = run(networks, guidance=1.0)
    without = len(calls)
    guided = run(networks, guidance=2.0)
    handle.remove()
    assert (without, len(calls) - without) == (6, 12)
    assert relative_error(guided, plain) > 1e-3


def test_progress_counts_every_window_and_previews_every_step(networks):
    seen = []
    latents = run(networks, on_progress=seen.append)
    assert [progress.done for progress in seen] == list(range(1, 7))
    assert {progress.total for progress in seen} == {6}
    previews = [progress.preview for progress in seen]
    assert [preview is not None for preview in previews] == [False, False, True] * 2
    # After the last step nothing of the noise is left: the preview is the result.
    torch.testing.assert_close(previews[-1], latents[0, :, 3], atol=1e-5, rtol=1e-5)


def test_callback_stops_within_one_window(networks):
    seen = []

    def stop(progress):
        seen.append(progress)
        return len(seen) < 2

    with pytest.raises(Cancelled, match="window 2 of 6"):
        run(networks, on_progress=stop)
    assert len(seen) == 2


def test_an_exception_in_the_callback_passes_through(networks):
    class Interrupted(BaseException):
        pass

    def stop(progress):
        raise Interrupted

    with pytest.raises(Interrupted):
        run(networks, on_progress=stop)


def test_sources_are_read_a_window_at_a_time(networks, monkeypatch):
    monkeypatch.setattr(conditions, "AUDIO_CACHE_BYTES", 0)
    asked = []

    class Audio:
        def tokens(self, frames):
            asked.append(len(frames))
            return torch.randn(50, 50, CONFIG.audio_dim, generator=torch.Generator().manual_seed(0))[list(frames)]

    class Pose:
        def features(self, frames):
            asked.append(len(frames))
            return torch.randn(32, 50, 4, 4, generator=torch.Generator().manual_seed(0))[:, list(frames)]

    streamed = run(networks, frames=50, audio=Audio(), pose=Pose(), noise=make_noise(50, 4, 4, 1))
    assert max(asked) == 4
    monkeypatch.undo()
    whole = run(networks, frames=50, audio=Audio(), pose=Pose(), noise=make_noise(50, 4, 4, 1))
    torch.testing.assert_close(whole, streamed, atol=1e-6, rtol=1e-5)


def test_audio_and_reference_are_projected_once(networks):
    block = next(networks["denoiser"].blocks())
    counts = {"audio": 0, "own and reference": 0}

    def count(name):
        return lambda *_: counts.__setitem__(name, counts[name] + 1)

    handles = [
        block.attn2.to_k.register_forward_hook(count("audio")),
        block.attn1.to_k.register_forward_hook(count("own and reference")),
    ]
    run(networks, steps=3, guidance=2.0)
    for handle in handles:
        handle.remove()
    # Once for a frame, to learn the size, and once for the clip; 3 steps of 3 windows, twice, and the reference.
    assert counts == {"audio": 2, "own and reference": 3 * 3 * 2 + 1}


def test_audio_scale_of_zero_is_silence_of_values(networks):
    quiet = run(networks, audio_scale=0.0)
    silent = run(networks, audio=torch.zeros(7, 50, CONFIG.audio_dim))
    torch.testing.assert_close(quiet, silent, atol=1e-5, rtol=1e-4)
    assert relative_error(run(networks), silent) > 1e-3


def test_no_pose_equals_zero_features(networks):
    torch.testing.assert_close(run(networks, pose=None), run(networks, pose=torch.zeros(32, 7, 4, 4)))


def test_out_of_memory_names_settings_that_would_fit(networks, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(networks["denoiser"], "predict", full)
    with pytest.raises(DeviceMemoryError, match=r"a window of 4 frames at 32x32 takes about .* try a window length of"):
        run(networks)


def test_a_reference_of_another_size_is_refused_with_both_sizes(networks):
    with torch.no_grad():
        wide = fill(ReferenceUNet(CONFIG), "s.")(torch.randn(1, 4, 4, 6))
    with pytest.raises(EchoMimicError, match=r"another size than the latents.*32x32 pixels"):
        run({**networks, "reference": wide})
