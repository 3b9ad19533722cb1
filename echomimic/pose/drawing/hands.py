"""The picture of the hands that the model was trained on; a generic OpenPose picture gives worse results.

The rules are those of the original's drawing function, pixel for pixel (golden case `pose_draw`).
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np

from ...cancellation import check_cancelled
from ...errors import PoseError
from ..canvas import region_in_picture
from ..sequence import HANDS, PoseSequence

# Each finger a chain from the wrist (point 0): thumb, index, middle, ring, little finger.
HAND_BONES = tuple(
    (0 if joint == 1 else 4 * finger + joint - 1, 4 * finger + joint) for finger in range(5) for joint in range(1, 5)
)
BONE_COLOURS = tuple(colorsys.hsv_to_rgb(i / len(HAND_BONES), 1.0, 1.0) for i in range(len(HAND_BONES)))
_DRAWING_SIDE = 800  # shorter side of the canvas that is drawn on, before it is resized
_BONE_THICKNESS = 2
_POINT_RADIUS = 4
# How far beyond the canvas bones are cut off before they are drawn: their thickness, as OpenCV does since 4.13. Older
# versions slant what leaves the canvas differently; cut here, all of them draw the golden pictures' pixels.
_BEYOND = 2
_MAX_ASPECT = 16  # a narrower region would need a drawing canvas of gigabytes


def draw_poses(sequence: PoseSequence, frames: Sequence[int] | np.ndarray, width: int, height: int) -> np.ndarray:
    """Hand pictures of the listed frames, as the pose encoder expects them.

    A picture that is not square shows the middle of the clip's square, as a square portrait is cropped for the same
    video. Points whose score is 0 are absent and are not drawn.

    Args:
        sequence: the clip.
        frames: frame numbers, `0 <= i < len(sequence)`, in any order; repeats allowed.
        width, height: size of the pictures in pixels.

    Returns:
        uint8 `[n, height, width, 3]`, RGB, hands on black.

    Raises:
        PoseError: a frame that the clip does not have, an impossible size, or a region too narrow to draw.
    """
    if width < 1 or height < 1:
        raise PoseError(f"pose pictures of {width}x{height} pixels cannot be drawn")
    rows, columns = region_in_picture(sequence.canvas, width, height)
    region_height, region_width = rows[1] - rows[0], columns[1] - columns[0]
    if max(region_height, region_width) > _MAX_ASPECT * min(region_height, region_width):
        raise PoseError(f"the pose's region of {region_width}x{region_height} pixels is too narrow to draw")
    pictures = np.zeros((len(frames), height, width, 3), np.uint8)
    into_rows, from_rows = _overlap(rows, height)
    into_columns, from_columns = _overlap(columns, width)
    for picture, frame in zip(pictures, frames):
        check_cancelled()
        sequence.check_frame(frame)
        region = _draw_region(sequence.keypoints[frame], sequence.scores[frame], region_width, region_height)
        picture[into_rows, into_columns] = region[from_rows, from_columns]
    return pictures


def _overlap(span: tuple[int, int], length: int) -> tuple[slice, slice]:
    """The part of `span` inside `0..length`: as a slice of the picture and as a slice of the region."""
    begin = min(max(span[0], 0), length)
    end = max(begin, min(span[1], length))
    return slice(begin, end), slice(begin - span[0], end - span[0])


def _draw_region(keypoints: np.ndarray, scores: np.ndarray, width: int, height: int) -> np.ndarray:
    """One frame's hands in a picture of the region alone, uint8 `[height, width, 3]` RGB."""
    import cv2  # heavy

    ratio = _DRAWING_SIDE / min(width, height)
    drawing = np.zeros((int(height * ratio), int(width * ratio), 3), np.uint8)
    sides = np.array([drawing.shape[1], drawing.shape[0]])
    frame = (-_BEYOND, -_BEYOND, drawing.shape[1] + 2 * _BEYOND, drawing.shape[0] + 2 * _BEYOND)
    for hand in HANDS:
        # Truncated towards zero, as the original does.
        pixels = np.trunc(keypoints[hand] * sides).astype(int)
        confidence = scores[hand]
        # The original leaves out points in the first row or column, where its detector puts missing ones. It would
        # paint a score of 0 black; here an absent point must not erase the other hand.
        drawn = (pixels > 0).all(axis=1) & (confidence > 0)
        for (a, b), colour in zip(HAND_BONES, BONE_COLOURS):
            if drawn[a] and drawn[b]:
                # Above 255 OpenCV saturates each channel.
                brightness = int(confidence[a] * confidence[b] * 255)
                bone_colour = [channel * brightness for channel in colour]
                inside, begin, end = cv2.clipLine(frame, pixels[a].tolist(), pixels[b].tolist())
                if inside:
                    cv2.line(drawing, begin, end, bone_colour, thickness=_BONE_THICKNESS)
        for point in np.flatnonzero(drawn):
            centre, brightness = pixels[point].tolist(), int(confidence[point] * 255)
            cv2.circle(drawing, centre, _POINT_RADIUS, (0, 0, brightness), thickness=-1)
    return cv2.cvtColor(cv2.resize(drawing, (width, height)), cv2.COLOR_BGR2RGB)
