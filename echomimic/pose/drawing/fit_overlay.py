"""The picture that shows how a clip fits a portrait: its body, face and hands over the person."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ...cancellation import check_cancelled
from ...errors import PoseError
from ..anatomy import SEEN
from ..canvas import region_in_picture
from ..sequence import FACE, PoseSequence
from .hands import draw_poses
from .sheet import lay_out, sheet_pictures, spread_frames

_BONES = ((1, 0), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 8), (1, 11))
_CLIP_COLOUR = (255, 255, 255)
_PORTRAIT_COLOUR = (80, 255, 80)
_DIM = 0.55  # how much of the portrait's brightness stays, so that lines stand out on it


def draw_fit(
    sequence: PoseSequence, frames: Sequence[int] | np.ndarray, image: np.ndarray, portrait: PoseSequence | None = None
) -> np.ndarray:
    """The listed frames over the portrait: hands as the model sees them, body and face in white.

    Args:
        sequence: the clip, as it would be drawn for a video of the image's size.
        frames: frame numbers.
        image: uint8 RGB `[H, W, 3]`.
        portrait: the portrait's own keypoints, drawn in green: where white and green coincide, the clip fits.

    Returns:
        uint8 RGB `[n, H, W, 3]`.

    Raises:
        PoseError: a frame that the clip does not have.
    """
    import cv2  # heavy

    height, width = image.shape[:2]
    pictures = draw_poses(sequence, frames, width, height)
    dimmed = (image * _DIM).astype(np.uint8)
    for picture, frame in zip(pictures, frames):
        check_cancelled()
        ground = dimmed.copy()
        if portrait is not None:
            _draw_body(ground, portrait, 0, _PORTRAIT_COLOUR)
        _draw_body(ground, sequence, int(frame), _CLIP_COLOUR)
        hands = picture.any(axis=2, keepdims=True)
        picture[:] = np.where(hands, cv2.max(picture, (ground * 0.3).astype(np.uint8)), ground)
    return pictures


def fit_sheet(
    sequence: PoseSequence,
    image: np.ndarray,
    portrait: PoseSequence | None = None,
    pictures: int = 8,
    columns: int = 4,
    side: int = 384,
) -> np.ndarray:
    """The clip over the portrait at a glance: pictures of `draw_fit`, evenly spread over the clip, with their times.

    Args:
        sequence: the clip, as it would be drawn for a video of the image's shape.
        image: uint8 RGB `[H, W, 3]`.
        portrait: its own keypoints, drawn in green.
        pictures: how many; a clip with fewer frames shows them all.
        columns: most pictures in a row.
        side: longer side of each picture in pixels, 64 to 4096.

    Returns:
        uint8 RGB `[rows * h, columns * w, 3]`.

    Raises:
        PoseError: less than one picture or column, an impossible size, or a sheet that is too large to show.
    """
    if not 64 <= side <= 4096:
        raise PoseError(f"the pictures of a sheet are 64 to 4096 pixels wide, not {side}")
    height, width = (max(1, round(length * side / max(image.shape[:2]))) for length in image.shape[:2])
    count = sheet_pictures(sequence, pictures, columns, (width, height))
    frames = spread_frames(len(sequence), count)
    small = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
    return lay_out(draw_fit(sequence, frames, small, portrait), frames / sequence.fps, columns)


def _draw_body(picture: np.ndarray, sequence: PoseSequence, frame: int, colour: tuple[int, int, int]) -> None:
    """Trunk, arms and face points of one frame, into the picture."""
    import cv2  # heavy

    sequence.check_frame(frame)
    height, width = picture.shape[:2]
    rows, columns = region_in_picture(sequence.canvas, width, height)
    sides = [columns[1] - columns[0], rows[1] - rows[0]]
    places = np.clip(sequence.keypoints[frame] * sides + [columns[0], rows[0]], -1e5, 1e5).round().astype(int)
    seen = sequence.scores[frame] >= SEEN
    thickness = max(1, min(width, height) // 256)
    for a, b in _BONES:
        if seen[a] and seen[b]:
            cv2.line(picture, places[a].tolist(), places[b].tolist(), colour, thickness, cv2.LINE_AA)
    for point in range(8):
        if seen[point]:
            cv2.circle(picture, places[point].tolist(), 2 * thickness, colour, -1, cv2.LINE_AA)
    for point in range(FACE.start, FACE.stop):
        if seen[point]:
            cv2.circle(picture, places[point].tolist(), thickness, colour, -1, cv2.LINE_AA)
