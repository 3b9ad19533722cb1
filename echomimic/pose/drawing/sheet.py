"""Contact sheets: pictures of a clip side by side, each with its time."""

from __future__ import annotations

from math import ceil

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ...errors import PoseError
from ..sequence import PoseSequence

_FRAME, _TIME, _OUTLINE = (58, 60, 66), (216, 218, 224), (0, 0, 0)
_MAX_PIXELS = 64_000_000


def sheet_pictures(sequence: PoseSequence, pictures: int, columns: int, size: tuple[int, int]) -> int:
    """How many pictures a sheet of the clip shows: the requested number, or every frame of a shorter clip.

    Args:
        sequence: the clip.
        pictures: the requested number.
        columns: most pictures in a row.
        size: width and height of each in pixels.

    Raises:
        PoseError: less than one picture or column, or a sheet that is too large to show.
    """
    if pictures < 1 or columns < 1:
        raise PoseError(f"a contact sheet needs pictures and columns, got {pictures} and {columns}")
    count = min(pictures, len(sequence))
    columns, rows = _grid(count, columns)
    width, height = columns * size[0], rows * size[1]
    if width * height > _MAX_PIXELS:
        raise PoseError(f"a contact sheet of {width}x{height} pixels is too large: choose fewer pictures")
    return count


def spread_frames(frames: int, count: int) -> np.ndarray:
    """Numbers `[count]` of frames evenly spread over a clip, the first and the last included."""
    return np.round(np.linspace(0, frames - 1, count)).astype(int)


def lay_out(pictures: np.ndarray, seconds: np.ndarray, columns: int) -> np.ndarray:
    """Pictures row by row, each framed and with its time in the corner.

    Args:
        pictures: uint8 RGB `[n, H, W, 3]`.
        seconds: `[n]`, the time of each in the clip.
        columns: most pictures in a row; there are fewer where that leaves fewer places empty in as many rows.

    Returns:
        uint8 RGB `[rows * H, columns * W, 3]`; places without a picture are black.
    """
    count, height, width = pictures.shape[:3]
    columns, rows = _grid(count, columns)
    sheet = Image.new("RGB", (columns * width, rows * height))
    draw = ImageDraw.Draw(sheet)
    side = min(width, height)
    small = font(max(10, side // 18))
    for number, (picture, time) in enumerate(zip(pictures, seconds)):
        x, y = number % columns * width, number // columns * height
        sheet.paste(Image.fromarray(picture), (x, y))
        draw.rectangle((x, y, x + width - 1, y + height - 1), outline=_FRAME)
        place = (x + side // 32, y + side // 40)
        draw.text(place, f"{time:.2f} s", fill=_TIME, font=small, stroke_width=1, stroke_fill=_OUTLINE)
    return np.asarray(sheet)


def _grid(count: int, columns: int) -> tuple[int, int]:
    """Columns and rows for this number of pictures: as few rows as the columns allow, and no empty columns."""
    rows = ceil(count / columns)
    return ceil(count / rows), rows


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with Pillow, in pixels."""
    return ImageFont.load_default(size)
