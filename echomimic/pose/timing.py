"""Time: bring a clip to a frame rate and a length, cut it, turn it, join it, without jumps at the seams.

A seam (the end of a clip against a beginning) is blended by moving the frames on both sides towards each other: the gap
is spread over a window along a smooth step, so no frame is lost, the clip's timing stays, and the hands keep their own
motion inside the window. The window has at least the requested length, and is longer where the seam would otherwise
move the hands faster than the clip's own 95th percentile of frame-to-frame motion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import ceil, floor, inf, isfinite
from typing import Literal, get_args

import numpy as np

from ..cancellation import check_cancelled
from ..errors import PoseError
from ..media.limits import input_limit
from .sequence import HAND_A, HAND_B, POINTS, PoseSequence, check_rate

FitMode = Literal["back_and_forth", "loop", "hold"]

_HAND_POINTS = slice(HAND_A.start, HAND_B.stop)
# Five hours at 24 frames a second; no video is longer.
MAX_FRAMES = 432_000
# Keypoints and scores of a frame in float64, and the copies that resampling and blending make.
FRAME_BYTES = 4 * POINTS * 3 * 8
# Steepest slope of the smooth step 3t^2 - 2t^3, at its middle.
_STEP_SLOPE = 1.5


def hand_motion(sequence: PoseSequence, part: slice = _HAND_POINTS) -> np.ndarray:
    """How far the hands, or another part of the points, move from each frame to the next.

    Returns:
        `[F-1]` float64: the mean distance of the points present in both frames, in units of the canvas; 0 where no
        point is present in both.
    """
    points = sequence.keypoints[:, part]
    present = sequence.scores[:, part] > 0
    both = present[1:] & present[:-1]
    distance = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    return np.where(both, distance, 0).sum(axis=1) / np.maximum(both.sum(axis=1), 1)


def check_length(frames: float, what: str) -> None:
    """Raises: PoseError before the work when a clip would get more frames than memory has room for."""
    limit = min(MAX_FRAMES, input_limit() // FRAME_BYTES)
    if frames > limit:
        number = f"{frames:,.0f}" if frames < 1e12 else f"{frames:.0e}"
        raise PoseError(f"{what} would make a clip of {number} frames, and at most {limit:,} fit here: choose less")


def resampled_length(frames: int, fps: float, new_fps: float) -> int:
    """The frames that a clip of `frames` frames has at another rate: its duration times the rate, halves upwards.

    Computed in fractions, so that it is exact for any pair of rates; never less than 1.
    """
    return max(1, floor(Fraction(frames) * Fraction(new_fps) / Fraction(fps) + Fraction(1, 2)))


def resample(sequence: PoseSequence, fps: float) -> PoseSequence:
    """The same motion at another frame rate, in the same time.

    Points present in both neighbouring frames are interpolated linearly, positions and scores. A point that is absent
    (score 0) in one of them is copied from the nearer frame: nothing moves towards a meaningless position.

    Args:
        sequence: any clip.
        fps: the new rate, above 0 and at most 1000.

    Returns:
        `resampled_length(len(sequence), sequence.fps, fps)` frames.

    Raises:
        PoseError: an impossible rate.
    """
    check_rate(fps)
    check_length(len(sequence) * fps / sequence.fps, f"{fps:g} frames a second")
    if fps == sequence.fps:
        return sequence
    count = resampled_length(len(sequence), sequence.fps, fps)
    return replace(sample_at(sequence, np.arange(count) * (sequence.fps / fps)), fps=fps)


def sample_at(sequence: PoseSequence, positions: np.ndarray) -> PoseSequence:
    """The clip at fractional frame numbers `[n]`; numbers outside it are held at its ends. The rate stays as it is."""
    positions = np.clip(np.asarray(positions, dtype=np.float64), 0, len(sequence) - 1)
    low = np.floor(positions).astype(np.int64)
    high = np.minimum(low + 1, len(sequence) - 1)
    weight = (positions - low)[:, None]
    nearest = np.where(weight[:, 0] < 0.5, low, high)

    points, scores = sequence.keypoints, sequence.scores
    both = (scores[low] > 0) & (scores[high] > 0)
    mixed_scores = scores[low] + weight * (scores[high] - scores[low])
    mixed_points = points[low] + weight[..., None] * (points[high] - points[low])
    return sequence.with_points(
        np.where(both[..., None], mixed_points, points[nearest]),
        np.where(both, mixed_scores, scores[nearest]),
    )


def trim(sequence: PoseSequence, start: int = 0, end: int | None = None) -> PoseSequence:
    """Frames `start` up to, but not including, `end` (None: to the last).

    Raises:
        PoseError: the part does not lie in the clip or is empty.
    """
    end = len(sequence) if end is None else end
    if not 0 <= start < end <= len(sequence):
        raise PoseError(
            f"cannot cut frames {start}..{end} out of a pose clip of {len(sequence)} frames: "
            f"choose 0 <= start < end <= {len(sequence)}"
        )
    return sequence.take(np.arange(start, end))


def trim_seconds(sequence: PoseSequence, start: float = 0.0, duration: float | None = None) -> PoseSequence:
    """The frames from `start` seconds on, for `duration` seconds (None, or more than there are: to the end).

    Raises:
        PoseError: the part does not begin in the clip.
    """
    return trim(sequence, *frames_of_seconds(len(sequence), sequence.fps, start, duration))


def frames_of_seconds(count: int, fps: float, start: float, duration: float | None) -> tuple[int, int]:
    """First frame, and the one after the last, that `trim_seconds` takes out of a clip of `count` frames."""
    if not 0 <= start < count / fps or (duration is not None and not 0 < duration < inf):
        raise PoseError(
            f"cannot cut a pose clip of {count / fps:.2f} s from {start:g} s on"
            + ("" if duration is None else f", {duration:g} s long")
        )
    begin = min(round(start * fps), count - 1)  # never past the last frame by rounding
    frames = count if duration is None else max(1, round(duration * fps))
    return begin, min(begin + frames, count)


def reverse(sequence: PoseSequence) -> PoseSequence:
    """The clip backwards."""
    return sequence.take(np.arange(len(sequence))[::-1])


def back_and_forth(sequence: PoseSequence) -> PoseSequence:
    """The clip, then backwards to its second frame: a cycle that repeats without a jump."""
    count = len(sequence)
    return sequence.take(np.concatenate([np.arange(count), np.arange(count - 2, 0, -1)]))


def loop(sequence: PoseSequence, times: int, blend_seconds: float = 0.0) -> PoseSequence:
    """The clip `times` times in a row; `blend_seconds` above 0 blends the seams (see `concatenate`)."""
    if times < 1:
        raise PoseError(f"a pose clip cannot be looped {times} times: choose 1 or more")
    check_length(len(sequence) * times, f"looping {len(sequence)} frames so often")
    return fit_length(sequence, len(sequence) * times, mode="loop", blend_seconds=blend_seconds)


def hold(sequence: PoseSequence, before: int = 0, after: int = 0) -> PoseSequence:
    """The clip with its first frame held `before` frames longer and its last `after` frames longer."""
    if before < 0 or after < 0:
        raise PoseError(f"a pose cannot be held for a negative number of frames, got {before} before and {after} after")
    check_length(len(sequence) + before + after, "holding the first and last pose for so long")
    return sequence.take(np.clip(np.arange(-before, len(sequence) + after), 0, len(sequence) - 1))


def hold_seconds(sequence: PoseSequence, before: float = 0.0, after: float = 0.0) -> PoseSequence:
    """As `hold`, in seconds."""
    if not (isfinite(before) and isfinite(after)):
        raise PoseError(f"a pose is held for a number of seconds, not {before:g} before and {after:g} after")
    return hold(sequence, round(before * sequence.fps), round(after * sequence.fps))


def make_loop(sequence: PoseSequence, blend_seconds: float = 0.5) -> PoseSequence:
    """A clip of the same length whose last frame leads to its first: both ends are bent towards each other."""
    count = len(sequence)
    twice = fit_length(sequence, 2 * count, mode="loop", blend_seconds=blend_seconds)
    half = count // 2
    return twice.take(np.concatenate([np.arange(count, count + half), np.arange(half, count)]))


def concatenate(sequences: Sequence[PoseSequence], blend_seconds: float = 0.5) -> PoseSequence:
    """One clip after the other, at the rate, canvas and info of the first.

    Args:
        sequences: one or more clips; those at another rate are resampled.
        blend_seconds: how long the blend at a seam lasts at least; 0 is a hard cut. It is lengthened, up to half of the
            shorter clip on each side, until the seam is no faster than the 95th percentile of the clips' own motion.

    Returns:
        As many frames as the (resampled) clips together.

    Raises:
        PoseError: no clips, or clips on different canvases.
    """
    if not sequences:
        raise PoseError("there are no pose clips to join")
    _check_blend(blend_seconds)
    first = sequences[0]
    for number, other in enumerate(sequences[1:], start=2):
        if other.canvas != first.canvas:
            raise PoseError(
                f"pose clip {number} is on {other.canvas} and the first on {first.canvas}: "
                "align or retarget them to one portrait before joining them"
            )
    clips = [resample(clip, first.fps) for clip in sequences]
    joined = first.with_points(
        np.concatenate([clip.keypoints for clip in clips]), np.concatenate([clip.scores for clip in clips])
    )
    if not blend_seconds:
        return joined
    lengths = [len(clip) for clip in clips]
    limits = [typical_top_speed(clip) for clip in clips]
    seams = [
        (int(seam), min(lengths[i], lengths[i + 1]) // 2, max(limits[i], limits[i + 1]))
        for i, seam in enumerate(np.cumsum(lengths)[:-1])
    ]
    return blend_seams(joined, seams, blend_seconds)


def fit_length(
    sequence: PoseSequence,
    frames: int,
    fps: float | None = None,
    mode: FitMode = "back_and_forth",
    blend_seconds: float = 0.0,
) -> PoseSequence:
    """The clip with exactly `frames` frames: cut if it is longer, continued if it is shorter.

    Args:
        sequence: any clip, one frame suffices.
        frames: how many frames are wanted, 1 or more.
        fps: the rate they are played at; the motion keeps its speed. None: the clip's own rate.
        mode: how a clip that is too short continues: `"back_and_forth"` plays it backwards, then forwards again (no
            jump, whatever the clip); `"loop"` starts over; `"hold"` freezes the last frame.
        blend_seconds: above 0, how softly the clip continues. `"loop"`: the seam is blended over at least this long
            (see `concatenate`). `"back_and_forth"`: the motion slows down and speeds up again around the turn for this
            long.

    Returns:
        A clip with `frames` frames at `fps`. Where the clip is long enough, it is the start of `resample(clip, fps)`.

    Raises:
        PoseError: an impossible number of frames, rate, mode or blend.
    """
    fps = sequence.fps if fps is None else fps
    check_rate(fps)
    _check_blend(blend_seconds)
    if frames < 1:
        raise PoseError(f"a pose sequence cannot have {frames} frames: choose 1 or more")
    if mode not in get_args(FitMode):
        raise PoseError(f"unknown way to fill the time: {mode!r}; choose one of {', '.join(get_args(FitMode))}")
    check_length(frames, f"this length at {fps:g} frames a second")
    if frames <= resampled_length(len(sequence), sequence.fps, fps):
        return trim(resample(sequence, fps), 0, frames)

    # Continued at the clip's own rate and resampled afterwards, so that seams are interpolated like any other step.
    count = len(sequence)
    positions = np.arange(frames) * (sequence.fps / fps)
    if mode == "hold" or count == 1:
        return replace(sample_at(sequence, positions), fps=fps)
    if mode == "back_and_forth":
        return replace(sample_at(sequence, _triangle(positions, count - 1, blend_seconds * sequence.fps)), fps=fps)
    needed = ceil(positions[-1]) + 1
    tiled = sequence.take(np.arange(needed) % count)
    if blend_seconds:
        limit = typical_top_speed(sequence)
        tiled = blend_seams(tiled, [(seam, count // 2, limit) for seam in range(count, needed, count)], blend_seconds)
    return replace(sample_at(tiled, positions), fps=fps)


def _triangle(positions: np.ndarray, top: int, softness: float) -> np.ndarray:
    """`positions` folded into 0..top like a ball between two walls; `softness` frames around each turn are rounded.

    A turn is |u| in the distance u to it; rounding replaces it by the parabola that meets it at both ends with the same
    slope, so the motion slows down before the turn instead of bouncing. The first frames, before any turn, stay.
    """
    folded = top - np.abs(positions % (2 * top) - top)
    radius = min(softness / 2, top / 2)
    if radius <= 0:
        return folded
    turn = np.round(positions / top)
    distance = np.abs(positions - turn * top)
    rounding = np.where((distance < radius) & (turn > 0), (radius - distance) ** 2 / (2 * radius), 0)
    return folded + np.where(turn % 2 == 0, rounding, -rounding)


def typical_top_speed(sequence: PoseSequence) -> float:
    """The 95th percentile of the clip's own frame-to-frame hand motion."""
    motion = hand_motion(sequence)
    return float(np.percentile(motion, 95)) if len(motion) else 0.0


def blend_seams(sequence: PoseSequence, seams: list[tuple[int, int, float]], seconds: float) -> PoseSequence:
    """Bend the frames around each seam so that its gap is crossed slowly.

    Args:
        sequence: the joined clips.
        seams: for each seam the frame that begins the later clip, the largest number of frames that may be bent on
            either side, and the fastest hand motion a frame that the seam may have.
        seconds: the shortest blend, both sides together.
    """
    source, scores = sequence.keypoints, sequence.scores
    points = source.copy()
    for seam, max_radius, limit in seams:
        check_cancelled()
        before, after = seam - 1, seam
        # The step that the clips would make here anyway: the mean of the last before and the first after the seam.
        step = np.zeros_like(source[0])
        if before >= 1 and after + 1 < len(source):
            step = (source[before] - source[before - 1] + source[after + 1] - source[after]) / 2
        both = (scores[before] > 0) & (scores[after] > 0)
        step *= min(1.0, 0.5 * limit / max(_mean_hand(step, both), 1e-12))
        gap = np.where(both[:, None], source[after] - source[before] - step, 0)

        spare = limit - _mean_hand(step, both)
        needed = _STEP_SLOPE * _mean_hand(gap, both) / (2 * spare) if spare > 0 else np.inf
        radius = int(min(max(ceil(seconds * sequence.fps / 2), ceil(min(needed, max_radius)), 1), max_radius))
        if radius < 1:
            continue
        for frame in range(max(seam - radius, 0), min(seam + radius, len(source))):
            t = (frame - seam + 0.5 + radius) / (2 * radius)
            share = t * t * (3 - 2 * t) - (frame >= seam)
            present = scores[frame] > 0
            points[frame] += np.where(present[:, None], share * gap, 0)
    return sequence.with_points(points)


def _mean_hand(vectors: np.ndarray, present: np.ndarray) -> float:
    """Mean length of the hand points' vectors among those present; of all points where no hand point is."""
    hands = np.zeros(len(vectors), dtype=bool)
    hands[_HAND_POINTS] = True
    chosen = present & hands if (present & hands).any() else present
    return float(np.linalg.norm(vectors[chosen], axis=-1).mean()) if chosen.any() else 0.0


def _check_blend(seconds: float) -> None:
    if not (np.isfinite(seconds) and 0 <= seconds <= 60):
        raise PoseError(f"a blend lasts between 0 and 60 seconds, got {seconds}")
