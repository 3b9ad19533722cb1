"""Draw `assets/portrait.png`: a flat half-body portrait in the framing of the published model.

Arms and hands stand where the clip `idle` has them in its first frame, so the picture fits every clip of the library.
Drawn four times as large and reduced, which smooths every edge. Run it with `python assets/scripts/draw_portrait.py`,
after `make_clips.py`.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from echomimic.pose import load_poses  # noqa: E402
from echomimic.pose.sequence import HAND_A, HAND_B  # noqa: E402

SIDE = 768
SCALE = 4

SKIN, SKIN_SHADE, SKIN_LINE = (242, 196, 164), (226, 170, 138), (196, 134, 106)
HAIR, HAIR_SHADE, HAIR_LIGHT = (74, 48, 44), (58, 36, 34), (104, 70, 62)
KNIT, KNIT_SHADE, KNIT_LIGHT = (236, 152, 86), (212, 124, 64), (246, 174, 112)
SHIRT, INK, LIP, BLUSH = (250, 246, 238), (52, 38, 40), (204, 96, 92), (240, 158, 138)
WALL_TOP, WALL_BOTTOM, SUN, LEAF, LEAF_DARK = (
    (206, 228, 226),
    (178, 210, 210),
    (226, 241, 236),
    (112, 160, 138),
    (88, 136, 118),
)

Point = tuple[float, float]


class Sheet:
    """A canvas with coordinates in sides of the square."""

    def __init__(self) -> None:
        self.image = Image.new("RGB", (SIDE * SCALE, SIDE * SCALE))
        self.draw = ImageDraw.Draw(self.image)

    def pixels(self, points: list[Point]) -> list[Point]:
        return [(x * SIDE * SCALE, y * SIDE * SCALE) for x, y in points]

    def polygon(self, points: list[Point], colour: tuple[int, int, int]) -> None:
        self.draw.polygon(self.pixels(points), fill=colour)

    def ellipse(self, x: float, y: float, width: float, height: float, colour: tuple[int, int, int]) -> None:
        self.draw.ellipse(self.pixels([(x - width, y - height), (x + width, y + height)]), fill=colour)

    def blob(self, points: list[Point], colour: tuple[int, int, int]) -> None:
        """A closed smooth shape through the points (Catmull-Rom)."""
        self.polygon(smooth(points, closed=True), colour)

    def stroke(self, points: list[Point], width: float, colour: tuple[int, int, int]) -> None:
        """A smooth line of even width with round ends."""
        self.limb([(x, y, width) for x, y in smooth(points, closed=False)], colour)

    def limb(self, joints: list[tuple[float, float, float]], colour: tuple[int, int, int]) -> None:
        """Round joints (x, y, width) and what lies between them."""
        for x, y, width in joints:
            self.ellipse(x, y, width / 2, width / 2, colour)
        for (ax, ay, aw), (bx, by, bw) in pairwise(joints):
            length = np.hypot(bx - ax, by - ay)
            if length < 1e-6:
                continue
            nx, ny = -(by - ay) / length / 2, (bx - ax) / length / 2
            self.polygon(
                [(ax + nx * aw, ay + ny * aw), (bx + nx * bw, by + ny * bw), (bx - nx * bw, by - ny * bw),
                 (ax - nx * aw, ay - ny * aw)],
                colour,
            )  # fmt: skip


def smooth(points: list[Point], closed: bool, steps: int = 24) -> list[Point]:
    """Catmull-Rom curve through the points."""
    p = np.array(points)
    p = np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([p[:1], p, p[-1:]])
    t = (np.arange(steps) / steps)[:, None]
    curve = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:])
    ]
    whole = np.concatenate([*curve, [p[-2]]])
    return [(float(x), float(y)) for x, y in whole]


def mirrored(points: list[Point]) -> list[Point]:
    return [(1 - x, y) for x, y in points]


def draw_room(sheet: Sheet) -> None:
    """A wall with a soft light on it and a plant at the side."""
    fade = np.linspace(0, 1, SIDE * SCALE)[:, None, None]
    wall = np.array(WALL_TOP) * (1 - fade) + np.array(WALL_BOTTOM) * fade
    sheet.image.paste(Image.fromarray(np.broadcast_to(wall, (SIDE * SCALE, SIDE * SCALE, 3)).astype(np.uint8)))
    sheet.ellipse(0.5, 0.40, 0.40, 0.40, SUN)
    for tip, bend in (((0.055, 0.30), 0.03), ((0.155, 0.42), 0.05), ((-0.01, 0.46), -0.02), ((0.125, 0.60), 0.04)):
        root = (0.045, 0.98)
        middle = ((root[0] + tip[0]) / 2 + bend, (root[1] + tip[1]) / 2)
        sheet.stroke([root, middle, tip], 0.006, LEAF_DARK)
        along = np.array(tip) - np.array(middle)
        along /= np.linalg.norm(along)
        side = np.array([-along[1], along[0]])
        base = np.array(tip) - along * 0.15
        leaf = [base, base + along * 0.07 + side * 0.036, np.array(tip), base + along * 0.07 - side * 0.036]
        sheet.blob([(float(x), float(y)) for x, y in leaf], LEAF)
        sheet.stroke([tuple(base), tuple(np.array(tip) - along * 0.03)], 0.004, LEAF_DARK)


def draw_hair_behind(sheet: Sheet) -> None:
    half = [(0.5, 0.022), (0.415, 0.040), (0.366, 0.115), (0.357, 0.215), (0.352, 0.310), (0.372, 0.372), (0.43, 0.385)]
    sheet.blob(half + mirrored(half[1:])[::-1], HAIR_SHADE)


def draw_body(sheet: Sheet, arms: list[np.ndarray]) -> None:
    """Neck, knitted top with a shirt collar, and sleeves down to the wrists."""
    half = [
        (0.5, 0.402),
        (0.445, 0.404),
        (0.395, 0.420),
        (0.350, 0.441),
        (0.322, 0.475),
        (0.318, 0.60),
        (0.33, 0.80),
        (0.335, 1.05),
    ]
    outline = half + mirrored(half)[::-1]
    sheet.polygon(smooth(outline, closed=False), KNIT)
    for level, width in ((0.90, 0.010), (0.925, 0.004)):
        sheet.stroke([(0.33, level), (0.5, level + 0.012), (0.67, level)], width, KNIT_SHADE)

    neck = [(0.452, 0.30), (0.452, 0.385), (0.425, 0.415), (0.5, 0.47), (0.575, 0.415), (0.548, 0.385), (0.548, 0.30)]
    sheet.polygon(neck, SKIN)
    sheet.polygon(
        [(0.452, 0.325), (0.5, 0.362), (0.548, 0.325), (0.548, 0.352), (0.5, 0.386), (0.452, 0.352)], SKIN_SHADE
    )
    for flip in (False, True):
        collar = [(0.447, 0.378), (0.408, 0.412), (0.440, 0.490), (0.5, 0.462), (0.470, 0.430)]
        sheet.polygon(mirrored(collar) if flip else collar, SHIRT)
        edge = [(0.408, 0.412), (0.440, 0.490), (0.5, 0.462)]
        sheet.limb([(x, y, 0.003) for x, y in (mirrored(edge) if flip else edge)], (222, 212, 200))

    for elbow, hand in arms:
        side = -1 if elbow[0] < 0.5 else 1
        shoulder, wrist = np.array([0.5 + side * 0.159, 0.505]), hand[0]
        cuff = wrist + (elbow - wrist) * 0.10
        upper = [(*shoulder, 0.120), (*elbow, 0.098)]
        fore = [(*elbow, 0.098), (*cuff, 0.070)]
        sheet.limb([(x, y, width + 0.007) for x, y, width in fore], KNIT_SHADE)
        # The inner edge of the upper arm, from the armpit down; its outer edge ends against the wall.
        edge = shoulder + (elbow - shoulder) * 0.30 - [side * 0.006, 0]
        sheet.limb([(*edge, 0.112), (*elbow, 0.105)], KNIT_SHADE)
        sheet.limb(upper, KNIT)
        sheet.limb(fore, KNIT)
        shine = np.array([side * 0.022, -0.004])
        sheet.stroke([tuple(shoulder + shine * 1.1), tuple((shoulder + elbow) / 2 + shine), tuple(elbow + shine * 0.7)],
                     0.010, KNIT_LIGHT)  # fmt: skip


def draw_hand(sheet: Sheet, hand: np.ndarray) -> None:
    """A hand along its 21 points, finger by finger from the far side, each with an outline of its own."""

    def tapered(indices: list[int], widths: list[float]) -> list[tuple[float, float, float]]:
        return [(float(hand[i][0]), float(hand[i][1]), width) for i, width in zip(indices, widths)]

    palm = [tapered([0, knuckle], [0.046, 0.033]) for knuckle in (5, 9, 13, 17)] + [
        tapered([5, 9, 13, 17], [0.031] * 4)
    ]
    fingers = [tapered(list(range(first, first + 4)), [0.029, 0.026, 0.023, 0.019]) for first in (17, 13, 9, 5)]
    thumb = tapered([0, 1, 2, 3, 4], [0.040, 0.036, 0.029, 0.026, 0.020])

    def grown(part: list[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
        return [(x, y, width + 0.0065) for x, y, width in part]

    for part in [*palm, thumb]:
        sheet.limb(grown(part), SKIN_LINE)
    for finger in fingers:
        sheet.limb(grown(finger), SKIN_LINE)
        sheet.limb(finger, SKIN)
    for part in [*palm, thumb]:
        sheet.limb(part, SKIN)
    for knuckle in (5, 9, 13):
        x, y = hand[knuckle]
        along = (hand[knuckle] - hand[0]) / np.linalg.norm(hand[knuckle] - hand[0]) * 0.006
        sheet.limb([(x - along[1], y + along[0], 0.0028), (x + along[1], y - along[0], 0.0028)], SKIN_SHADE)


def draw_cuff(sheet: Sheet, elbow: np.ndarray, wrist: np.ndarray) -> None:
    """A shirt cuff and the hem of the sleeve, as two bands across the wrist."""
    along = (elbow - wrist) / np.linalg.norm(elbow - wrist)
    across = np.array([-along[1], along[0]])
    for near, far, half, colour in (
        (0.012, 0.026, 0.033, SHIRT),
        (0.024, 0.050, 0.0385, KNIT_SHADE),
        (0.027, 0.047, 0.0365, KNIT),
    ):
        a, b = wrist + along * near, wrist + along * far
        corners = [a - across * half, b - across * half, b + across * half, a + across * half]
        sheet.polygon([(float(x), float(y)) for x, y in corners], colour)


def draw_head(sheet: Sheet) -> None:
    """Ears, face and fringe; the eyes, nose and mouth lie where the clips' face points do."""
    for x in (0.400, 0.600):
        sheet.ellipse(x, 0.192, 0.017, 0.027, SKIN_SHADE)
    half = [(0.5, 0.075), (0.428, 0.100), (0.401, 0.165), (0.408, 0.240), (0.440, 0.300), (0.5, 0.326)]
    sheet.blob(half + mirrored(half[1:-1])[::-1], SKIN)
    for x in (0.435, 0.565):
        sheet.ellipse(x, 0.216, 0.021, 0.014, BLUSH)

    for side in (-1, 1):
        x = 0.5 + side * 0.042
        sheet.ellipse(x, 0.1555, 0.0205, 0.0135, (255, 252, 248))
        sheet.ellipse(x, 0.1555, 0.0112, 0.0128, (96, 64, 48))
        sheet.ellipse(x, 0.1555, 0.0062, 0.0072, INK)
        sheet.ellipse(x + 0.0042, 0.1512, 0.0031, 0.0031, (255, 255, 255))
        lid = [(x - 0.0215, 0.1545), (x - 0.010, 0.1425), (x + 0.010, 0.1425), (x + 0.0215, 0.1545)]
        sheet.stroke(lid, 0.0048, INK)
        outer = x + side * 0.0205
        sheet.stroke([(outer, 0.1530), (outer + side * 0.007, 0.1480)], 0.0036, INK)
        brow = [(0.5 + side * 0.022, 0.128), (0.5 + side * 0.046, 0.1195), (0.5 + side * 0.070, 0.128)]
        sheet.stroke(brow, 0.0070, HAIR)

    sheet.stroke([(0.505, 0.172), (0.5115, 0.199), (0.5075, 0.2065), (0.496, 0.2075)], 0.0042, SKIN_LINE)
    lower = [(0.469, 0.2475), (0.484, 0.2645), (0.5, 0.2695), (0.516, 0.2645), (0.531, 0.2475), (0.5, 0.2530)]
    sheet.blob(lower, LIP)
    sheet.blob([(0.480, 0.2520), (0.5, 0.2545), (0.520, 0.2520), (0.5, 0.2595)], (255, 250, 246))
    sheet.stroke(
        [(0.464, 0.2455), (0.482, 0.2515), (0.5, 0.2525), (0.518, 0.2515), (0.536, 0.2455)], 0.0040, (150, 62, 62)
    )

    parting = (0.470, 0.050)
    left = [parting, (0.420, 0.085), (0.398, 0.150), (0.388, 0.235), (0.366, 0.285), (0.352, 0.200), (0.372, 0.100),
            (0.425, 0.034)]  # fmt: skip
    right = [(0.462, 0.052), (0.520, 0.086), (0.580, 0.104), (0.604, 0.160), (0.611, 0.235), (0.634, 0.285),
             (0.650, 0.200), (0.630, 0.100), (0.575, 0.034), (0.500, 0.020)]  # fmt: skip
    sheet.blob(right, HAIR)
    sheet.blob(left, HAIR)
    sheet.stroke([(0.520, 0.052), (0.580, 0.070), (0.618, 0.120)], 0.0065, HAIR_LIGHT)
    sheet.stroke([(0.430, 0.058), (0.392, 0.100), (0.376, 0.150)], 0.0055, HAIR_LIGHT)


def main() -> None:
    """Draw from back to front, reduce, save."""
    clip = load_poses(ROOT / "assets" / "clips" / "idle.safetensors")
    points = clip.keypoints[0]
    left, right = (points[6], points[HAND_A]), (points[3], points[HAND_B])
    sheet = Sheet()
    draw_room(sheet)
    draw_hair_behind(sheet)
    draw_body(sheet, [right, left])
    draw_head(sheet)
    for elbow, hand in (right, left):
        draw_hand(sheet, hand)
        draw_cuff(sheet, elbow, hand[0])
    picture = sheet.image.filter(ImageFilter.GaussianBlur(0.6))
    small = cv2.resize(np.asarray(picture), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    Image.fromarray(small).save(ROOT / "assets" / "portrait.png", optimize=True)


if __name__ == "__main__":
    main()
