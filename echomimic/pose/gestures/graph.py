"""The motion graph: gesture clips cut into single movements, and what it costs to go from one to another.

A movement lies between two moments at which the hands hardly move, so it is a stroke of a gesture, its preparation, its
retraction or a hold, and ends where a stressed syllable should fall. Any movement can follow any other whose beginning
looks like its end; how alike they look is the mean distance of the hand points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ...errors import PoseError
from ..repair import fill_gaps, mirror
from ..sequence import HAND_A, HAND_B, PoseSequence
from ..timing import hand_motion

_HANDS = slice(HAND_A.start, HAND_B.stop)
_SHORTEST, _LONGEST_HOLD = 0.2, 0.9  # seconds of a movement, and of a piece of a hold
# A hand below this speed (canvas sides a second) counts as still.
_STILL = 0.06
# Movements part where the speed falls below this share of the lower one of the two hills beside it.
_VALLEY = 0.75
# Two poses without a hand in common: further apart than any that have one and look alike.
_INCOMPARABLE = 0.25


@dataclass(frozen=True)
class MotionGraph:
    """Movements of a library.

    Attributes:
        clips: the clips, mirrored ones included.
        clip: `[N]`, the clip each movement is from.
        theme: `[N]`, the same for a clip and its mirrored one.
        begin, end: `[N]` seconds in that clip.
        size: `[N]`, how far the hands are from rest on average, 0 to about 1 (the library's largest).
        effort: `[N]`, how fast they move, 0 to about 1.
        distance: `[N, N]`, from the end of one movement to the beginning of another, mean over the hand points in sides
            of the canvas; 0 to the movement that follows in the clip.
        rest: the movement whose beginning is the library's resting pose.
        from_rest: `[N]`, from the resting pose to the beginning of each movement, as `distance`.
    """

    clips: tuple[PoseSequence, ...]
    clip: np.ndarray
    theme: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    size: np.ndarray
    effort: np.ndarray
    distance: np.ndarray
    rest: int
    from_rest: np.ndarray

    def __len__(self) -> int:
        return len(self.clip)

    @property
    def seconds(self) -> np.ndarray:
        """Length of each movement `[N]`."""
        return self.end - self.begin


def build_motion_graph(library: Sequence[PoseSequence], mirrored: bool = True) -> MotionGraph:
    """Cut clips into movements and compare their ends with their beginnings.

    Args:
        library: clips of one person in one framing.
        mirrored: let each clip also be used the other way round.

    Raises:
        PoseError: no clips, none with hands, or clips on different canvases.
    """
    usable = [clip for clip in library if (clip.scores[:, _HANDS] > 0).any() and len(clip) >= 2]
    if not usable:
        raise PoseError(f"none of the {len(library)} gesture clips has moving hands: choose clips with hands in them")
    for clip in usable[1:]:
        if clip.canvas != usable[0].canvas:
            raise PoseError(
                f"gesture clips are on different canvases ({usable[0].canvas} and {clip.canvas}): "
                "align or retarget them to one portrait first"
            )
    clips = tuple(usable) + (tuple(mirror(clip) for clip in usable) if mirrored else ())
    owner, begin, end, effort, poses = [], [], [], [], []
    for number, clip in enumerate(usable):
        speed, points = hand_speed(clip), _hand_points(clip)
        for a, b in pairwise(_cuts(speed, clip.fps)):
            owner.append(number)
            begin.append(a / clip.fps)
            end.append(b / clip.fps)
            effort.append(np.sqrt(np.mean(speed[a : b + 1] ** 2)))
            poses.append(points[a : b + 1])
    if mirrored:
        owner, begin, end, effort = owner + [i + len(usable) for i in owner], begin * 2, end * 2, effort * 2
        poses += [_mirrored(points) for points in poses]
    first, last = np.array([points[0] for points in poses]), [points[-1] for points in poses]
    rest_pose, rest = _resting(first, np.array(effort))
    far = np.array([_apart(rest_pose, points).mean() for points in poses])
    distance = np.stack([_apart(pose, first) for pose in last])
    followers = np.flatnonzero(np.diff(owner) == 0)
    distance[followers, followers + 1] = 0
    return MotionGraph(
        clips,
        np.array(owner),
        np.array(owner) % len(usable),
        np.array(begin),
        np.array(end),
        far / max(float(np.percentile(far, 95)), 1e-6),
        np.array(effort) / max(float(np.percentile(effort, 95)), 1e-6),
        distance,
        rest,
        _apart(rest_pose, first),
    )


def hand_speed(clip: PoseSequence) -> np.ndarray:
    """Speed of the faster hand `[F]` in canvas sides a second, smoothed a little."""
    if len(clip) == 1:
        return np.zeros(1)
    speed = clip.fps * np.maximum(hand_motion(clip, HAND_A), hand_motion(clip, HAND_B))
    speed = np.concatenate([speed[:1], (speed[1:] + speed[:-1]) / 2, speed[-1:]])
    return smoothed(speed, clip.fps / 24)


def strokes(clip: PoseSequence) -> tuple[np.ndarray, np.ndarray]:
    """When the strokes of a clip land: where the hands come to a stop, or turn, after a clear movement.

    Returns:
        Seconds `[n]`, and the peak speed of the movement before `[n]` in canvas sides a second.
    """
    speed = hand_speed(clip)
    cuts = _cuts(speed, clip.fps)
    threshold = max(4 * _STILL, 0.25 * float(np.percentile(speed, 95)))
    landings = [(b / clip.fps, speed[a : b + 1].max()) for a, b in pairwise(cuts) if b < len(clip)]
    strong = np.array([landing for landing in landings if landing[1] >= threshold]).reshape(-1, 2)
    return strong[:, 0], strong[:, 1]


def smoothed(track: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian smoothing over frames; the ends are repeated outwards."""
    reach = max(1, round(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-6)) ** 2)
    return np.convolve(np.pad(track, reach, mode="edge"), kernel / kernel.sum(), mode="valid")


def _cuts(speed: np.ndarray, fps: float) -> list[int]:
    """Frames at which movements begin and end, 0 and the number of frames included.

    Valleys of the speed that are clearly below the hills beside them; a valley that is a hold is cut where it begins
    and where it ends, and a long hold into pieces.
    """
    count = len(speed)
    still = max(_STILL, 0.08 * float(speed.max()))
    cuts = {0, count}
    moving = np.concatenate([[False], speed > still, [False]])
    edges = np.flatnonzero(np.diff(moving.astype(np.int8)))
    for begin, end in zip(edges[::2], edges[1::2]):  # each run of movement
        cuts |= {int(begin), int(end)}
        cuts |= {int(begin) + valley for valley in _valleys(speed[begin:end])}
    ordered = sorted(cuts)
    kept = [ordered[0]]
    for cut in ordered[1:-1]:
        if cut - kept[-1] >= _SHORTEST * fps and count - cut >= _SHORTEST * fps:
            kept.append(cut)
    kept.append(count)
    pieces = [kept[0]]
    for begin, end in pairwise(kept):
        parts = 1
        if speed[begin:end].max() <= 2 * still:
            parts = max(1, round((end - begin) / (_LONGEST_HOLD * fps)))
        pieces += [begin + round((end - begin) * part / parts) for part in range(1, parts + 1)]
    return pieces


def _valleys(speed: np.ndarray) -> list[int]:
    """Clear minima inside a run of movement: the shallowest is dropped until all are deep."""
    lows = [int(low) + 1 for low in np.flatnonzero((speed[1:-1] <= speed[:-2]) & (speed[1:-1] < speed[2:]))]
    while lows:
        hills = [speed[a:b].max() for a, b in pairwise([0, *lows, len(speed)])]
        depth = [speed[low] / max(min(before, after), 1e-9) for low, before, after in zip(lows, hills, hills[1:])]
        shallowest = int(np.argmax(depth))
        if depth[shallowest] < _VALLEY:
            break
        del lows[shallowest]
    return lows


def _hand_points(clip: PoseSequence) -> np.ndarray:
    """Hand points `[F, 42, 2]` for comparing poses: gaps filled, NaN where a point is never near."""
    filled = fill_gaps(clip, longest_seconds=1.0)
    points = filled.keypoints[:, _HANDS]
    return np.where((filled.scores[:, _HANDS] > 0)[..., None], points, np.nan)


def _mirrored(points: np.ndarray) -> np.ndarray:
    """Hand points `[n, 42, 2]` as in a mirror."""
    return np.concatenate([points[:, 21:], points[:, :21]], axis=1) * [-1, 1] + [1, 0]


def _apart(pose: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Mean distance of the points present in both, of one pose `[42, 2]` to each of `[n, 42, 2]`."""
    distance = np.linalg.norm(poses - pose, axis=-1)
    known = np.isfinite(distance)
    total = np.where(known, distance, 0).sum(axis=1)
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), _INCOMPARABLE)


def _resting(first: np.ndarray, effort: np.ndarray) -> tuple[np.ndarray, int]:
    """The resting pose: of the calmer half of the movements, the beginning that is closest to all the others."""
    calm = np.flatnonzero(effort <= np.median(effort))
    middle = calm[np.argmin([np.minimum(_apart(first[i], first[calm]), 0.1).mean() for i in calm])]
    return first[middle], int(middle)
