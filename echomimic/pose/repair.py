"""Repair: corrects a detector's mistakes: jitter, missing and wild points, swapped hands, blinking; and mirrors clips.

Each function takes a clip and gives a clip of the same length; `repair` applies them in the order in which they help
each other. A point with score 0 is absent; what is found wrong is first made absent, then filled where that is safe.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..cancellation import check_cancelled
from ..errors import PoseError
from .anatomy import LEFT_WRIST, RIGHT_WRIST
from .canvas import Canvas
from .sequence import BODY, FACE, FEET, HAND_A, HAND_B, POINTS, PoseSequence

# The body's wrist that belongs to each hand, `HAND_A` first.
WRISTS = (LEFT_WRIST, RIGHT_WRIST)
_PARTS = (BODY, FEET, FACE, HAND_A, HAND_B)
# Outliers: frames looked at before and after each one, and frames worked on at a time.
_REACH = 3
_OUTLIER_BLOCK = 2048


@dataclass(frozen=True)
class RepairSettings:
    """What `repair` does; 0 or False leaves a step out.

    Attributes:
        score_floor: points the detector is less sure of are absent, 0..1.
        swaps: undo exchanged hands.
        outliers: remove detections that jump away and come back.
        gap_seconds: the longest gap that is filled.
        smoothing: how much jitter is removed, 0..1; 0.5 suits a usual detector.
        fade_seconds: how long a hand takes to appear and to vanish.
    """

    score_floor: float = 0.3
    swaps: bool = True
    outliers: bool = True
    gap_seconds: float = 0.5
    smoothing: float = 0.5
    fade_seconds: float = 0.15


def repair(sequence: PoseSequence, settings: RepairSettings | None = None) -> PoseSequence:
    """The whole repair: floor, swaps, outliers, gaps, smoothing, fades.

    Raises:
        PoseError: a setting out of its range.
    """
    settings = settings or RepairSettings()
    _check("smoothing", settings.smoothing, 0, 1)
    if settings.score_floor:
        sequence = drop_uncertain(sequence, settings.score_floor)
    if settings.swaps:
        sequence = repair_swaps(sequence)
    if settings.outliers:
        sequence = reject_outliers(sequence)
    if settings.gap_seconds:
        sequence = fill_gaps(sequence, settings.gap_seconds)
    if settings.smoothing:
        # 0.5 gives the filter's usual cutoff of 1.5 Hz for a resting hand; each 0.1 more divides it by 1.6.
        sequence = smooth(sequence, min_cutoff=1.5 * 10 ** (1 - 2 * settings.smoothing))
    if settings.fade_seconds:
        sequence = fade_scores(sequence, settings.fade_seconds)
    return sequence


def drop_uncertain(sequence: PoseSequence, floor: float = 0.3) -> PoseSequence:
    """Points with a score below `floor` (0..1) become absent. Wan2.2-Animate drops below 0.4, MimicMotion below 0.3."""
    _check("score floor", floor, 0, 1)
    return sequence.with_points(sequence.keypoints, np.where(sequence.scores < floor, 0.0, sequence.scores))


def smooth(sequence: PoseSequence, min_cutoff: float = 1.5, beta: float = 20.0) -> PoseSequence:
    """Take the jitter out of slow movements and leave fast ones alone: the One-Euro filter, without its lag.

    The filter (Casiez, Roussel and Vogel, CHI 2012) is run forwards and backwards and the two are averaged. A hand
    is filtered as one, by the mean speed of its points, so that it keeps its shape. A point that does not move is not
    moved, to the last bit; absent points stay as they are, and the filter restarts where a point appears.

    Args:
        sequence: any clip.
        min_cutoff: cutoff frequency for a resting hand in Hz, above 0; lower is smoother.
        beta: by how many Hz the cutoff rises for each canvas side a second of speed, 0 or more; higher follows closer.

    Raises:
        PoseError: a cutoff or beta out of range.
    """
    _check("cutoff frequency", min_cutoff, 1e-3, 1e3)
    _check("beta", beta, 0, 1e6)
    forwards = _one_euro(sequence.keypoints, sequence.scores > 0, sequence.fps, min_cutoff, beta)
    backwards = _one_euro(sequence.keypoints[::-1], sequence.scores[::-1] > 0, sequence.fps, min_cutoff, beta)[::-1]
    # Written so that two equal values give exactly that value.
    return sequence.with_points(forwards + (backwards - forwards) / 2)


def _one_euro(points: np.ndarray, present: np.ndarray, fps: float, min_cutoff: float, beta: float) -> np.ndarray:
    """One pass of the filter over `[F, 134, 2]`, each part with a cutoff of its own."""

    def weight(cutoff: np.ndarray | float) -> np.ndarray | float:
        return 1 / (1 + fps / (2 * np.pi * cutoff))

    result = points.copy()
    slope = np.zeros(points.shape[1:])
    gain = np.ones((POINTS, 1))
    for frame in range(1, len(points)):
        check_cancelled()
        known = present[frame] & present[frame - 1]
        change = (points[frame] - points[frame - 1]) * fps
        slope = np.where(known[:, None], slope + weight(1.0) * (change - slope), 0)
        speed = np.linalg.norm(slope, axis=1)
        for part in _PARTS:
            moving = speed[part][known[part]]
            gain[part] = weight(min_cutoff + beta * (moving.mean() if len(moving) else 0.0))
        filtered = result[frame - 1] + gain * (points[frame] - result[frame - 1])
        result[frame] = np.where(known[:, None], filtered, points[frame])
    return result


def fill_gaps(sequence: PoseSequence, longest_seconds: float = 0.5) -> PoseSequence:
    """Draw a straight line across short absences, in place and score.

    A hand is moved along with its wrist of the body where that was seen all the while: hands are lost in fast movements
    that the arm is still seen to make. Absences at the clip's ends and longer ones stay.

    Args:
        sequence: any clip.
        longest_seconds: the longest absence that is filled, 0 or more.
    """
    _check("gap", longest_seconds, 0, 3600)
    points, scores = sequence.keypoints.copy(), sequence.scores.copy()
    longest = round(longest_seconds * sequence.fps)
    present = sequence.scores > 0
    for point in np.flatnonzero(present.any(axis=0) & ~present.all(axis=0)).tolist():
        seen = np.flatnonzero(present[:, point])
        holes = np.flatnonzero((np.diff(seen) > 1) & (np.diff(seen) <= longest + 1))
        for before, after in zip(seen[holes], seen[holes + 1]):
            check_cancelled()
            frames = np.arange(before, after + 1)
            share = ((frames - before) / (after - before))[:, None]
            anchor = _wrist_track(sequence, point, frames)
            ends = sequence.keypoints[[before, after], point] - anchor[[0, -1]]
            inner = slice(1, -1)
            points[frames[inner], point] = (anchor + ends[0] + share * (ends[1] - ends[0]))[inner]
            low, high = sequence.scores[[before, after], point]
            scores[frames[inner], point] = (low + share[:, 0] * (high - low))[inner]
    return sequence.with_points(points, scores)


def _wrist_track(sequence: PoseSequence, point: int, frames: np.ndarray) -> np.ndarray:
    """The body's wrist nearest to a hand point in these frames `[n, 2]`; zeros where none is seen in all of them."""
    still = np.zeros((len(frames), 2))
    if point < HAND_A.start:
        return still
    ends = [frames[0], frames[-1]]
    seen = [wrist for wrist in WRISTS if (sequence.scores[frames, wrist] > 0).all()]
    if not seen:
        return still
    distances = [
        np.linalg.norm(sequence.keypoints[ends, point] - sequence.keypoints[ends, wrist], axis=-1).max()
        for wrist in seen
    ]
    return sequence.keypoints[frames, seen[int(np.argmin(distances))]]


def reject_outliers(sequence: PoseSequence, tolerance: float = 4.0, min_deviation: float = 0.03) -> PoseSequence:
    """Points that jump away from where they are just before and after become absent (a Hampel filter).

    Args:
        sequence: any clip.
        tolerance: how many robust standard deviations a point may lie from the median of the seven frames around it.
        min_deviation: a deviation below this, in sides of the canvas, is never an outlier.
    """
    _check("tolerance", tolerance, 0, 1e6)
    _check("smallest deviation", min_deviation, 0, 1e6)
    if len(sequence) < 5:
        return sequence  # too few neighbours to decide which of them is wrong
    scores = sequence.scores.copy()
    # A frame's windows take four times what the frame does, and their medians the same again.
    for begin in range(0, len(sequence), _OUTLIER_BLOCK):
        check_cancelled()
        part = slice(begin, begin + _OUTLIER_BLOCK)
        scores[part][_outliers(sequence, part, tolerance, min_deviation)] = 0
    return sequence.with_points(sequence.keypoints, scores)


def _outliers(sequence: PoseSequence, part: slice, tolerance: float, min_deviation: float) -> np.ndarray:
    """Which points of these frames jump, `[n, 134]` bool; see `reject_outliers`."""
    frames = np.arange(len(sequence))[part]
    around = frames[:, None] + np.arange(-_REACH, _REACH + 1)  # [n, 7]
    inside = (around >= 0) & (around < len(sequence))
    around = around.clip(0, len(sequence) - 1)
    seen = inside[..., None] & (sequence.scores[around] > 0)
    windows = np.where(seen[..., None], sequence.keypoints[around], np.nan).transpose(0, 2, 3, 1)  # [n, 134, 2, 7]
    count = seen.sum(axis=1)  # [n, 134]
    middle = _median(windows, count[..., None])
    deviation = np.linalg.norm(windows - middle[..., None], axis=2)
    spread = 1.4826 * _median(deviation, count)
    jump = np.linalg.norm(sequence.keypoints[frames] - middle, axis=-1)
    present = sequence.scores[frames] > 0
    return present & (count >= 4) & (jump > np.fmax(tolerance * spread, min_deviation))


def _median(values: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The median over the last axis of the `count` numbers in it that are not NaN (numpy's own is 50 times slower)."""
    ordered = np.sort(values, axis=-1)  # NaN goes to the end
    low, high = (np.maximum(count - 1, 0) // 2)[..., None], (count // 2)[..., None]
    last = values.shape[-1] - 1
    shape = (*values.shape[:-1], 1)
    low, high = np.broadcast_to(low, shape), np.broadcast_to(np.minimum(high, last), shape)
    return (np.take_along_axis(ordered, low, -1) + np.take_along_axis(ordered, high, -1))[..., 0] / 2


def repair_swaps(sequence: PoseSequence) -> PoseSequence:
    """Give the hands back to their own side where a detector exchanged them.

    The cheapest of all assignments over the clip, found by dynamic programming: in each frame the hands are as labelled
    or exchanged; a step costs the way the hands would travel, a frame what they lie from the wrists of the body. So a
    few exchanged frames are noticed with or without wrists, and a wholly exchanged clip by its wrists.
    """
    hands = sequence.keypoints[:, HAND_A.start : HAND_B.stop].reshape(-1, 2, 21, 2)
    present = np.greater(sequence.scores[:, HAND_A.start : HAND_B.stop].reshape(-1, 2, 21), 0)
    frames = np.arange(len(sequence))

    # Costs relative to hands as labelled: of an exchanged frame, and of changing between the two (below 0 it saves).
    wrists, wrists_seen = sequence.keypoints[:, list(WRISTS)], np.greater(sequence.scores[:, list(WRISTS)], 0)
    apart = np.linalg.norm(hands[:, :, :1] - wrists[:, None], axis=-1)  # [F, hand, wrist]
    known = present[:, :, :1] & wrists_seen.all(axis=1)[:, None, None]
    apart = np.where(known, apart, 0)
    unary = apart[:, 0, 1] + apart[:, 1, 0] - apart[:, 0, 0] - apart[:, 1, 1]

    def travel(exchanged: bool) -> np.ndarray:
        """Mean distance the hands travel into each frame `[F-1]` if that frame is exchanged against the one before."""
        now = hands[1:, ::-1] if exchanged else hands[1:]
        both = (present[1:, ::-1] if exchanged else present[1:]) & present[:-1]
        distance = np.where(both, np.linalg.norm(now - hands[:-1], axis=-1), 0)
        return distance.sum(axis=(1, 2)) / np.maximum(both.sum(axis=(1, 2)), 1) * 2

    stay, change = travel(False), travel(True)
    # Where a hand is seen in one of two frames only, nothing can be compared: staying and changing cost the same.
    comparable = present.any(axis=2).all(axis=1)
    comparable = comparable[1:] & comparable[:-1]
    stay, change = np.where(comparable, stay, 0), np.where(comparable, change, 1e-3)

    cost = np.array([0.0, 1e-3 + 0.25 * unary[0]])
    origin = np.zeros((len(frames), 2), dtype=np.int64)
    for frame in frames[1:]:
        check_cancelled()
        steps = np.array([[stay[frame - 1], change[frame - 1]], [change[frame - 1], stay[frame - 1]]])
        total = cost + steps  # [state now, state before]
        origin[frame] = total.argmin(axis=1)
        cost = total.min(axis=1) + np.array([0.0, 0.25 * unary[frame]])
    state = np.zeros(len(frames), dtype=np.int64)
    state[-1] = cost.argmin()
    for frame in frames[:0:-1]:
        state[frame - 1] = origin[frame, state[frame]]
    if not state.any():
        return sequence
    points, scores = sequence.keypoints.copy(), sequence.scores.copy()
    exchanged = state == 1
    for mine, other in ((HAND_A, HAND_B), (HAND_B, HAND_A)):
        points[exchanged, mine] = sequence.keypoints[exchanged, other]
        scores[exchanged, mine] = sequence.scores[exchanged, other]
    return sequence.with_points(points, scores)


def fade_scores(sequence: PoseSequence, seconds: float = 0.15) -> PoseSequence:
    """Points appear and vanish over `seconds` instead of blinking: their scores rise after and fall before an absence.

    The clip's own beginning and end are not absences. Scores are what the drawer's brightness follows.
    """
    _check("fade", seconds, 0, 60)
    length = round(seconds * sequence.fps)
    if not length:
        return sequence
    present = sequence.scores > 0
    since = np.full(present.shape, length + 1.0)
    until = since.copy()
    for frame in range(len(sequence)):
        check_cancelled()
        before = since[frame - 1] + 1 if frame else length + 1.0
        since[frame] = np.where(present[frame], before, 0)
    for frame in range(len(sequence) - 1, -1, -1):
        after = until[frame + 1] + 1 if frame + 1 < len(sequence) else length + 1.0
        until[frame] = np.where(present[frame], after, 0)
    ramp = np.minimum(np.minimum(since, until) / (length + 1), 1)
    return sequence.with_points(sequence.keypoints, sequence.scores * ramp)


def mirror(sequence: PoseSequence) -> PoseSequence:
    """The clip as in a mirror: left becomes right, in the picture and in the names of the points."""
    canvas = sequence.canvas
    columns = (canvas.size - canvas.columns[1], canvas.size - canvas.columns[0])
    order = _mirrored_points()
    points = sequence.keypoints[:, order] * [-1, 1] + [1, 0]
    points = np.where((sequence.scores[:, order] > 0)[..., None], points, sequence.keypoints[:, order])
    return replace(
        sequence,
        keypoints=points,
        scores=sequence.scores[:, order],
        canvas=Canvas(canvas.size, canvas.rows, columns),
    )


def _mirrored_points() -> np.ndarray:
    """For each of the 134 points the number of the one it takes the place of in a mirror."""
    order = np.arange(POINTS)
    order[BODY] = [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16]
    order[FEET] = [21, 22, 23, 18, 19, 20]
    face = [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, *range(35, 30, -1)]
    face += [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    face += [*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65]
    order[FACE] = np.array(face) + FACE.start
    order[HAND_A], order[HAND_B] = np.arange(POINTS)[HAND_B], np.arange(POINTS)[HAND_A]
    return order


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise PoseError(f"pose repair: {name} must lie between {low:g} and {high:g}, got {value}")
