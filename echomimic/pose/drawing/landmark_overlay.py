"""The portrait with its marked points and a grid to read positions from, for marking by hand."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..anatomy import LEFT_SHOULDER, LEFT_WRIST, NECK, NOSE, RIGHT_SHOULDER, RIGHT_WRIST, SEEN
from ..canvas import region_in_picture
from ..sequence import PoseSequence

_NAMES = {
    NOSE: "nose",
    NECK: "neck",
    RIGHT_SHOULDER: "right shoulder",
    LEFT_SHOULDER: "left shoulder",
    RIGHT_WRIST: "right wrist",
    LEFT_WRIST: "left wrist",
}
_BONES = ((NECK, NOSE), (NECK, RIGHT_SHOULDER), (NECK, LEFT_SHOULDER))
_MARK, _EDGE, _GRID = (255, 196, 40), (20, 20, 20), (255, 255, 255)
_LINES = 10


def draw_marks(image: np.ndarray, portrait: PoseSequence) -> np.ndarray:
    """Named points over the picture, and lines at every tenth of its width and height, numbered in per cent.

    Args:
        image: uint8 RGB `[H, W, 3]`.
        portrait: keypoints of the picture; the first frame counts.

    Returns:
        uint8 RGB `[H, W, 3]`.
    """
    height, width = image.shape[:2]
    unit = max(1, round(min(width, height) / 256))
    picture = Image.fromarray(image).convert("RGBA")
    layer = Image.new("RGBA", picture.size)
    draw = ImageDraw.Draw(layer)
    font = ImageFont.load_default(max(10, 7 * unit))
    for tenth in range(1, _LINES):
        x, y = width * tenth / _LINES, height * tenth / _LINES
        draw.line((x, 0, x, height), fill=(*_GRID, 90), width=max(1, unit // 2))
        draw.line((0, y, width, y), fill=(*_GRID, 90), width=max(1, unit // 2))
        label = {"fill": _GRID, "font": font, "stroke_width": unit, "stroke_fill": _EDGE}
        draw.text((x, 2 * unit), f"{100 * tenth // _LINES}", anchor="mt", **label)
        draw.text((2 * unit, y), f"{100 * tenth // _LINES}", anchor="lm", **label)
    rows, columns = region_in_picture(portrait.canvas, width, height)
    sides = np.array([columns[1] - columns[0], rows[1] - rows[0]])
    places = np.clip(portrait.keypoints[0] * sides + [columns[0], rows[0]], -1e5, 1e5)
    seen = portrait.scores[0] >= SEEN
    for a, b in _BONES:
        if seen[a] and seen[b]:
            draw.line((*places[a], *places[b]), fill=(*_MARK, 180), width=unit)
    for point, name in _NAMES.items():
        if seen[point]:
            x, y = places[point].tolist()
            draw.ellipse((x - 3 * unit, y - 3 * unit, x + 3 * unit, y + 3 * unit), fill=_MARK, outline=_EDGE)
            # Names stand outwards of their points, so that they do not meet, unless the picture's edge is near.
            to_the_left = 0.2 * width < x <= 0.5 * width or x > 0.8 * width
            side, anchor = (-5 * unit, "rm") if to_the_left else (5 * unit, "lm")
            stroke = {"stroke_width": unit, "stroke_fill": _EDGE}
            draw.text((x + side, y - 6 * unit), name, fill=_MARK, font=font, anchor=anchor, **stroke)
    return np.asarray(Image.alpha_composite(picture, layer).convert("RGB"))
