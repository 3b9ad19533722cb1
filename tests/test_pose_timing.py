"""Frame rates, lengths and seams of pose clips."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echomimic.errors import PoseError
from echomimic.pose import load_poses
from echomimic.pose.canvas import Canvas
from echomimic.pose.sequence import POINTS, PoseSequence
from echomimic.pose.timing import (
    back_and_forth,
    concatenate,
    fit_length,
    hand_motion,
    hold,
    hold_seconds,
    loop,
    make_loop,
    resample,
    resampled_length,
    reverse,
    trim,
    trim_seconds,
)

RATES = st.sampled_from([1.0, 12.0, 15.0, 23.976, 24000 / 1001, 24.0, 25.0, 29.97, 30.0, 50.0, 59.94, 60.0])


def clip(frames: int, fps: float = 24.0, seed: int = 0, drift: float = 0.0) -> PoseSequence:
    """Hands on smooth closed paths; `drift` opens the path, so that the end lies that far from the beginning."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None, None] / max(frames, 2)
    phase, size = rng.uniform(0, 6, (1, POINTS, 1)), rng.uniform(0.05, 0.1, (1, POINTS, 2))
    place = rng.uniform(0.3, 0.7, (1, POINTS, 2))
    points = place + size * np.sin(2 * np.pi * (time + phase)) + drift * time
    return PoseSequence(points, np.full((frames, POINTS), 0.9), fps=fps, info={"name": "test"})


def top_speed(sequence: PoseSequence) -> float:
    return float(np.percentile(hand_motion(sequence), 95))


# Resampling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "fps", "new", "expected"),
    [
        (240, 24, 23.976, 240),
        (1000, 24, 23.976, 999),
        (1000, 23.976, 24, 1001),
        (100, 25, 24, 96),
        (30, 30, 24, 24),
        (1, 30, 24, 1),
        (3, 24, 12, 2),
        (97, 24, 60, 243),
        (24 * 3600, 24, 24000 / 1001, 86314),
    ],
)
def test_resampling_keeps_the_duration_to_the_frame(frames: int, fps: float, new: float, expected: int) -> None:
    assert resampled_length(frames, fps, new) == expected


@settings(max_examples=60, deadline=None)
@given(frames=st.integers(1, 80), fps=RATES, new=RATES)
def test_resampled_clip_has_the_announced_frames(frames: int, fps: float, new: float) -> None:
    result = resample(clip(frames, fps), new)
    assert (len(result), result.fps) == (resampled_length(frames, fps, new), new)


def test_resampling_interpolates_linearly_in_time() -> None:
    source = clip(2, fps=10)
    result = resample(source, 20)
    assert np.allclose(result.keypoints[1], source.keypoints.mean(axis=0))


def test_resampling_interpolates_scores_of_present_points() -> None:
    source = clip(2, fps=10)
    source.scores[0, 100], source.scores[1, 100] = 0.4, 0.8
    assert resample(source, 20).scores[1, 100] == pytest.approx(0.6)


@pytest.mark.parametrize("absent", [0, 1])
def test_absent_points_are_not_interpolated(absent: int) -> None:
    source = clip(2, fps=4)
    source.keypoints[absent, 100] = -1.0
    source.scores[absent, 100] = 0.0
    result = resample(source, 16)  # positions 0, 1/4, 2/4, 3/4 and the held end
    nearest = [0, 0, 1, 1, 1, 1, 1, 1]
    assert np.array_equal(result.keypoints[:, 100], source.keypoints[nearest, 100])
    assert np.array_equal(result.scores[:, 100], source.scores[nearest, 100])


def test_the_same_rate_changes_nothing() -> None:
    source = clip(7, fps=23.976)
    assert resample(source, 23.976) is source


@pytest.mark.parametrize("fps", [0, -24, float("nan"), float("inf"), 5000])
def test_impossible_rates_are_refused(fps: float) -> None:
    with pytest.raises(PoseError, match="frames a second"):
        resample(clip(3), fps)


# Fitting to a length ------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(
    count=st.integers(1, 40),
    frames=st.integers(1, 300),
    fps=RATES,
    new=RATES,
    mode=st.sampled_from(["back_and_forth", "loop", "hold"]),
    blend=st.sampled_from([0.0, 0.3, 2.0]),
)
def test_fitted_clip_has_exactly_the_requested_frames(
    count: int, frames: int, fps: float, new: float, mode: str, blend: float
) -> None:
    result = fit_length(clip(count, fps, drift=0.2), frames, new, mode, blend)  # type: ignore[arg-type]
    assert (len(result), result.fps) == (frames, new)
    assert np.isfinite(result.keypoints).all()


def test_back_and_forth_turns_without_repeating_a_frame() -> None:
    source = clip(4)
    result = fit_length(source, 10, mode="back_and_forth")
    assert np.array_equal(result.keypoints, source.keypoints[[0, 1, 2, 3, 2, 1, 0, 1, 2, 3]])


def test_loop_starts_over() -> None:
    source = clip(4)
    assert np.array_equal(fit_length(source, 10, mode="loop").keypoints, source.keypoints[np.arange(10) % 4])


def test_hold_freezes_the_last_frame() -> None:
    source = clip(4)
    assert np.array_equal(fit_length(source, 6, mode="hold").keypoints, source.keypoints[[0, 1, 2, 3, 3, 3]])


@pytest.mark.parametrize("mode", ["back_and_forth", "loop", "hold"])
def test_a_longer_clip_is_cut_and_left_alone(mode: str) -> None:
    source = clip(30, drift=0.3)
    result = fit_length(source, 20, mode=mode, blend_seconds=1)  # type: ignore[arg-type]
    assert np.array_equal(result.keypoints, source.keypoints[:20])


@pytest.mark.parametrize("mode", ["back_and_forth", "loop", "hold"])
def test_motion_keeps_its_speed_at_another_rate(mode: str) -> None:
    source = clip(24, fps=24)
    result = fit_length(source, 96, 48, mode)  # type: ignore[arg-type]
    assert np.allclose(result.keypoints[:48:2], source.keypoints)


def test_soft_turns_slow_down_before_turning() -> None:
    source = clip(48)
    source.keypoints[:] = np.linspace(0.2, 0.8, 48)[:, None, None]
    hard = hand_motion(fit_length(source, 96))
    soft = hand_motion(fit_length(source, 96, blend_seconds=0.5))
    assert hard[46:48].min() > 0.9 * hard.max()
    assert soft[46:48].max() < 0.2 * hard.max()
    assert soft.max() <= hard.max() + 1e-12


def test_soft_turns_leave_the_first_frames_alone() -> None:
    source = clip(48)
    result = fit_length(source, 96, blend_seconds=0.5)
    assert np.array_equal(result.keypoints[:40], source.keypoints[:40])


def test_zero_frames_are_refused() -> None:
    with pytest.raises(PoseError, match="0 frames"):
        fit_length(clip(3), 0)


def test_unknown_mode_is_refused_with_the_choices() -> None:
    with pytest.raises(PoseError, match="back_and_forth, loop, hold"):
        fit_length(clip(3), 5, mode="bounce")  # type: ignore[arg-type]


# Cutting, turning, joining ------------------------------------------------------------------------------------------


def test_trim_takes_the_half_open_range() -> None:
    source = clip(10)
    assert np.array_equal(trim(source, 2, 5).keypoints, source.keypoints[2:5])


def test_a_start_just_before_the_end_leaves_the_last_frame() -> None:
    source = clip(10)
    assert np.array_equal(trim_seconds(source, source.seconds - 0.001).keypoints, source.keypoints[9:])
    with pytest.raises(PoseError, match=r"of 0\.42 s from 0\.416667 s on"):
        trim_seconds(source, source.seconds)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_seconds_are_numbers(number: float) -> None:
    for act in (lambda: trim_seconds(clip(10), number), lambda: trim_seconds(clip(10), 0, number)):
        with pytest.raises(PoseError, match="cannot cut"):
            act()
    with pytest.raises(PoseError, match="held for a number of seconds"):
        hold_seconds(clip(10), number)


@pytest.mark.parametrize(("start", "end"), [(5, 5), (-1, 3), (0, 11), (10, None)])
def test_trim_refuses_what_is_not_in_the_clip(start: int, end: int | None) -> None:
    with pytest.raises(PoseError, match="10 frames"):
        trim(clip(10), start, end)


def test_reversing_twice_gives_the_clip() -> None:
    source = clip(5)
    assert np.array_equal(reverse(reverse(source)).keypoints, source.keypoints)


def test_back_and_forth_is_a_cycle() -> None:
    source = clip(4)
    assert np.array_equal(back_and_forth(source).keypoints, source.keypoints[[0, 1, 2, 3, 2, 1]])


def test_hold_stretches_the_ends() -> None:
    source = clip(3)
    assert np.array_equal(hold(source, 1, 2).keypoints, source.keypoints[[0, 0, 1, 2, 2, 2]])


def test_loop_repeats_the_whole_clip() -> None:
    assert len(loop(clip(11), 3)) == 33


def test_concatenation_takes_the_first_clips_rate() -> None:
    result = concatenate([clip(24, 24), clip(30, 30)])
    assert (len(result), result.fps) == (48, 24)


def test_concatenation_without_blend_is_a_hard_cut() -> None:
    a, b = clip(5, seed=1), clip(6, seed=2)
    joined = concatenate([a, b], blend_seconds=0)
    assert np.array_equal(joined.keypoints, np.concatenate([a.keypoints, b.keypoints]))


def test_concatenation_refuses_two_canvases() -> None:
    other = PoseSequence(clip(3).keypoints, clip(3).scores, canvas=Canvas(512, (0, 512), (0, 512)))
    with pytest.raises(PoseError, match="align or retarget"):
        concatenate([clip(3), other])


def test_concatenation_of_nothing_is_refused() -> None:
    with pytest.raises(PoseError, match="no pose clips"):
        concatenate([])


# Seams --------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(frames=st.integers(24, 120), drift=st.floats(-0.3, 0.3), seed=st.integers(0, 99), blend=st.floats(0.05, 2))
def test_seam_of_a_loop_is_no_faster_than_the_clip(frames: int, drift: float, seed: int, blend: float) -> None:
    source = clip(frames, seed=seed, drift=drift)
    looped = fit_length(source, 2 * frames, mode="loop", blend_seconds=blend)
    assert hand_motion(looped)[frames - 1] <= top_speed(source)


def test_unblended_seam_would_be_faster() -> None:
    source = clip(60, drift=0.3)
    assert hand_motion(fit_length(source, 120, mode="loop"))[59] > 3 * top_speed(source)


def test_seam_between_two_clips_is_no_faster_than_they_are() -> None:
    a, b = clip(50, seed=1), clip(70, seed=2)
    joined = concatenate([a, b], blend_seconds=0.1)
    assert hand_motion(joined)[49] <= max(top_speed(a), top_speed(b))


def test_made_loop_closes_on_itself() -> None:
    source = clip(60, drift=0.3)
    closed = make_loop(source)
    assert len(closed) == 60
    assert hand_motion(concatenate([closed, closed], blend_seconds=0))[59] <= top_speed(source)


def test_blending_leaves_absent_points_where_they_are() -> None:
    source = clip(40, drift=0.3)
    source.scores[:, 110] = 0
    looped = fit_length(source, 80, mode="loop", blend_seconds=0.5)
    assert np.array_equal(looped.keypoints[:, 110], source.keypoints[np.arange(80) % 40, 110])


def test_blending_leaves_a_still_clip_still() -> None:
    source = clip(1).take([0] * 30)
    looped = fit_length(source, 90, mode="loop", blend_seconds=0.5)
    assert np.array_equal(looped.keypoints, source.keypoints[[0] * 90])


def test_blend_longer_than_a_minute_is_refused() -> None:
    with pytest.raises(PoseError, match="blend"):
        fit_length(clip(3), 9, mode="loop", blend_seconds=1e6)


@pytest.mark.parametrize("blend", [0.05, 0.5])
@pytest.mark.parametrize("name", ["01", "fight", "good", "salute"])
def test_seams_of_the_published_clips_are_no_faster_than_they_are(shared, name: str, blend: float) -> None:
    source = load_poses(shared / "assets" / "pose" / name)
    looped = fit_length(source, 2 * len(source), mode="loop", blend_seconds=blend)
    assert hand_motion(looped)[len(source) - 1] <= top_speed(source)
