"""A canvas that draws a picture and its region map in one go.

Every shape is filled into an image of four channels: red, green, blue and a region's number. The canvas is several
times as large as the picture and has no smoothed edges, so the region map stays exact; reducing it smooths the picture.
"""

from __future__ import annotations

from enum import IntEnum

import cv2
import numpy as np

Colour = tuple[int, int, int]

# Coordinates are given to OpenCV in 1/16 of a pixel.
SHIFT = 4


class Region(IntEnum):
    """What a pixel of the region map shows."""

    BACKGROUND = 0
    BODY = 1
    HAIR = 2
    FACE = 3
    MOUTH = 4
    HAND_A = 5
    HAND_B = 6


class Canvas:
    """Shapes in coordinates of the picture's square (0..1, may leave it).

    Args:
        background: uint8 `[side, side, 4]`, copied.
    """

    def __init__(self, background: np.ndarray) -> None:
        self.image = background.copy()
        self.side = len(background)
        self.region = Region.BACKGROUND

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Points `[n, 2]` as OpenCV takes them; pixel centres lie at whole numbers there."""
        return np.round((np.asarray(points) * self.side - 0.5) * (1 << SHIFT)).astype(np.int32)

    def width(self, width: float) -> int:
        """A line's width in pixels."""
        return max(1, round(width * self.side))

    def fill(self, points: np.ndarray, colour: Colour) -> None:
        """A closed polygon."""
        cv2.fillPoly(self.image, [self.pixels(points)], (*colour, int(self.region)), shift=SHIFT)

    def line(self, points: np.ndarray, width: float, colour: Colour, closed: bool = False) -> None:
        """A line of even width with round ends."""
        cv2.polylines(
            self.image, [self.pixels(points)], closed, (*colour, int(self.region)), self.width(width), shift=SHIFT
        )

    def ellipse(self, centre: np.ndarray, x_axis: np.ndarray, y_axis: np.ndarray, colour: Colour) -> None:
        """An ellipse by its half axes, vectors `[2]` each."""
        self.fill(centre + CIRCLE @ np.stack([x_axis, y_axis]), colour)

    def disc(self, centre: np.ndarray, radius: float, colour: Colour) -> None:
        self.fill(np.asarray(centre) + radius * CIRCLE, colour)

    def limb(self, points: np.ndarray, radii: np.ndarray, colour: Colour) -> None:
        """Discs `[n, 2]` of radii `[n]` and what lies between neighbours."""
        for outline in self.pixels(capsules(points, radii)):
            cv2.fillConvexPoly(self.image, outline, (*colour, int(self.region)), shift=SHIFT)

    def reduced(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """The picture `[size, size, 3]` and its region map `[size, size]`, uint8."""
        # Each pixel's region is the one at its middle.
        middles = ((np.arange(size) + 0.5) * self.side / size).astype(int)
        regions = self.image[middles[:, None], middles[None, :], 3]
        picture = cv2.resize(self.image, (size, size), interpolation=cv2.INTER_AREA)[..., :3]
        return np.ascontiguousarray(picture), regions


_ANGLES = np.linspace(0, 2 * np.pi, 72, endpoint=False)
CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=-1)
_HALF = np.linspace(-np.pi / 2, np.pi / 2, 9)


def capsules(points: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """The outline `[n - 1, 18, 2]` around each pair of neighbouring discs."""
    a, b = points[:-1], points[1:]
    along = b - a
    angle = np.arctan2(along[:, 1], along[:, 0])[:, None]
    near, far = angle + np.pi + _HALF, angle + _HALF
    start = a[:, None] + radii[:-1, None, None] * np.stack([np.cos(near), np.sin(near)], axis=-1)
    end = b[:, None] + radii[1:, None, None] * np.stack([np.cos(far), np.sin(far)], axis=-1)
    return np.concatenate([start, end], axis=1)


def smooth(points: np.ndarray | list[tuple[float, float]], closed: bool = True, steps: int = 10) -> np.ndarray:
    """Catmull-Rom curve through the points, `[n * steps, 2]` if closed."""
    p = np.asarray(points, np.float64)
    p = np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([p[:1], p, p[-1:]])
    t = (np.arange(steps) / steps)[:, None]
    a, b, c, d = (p[i : len(p) - 3 + i, None] for i in range(4))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, p[-2:-1]])


def mirrored(half: list[tuple[float, float]], closed: bool = True) -> np.ndarray:
    """A curve that is symmetric about x = 0, from its right half, top to bottom."""
    right = np.asarray(half, np.float64)
    inner = right[(np.abs(right[:, 0]) > 1e-9)]
    return smooth(np.concatenate([right, inner[::-1] * [-1, 1]]), closed)


def mixed(a: Colour, b: Colour, share: float) -> Colour:
    """The first colour with a share of the second."""
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b))  # type: ignore[return-value]


def shaded(colour: Colour, amount: float) -> Colour:
    """Darker for an amount below 0, lighter above; shadows lean towards blue-violet, lights towards cream."""
    return mixed(colour, (44, 26, 60), -amount) if amount < 0 else mixed(colour, (255, 246, 228), amount)
