"""Repair of detected poses: each fault is made on purpose and must be gone, and nothing else may change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echomimic.errors import PoseError
from echomimic.pose import load_poses
from echomimic.pose.canvas import Canvas
from echomimic.pose.gestures import load_clip
from echomimic.pose.repair import (
    RepairSettings,
    drop_uncertain,
    fade_scores,
    fill_gaps,
    mirror,
    reject_outliers,
    repair,
    repair_swaps,
    smooth,
)
from echomimic.pose.sequence import BODY, FACE, HAND_A, HAND_B, POINTS, PoseSequence
from echomimic.pose.timing import hand_motion

BOTH_HANDS = slice(HAND_A.start, HAND_B.stop)


@pytest.fixture(scope="module")
def gesture() -> PoseSequence:
    return load_clip("explaining")


def changed(clip: PoseSequence, scores: np.ndarray | None = None, points: np.ndarray | None = None) -> PoseSequence:
    return clip.with_points(
        clip.keypoints.copy() if points is None else points, clip.scores.copy() if scores is None else scores
    )


def jittered(clip: PoseSequence, amount: float = 0.003) -> PoseSequence:
    noise = np.random.default_rng(0).normal(scale=amount, size=clip.keypoints.shape)
    return changed(clip, points=clip.keypoints + noise)


def jerk(clip: PoseSequence) -> float:
    return float(np.abs(np.diff(clip.keypoints[:, BOTH_HANDS], n=3, axis=0)).mean())


def exchange(clip: PoseSequence, frames: slice) -> PoseSequence:
    result = changed(clip)
    for mine, other in ((HAND_A, HAND_B), (HAND_B, HAND_A)):
        result.keypoints[frames, mine] = clip.keypoints[frames, other]
        result.scores[frames, mine] = clip.scores[frames, other]
    return result


# Smoothing ----------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    cutoff=st.floats(0.05, 30),
    beta=st.floats(0, 200),
    fps=st.sampled_from([12.0, 23.976, 24.0, 60.0]),
)
def test_smoothing_never_moves_a_still_hand(seed: int, cutoff: float, beta: float, fps: float) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 2, (30, POINTS, 2))
    points[:, HAND_A] = points[0, HAND_A]
    scores = rng.uniform(0, 1, (30, POINTS)) * (rng.random((30, POINTS)) > 0.2)
    clip = PoseSequence(points, scores, fps=fps)
    assert np.array_equal(smooth(clip, cutoff, beta).keypoints[:, HAND_A], points[:, HAND_A])


def test_smoothing_takes_jitter_out(gesture: PoseSequence) -> None:
    noisy = jittered(gesture)
    assert jerk(smooth(noisy)) < 0.5 * jerk(noisy)


def test_smoothing_brings_the_hands_closer_to_the_truth(gesture: PoseSequence) -> None:
    noisy = jittered(gesture, 0.006)
    before = np.abs(noisy.keypoints - gesture.keypoints)[:, BOTH_HANDS].mean()
    after = np.abs(smooth(noisy).keypoints - gesture.keypoints)[:, BOTH_HANDS].mean()
    assert after < 0.8 * before


def test_smoothing_does_not_lag(gesture: PoseSequence) -> None:
    """The smoothed hand matches the true one best at no delay."""
    result = smooth(jittered(gesture)).keypoints[:, BOTH_HANDS]
    truth = gesture.keypoints[:, BOTH_HANDS]
    errors = [np.abs(np.roll(result, shift, axis=0) - truth)[8:-8].mean() for shift in range(-4, 5)]
    assert np.argmin(errors) == 4


def test_smoothing_leaves_absent_points_alone(gesture: PoseSequence) -> None:
    clip = jittered(gesture)
    clip.scores[50:60, HAND_A] = 0
    clip.keypoints[50:60, HAND_A] = -1
    assert (smooth(clip).keypoints[50:60, HAND_A] == -1).all()


def test_smoothing_restarts_after_an_absence(gesture: PoseSequence) -> None:
    """A hand that comes back elsewhere is not drawn through the picture from where it was lost."""
    clip = changed(gesture.take([0] * 40))
    clip.keypoints[20:, HAND_A] += 0.4
    clip.scores[15:20, HAND_A] = 0
    result = smooth(clip)
    assert np.array_equal(result.keypoints, clip.keypoints)


# Gaps ---------------------------------------------------------------------------------------------------------------


def test_a_short_gap_is_filled_along_the_wrist(gesture: PoseSequence) -> None:
    clip = changed(gesture)
    clip.scores[40:46, HAND_B] = 0
    clip.keypoints[40:46, HAND_B] = 0
    filled = fill_gaps(clip)
    error = np.linalg.norm(filled.keypoints[40:46, HAND_B] - gesture.keypoints[40:46, HAND_B], axis=-1)
    assert error.max() < 0.03
    assert np.allclose(filled.keypoints[40:46, HAND_B.start], gesture.keypoints[40:46, 4])


def test_a_gap_without_wrists_is_filled_by_a_straight_line(gesture: PoseSequence) -> None:
    clip = changed(gesture)
    clip.scores[:, BODY] = 0
    clip.scores[41:44, HAND_A] = 0
    filled = fill_gaps(clip).keypoints
    assert np.allclose(filled[42, HAND_A], (clip.keypoints[40, HAND_A] + clip.keypoints[44, HAND_A]) / 2)


def test_a_filled_gap_has_scores_between_its_ends(gesture: PoseSequence) -> None:
    clip = changed(gesture)
    clip.scores[40, HAND_A], clip.scores[41, HAND_A], clip.scores[42, HAND_A] = 0.4, 0, 0.8
    assert np.allclose(fill_gaps(clip).scores[41, HAND_A], 0.6)


def test_a_long_gap_stays(gesture: PoseSequence) -> None:
    clip = changed(gesture)
    clip.scores[40:60, HAND_B] = 0
    assert np.array_equal(fill_gaps(clip, 0.5).scores, clip.scores)


@pytest.mark.parametrize("frames", [slice(0, 5), slice(-5, None)])
def test_absences_at_the_ends_stay(gesture: PoseSequence, frames: slice) -> None:
    clip = changed(gesture)
    clip.scores[frames, HAND_B] = 0
    assert np.array_equal(fill_gaps(clip).scores, clip.scores)


def test_filling_changes_no_present_point(gesture: PoseSequence) -> None:
    clip = changed(gesture)
    clip.scores[40:46, HAND_B] = 0
    filled = fill_gaps(clip)
    present = clip.scores > 0
    assert np.array_equal(filled.keypoints[present], clip.keypoints[present])
    assert np.array_equal(filled.scores[present], clip.scores[present])


# Outliers and swaps -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [[50], [50, 51], [3, 90, 150]])
def test_a_hand_that_jumps_away_is_dropped_there_and_only_there(gesture: PoseSequence, frames: list[int]) -> None:
    clip = changed(gesture)
    clip.keypoints[frames, HAND_A] += [0.3, -0.2]
    dropped = reject_outliers(clip).scores[:, BOTH_HANDS] == 0
    assert dropped[frames, :21].all()
    assert dropped.sum() == 21 * len(frames)


def test_outliers_are_the_same_in_one_piece_and_in_many(gesture: PoseSequence, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = jittered(gesture, 0.02)
    whole = reject_outliers(clip, min_deviation=0.0)
    assert 0 < (whole.scores != clip.scores).sum() < clip.scores.size / 10
    monkeypatch.setattr("echomimic.pose.repair._OUTLIER_BLOCK", 17)
    assert np.array_equal(reject_outliers(clip, min_deviation=0.0).scores, whole.scores)


@pytest.mark.parametrize("name", ["waving", "emphasis_beats", "explaining", "presenting"])
def test_fast_gestures_are_not_outliers(name: str) -> None:
    clip = load_clip(name)
    assert np.array_equal(reject_outliers(clip).scores, clip.scores)


@pytest.mark.parametrize("name", ["01", "fight", "good", "salute"])
def test_the_published_clips_hands_are_not_outliers(shared: Path, name: str) -> None:
    clip = load_poses(shared / "assets" / "pose" / name)
    assert np.array_equal(reject_outliers(clip).scores[:, BOTH_HANDS], clip.scores[:, BOTH_HANDS])


@pytest.mark.parametrize("frames", [slice(30, 31), slice(30, 60), slice(0, 20), slice(170, None), slice(0, None)])
@pytest.mark.parametrize("name", ["explaining", "waving", "idle"])
def test_exchanged_hands_are_given_back(name: str, frames: slice) -> None:
    clip = load_clip(name)
    repaired = repair_swaps(exchange(clip, frames))
    assert np.array_equal(repaired.keypoints, clip.keypoints)
    assert np.array_equal(repaired.scores, clip.scores)


def test_a_few_exchanged_frames_are_noticed_without_wrists(gesture: PoseSequence) -> None:
    clip = changed(gesture)
    clip.scores[:, BODY] = 0
    assert np.array_equal(repair_swaps(exchange(clip, slice(60, 70))).keypoints, clip.keypoints)


def test_a_lone_hand_under_the_wrong_name_goes_to_its_wrist(gesture: PoseSequence) -> None:
    clip = changed(gesture)
    clip.scores[:, HAND_A] = 0
    assert (repair_swaps(exchange(clip, slice(0, None))).scores[:, HAND_B] > 0).all()


@pytest.mark.parametrize("name", ["01", "fight", "good", "salute"])
def test_the_published_clips_hands_stay_where_they_are(shared: Path, name: str) -> None:
    clip = load_poses(shared / "assets" / "pose" / name)
    assert np.array_equal(repair_swaps(clip).keypoints, clip.keypoints)


# Scores -------------------------------------------------------------------------------------------------------------


def test_uncertain_points_become_absent() -> None:
    scores = np.full((1, POINTS), 0.5)
    scores[0, :3] = [0.29, 0.3, 0.31]
    dropped = drop_uncertain(PoseSequence(np.zeros((1, POINTS, 2)), scores), 0.3).scores[0]
    assert dropped[:4].tolist() == [0, 0.3, 0.31, 0.5]


def test_hands_fade_instead_of_blinking(gesture: PoseSequence) -> None:
    clip = changed(gesture)
    clip.scores[:, HAND_A] = 1
    clip.scores[40:60, HAND_A] = 0
    faded = fade_scores(clip, 4 / 24).scores[:, HAND_A.start]
    assert np.allclose(faded[35:41], [1, 0.8, 0.6, 0.4, 0.2, 0])
    assert np.allclose(faded[59:65], [0, 0.2, 0.4, 0.6, 0.8, 1])


def test_a_clip_does_not_fade_at_its_ends(gesture: PoseSequence) -> None:
    assert np.array_equal(fade_scores(gesture).scores, gesture.scores)


# Mirror -------------------------------------------------------------------------------------------------------------


def test_mirroring_twice_gives_the_clip(gesture: PoseSequence) -> None:
    twice = mirror(mirror(gesture))
    assert np.allclose(twice.keypoints, gesture.keypoints, atol=1e-12)
    assert np.array_equal(twice.scores, gesture.scores)


def test_a_mirrored_hand_is_the_other_hand_on_the_other_side() -> None:
    wave = load_clip("waving")
    mirrored = mirror(wave)
    assert np.allclose(mirrored.keypoints[:, HAND_A, 0], 1 - wave.keypoints[:, HAND_B, 0])
    assert hand_motion(mirrored) == pytest.approx(hand_motion(wave))


def test_mirroring_keeps_a_symmetric_body_and_face_in_order(gesture: PoseSequence) -> None:
    """A person seen from the front is nearly symmetric: a point given the wrong name would lie elsewhere."""
    middle = np.median(gesture.keypoints, axis=0)
    mirrored = np.median(mirror(gesture).keypoints, axis=0)
    assert np.abs(mirrored - middle)[FACE].max() < 0.012
    assert np.abs(mirrored - middle)[[0, 1, 2, 5, 8, 11, 14, 15, 16, 17]].max() < 0.012


def test_mirroring_a_narrow_canvas_mirrors_the_canvas(gesture: PoseSequence) -> None:
    narrow = gesture.with_points(gesture.keypoints, canvas=Canvas(768, (0, 768), (100, 500)))
    assert mirror(narrow).canvas == Canvas(768, (0, 768), (268, 668))


def test_mirroring_leaves_absent_points_alone(gesture: PoseSequence) -> None:
    clip = changed(gesture)
    clip.scores[:, 9], clip.keypoints[:, 9] = 0, 0
    clip.scores[:, 12], clip.keypoints[:, 12] = 0, 0
    assert (mirror(clip).keypoints[:, [9, 12]] == 0).all()


# All together -------------------------------------------------------------------------------------------------------


def test_a_spoiled_clip_comes_back_near_the_truth(gesture: PoseSequence) -> None:
    spoiled = jittered(exchange(gesture, slice(100, 104)), 0.002)
    spoiled.keypoints[70, HAND_B] += 0.25
    spoiled.scores[20:26, HAND_A] = 0
    spoiled.keypoints[20:26, HAND_A] = 0
    repaired = repair(spoiled)
    error = np.linalg.norm(repaired.keypoints - gesture.keypoints, axis=-1)[:, BOTH_HANDS]
    assert error.max() < 0.035
    assert error.mean() < 0.004
    assert (repaired.scores[:, BOTH_HANDS] > 0.5).all()


def test_a_clip_in_order_is_hardly_touched() -> None:
    clip = load_clip("idle")
    repaired = repair(clip)
    assert np.abs(repaired.keypoints - clip.keypoints).max() < 0.005
    assert np.array_equal(repaired.scores, clip.scores)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 9999), frames=st.integers(1, 20))
def test_repair_survives_anything(seed: int, frames: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(scale=rng.choice([1e-3, 1, 100]), size=(frames, POINTS, 2))
    scores = rng.uniform(0, 2, (frames, POINTS)) * (rng.random((frames, POINTS)) > rng.random())
    repaired = repair(PoseSequence(points, scores))
    assert len(repaired) == frames
    assert np.isfinite(repaired.keypoints).all()
    assert (repaired.scores >= 0).all()


@pytest.mark.parametrize(
    "settings", [{"score_floor": 1.5}, {"smoothing": -1}, {"gap_seconds": -0.1}, {"fade_seconds": float("nan")}]
)
def test_impossible_settings_are_refused(gesture: PoseSequence, settings: dict[str, float]) -> None:
    with pytest.raises(PoseError, match="must lie between"):
        repair(gesture, RepairSettings(**settings))
