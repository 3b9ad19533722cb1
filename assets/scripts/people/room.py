"""What stands behind a person."""

# An offset added to a point is arithmetic, not a list made longer.
# ruff: noqa: RUF005

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from .canvas import Canvas, Colour, mixed, shaded, smooth
from .looks import Person, cloth

LEAVES = (((0.070, 0.34), 0.03), ((0.165, 0.47), 0.05), ((0.0, 0.50), -0.02), ((0.130, 0.65), 0.04))


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


@lru_cache(maxsize=64)
def room(who: Person, side: int) -> np.ndarray:
    """The background as uint8 `[side, side, 4]`, its region map 0."""
    rng = np.random.default_rng([11, abs(who.seed)])
    fade = np.linspace(0, 1, side, dtype=np.float32)[:, None, None]
    across = np.linspace(0, 1, side, dtype=np.float32)[None, :, None]
    lit = across if who.light > 0 else 1 - across
    share = np.clip(0.15 + 0.55 * fade - 0.35 * lit * abs(who.light), 0, 1)
    top, bottom = (np.array(shaded(who.wall, amount), np.float32) for amount in (0.12, -0.13))
    image = np.zeros((side, side, 4), np.uint8)
    image[..., :3] = top + (bottom - top) * share
    canvas = Canvas(image)
    ROOMS[who.wall_style](canvas, who, rng)
    if who.plant:
        draw_plant(canvas, who)
    return canvas.image


def draw_circle(canvas: Canvas, who: Person, rng: np.random.Generator) -> None:
    canvas.disc(np.array([0.5, 0.42]), 0.40, shaded(who.wall, 0.45))


def draw_window(canvas: Canvas, who: Person, rng: np.random.Generator) -> None:
    left = float(rng.choice([0.04, 0.66]))
    right, frame = left + 0.30, shaded(who.wall, 0.65)
    canvas.fill(box(left - 0.02, 0.08, right + 0.02, 0.60), frame)
    canvas.fill(box(left, 0.10, right, 0.58), (188, 216, 234))
    canvas.fill(smooth([(left, 0.50), (left + 0.1, 0.46), (left + 0.2, 0.49), (right, 0.45)], closed=False).tolist()
                + [(right, 0.58), (left, 0.58)], (150, 184, 150))  # fmt: skip
    canvas.fill(box(left + 0.143, 0.10, left + 0.157, 0.58), frame)
    canvas.fill(box(left, 0.33, right, 0.342), frame)
    canvas.fill(box(left - 0.03, 0.60, right + 0.03, 0.622), shaded(who.wall, -0.10))


def draw_shelf(canvas: Canvas, who: Person, rng: np.random.Generator) -> None:
    wood = mixed(who.accent, (140, 96, 64), 0.5)
    for level in (0.26, 0.60):
        at = 0.01
        while at < 0.98:
            width, height = rng.uniform(0.030, 0.060), rng.uniform(0.12, 0.19)
            if rng.random() < 0.8:
                colour = mixed(who.wall, mixed(who.accent, cloth(rng), 0.7), 0.5)
                canvas.fill(box(at, level - height, at + width - 0.004, level), colour)
            at += width
        canvas.fill(box(-0.02, level, 1.02, level + 0.014), mixed(wood, who.wall, 0.25))


def draw_panels(canvas: Canvas, who: Person, rng: np.random.Generator) -> None:
    line = shaded(who.wall, -0.09)
    for at in np.arange(0.06, 1, 0.14):
        canvas.fill(box(at, -0.02, at + 0.008, 0.76), line)
    canvas.fill(box(-0.02, 0.74, 1.02, 0.758), line)
    canvas.fill(box(-0.02, 0.758, 1.02, 1.02), mixed(who.wall, who.accent, 0.35))


def draw_picture(canvas: Canvas, who: Person, rng: np.random.Generator) -> None:
    left = float(rng.choice([0.05, 0.70]))
    canvas.fill(box(left, 0.10, left + 0.25, 0.42), mixed(who.accent, (60, 50, 46), 0.6))
    canvas.fill(box(left + 0.015, 0.115, left + 0.235, 0.405), (246, 242, 234))
    canvas.disc(np.array([left + 0.16, 0.21]), 0.035, mixed(who.accent, (240, 190, 110), 0.6))
    hill = [(left + 0.03, 0.39), (left + 0.03, 0.33), (left + 0.10, 0.25), (left + 0.16, 0.31), (left + 0.22, 0.28),
            (left + 0.22, 0.39)]  # fmt: skip
    canvas.fill(np.array(hill), who.accent)


def draw_lamp(canvas: Canvas, who: Person, rng: np.random.Generator) -> None:
    x = float(rng.choice([0.12, 0.88]))
    glow: Colour = mixed(who.wall, (255, 236, 190), 0.55)
    canvas.disc(np.array([x, 0.30]), 0.20, mixed(who.wall, glow, 0.6))
    canvas.fill(box(x - 0.006, 0.30, x + 0.006, 1.02), (92, 84, 80))
    canvas.fill(np.array([(x - 0.05, 0.20), (x + 0.05, 0.20), (x + 0.095, 0.33), (x - 0.095, 0.33)]),
                mixed((250, 236, 206), who.accent, 0.2))  # fmt: skip


def draw_plain(canvas: Canvas, who: Person, rng: np.random.Generator) -> None:
    """The wall alone."""


def draw_plant(canvas: Canvas, who: Person) -> None:
    leaf = mixed((112, 160, 138), who.accent, 0.3)
    dark = shaded(leaf, -0.22)
    flip = np.array([1, 0]) if who.light > 0 else np.array([-1, 1])
    turn = lambda points: np.asarray(points) * [flip[0], 1] + [flip[1], 0]  # noqa: E731
    for tip, bend in LEAVES:
        root = np.array([0.045, 1.0])
        end = np.array(tip)
        middle = (root + end) / 2 + [bend, 0]
        canvas.line(turn(smooth(np.stack([root, middle, end]), closed=False)), 0.007, dark)
        along = (end - middle) / np.linalg.norm(end - middle)
        across = np.array([-along[1], along[0]])
        base = end - along * 0.15
        shape = [base, base + along * 0.07 + across * 0.036, end, base + along * 0.07 - across * 0.036]
        canvas.fill(turn(smooth(np.stack(shape))), leaf)
        canvas.line(turn(np.stack([base, end - along * 0.03])), 0.005, dark)


ROOMS = {
    "plain": draw_plain, "circle": draw_circle, "window": draw_window, "shelf": draw_shelf, "panels": draw_panels,
    "picture": draw_picture, "lamp": draw_lamp,
}  # fmt: skip


@lru_cache(maxsize=64)
def light_map(who: Person, size: int) -> np.ndarray:
    """What every colour is multiplied with, float32 `[size, size, 3]`: soft light from one side, warm or cool."""
    across = np.linspace(-1, 1, size, dtype=np.float32)[None, :, None]
    down = np.linspace(-1, 1, size, dtype=np.float32)[:, None, None]
    level = 1 + 0.05 * who.light * across - 0.03 * down
    tint = 1 + 0.035 * who.warmth * np.array([1.0, 0.1, -1.0], np.float32)
    return np.ascontiguousarray(level * tint)


def apply_light(picture: np.ndarray, who: Person) -> np.ndarray:
    """The picture in the person's light, uint8."""
    return cv2.multiply(picture, light_map(who, len(picture)), dtype=cv2.CV_8U)
