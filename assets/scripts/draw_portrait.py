"""Draws `assets/portrait.png`: a person from head to waist, facing the viewer, in the framing that the model expects.

    python assets/scripts/draw_portrait.py

Flat shapes, drawn four times as large and shrunk. Coordinates are fractions of the square, x to the right, y down.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 768
SUPERSAMPLING = 4

SKIN, SKIN_SHADE, SKIN_LIGHT = "#e8b593", "#d79c79", "#f2c9ab"
HAIR, HAIR_LIGHT = "#3b2a28", "#54403b"
SHIRT, SHIRT_SHADE = "#2f6f79", "#255a63"
COLLAR, LIPS, BLUSH, WHITE, IRIS = "#f4efe6", "#b9585a", "#e39a84", "#fbfaf7", "#4a3327"

Point = tuple[float, float]


def curve(*points: Point, steps: int = 40) -> list[Point]:
    """A closed Catmull-Rom spline through the points."""
    control = np.array(points)
    before, after, beyond = (np.roll(control, shift, axis=0) for shift in (1, -1, -2))
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    spline = 0.5 * (
        2 * control
        + (after - before) * t
        + (2 * before - 5 * control + 4 * after - beyond) * t**2
        + (3 * control - before - 3 * after + beyond) * t**3
    )
    return [tuple(point) for point in spline.transpose(1, 0, 2).reshape(-1, 2)]


def mirrored(points: list[Point]) -> list[Point]:
    """The same shape on the other side of the middle."""
    return [(1 - x, y) for x, y in points]


class Canvas:
    """A large picture that takes shapes in fractions of its side."""

    def __init__(self) -> None:
        self.side = SIDE * SUPERSAMPLING
        self.image = Image.new("RGB", (self.side, self.side))

    def background(self, top: str, bottom: str) -> None:
        """A wall that grows darker downwards, with a soft light behind the head."""
        ramp = Image.linear_gradient("L").resize((self.side, self.side))
        self.image = Image.composite(Image.new("RGB", ramp.size, bottom), Image.new("RGB", ramp.size, top), ramp)
        self.blur_ellipse((0.5, 0.3), 0.46, 0.42, "#ffffff", 0.10, opacity=130)

    def shape(self, points: list[Point], colour: str) -> None:
        ImageDraw.Draw(self.image).polygon([(x * self.side, y * self.side) for x, y in points], fill=colour)

    def ellipse(self, centre: Point, rx: float, ry: float, colour: str) -> None:
        (x, y), s = centre, self.side
        ImageDraw.Draw(self.image).ellipse([(x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s], fill=colour)

    def line(self, points: list[Point], colour: str, width: float) -> None:
        scaled = [(x * self.side, y * self.side) for x, y in points]
        draw = ImageDraw.Draw(self.image)
        draw.line(scaled, fill=colour, width=round(width * self.side), joint="curve")
        radius = width * self.side / 2
        for x, y in (scaled[0], scaled[-1]):
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)

    def blur_ellipse(self, centre: Point, rx: float, ry: float, colour: str, blur: float, opacity: int) -> None:
        (x, y), s = centre, self.side
        mask = Image.new("L", self.image.size)
        ImageDraw.Draw(mask).ellipse([(x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s], fill=opacity)
        mask = mask.resize((s // 8, s // 8)).filter(ImageFilter.GaussianBlur(blur * s / 8)).resize((s, s))
        self.image.paste(Image.new("RGB", self.image.size, colour), mask=mask)

    def finished(self) -> Image.Image:
        return self.image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def arc(start: Point, middle: Point, end: Point, steps: int = 24) -> list[Point]:
    """A quadratic curve that passes through the middle point."""
    t = np.linspace(0, 1, steps)[:, None]
    a, b, c = np.array(start), np.array(middle), np.array(end)
    control = 2 * b - (a + c) / 2
    return [tuple(p) for p in (1 - t) ** 2 * a + 2 * t * (1 - t) * control + t**2 * c]


def draw_body(canvas: Canvas) -> None:
    arm = curve((0.325, 0.47), (0.262, 0.52), (0.236, 0.66), (0.225, 0.82), (0.222, 1.05), (0.325, 1.05), (0.335, 0.75))
    torso = curve(
        (0.43, 0.402), (0.36, 0.43), (0.29, 0.468), (0.285, 0.60), (0.325, 0.78), (0.34, 0.92), (0.325, 1.06),
        (0.675, 1.06), (0.66, 0.92), (0.675, 0.78), (0.715, 0.60), (0.71, 0.468), (0.64, 0.43), (0.57, 0.402),
    )  # fmt: skip
    for side in (list, mirrored):
        canvas.shape(side(arm), SHIRT_SHADE)
    canvas.shape(torso, SHIRT)
    for side in (list, mirrored):
        canvas.line(side(arc((0.335, 0.60), (0.346, 0.66), (0.346, 0.72))), SHIRT_SHADE, 0.005)
    # A round collar under an open neck.
    neck = curve((0.452, 0.30), (0.455, 0.36), (0.43, 0.412), (0.47, 0.462), (0.50, 0.472), (0.53, 0.462),
                 (0.57, 0.412), (0.545, 0.36), (0.548, 0.30))  # fmt: skip
    collar = curve((0.437, 0.394), (0.405, 0.418), (0.445, 0.474), (0.50, 0.498), (0.555, 0.474), (0.595, 0.418),
                   (0.563, 0.394), (0.50, 0.44))  # fmt: skip
    canvas.shape(collar, COLLAR)
    canvas.shape(neck, SKIN)
    canvas.blur_ellipse((0.50, 0.35), 0.034, 0.03, SKIN_SHADE, 0.006, opacity=230)


def draw_head(canvas: Canvas) -> None:
    back_hair = curve(
        (0.50, 0.068), (0.40, 0.10), (0.372, 0.20), (0.375, 0.30), (0.385, 0.375), (0.435, 0.385), (0.45, 0.30),
        (0.55, 0.30), (0.565, 0.385), (0.615, 0.375), (0.625, 0.30), (0.628, 0.20), (0.60, 0.10),
    )  # fmt: skip
    canvas.shape(back_hair, HAIR)
    draw_body(canvas)
    for side in (list, mirrored):
        canvas.shape(side(curve((0.408, 0.222), (0.396, 0.232), (0.402, 0.268), (0.414, 0.272))), SKIN_SHADE)
    face = curve((0.50, 0.112), (0.435, 0.135), (0.408, 0.20), (0.414, 0.265), (0.445, 0.325), (0.50, 0.352),
                 (0.555, 0.325), (0.586, 0.265), (0.592, 0.20), (0.565, 0.135))  # fmt: skip
    canvas.shape(face, SKIN)
    for side in (1, -1):
        canvas.blur_ellipse((0.5 + side * 0.052, 0.272), 0.022, 0.014, BLUSH, 0.010, opacity=150)
    canvas.blur_ellipse((0.485, 0.165), 0.045, 0.03, SKIN_LIGHT, 0.015, opacity=130)
    fringe = curve((0.50, 0.082), (0.43, 0.10), (0.392, 0.17), (0.398, 0.245), (0.417, 0.20), (0.452, 0.158),
                   (0.53, 0.128), (0.573, 0.165), (0.597, 0.245), (0.608, 0.17), (0.572, 0.10))  # fmt: skip
    canvas.shape(fringe, HAIR)
    canvas.line(arc((0.455, 0.112), (0.425, 0.145), (0.412, 0.19)), HAIR_LIGHT, 0.005)
    canvas.line(arc((0.53, 0.104), (0.57, 0.13), (0.588, 0.18)), HAIR_LIGHT, 0.005)
    draw_features(canvas)


def draw_features(canvas: Canvas) -> None:
    for side in (1, -1):
        x = 0.5 + side * 0.041
        canvas.shape(curve((x - 0.021, 0.222), (x, 0.211), (x + 0.021, 0.222), (x, 0.232)), WHITE)
        canvas.ellipse((x, 0.2215), 0.0098, 0.0102, IRIS)
        canvas.ellipse((x, 0.2215), 0.0046, 0.0048, "#1c1310")
        canvas.ellipse((x + 0.0035, 0.218), 0.0024, 0.0024, WHITE)
        canvas.line(arc((x - 0.022, 0.221), (x, 0.2095), (x + 0.022, 0.221)), HAIR, 0.0042)
        inner, outer = x - side * 0.02, x + side * 0.027
        canvas.line(arc((inner, 0.195), (x, 0.186), (outer, 0.194)), HAIR, 0.0062)
    canvas.line(arc((0.497, 0.232), (0.489, 0.262), (0.503, 0.268)), SKIN_SHADE, 0.004)
    lips = curve((0.468, 0.297), (0.486, 0.2925), (0.50, 0.295), (0.514, 0.2925), (0.532, 0.297), (0.50, 0.312))
    canvas.shape(lips, LIPS)
    canvas.line(arc((0.468, 0.297), (0.50, 0.3005), (0.532, 0.297)), "#8e3f43", 0.003)


def main() -> None:
    canvas = Canvas()
    canvas.background("#f3ede4", "#cfd8d6")
    draw_head(canvas)
    path = Path(__file__).resolve().parents[1] / "portrait.png"
    canvas.finished().save(path, optimize=True)


if __name__ == "__main__":
    main()
