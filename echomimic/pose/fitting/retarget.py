"""From a driver's body to the portrait's: each bone gets the portrait's length and keeps the driver's direction.

After Wan2.2-Animate: bones are chained from the neck outwards, hands are scaled with the shoulders and attached to the
new wrists. There, both people first take one pose, so that lengths can be compared. Here, the frame of the clip whose
arms are most like the portrait's takes that role: similar arms are foreshortened similarly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...errors import PoseError
from ..anatomy import (
    HAND_WRISTS,
    LEFT_ELBOW,
    LEFT_SHOULDER,
    LEFT_WRIST,
    MIRRORED,
    NECK,
    NOSE,
    RIGHT_ELBOW,
    RIGHT_SHOULDER,
    RIGHT_WRIST,
    SEEN,
    distance,
    face_height,
    region_sides,
    with_neck,
)
from ..sequence import BODY, FACE, FEET, HANDS, POINTS, PoseSequence

# Each point's parent in the skeleton; parents come first.
_PARENTS = {
    NOSE: NECK,
    RIGHT_SHOULDER: NECK,
    RIGHT_ELBOW: RIGHT_SHOULDER,
    RIGHT_WRIST: RIGHT_ELBOW,
    LEFT_SHOULDER: NECK,
    LEFT_ELBOW: LEFT_SHOULDER,
    LEFT_WRIST: LEFT_ELBOW,
    8: NECK,
    9: 8,
    10: 9,
    11: NECK,
    12: 11,
    13: 12,
} | {18: 13, 19: 13, 20: 13, 21: 10, 22: 10, 23: 10}
_HEAD = (14, 15, 16, 17)
_ARMS = ((RIGHT_SHOULDER, RIGHT_ELBOW, RIGHT_WRIST), (LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST))
_MIRROR = MIRRORED | {right: left for left, right in MIRRORED.items()}
# A bone in a picture is as long as its angle to the camera lets it be. What differs by more than this from the
# shoulders' ratio is an arm that points at the camera, not a longer arm.
_FREEDOM = 1.25
# A hand goes to the other wrist only where that is plainly nearer.
_PLAINLY = 0.5


@dataclass(frozen=True)
class Retargeted:
    """A clip on the portrait's body.

    Attributes:
        sequence: the clip, in the portrait's canvas.
        scale: shoulder width of the portrait over the clip's, in pixels of each.
        arms: length ratios, in the same unit, of right upper arm, right forearm, left upper arm, left forearm.
        notes: what was missing and how it was made up for, in plain sentences.
    """

    sequence: PoseSequence
    scale: float
    arms: tuple[float, float, float, float]
    notes: tuple[str, ...]


class _Figure(NamedTuple):
    """Points in pixels with scores: one frame, or all of a clip with a leading axis."""

    points: np.ndarray
    scores: np.ndarray

    def sees(self, *points: int) -> bool:
        return bool((self.scores[list(points)] >= SEEN).all())


def retarget(clip: PoseSequence, portrait: PoseSequence, proportions: float = 1.0) -> Retargeted:
    """Bring a clip onto the portrait's body.

    For a video of another shape than the portrait, give the portrait's keypoints through `align.cover` first.

    Args:
        clip: the driver, any canvas.
        portrait: keypoints of the picture; the first frame counts. Neck and shoulders are needed, all else helps.
        proportions: 1 gives every limb the portrait's length; 0 keeps the driver's proportions and only scales them to
            the portrait's shoulders, which may keep more of the hands in the picture.

    Returns:
        the clip in units of the portrait's picture. Scores stay.

    Raises:
        PoseError: the portrait or every frame of the clip lacks shoulders, or impossible proportions.
    """
    if not 0 <= proportions <= 1:
        raise PoseError(f"proportions go from 0 (the driver's) to 1 (the portrait's), not {proportions}")
    sides = region_sides(portrait.canvas)
    goal = _Figure(*with_neck(portrait.keypoints[0] * sides, portrait.scores[0]))
    driver = _Figure(*with_neck(clip.keypoints * region_sides(clip.canvas), clip.scores))
    if not goal.sees(NECK, RIGHT_SHOULDER, LEFT_SHOULDER) or not distance(goal.points, RIGHT_SHOULDER, LEFT_SHOULDER):
        raise PoseError("the portrait's shoulders are not known: mark neck and both shoulders, or use another detector")
    goal = _facing_alike(goal, driver)
    frame = _most_alike(driver, goal)
    model = _Figure(driver.points[frame], driver.scores[frame])
    scale = float(
        distance(goal.points, RIGHT_SHOULDER, LEFT_SHOULDER) / distance(model.points, RIGHT_SHOULDER, LEFT_SHOULDER)
    )
    ratios = {child: _bone_ratio(goal, model, parent, child, scale) for child, parent in _PARENTS.items()}
    ratios = {child: scale * (ratio / scale) ** proportions for child, ratio in ratios.items()}
    head_ratio = scale * (_head_ratio(goal, model, scale) / scale) ** proportions
    tracks = _filled_tracks(driver)
    placed = _chain(tracks, ratios, goal.points[NECK], frame, scale)
    result = np.zeros_like(driver.points)
    body = slice(BODY.start, FEET.stop)
    result[:, body] = placed[:, body]
    _place_head(result, driver.points, tracks, placed, head_ratio)
    _hang_hands(result, driver, tracks, placed, scale)
    result[driver.scores <= 0] = 0
    # A neck that was made up for the chain stays absent in the result, as do its scores.
    result[clip.scores <= 0] = 0
    arms = (ratios[RIGHT_ELBOW], ratios[RIGHT_WRIST], ratios[LEFT_ELBOW], ratios[LEFT_WRIST])
    moved = clip.with_points(result / sides, canvas=portrait.canvas)
    return Retargeted(moved, scale, arms, _notes(goal, driver))


def _facing_alike(goal: _Figure, driver: _Figure) -> _Figure:
    """The portrait with left and right swapped where its shoulders stand the other way round than the driver's."""
    both = (driver.scores[:, [RIGHT_SHOULDER, LEFT_SHOULDER]] >= SEEN).all(axis=1)
    across = driver.points[both, LEFT_SHOULDER, 0] - driver.points[both, RIGHT_SHOULDER, 0]
    if not both.any():
        raise PoseError("no frame of the pose clip shows both shoulders; use the linear fit, or extract the clip again")
    if np.median(across) * (goal.points[LEFT_SHOULDER, 0] - goal.points[RIGHT_SHOULDER, 0]) >= 0:
        return goal
    order = np.arange(POINTS)
    order[list(_MIRROR)] = list(_MIRROR.values())
    return _Figure(goal.points[order], goal.scores[order])


def _most_alike(driver: _Figure, goal: _Figure) -> int:
    """The frame of the clip whose arms are most like the portrait's, measured in shoulder widths."""
    bones = [(NECK, NOSE), (NECK, RIGHT_SHOULDER), (NECK, LEFT_SHOULDER)]
    for shoulder, elbow, wrist in _ARMS:
        bones += [(shoulder, elbow), (elbow, wrist)] if goal.sees(elbow) else [(shoulder, wrist)]
    bones = [bone for bone in bones if goal.sees(*bone)]
    width = distance(driver.points, RIGHT_SHOULDER, LEFT_SHOULDER)
    usable = (driver.scores[:, [NECK, RIGHT_SHOULDER, LEFT_SHOULDER]] >= SEEN).all(axis=1) & (width > 0)
    if not usable.any():
        raise PoseError("no frame of the pose clip shows neck and both shoulders; use the linear fit")
    goal_width = distance(goal.points, RIGHT_SHOULDER, LEFT_SHOULDER)
    unlike = np.zeros(len(driver.points))
    for a, b in bones:
        theirs = (driver.points[:, b] - driver.points[:, a]) / np.where(width > 0, width, 1)[:, None]
        ours = (goal.points[b] - goal.points[a]) / goal_width
        seen = (driver.scores[:, [a, b]] >= SEEN).all(axis=1)
        # A bone that is not seen counts as one shoulder width off.
        unlike += np.where(seen, np.linalg.norm(theirs - ours, axis=1), 1.0)
    unlike[~usable] = np.inf
    # Of frames that are equally alike, the one that also stands in the same place.
    away = np.linalg.norm(driver.points[:, NECK] - goal.points[NECK], axis=1)
    return int(np.lexsort((away, np.round(unlike, 9)))[0])


def _bone_ratio(goal: _Figure, model: _Figure, parent: int, child: int, scale: float) -> float:
    """Length of the portrait's bone over the driver's; for a bone that is not seen, the best available estimate.

    That is the whole arm's ratio, then the same bone and arm of the other side, then the shoulders'.
    """

    def measured(a: int, b: int) -> float | None:
        if not (goal.sees(a, b) and model.sees(a, b)) or not distance(model.points, a, b):
            return None
        ratio = float(distance(goal.points, a, b) / distance(model.points, a, b))
        return float(np.clip(ratio, scale / _FREEDOM, scale * _FREEDOM))

    candidates = [(parent, child)]
    candidates += [(arm[0], arm[2]) for arm in _ARMS if child in arm[1:]]
    candidates += [(_MIRROR.get(a, a), _MIRROR.get(b, b)) for a, b in candidates]
    for a, b in candidates:
        ratio = measured(a, b)
        if ratio is not None:
            return ratio
    return scale


def _head_ratio(goal: _Figure, model: _Figure, scale: float) -> float:
    """By the height of the faces, or by nose and neck where one of the two has no face points."""
    ours, theirs = face_height(*goal), face_height(*model)
    if ours and theirs:
        ratio = ours / theirs
    elif goal.sees(NOSE, NECK) and model.sees(NOSE, NECK) and distance(model.points, NOSE, NECK):
        ratio = float(distance(goal.points, NOSE, NECK) / distance(model.points, NOSE, NECK))
    else:
        return scale
    return float(np.clip(ratio, scale / _FREEDOM, scale * _FREEDOM))


def _filled_tracks(driver: _Figure) -> np.ndarray:
    """Body and feet over time, `[F, 24, 2]`, gaps filled so that bones can be chained through them.

    An absent wrist is where its hand begins; other gaps are interpolated in time. NaN: never seen.
    """
    points = driver.points[:, : FEET.stop].copy()
    present = driver.scores[:, : FEET.stop] > 0
    for hand, wrist in HAND_WRISTS:
        from_hand = ~present[:, wrist] & (driver.scores[:, hand.start] > 0)
        points[from_hand, wrist] = driver.points[from_hand, hand.start]
        present[:, wrist] |= from_hand
    times = np.arange(len(points))
    for point in range(points.shape[1]):
        known = present[:, point]
        if not known.any():
            points[:, point] = np.nan
        elif not known.all():
            for axis in range(2):
                points[~known, point, axis] = np.interp(times[~known], times[known], points[known, point, axis])
    return points


def _chain(tracks: np.ndarray, ratios: dict[int, float], goal_neck: np.ndarray, frame: int, scale: float) -> np.ndarray:
    """New places of body and feet: the neck keeps its sway, each bone its direction."""
    placed = np.full_like(tracks, np.nan)
    placed[:, NECK] = goal_neck + (tracks[:, NECK] - tracks[frame, NECK]) * scale
    for child, parent in _PARENTS.items():
        while np.isnan(placed[0, parent, 0]):  # never seen: it keeps its parent's place
            parent = _PARENTS[parent]
        placed[:, child] = placed[:, parent] + (tracks[:, child] - tracks[:, parent]) * ratios[child]
    return placed


def _place_head(result: np.ndarray, points: np.ndarray, tracks: np.ndarray, placed: np.ndarray, ratio: float) -> None:
    """Eyes, ears and face about the nose, or about the neck where there is no nose."""
    anchor = NOSE if np.isfinite(placed[0, NOSE, 0]) else NECK
    head = [*_HEAD, *range(FACE.start, FACE.stop)]
    result[:, head] = placed[:, anchor, None] + (points[:, head] - tracks[:, anchor, None]) * ratio


def _hang_hands(result: np.ndarray, driver: _Figure, tracks: np.ndarray, placed: np.ndarray, scale: float) -> None:
    """Each hand, scaled with the shoulders, on the new place of its wrist."""
    labelled = np.array([wrist for _, wrist in HAND_WRISTS])
    roots = np.stack([driver.points[:, hand.start] for hand in HANDS], axis=1)
    present = np.stack([driver.scores[:, hand.start] > 0 for hand in HANDS], axis=1)
    # [F, hand]: how far to the wrist of its label, and to the other one; NaN where that wrist is never seen.
    near = np.linalg.norm(roots - tracks[:, labelled], axis=2)
    far = np.linalg.norm(roots - tracks[:, labelled[::-1]], axis=2)
    both = present.all(axis=1)
    swapped = far < _PLAINLY * near
    # Two hands have two wrists: with both in view they change places together.
    swapped[both] = (far[both].sum(axis=1) < _PLAINLY * near[both].sum(axis=1))[:, None]
    frames = np.arange(len(roots))
    for side, hand in enumerate(HANDS):
        wrist = np.where(swapped[:, side], labelled[1 - side], labelled[side])
        old, new = tracks[frames, wrist], placed[frames, wrist]
        lost = np.isnan(new).any(axis=1)  # a hand without any arm moves with the neck
        old[lost], new[lost] = tracks[lost, NECK], placed[lost, NECK]
        result[:, hand] = new[:, None] + (driver.points[:, hand] - old[:, None]) * scale


def _notes(goal: _Figure, driver: _Figure) -> tuple[str, ...]:
    notes = []
    for side, (_, elbow, wrist) in zip(("right", "left"), _ARMS):
        hidden = [name for name, point in (("elbow", elbow), ("wrist", wrist)) if not goal.sees(point)]
        if hidden:
            which = f"{side} {' and '.join(hidden)} {'is' if len(hidden) == 1 else 'are'}"
            notes.append(
                f"The portrait's {which} not among its keypoints: that arm's length is taken from the rest of the body."
            )
    if not any((driver.scores[:, hand] > 0).any() for hand in HANDS):
        notes.append("The clip has no hands at all: the video would show none moving.")
    return tuple(notes)
