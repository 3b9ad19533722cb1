"""The picture that the model was trained on: both hands on black, in the original's colours, pixel for pixel."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np

from .sequence import HANDS, PoseSequence

# Each finger from the wrist: thumb, index, middle, ring, little finger.
BONES = [(0 if joint == 0 else 4 * finger + joint, 4 * finger + joint + 1) for finger in range(5) for joint in range(4)]
COLOURS = np.array([colorsys.hsv_to_rgb(i / len(BONES), 1.0, 1.0) for i in range(len(BONES))])
# The original draws large and shrinks.
SHORTER_SIDE = 800
THICKNESS = 2
RADIUS = 4
# Points on the upper or left edge are not drawn.
EDGE = 0.01
# OpenCV takes 32-bit coordinates with some bits of fraction; points farther out than this are as good as there.
FARTHEST = 2**20


def draw_poses(sequence: PoseSequence, frames: Sequence[int] | np.ndarray, width: int, height: int) -> np.ndarray:
    """Draw the listed frames.

    The clip's square is scaled to cover the picture and its middle is shown, as a square portrait is cropped for the
    same video.

    Args:
        sequence: the clip.
        frames: which frames, in order; repeats allowed.
        width, height: pixels of the pictures.

    Returns:
        uint8 RGB `[n, height, width, 3]`.
    """
    pictures = np.zeros((len(frames), height, width, 3), np.uint8)
    for picture, frame in zip(pictures, frames):
        square = draw_square(sequence, int(frame), max(width, height))
        top, left = (len(square) - height) // 2, (len(square) - width) // 2
        picture[:] = square[top : top + height, left : left + width]
    return pictures


def draw_square(sequence: PoseSequence, frame: int, side: int) -> np.ndarray:
    """The frame's whole square, uint8 RGB `[side, side, 3]`, the canvas region in its place."""
    canvas = sequence.canvas
    top, bottom, left, right = (round(edge * side / canvas.size) for edge in (*canvas.rows, *canvas.columns))
    height, width = max(1, bottom - top), max(1, right - left)
    square = np.zeros((side, side, 3), np.uint8)
    region = draw_region(sequence.keypoints[frame], sequence.scores[frame], width, height)
    square[top : top + height, left : left + width] = region[: side - top, : side - left]
    return square


def draw_region(points: np.ndarray, scores: np.ndarray, width: int, height: int) -> np.ndarray:
    """Both hands of one frame, uint8 RGB `[height, width, 3]`."""
    import cv2

    scale = SHORTER_SIDE / min(height, width) if min(height, width) != SHORTER_SIDE else 1
    large = np.zeros((int(height * scale), int(width * scale), 3), np.uint8)
    for hand in HANDS:
        draw_hand(large, points[hand], scores[hand])
    return cv2.cvtColor(cv2.resize(large, (width, height)), cv2.COLOR_BGR2RGB)


def draw_hand(picture: np.ndarray, points: np.ndarray, scores: np.ndarray) -> None:
    """Bones, then points, into the BGR picture. Scores above 1 brighten beyond 255, where OpenCV saturates."""
    import cv2

    height, width = picture.shape[:2]
    finite = np.isfinite(points).all(axis=1) & np.isfinite(scores)
    places = np.where(finite[:, None], points, 0) * (width, height)
    places = places.clip(-FARTHEST, FARTHEST).astype(int)  # towards zero, as int() does
    strengths = np.where(finite, scores, 0)
    drawn = (places > EDGE).all(axis=1)
    for (a, b), colour in zip(BONES, COLOURS):
        if drawn[a] and drawn[b]:
            brightness = int(strengths[a] * strengths[b] * 255)
            cv2.line(picture, places[a].tolist(), places[b].tolist(), (colour * brightness).tolist(), THICKNESS)
    for place, strength, visible in zip(places, strengths, drawn):
        if visible:
            cv2.circle(picture, place.tolist(), RADIUS, (0, 0, int(strength * 255)), -1)
