"""The published alignment: the reference picture and the driving video each cut to one head-to-waist square.

No limb is scaled, so the two fit only if the people are built and seated alike; `retarget` does better. The numbers are
those of the original's demo notebook (golden cases `pose_align` and `pose_align_portrait`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import PoseError
from ..anatomy import NECK, region_sides, with_neck
from ..canvas import Canvas, picture_canvas
from ..sequence import FACE, PoseSequence

_SQUARE = 768
_MARGIN = 0.25  # of the height from brows to waist; this share of it goes above and below:
_ABOVE, _BELOW = 0.65, 0.05
_TORSO = slice(0, 7)  # without the left wrist, as in the original, whose published poses were made so


@dataclass(frozen=True)
class WaistCrop:
    """A part of a picture, from above the head to the waist.

    Attributes:
        picture: width and height of the whole picture in pixels.
        rows: first row and the row after the last.
        columns: the same; the last may lie beyond the picture.
        vertical: top and bottom as fractions of the picture's height, before they were rounded to rows.
    """

    picture: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]
    vertical: tuple[float, float]

    @property
    def canvas(self) -> Canvas:
        """Where the crop lies in the model's square: full height, and bands at the sides if it is narrow."""
        height = self.rows[1] - self.rows[0] + 1
        width = min(_SQUARE, round((self.columns[1] - self.columns[0]) / height * _SQUARE))
        left = _SQUARE // 2 - width // 2
        return Canvas(_SQUARE, (0, _SQUARE), (left, left + width))


def head_to_waist(sequence: PoseSequence) -> WaistCrop:
    """The crop that holds head and waist in every frame.

    Args:
        sequence: poses whose canvas region is the whole picture, as from an extractor or POSE_KEYPOINT.

    Raises:
        PoseError: no frame shows face and neck, or they leave no room for a crop.
    """
    width, height = (int(side) for side in region_sides(sequence.canvas))
    points, scores = with_neck(sequence.keypoints, sequence.scores)
    face_y = np.where(scores[:, FACE] > 0, points[:, FACE, 1], np.inf)
    torso_y = np.where(scores[:, _TORSO] > 0, points[:, _TORSO, 1], -np.inf)
    usable = np.isfinite(face_y.min(axis=1)) & (scores[:, NECK] > 0)
    if not usable.any():
        raise PoseError("the original's alignment needs the face and the neck, and no frame of the poses shows both")
    top, bottom = face_y[usable].min(), torso_y[usable].max()
    middle = int(points[usable, NECK, 0].mean() * width)
    margin = (bottom - top) * _MARGIN
    top, bottom = max(top - _ABOVE * margin, 0.0), min(bottom + _BELOW * margin, 1.0)
    rows = int(top * height), int(bottom * height)
    side = rows[1] - rows[0] + 1
    left = middle - side // 2
    if left < 0:
        left, side = 0, 2 * middle
    if rows[1] <= rows[0] or side < 1:
        raise PoseError(f"no head-to-waist square can be cut: rows {rows[0]}..{rows[1]}, middle at column {middle}")
    return WaistCrop((width, height), rows, (left, left + side), (float(top), float(bottom)))


def crop_poses(sequence: PoseSequence, crop: WaistCrop) -> PoseSequence:
    """The poses in units of the crop."""
    left, right = (column / crop.picture[0] for column in crop.columns)
    top, bottom = crop.vertical
    keypoints = (sequence.keypoints - [left, top]) / [right - left, bottom - top]
    return sequence.with_points(keypoints, canvas=crop.canvas)


def crop_picture(image: np.ndarray, crop: WaistCrop, size: int = _SQUARE) -> np.ndarray:
    """Cut the picture and fit it into the model's square, with black bands where the crop is narrow.

    Args:
        image: uint8 RGB `[H, W, 3]`, the picture that the crop was made for.
        size: side of the square in pixels.

    Returns:
        uint8 RGB `[size, size, 3]`.
    """
    import cv2  # heavy

    width, height = crop.picture
    if image.shape[:2] != (height, width):
        raise PoseError(f"the crop is for a picture of {width}x{height}, not {image.shape[1]}x{image.shape[0]}")
    left, right = crop.columns
    cut = image[crop.rows[0] : crop.rows[1], left : min(right, width)]
    beyond = np.zeros((len(cut), max(0, right - width), 3), np.uint8)
    columns = [round(edge * size / _SQUARE) for edge in crop.canvas.columns]
    square = np.zeros((size, size, 3), np.uint8)
    cut = np.ascontiguousarray(np.concatenate([cut, beyond], axis=1))
    square[:, columns[0] : columns[1]] = cv2.resize(cut, (columns[1] - columns[0], size))
    return square


def cover(sequence: PoseSequence, width: int, height: int) -> PoseSequence:
    """The poses in a video of width x height whose picture is cropped to its shape.

    `fit_image` cuts the middle of a portrait that has another shape than the video. Poses of that portrait (its own
    keypoints, before a clip is retargeted to them) have to be cut alike.

    Args:
        sequence: poses whose canvas region is the whole portrait.
        width, height: of the video in pixels.
    """
    sides = region_sides(sequence.canvas)
    target = np.array([width, height], np.float64)
    scaled = sides * (target / sides).max()
    keypoints = (sequence.keypoints * scaled - (scaled - target) / 2) / target
    return sequence.with_points(keypoints, canvas=picture_canvas(width, height))
