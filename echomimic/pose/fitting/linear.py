"""Moving a whole clip onto a portrait: a linear fit, a manual scale and offset, and portraits typed by hand.

The portrait is a `PoseSequence` of one frame whose canvas region is the picture (`canvas.picture_canvas`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import PoseError
from ..anatomy import (
    LEFT_SHOULDER,
    LEFT_WRIST,
    NECK,
    NOSE,
    RIGHT_SHOULDER,
    RIGHT_WRIST,
    SEEN,
    region_sides,
    with_neck,
)
from ..canvas import picture_canvas
from ..sequence import POINTS, PoseSequence

# MimicMotion's choice: head, shoulders, trunk, not the arms.
_TRUNK = (0, 1, 2, 5, *range(8, 18))

Point = tuple[float, float]


@dataclass(frozen=True)
class LinearFit:
    """A clip moved and scaled as a whole onto a portrait.

    Attributes:
        sequence: the moved clip, in the portrait's canvas.
        scale: portrait pixels for a pixel of the clip.
        points: body points that the fit rests on.
    """

    sequence: PoseSequence
    scale: float
    points: tuple[int, ...]


def portrait_from_points(
    size: tuple[int, int], nose: Point, neck: Point, right_shoulder: Point, left_shoulder: Point, wrist: Point
) -> PoseSequence:
    """A portrait from five points typed by hand.

    Args:
        size: width and height of the picture in pixels.
        nose, neck, right_shoulder, left_shoulder, wrist: x, y in pixels. Right is the person's right. The wrist is that
            of the nearer shoulder's side.

    Raises:
        PoseError: a point that is not a number, or shoulders in one place.
    """
    points, scores = np.zeros((1, POINTS, 2)), np.zeros((1, POINTS))
    left_is_nearer = np.linalg.norm(np.subtract(wrist, left_shoulder)) < np.linalg.norm(
        np.subtract(wrist, right_shoulder)
    )
    typed = {
        NOSE: nose,
        NECK: neck,
        RIGHT_SHOULDER: right_shoulder,
        LEFT_SHOULDER: left_shoulder,
        LEFT_WRIST if left_is_nearer else RIGHT_WRIST: wrist,
    }
    for index, point in typed.items():
        if not np.isfinite(point).all():
            raise PoseError(f"a portrait's point is given as {point[0]}, {point[1]}; type pixels, as 512, 300")
        points[0, index] = np.divide(point, size)
        scores[0, index] = 1.0
    if np.allclose(right_shoulder, left_shoulder):
        raise PoseError("the two shoulders of the portrait are typed in one place")
    return PoseSequence(points, scores, canvas=picture_canvas(*size))


def fit_linear(clip: PoseSequence, portrait: PoseSequence) -> LinearFit:
    """One scale and one offset for the whole clip, as in MimicMotion: limbs keep the driver's proportions.

    The scale is the least-squares slope of the portrait's heights over the clip's, over all frames; the same scale
    holds for x, and the mean difference is the offset.

    Args:
        clip: any poses.
        portrait: the first frame counts.

    Raises:
        PoseError: fewer than two points of head and trunk are seen in both, or they stand on their heads.
    """
    clip_sides, sides = region_sides(clip.canvas), region_sides(portrait.canvas)
    keypoints, scores = with_neck(clip.keypoints, clip.scores)
    goal, goal_scores = with_neck(portrait.keypoints[0], portrait.scores[0])
    known = [point for point in _TRUNK if goal_scores[point] >= SEEN and (scores[:, point] >= SEEN).any()]
    if len(known) < 2:
        raise PoseError(
            f"the clip and the portrait share {len(known)} seen points of head and trunk; a fit needs two, "
            "best are nose, neck and shoulders"
        )
    seen = scores[:, known] >= SEEN
    source = (keypoints * clip_sides)[:, known][seen]
    target = np.broadcast_to((goal * sides)[known], (len(clip), len(known), 2))[seen]
    heights = source[:, 1] - source[:, 1].mean()
    spread = float((heights**2).sum())
    scale = float((heights * target[:, 1]).sum()) / spread if spread > 0 else 0.0
    if not scale > 0:
        raise PoseError("the points that clip and portrait share do not span any height: mark nose, neck and shoulders")
    offset = (target - source * scale).mean(axis=0)
    moved = (clip.keypoints * clip_sides * scale + offset) / sides
    return LinearFit(clip.with_points(moved, canvas=portrait.canvas), scale, tuple(known))


def adjust(sequence: PoseSequence, scale: float = 1.0, offset: Point = (0.0, 0.0)) -> PoseSequence:
    """Scale about the neck's usual place and move, by hand.

    Args:
        sequence: any poses.
        scale: above 1 makes the person larger.
        offset: x to the right, y down, as shares of the region.

    Raises:
        PoseError: an impossible scale.
    """
    if not 0.01 <= scale <= 100:
        raise PoseError(f"a pose is scaled by 0.01 to 100 times, not {scale}")
    if scale == 1 and not any(offset):
        return sequence  # as it is, to the last bit
    keypoints, scores = with_neck(sequence.keypoints, sequence.scores)
    seen = scores[:, NECK] > 0
    about = np.median(keypoints[seen, NECK], axis=0) if seen.any() else np.array([0.5, 0.5])
    return sequence.with_points((sequence.keypoints - about) * scale + about + np.asarray(offset))
