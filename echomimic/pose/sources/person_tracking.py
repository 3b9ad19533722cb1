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
# A place counts as so many body sizes farther away for every frame since it was seen: somebody who walks past a person
# who is not found at the moment does not become them.
_AGING = 0.05
# The same person is at most this much larger or smaller from one frame to the next.
_SIZES = 1.5
# Whoever is found in no more frames than this is passing, or nobody: they take no one's place.
_PASSING = 12
# So many of those who pass are looked for after they are gone, the latest ones: false detections may come all through a
# long clip, and each person is compared with everybody who is looked for.
_REMEMBERED = 64
# Two boxes are of one person where most of their points lie no more body sizes apart than this.
_SAME = 0.05


def choose_person(frames: Sequence[np.ndarray], person: int | None = None, follow: bool = False) -> np.ndarray:
    """The wanted person in every frame, `[F, 134, 3]`; zeros in frames without them, which are logged.

    Args:
        frames: the people of each frame.
        person: their index in every frame; None follows the largest of the clip: the one whose boxes, summed over the
            frames, have the largest area. Somebody who is seen in the whole clip gives way to one who is seen in a
            fifth of it only if that one's boxes are more than five times as large.
        follow: the index counts in the first frame that has so many people, and they are followed from there: for
            frames whose order may change from one to the next.

    Of those who are followed, whoever is found in at most `_PASSING` frames counts only where nobody else has that
    index, and a person who is found twice in a frame counts once. Where the person is not found, as after a cut, the
    one of that index (the largest) goes on, if they are never seen beside the person and stay for more than `_PASSING`
    frames.

    Raises:
        PoseError: nobody in any frame, fewer people than the index says, or no points of the one of that index.
    """
    candidates = [_distinct([one for one in people if one[:, 2].any()]) for people in frames]
    if not any(candidates):
        raise PoseError(
            f"nobody was found in any of the {len(frames)} frames (0 to {len(frames) - 1}): use a picture or video "
            "that shows a person from head to waist"
        )
    if person is not None:
        _check_index(candidates if follow else frames, person)
    nobody = np.zeros((POINTS, 3))
    if person is None or follow:
        found = _follow(candidates, person)
        chosen = np.stack([found.get(number, nobody) for number in range(len(frames))])
    else:
        chosen = np.stack([people[person] if len(people) > person else nobody for people in frames])
    if not chosen[..., 2].any():
        raise PoseError(
            f"person {person} has no points in any of the {len(frames)} frames: choose another, counted from 0, or "
            "follow the largest, without a number"
        )
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


def _distinct(people: list[np.ndarray]) -> list[np.ndarray]:
    """A frame's people, each once: where a detector found somebody twice, the one with the higher confidence."""
    if len(people) < 2:
        return people
    points, sizes = np.stack(people), np.array([_place(one)[1] for one in people])
    kept: list[int] = []
    for index in np.argsort(-points[..., 2].sum(axis=1), kind="stable").tolist():
        shared = (points[kept, :, 2] > 0) & (points[index, :, 2] > 0)
        apart = np.abs(points[kept, :, :2] - points[index, :, :2]).max(axis=-1)
        near = apart <= _SAME * np.maximum(sizes[kept], sizes[index])[:, None]
        if not (2 * (near & shared).sum(axis=1) > shared.sum(axis=1)).any():
            kept.append(index)
    return [people[index] for index in sorted(kept)]


class _Track:
    """A person as far as they can be followed: what is found of them, by frame, and where they were last."""

    def __init__(self) -> None:
        self.found: dict[int, np.ndarray] = {}
        self.centre, self.size = np.zeros(2), 0.0
        # The areas of their boxes, summed over the frames.
        self.filled = 0.0

    @property
    def first(self) -> int:
        """The first frame in which they are found."""
        return next(iter(self.found))

    @property
    def last(self) -> int:
        """The last frame in which they are found."""
        return next(reversed(self.found))

    def add(self, number: int, person: np.ndarray) -> None:
        """What is found of them in the next frame; frames come in their order."""
        self.found[number] = person
        self.filled += _area(person)
        self.centre, size = _place(person)
        # They have not shrunk where a nose or a hand is all that is found of them.
        self.size = size if size * _SIZES > self.size else self.size


def _follow(candidates: list[list[np.ndarray]], person: int | None) -> dict[int, np.ndarray]:
    """The person of that index, or the largest, by frame, and who goes on where they are not found."""
    tracks = _tracks(candidates)
    staying = [[track for track in own if len(track.found) > _PASSING] for own in tracks]
    counted = staying if any(len(own) > (person or 0) for own in staying) else tracks
    if person is None:
        numbered = [max(own, key=lambda track: _area(track.found[number])) for number, own in enumerate(counted) if own]
        start = max((track for own in counted for track in own), key=lambda track: track.filled)
    else:
        numbered = [own[person] for own in counted if len(own) > person]
        start = numbered[0]
    found = dict(start.found)
    for track in sorted(dict.fromkeys(numbered), key=lambda track: track.filled, reverse=True):
        # Who is seen beside the person is somebody else.
        if len(track.found) > _PASSING and found.keys().isdisjoint(track.found):
            found |= track.found
    return found


def _tracks(candidates: list[list[np.ndarray]]) -> list[list[_Track]]:
    """Whose track each frame's people are part of, in their order."""
    tracks: list[list[_Track]] = []
    live: list[_Track] = []
    alone = max(map(len, candidates)) == 1
    for number, people in enumerate(candidates):
        check_cancelled()
        continued = _continued(live, people, alone)
        tracks.append([continued.get(index) or _Track() for index in range(len(people))])
        for track, person in zip(tracks[-1], people, strict=True):
            track.add(number, person)
        here = set(tracks[-1])
        gone = [track for track in live if track not in here]
        forgotten = set([track for track in gone if len(track.found) <= _PASSING][:-_REMEMBERED])
        live = [track for track in gone if track not in forgotten] + tracks[-1]
        # Whoever has not been seen since somebody new came to stay, as after a cut, is not looked for any more.
        scene = max((track.first for track in live if len(track.found) > _PASSING), default=0)
        live = [track for track in live if track.last >= scene]
    return tracks


def _continued(live: list[_Track], people: list[np.ndarray], alone: bool) -> dict[int, _Track]:
    """The tracks that people of the next frame continue, by the people's index, the nearest first.

    Where no frame has two people, whoever is of their size is taken for them, however far away: after a cut people
    stand somewhere else.
    """
    if not live:
        return {}
    centres, sizes = np.stack([track.centre for track in live]), np.array([track.size for track in live])
    last = np.array([track.last for track in live])
    pairs = []
    for index, person in enumerate(people):
        centre, found = _place(person)
        away, size = np.abs(centres - centre).max(axis=1), np.maximum(sizes, found)
        near = away <= _STEP * size
        if alone:
            # Someone of one point has no size.
            near |= (sizes < _SIZES * found) & (found < _SIZES * sizes)
        cost = away + _AGING * size * (last.max() - last)
        pairs += [(cost[other], index, live[other]) for other in np.flatnonzero(near)]
    continued: dict[int, _Track] = {}
    for _, index, track in sorted(pairs, key=lambda pair: pair[0]):
        if index not in continued and track not in continued.values():
            continued[index] = track
    return continued


def _place(person: np.ndarray) -> tuple[np.ndarray, float]:
    """Middle and larger side of the box around them."""
    low, high = _box(person)
    return (low + high) / 2, float((high - low).max())


def _box(person: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    places = person[person[:, 2] > 0, :2]
    return places.min(axis=0), places.max(axis=0)


def _area(person: np.ndarray) -> float:
    low, high = _box(person)
    return float(np.prod(high - low))
