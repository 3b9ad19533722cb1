"""The square that a clip's coordinates live in, and where it lies in a picture."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import PoseError


@dataclass(frozen=True)
class Canvas:
    """The square that the coordinates live in, and the part of it that the pose picture covers.

    Coordinates are fractions of the *region* (x of its width, y of its height), not of the whole square. For most
    clips the region is the square; a portrait-format source leaves bands at the sides.

    Attributes:
        size: side of the square in pixels.
        rows: first row and the row after the last of the region.
        columns: the same for columns.
    """

    size: int = 768
    rows: tuple[int, int] = (0, 768)
    columns: tuple[int, int] = (0, 768)

    def __post_init__(self) -> None:
        for name, (begin, end) in (("rows", self.rows), ("columns", self.columns)):
            if not 0 <= begin < end <= self.size:
                raise PoseError(f"pose canvas: {name} {begin}..{end} do not lie in a square of {self.size} pixels")


def picture_canvas(width: int, height: int) -> Canvas:
    """The canvas whose region is a whole picture: centred in a square of its longer side."""
    size = max(width, height)
    top, left = (size - height) // 2, (size - width) // 2
    return Canvas(size, (top, top + height), (left, left + width))


def region_in_picture(canvas: Canvas, width: int, height: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where the canvas region lies in a picture: (row begin, row end), (column begin, column end) in pixels.

    The canvas square is scaled to the longer side and centred, so parts of the region may lie outside.
    """
    side = max(width, height)

    def place(span: tuple[int, int], length: int) -> tuple[int, int]:
        begin, end = (round(edge * side / canvas.size) for edge in span)
        shift = (side - length) // 2
        return begin - shift, max(end, begin + 1) - shift

    return place(canvas.rows, height), place(canvas.columns, width)
