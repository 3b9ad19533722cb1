"""The body's points by name, and measures that alignment, retargeting and score share.

Lengths are comparable only in pixels: a sequence's coordinates are fractions of a region that need not be square.
"""

from __future__ import annotations

import numpy as np

from .canvas import Canvas
from .sequence import FACE, HAND_A, HAND_B, PoseSequence

NOSE, NECK = 0, 1
RIGHT_SHOULDER, RIGHT_ELBOW, RIGHT_WRIST = 2, 3, 4
LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST = 5, 6, 7
# The body's wrist of each hand: rows 92-112 are the left hand.
HAND_WRISTS = ((HAND_A, LEFT_WRIST), (HAND_B, RIGHT_WRIST))
# Pairs that change places when left and right are swapped.
MIRRORED = {2: 5, 3: 6, 4: 7, 8: 11, 9: 12, 10: 13, 14: 15, 16: 17}
# Points that move with the trunk and the head, not with gestures.
STEADY = (0, 1, 2, 5, 14, 15, 16, 17)
# A point below this is a guess of the detector (Wan2.2-Animate's threshold).
SEEN = 0.4


def region_sides(canvas: Canvas) -> np.ndarray:
    """Width and height of the region in pixels, `[2]`."""
    return np.array([canvas.columns[1] - canvas.columns[0], canvas.rows[1] - canvas.rows[0]], np.float64)


def to_square(sequence: PoseSequence) -> np.ndarray:
    """Keypoints `[F, 134, 2]` in fractions of the canvas square, where x and y have the same unit."""
    corner = np.array([sequence.canvas.columns[0], sequence.canvas.rows[0]])
    return (sequence.keypoints * region_sides(sequence.canvas) + corner) / sequence.canvas.size


def distance(points: np.ndarray, a: int, b: int) -> np.ndarray:
    """Length from point a to point b, over the last two axes of `[..., 134, 2]`."""
    return np.linalg.norm(points[..., a, :] - points[..., b, :], axis=-1)


def face_height(points: np.ndarray, scores: np.ndarray) -> float | None:
    """Height of the face of one frame, brows to chin; None where fewer than three of its points are seen.

    Args:
        points: `[134, 2]`, isotropic.
        scores: `[134]`.
    """
    seen = points[FACE][scores[FACE] >= SEEN, 1]
    return float(np.ptp(seen)) if len(seen) >= 3 and np.ptp(seen) > 0 else None


def with_neck(points: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the neck is absent and both shoulders are there, the neck is put between them, as the detector does.

    Args:
        points: `[..., 134, 2]`.
        scores: `[..., 134]`.
    """
    shoulders = [RIGHT_SHOULDER, LEFT_SHOULDER]
    lacking = (scores[..., NECK] <= 0) & (scores[..., shoulders] > 0).all(axis=-1)
    if not lacking.any():
        return points, scores
    points, scores = points.copy(), scores.copy()
    points[..., NECK, :] = np.where(lacking[..., None], points[..., shoulders, :].mean(axis=-2), points[..., NECK, :])
    scores[..., NECK] = np.where(lacking, scores[..., shoulders].min(axis=-1), scores[..., NECK])
    return points, scores
