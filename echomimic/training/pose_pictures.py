"""Pose pictures of more than hands: what the earlier phases of training show.

Hands are drawn by `draw_poses`, pixel for pixel the picture that the released weights know; body limbs and face points
lie beneath them in OpenPose's colours. With hands alone the picture is that of inference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..pose import PoseSequence, draw_poses
from ..pose.anatomy import SEEN
from ..pose.sequence import FACE, LIPS
from .regions import points_in_picture

# OpenPose's limbs between body points, and which part each belongs to.
LIMBS = {
    "body": ((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
    "head": ((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
}
BODY_POINTS = {"body": tuple(range(1, 14)), "head": (0, 14, 15, 16, 17)}
COLOURS = np.array(
    [
        (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0),
        (0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255),
        (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
    ]
)  # fmt: skip


def draw_pose_parts(
    sequence: PoseSequence, frames: Sequence[int] | np.ndarray, width: int, height: int, parts: Sequence[str]
) -> np.ndarray:
    """Pose pictures with these parts of the keypoints.

    Args:
        sequence: the clip.
        frames: frame numbers.
        width, height: size of the pictures in pixels.
        parts: of "body", "head", "lips", "hands".

    Returns:
        uint8 `[n, height, width, 3]`, RGB on black.
    """
    hands = draw_poses(sequence, frames, width, height)
    if tuple(parts) == ("hands",):
        return hands
    points = points_in_picture(sequence, width, height)
    pictures = np.stack([_draw_frame(points[f], sequence.scores[f], width, height, parts) for f in frames])
    if "hands" in parts:
        # What the hands cover is theirs: their picture has no alpha, so wherever it is not black.
        pictures = np.where(hands.any(axis=-1, keepdims=True), hands, pictures)
    return pictures


def _draw_frame(points: np.ndarray, scores: np.ndarray, width: int, height: int, parts: Sequence[str]) -> np.ndarray:
    import cv2  # heavy

    picture = np.zeros((height, width, 3), np.uint8)
    side = min(width, height)
    thickness, radius = max(1, round(side / 96)), max(1, round(side / 192))
    pixels = np.rint(points).clip(-width, 2 * width).astype(int)
    seen = scores >= SEEN
    for part in ("body", "head"):
        if part not in parts:
            continue
        for a, b in LIMBS[part]:
            if seen[a] and seen[b]:
                colour = (COLOURS[b] * 0.6).astype(int).tolist()
                cv2.line(picture, pixels[a].tolist(), pixels[b].tolist(), colour, thickness)
        for point in BODY_POINTS[part]:
            if seen[point]:
                cv2.circle(picture, pixels[point].tolist(), radius + 1, COLOURS[point].tolist(), -1)
    outline = range(FACE.start, LIPS.start) if "head" in parts else ()
    lips = range(LIPS.start, LIPS.stop) if "lips" in parts else ()
    for point in (*outline, *lips):
        if seen[point]:
            cv2.circle(picture, pixels[point].tolist(), radius, (255, 255, 255), -1)
    return picture
