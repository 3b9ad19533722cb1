"""Hair, beards and glasses, in the face's coordinates (see `head.Head`)."""

# An offset added to a point is arithmetic, not a list made longer.
# ruff: noqa: RUF005

from __future__ import annotations

import numpy as np

from .canvas import Canvas, Colour, Region, mirrored, mixed, shaded, smooth
from .head import CHIN, Head, jaw_drop
from .looks import Person
from .motion import Mouth

Half = list[tuple[float, float]]

# Behind head and shoulders, right halves from the top.
BEHIND: dict[str, Half] = {
    "bob": [(0.0, -1.48), (0.70, -1.36), (1.20, -0.82), (1.34, 0.0), (1.40, 1.10), (1.30, 1.82), (0.80, 2.02)],
    "bangs": [(0.0, -1.48), (0.72, -1.34), (1.16, -0.80), (1.24, 0.1), (1.26, 1.2), (1.22, 1.72), (0.8, 1.85)],
    "long": [(0.0, -1.48), (0.70, -1.36), (1.14, -0.80), (1.24, 0.2), (1.34, 1.5), (1.42, 2.9),
             (1.22, 3.5), (0.6, 3.6)],
    "wavy": [(0.0, -1.50), (0.76, -1.36), (1.26, -0.80), (1.28, 0.0), (1.52, 0.7), (1.40, 1.3), (1.62, 2.0),
             (1.46, 2.7), (1.30, 3.2), (0.6, 3.3)],
    "ponytail": [(0.0, -1.44), (0.62, -1.34), (1.06, -0.85), (1.08, -0.1), (0.9, 0.4)],
    "bun": [(0.0, -1.44), (0.62, -1.34), (1.06, -0.85), (1.08, -0.1), (0.9, 0.4)],
    "afro": [(0.0, -1.86), (0.80, -1.74), (1.46, -1.22), (1.70, -0.36), (1.56, 0.46), (1.06, 0.92), (0.6, 0.9)],
    "curly": [(0.0, -1.58), (0.66, -1.46), (1.10, -0.95), (1.18, -0.3), (1.0, 0.2)],
    "scarf": [(0.0, -1.50), (0.72, -1.38), (1.20, -0.82), (1.32, 0.1), (1.26, 1.2), (1.34, 2.2),
              (1.7, 2.95), (0.8, 3.1)],
}  # fmt: skip

# Over the forehead: outer edge from the temple upwards, then the hairline from the middle to the temple.
CAPS: dict[str, tuple[Half, Half]] = {
    "short": ([(0.0, -1.46), (0.58, -1.36), (1.00, -0.98), (1.09, -0.45), (1.03, 0.12)],
              [(0.0, -0.86), (0.48, -0.84), (0.76, -0.62), (0.87, -0.34), (0.90, 0.10)]),
    "crew": ([(0.0, -1.36), (0.56, -1.28), (0.95, -0.95), (1.03, -0.45), (1.00, 0.0)],
             [(0.0, -0.94), (0.56, -0.92), (0.80, -0.72), (0.90, -0.38), (0.92, -0.02)]),
    "receding": ([(0.0, -1.34), (0.56, -1.26), (0.95, -0.93), (1.03, -0.45), (1.00, 0.02)],
                 [(0.0, -0.98), (0.36, -1.04), (0.66, -1.04), (0.86, -0.52), (0.92, 0.0)]),
    "curly": ([(0.0, -1.60), (0.62, -1.48), (1.08, -1.02), (1.16, -0.45), (1.05, 0.05)],
              [(0.0, -0.84), (0.40, -0.90), (0.72, -0.66), (0.87, -0.34), (0.90, 0.04)]),
    "afro": ([(0.0, -1.60), (0.62, -1.50), (1.10, -1.02), (1.20, -0.40), (1.06, 0.10)],
             [(0.0, -0.90), (0.46, -0.88), (0.76, -0.64), (0.88, -0.34), (0.92, 0.08)]),
    "bun": ([(0.0, -1.45), (0.58, -1.36), (1.00, -0.98), (1.09, -0.45), (1.04, 0.06)],
            [(0.0, -1.02), (0.42, -0.92), (0.74, -0.66), (0.89, -0.34), (0.94, 0.04)]),
    "bangs": ([(0.0, -1.48), (0.66, -1.36), (1.08, -0.94), (1.17, -0.30), (1.16, 0.80)],
              [(0.0, -0.52), (0.50, -0.54), (0.80, -0.50), (0.90, -0.10), (1.00, 0.78)]),
    "scarf": ([(0.0, -1.50), (0.70, -1.38), (1.16, -0.86), (1.26, 0.05), (1.12, 1.05), (0.62, 1.80), (0.0, 1.98)],
              [(0.0, -0.94), (0.52, -0.86), (0.80, -0.52), (0.90, 0.05), (0.84, 0.62), (0.50, 1.24), (0.0, 1.42)]),
}  # fmt: skip
CAPS["ponytail"] = CAPS["bun"]

# Whole outlines of hair that is parted at a side.
PARTED: dict[str, tuple[Half, ...]] = {
    "bob": (
        [(-0.36, -1.30), (0.20, -0.92), (0.72, -0.70), (0.92, -0.16), (1.02, 0.70), (1.24, 1.10), (1.38, 0.40),
         (1.28, -0.70), (0.80, -1.38), (0.0, -1.50)],
        [(-0.30, -1.30), (-0.64, -0.92), (-0.88, -0.40), (-0.96, 0.50), (-1.24, 1.10), (-1.36, 0.40), (-1.22, -0.70),
         (-0.78, -1.36)],
    ),
    "long": (
        [(0.04, -1.32), (0.46, -0.96), (0.84, -0.50), (0.94, 0.30), (0.98, 1.30), (0.86, 2.70), (1.08, 3.20),
         (1.36, 2.60), (1.28, 0.80), (1.18, -0.60), (0.72, -1.38), (0.0, -1.48)],
        [(-0.04, -1.32), (-0.46, -0.96), (-0.84, -0.50), (-0.94, 0.30), (-0.98, 1.30), (-0.86, 2.70), (-1.08, 3.20),
         (-1.36, 2.60), (-1.28, 0.80), (-1.18, -0.60), (-0.72, -1.38), (0.0, -1.48)],
    ),
    "wavy": (
        [(0.30, -1.34), (0.66, -0.90), (0.90, -0.40), (0.92, 0.40), (1.10, 1.00), (0.96, 1.60), (1.14, 2.30),
         (1.02, 3.00), (1.36, 2.90), (1.52, 2.00), (1.36, 1.20), (1.42, 0.40), (1.24, -0.70), (0.80, -1.40),
         (0.2, -1.50)],
        [(0.34, -1.34), (-0.26, -1.00), (-0.78, -0.60), (-0.92, 0.30), (-1.10, 1.00), (-0.96, 1.60), (-1.14, 2.30),
         (-1.02, 3.00), (-1.36, 2.90), (-1.52, 2.00), (-1.36, 1.20), (-1.42, 0.40), (-1.24, -0.70), (-0.80, -1.40),
         (0.0, -1.50)],
    ),
    "side_part": (
        [(-0.56, -1.20), (-0.30, -0.86), (0.30, -0.82), (0.74, -0.72), (0.88, -0.40), (0.90, 0.10), (1.04, 0.10),
         (1.12, -0.50), (0.98, -1.12), (0.44, -1.52), (-0.30, -1.46)],
        [(-0.54, -1.26), (-0.70, -0.86), (-0.86, -0.44), (-0.90, 0.10), (-1.03, 0.10), (-1.09, -0.50), (-0.94, -1.08)],
    ),
    "quiff": (
        [(-0.90, -0.50), (-0.66, -0.92), (0.0, -0.90), (0.60, -0.96), (0.88, -0.50), (0.92, 0.05), (1.03, 0.05),
         (1.10, -0.50), (1.06, -1.20), (0.70, -1.70), (-0.10, -1.62), (-0.80, -1.34), (-1.06, -0.80), (-1.06, -0.30),
         (-1.02, 0.05), (-0.91, 0.05)],
    ),
}  # fmt: skip


def both_sides(half: Half) -> np.ndarray:
    """An open curve from the left end over the middle to the right end."""
    right = np.asarray(half, np.float64)
    return smooth(np.concatenate([right[:0:-1] * [-1, 1], right]), closed=False)


BEHIND_CURVES = {name: mirrored(half) for name, half in BEHIND.items()}
CAP_CURVES = {name: np.concatenate([both_sides(a), both_sides(b)[::-1]]) for name, (a, b) in CAPS.items()}
PARTED_CURVES = {name: tuple(smooth(part) for part in parts) for name, parts in PARTED.items()}
SHINE = smooth([(0.30, -1.22), (0.66, -1.04), (0.90, -0.62)], closed=False)


def draw_hair_behind(canvas: Canvas, head: Head, who: Person) -> None:
    """What hangs or stands behind head and neck."""
    canvas.region = Region.HAIR
    back = shaded(who.hair, -0.22)
    style = who.hair_style
    if style == "bun":
        canvas.ellipse(head.place([(0.0, -1.62)])[0], head.x_axis * 0.44, head.y_axis * 0.36, back)
    if style == "ponytail":
        tail = smooth([(0.5, -1.2), (1.32, -0.9), (1.62, 0.2), (1.42, 1.7), (1.24, 1.9), (1.30, 0.6), (1.0, -0.2)])
        canvas.fill(head.place(tail), back)
    if style in ("afro", "curly"):
        draw_curls(canvas, head, BEHIND_CURVES[style], back, 0.22 if style == "afro" else 0.17)
    if style in BEHIND_CURVES:
        canvas.fill(head.place(BEHIND_CURVES[style]), back)


def draw_curls(canvas: Canvas, head: Head, edge: np.ndarray, colour: Colour, radius: float) -> None:
    """Round curls along an edge."""
    steps = np.linalg.norm(np.diff(edge, axis=0), axis=1)
    length = np.concatenate([[0], np.cumsum(steps)])
    for at in np.arange(0, length[-1], radius * 1.25):
        middle = [np.interp(at, length, edge[:, axis]) for axis in (0, 1)]
        canvas.disc(head.place([middle])[0], radius * head.unit, colour)


def draw_hair(canvas: Canvas, head: Head, who: Person) -> None:
    """What lies on the head and frames the face."""
    canvas.region = Region.HAIR
    style, colour = who.hair_style, who.hair
    light = shaded(colour, 0.16)
    if style == "bald":
        return
    if style in PARTED_CURVES:
        for part in PARTED_CURVES[style]:
            canvas.fill(head.place(part), colour)
        if style in ("bob", "long", "wavy"):
            canvas.line(head.place(PARTED_CURVES[style][0][:4]), 0.03 * head.unit, shaded(colour, -0.2))
    elif style in CAP_CURVES:
        canvas.fill(head.place(CAP_CURVES[style]), colour)
    if style in ("curly", "afro"):
        rim = both_sides(CAPS[style][0]) * 0.97
        draw_curls(canvas, head, rim, colour, 0.20)
        hairline = both_sides(CAPS[style][1][:4])
        draw_curls(canvas, head, hairline * [0.97, 1] - [0, 0.10], colour, 0.13)
    if style == "scarf":
        canvas.line(head.place(both_sides([(0.0, 1.98), (0.75, 1.62), (1.14, 0.9)])), 0.045 * head.unit,
                    shaded(colour, -0.16))  # fmt: skip
        canvas.line(head.place(both_sides(CAPS[style][1])), 0.05 * head.unit, shaded(colour, -0.16))
        return
    if style not in ("crew", "receding", "curly", "afro"):
        side = np.sign(who.light or 1)
        canvas.line(head.place(SHINE * [side, 1]), 0.062 * head.unit, light)
    if style == "bun":
        canvas.line(head.place(smooth([(-0.24, -1.72), (0.0, -1.80), (0.22, -1.70)], closed=False)),
                    0.06 * head.unit, light)  # fmt: skip


def draw_beard(canvas: Canvas, head: Head, who: Person, mouth: Mouth) -> None:
    """Drawn before the mouth, which lies on it."""
    if who.beard == "none":
        return
    canvas.region = Region.FACE
    hair = who.hair if who.hair_style != "bald" else (70, 52, 46)
    colour = mixed(hair, who.skin, 0.66 if who.beard == "stubble" else 0.10)
    drop, c = jaw_drop(mouth), head.mouth
    wide = who.face_width
    jaw = 0.66 + 0.14 * (who.jaw - 0.5)
    if who.beard in ("full", "stubble"):
        grown = 0.07 if who.beard == "full" else 0.0
        outer = [(0.985 * wide, 0.0), (0.965 * wide + grown * 0.5, 0.46),
                 ((jaw + 0.02) * wide + grown, 0.98 + 0.4 * drop),
                 (0.35 * wide + grown, 1.37 + drop + grown), (0.0, CHIN + drop + grown)]  # fmt: skip
        inner = [(0.86 * wide, 0.06), (0.74 * wide, 0.52), (0.50, 0.62), (0.22, c[1] - 0.26), (0.0, c[1] - 0.22)]
        outer_curve = both_sides(outer[::-1])
        inner_curve = both_sides(inner[::-1])
        canvas.fill(head.place(np.concatenate([outer_curve, inner_curve[::-1]])), colour)
    if who.beard == "goatee":
        chin = [(0.0, c[1] + 0.20), (0.26, c[1] + 0.22 + 0.5 * drop), (0.32, 1.20 + drop), (0.0, CHIN + drop + 0.06)]
        canvas.fill(head.place(mirrored(chin)), colour)
    if who.beard in ("goatee", "moustache", "full"):
        lift = 0.13 * mouth.opening
        top = [(0.0, -0.20), (0.20, -0.22), (0.44, -0.06), (0.46, 0.05), (0.20, -0.06), (0.0, -0.07)]
        canvas.fill(head.place(c + [0, -lift] + mirrored(top)), colour)


def draw_glasses(canvas: Canvas, head: Head, who: Person) -> None:
    """Frames around the eyes; the eyes stay clear."""
    if who.glasses == "none":
        return
    canvas.region = Region.FACE
    width = 0.052 * head.unit
    angles = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    power = 1.0 if who.glasses == "round" else 0.55
    ring = np.stack([np.sign(f(angles)) * np.abs(f(angles)) ** power for f in (np.cos, np.sin)], axis=-1)
    ring = ring * ([0.32, 0.29] if who.glasses == "round" else [0.34, 0.24])
    eyes = [head.eye(side) + [0, 0.03] for side in (-1, 1)]
    for side, eye in zip((-1, 1), eyes):
        canvas.line(head.place(eye + ring), width, who.frames, closed=True)
        reach = 0.32 if who.glasses == "round" else 0.34
        canvas.line(head.place([eye + [side * reach, -0.06], (side * 0.98 * who.face_width, -0.12)]), width, who.frames)
    bridge = [eyes[0] + [0.31, -0.04], (eyes[0] + eyes[1]) / 2 + [0, -0.09], eyes[1] + [-0.31, -0.04]]
    canvas.line(head.place(smooth(np.stack(bridge), closed=False)), width, who.frames)
