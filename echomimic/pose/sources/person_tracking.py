"""Picks one person out of a detector's results, frame by frame.

Everywhere here, a person is `[134, 3]`: x, y and confidence of each point, zeros where absent; a frame's people are
`[n, 134, 3]`, a chosen person over time `[F, 134, 3]`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from ...cancellation import check_cancelled
from ...errors import PoseError
from ..anatomy import LEFT_WRIST, RIGHT_WRIST
from ..sequence import HAND_A, HAND_B, POINTS

logger = logging.getLogger("echomimic")

# Whoever is farther than this many body sizes from the last place is somebody else.
_STEP = 0.5
# The same person is at most this much larger or smaller from one frame to the next.
_SIZES = 1.5


def choose_person(frames: Sequence[np.ndarray], person: int | None = None, follow: bool = False) -> np.ndarray:
    """The wanted person in every frame, `[F, 134, 3]`; zeros in frames without them, which are logged.

    Args:
        frames: the people of each frame.
        person: their index in every frame; None takes the largest of the clip and follows them.
        follow: the index counts in the first frame that has so many people, and they are followed from there: for
            frames whose order may change from one to the next.

    Raises:
        PoseError: nobody in any frame, or fewer people than the index says.
    """
    candidates = [[one for one in people if one[:, 2].any()] for people in frames]
    if not any(candidates):
        raise PoseError(
            f"nobody was found in any of the {len(frames)} frames (0 to {len(frames) - 1}): use a picture or video "
            "that shows a person from head to waist"
        )
    if person is None:
        chosen = _follow(candidates, *_largest(candidates))
    else:
        _check_index(candidates if follow else frames, person)
        if follow:
            start = next(number for number, people in enumerate(candidates) if len(people) > person)
            chosen = _follow(candidates, start, person)
        else:
            nobody = np.zeros((POINTS, 3))
            chosen = np.stack([people[person] if len(people) > person else nobody for people in frames])
    gaps = np.flatnonzero(~chosen[..., 2].any(axis=1))
    if len(gaps):
        named = ", ".join(str(number) for number in gaps[:8]) + (", ..." if len(gaps) > 8 else "")
        logger.warning("the person was not found in %d of %d pose frames: %s", len(gaps), len(chosen), named)
    return chosen


def hands_to_their_wrists(points: np.ndarray, width: float, height: float) -> None:
    """Swap the hands of the whole clip, in place, if each is attached to the other's wrist.

    Args:
        points: `[F, 134, 3]`, x and y as fractions of a picture.
        width, height: of that picture.
    """
    aspect = np.array([width, height])

    def distance(hand: slice, wrist: int) -> np.ndarray:
        both = (points[:, hand.start, 2] > 0) & (points[:, wrist, 2] > 0)
        apart = np.linalg.norm((points[:, hand.start, :2] - points[:, wrist, :2]) * aspect, axis=1)
        return np.where(both, apart, np.nan)

    straight = np.stack([distance(HAND_A, LEFT_WRIST), distance(HAND_B, RIGHT_WRIST)])
    crossed = np.stack([distance(HAND_A, RIGHT_WRIST), distance(HAND_B, LEFT_WRIST)])
    comparable = np.isfinite(straight) & np.isfinite(crossed)
    if comparable.any() and crossed[comparable].sum() < straight[comparable].sum():
        points[:, HAND_A], points[:, HAND_B] = points[:, HAND_B].copy(), points[:, HAND_A].copy()


def _check_index(frames: Sequence[Sequence[np.ndarray] | np.ndarray], person: int) -> None:
    most = max(map(len, frames))
    if not 0 <= person < most:
        raise PoseError(f"person {person} was requested, but no frame has more than {most} (counted from 0)")


def _largest(candidates: list[list[np.ndarray]]) -> tuple[int, int]:
    """The frame in which somebody is larger than anybody in another one, and their index there."""
    areas = [[_area(person) for person in people] for people in candidates]
    start = int(np.argmax([max(own, default=-1.0) for own in areas]))
    return start, int(np.argmax(areas[start]))


def _follow(candidates: list[list[np.ndarray]], start: int, person: int) -> np.ndarray:
    """A person of frame `start`, followed in both directions from there.

    Where no frame has two people, whoever is of their size is taken for them, however far away: after a cut people
    stand somewhere else.
    """
    alone = max(map(len, candidates)) == 1
    chosen = np.zeros((len(candidates), POINTS, 3))
    chosen[start] = candidates[start][person]
    for numbers in (range(start + 1, len(candidates)), range(start - 1, -1, -1)):
        low, high = _box(chosen[start])
        for number in numbers:
            check_cancelled()
            boxes = [_box(person) for person in candidates[number]]
            away = [float(np.abs(np.mean(box, axis=0) - (low + high) / 2).max()) for box in boxes]
            if not away:
                continue
            nearest = int(np.argmin(away))
            size, found = float((high - low).max()), float(np.subtract(*boxes[nearest][::-1]).max())
            # Someone of one point has no size.
            is_same = alone and size < _SIZES * found and found < _SIZES * size
            # A gap rather than a jump to somebody else.
            if away[nearest] > _STEP * size and not is_same:
                continue
            chosen[number] = candidates[number][nearest]
            low, high = boxes[nearest]
    return chosen


def _box(person: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    places = person[person[:, 2] > 0, :2]
    return places.min(axis=0), places.max(axis=0)


def _area(person: np.ndarray) -> float:
    low, high = _box(person)
    return float(np.prod(high - low))
