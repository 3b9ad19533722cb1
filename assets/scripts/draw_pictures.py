"""Draws `assets/full_body.png` and `assets/two_people.png`, sample pictures for pasting back.

    python assets/scripts/draw_pictures.py

Both show people of `assets/scripts/people` before a plain wall. It prints the marks of each person in per cent of the
picture, as the workflows have them.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from assets.scripts.people.figure import draw_frame  # noqa: E402
from assets.scripts.people.looks import HELD_OUT_SEEDS, Person, person  # noqa: E402
from assets.scripts.people.motion import Mouth, retarget  # noqa: E402
from echomimic.pose import load_poses  # noqa: E402
from echomimic.pose.anatomy import LEFT_SHOULDER, NECK, NOSE, RIGHT_SHOULDER, RIGHT_WRIST  # noqa: E402

WALL = (196, 214, 216)
MARKED = (NOSE, NECK, RIGHT_SHOULDER, LEFT_SHOULDER, RIGHT_WRIST)
PLAIN = {"wall": WALL, "wall_style": "plain", "plant": False, "light": 0.0, "warmth": 0.0, "scale": 0.9, "offset": 0.0}
TROUSERS, FOLD, SHOES, FLOOR = (58, 66, 92), (48, 55, 78), (44, 40, 44), (178, 188, 184)
SMOOTH = 4


def drawn(seed: int, side: int) -> tuple[np.ndarray, np.ndarray, Person]:
    """A half-body picture uint8 `[side, side, 3]` and the person's points in shares of it."""
    who = replace(person(HELD_OUT_SEEDS[seed]), **PLAIN)
    points = retarget(load_poses(ROOT / "assets" / "clips" / "idle.safetensors").take([0]), who)[0]
    frame = draw_frame(who, points, Mouth(0.1, 0.5, 0.3), size=side)
    return frame.picture, frame.points, who


def print_marks(name: str, points: np.ndarray, left: int, top: int, side: int, size: tuple[int, int]) -> None:
    """Print where the marks are, in per cent of a picture of this size."""
    shares = (points[list(MARKED)] * side + [left, top]) / size * 100
    print(name, ", ".join(f"{value:.1f}" for value in shares.ravel()))


def two_people(side: int = 640) -> Image.Image:
    """Side by side: their walls are the same, so the pictures join."""
    halves = [drawn(seed, side) for seed in (3, 12)]
    for number, (_, points, _) in enumerate(halves):
        print_marks(f"two_people {number}", points, number * side, 0, side, (2 * side, side))
    return Image.fromarray(np.concatenate([picture for picture, _, _ in halves], axis=1))


def full_body(width: int = 832, height: int = 1216, side: int = 512) -> Image.Image:
    """The half-body picture, and below it legs, shoes and a floor."""
    picture, points, _ = drawn(21, side)
    left, top = (width - side) // 2, 40
    print_marks("full_body", points, left, top, side, (width, height))
    column = picture[:, 0]
    rows = np.concatenate([np.repeat(column[:1], top, 0), column, np.repeat(column[-1:], height - top - side, 0)])
    full = Image.fromarray(np.repeat(rows[:, None], width, axis=1))
    waist, floor = top + side, round(0.93 * height)
    ImageDraw.Draw(full).rectangle((0, floor - 40, width, height), FLOOR)
    full.paste(Image.fromarray(picture), (left, top))
    legs = Image.new("RGBA", (width * SMOOTH, height * SMOOTH))
    pen = ImageDraw.Draw(legs)
    hips = 0.5 * width, 0.152 * side

    def shape(corners: list[tuple[float, float]], colour: tuple[int, int, int]) -> None:
        pen.polygon([(x * SMOOTH, y * SMOOTH) for x, y in corners], (*colour, 255))

    for way in (-1, 1):

        def at(share: float, y: float, way: int = way) -> tuple[float, float]:
            return hips[0] + way * share * hips[1], y

        shape([at(1.03, waist), at(-0.02, waist), at(0.10, floor), at(0.86, floor)], TROUSERS)
        shape([at(0.05, waist + 60), at(0.0, waist + 60), at(0.10, floor), at(0.16, floor)], FOLD)
        shape([at(0.05, floor - 6), at(0.93, floor - 6), at(1.12, floor + 26), at(0.02, floor + 26)], SHOES)
    legs = legs.resize((width, height), Image.Resampling.LANCZOS)
    full.paste(legs, (0, 0), legs)
    return full


def main() -> None:
    full_body().save(ROOT / "assets" / "full_body.png", optimize=True)
    two_people().save(ROOT / "assets" / "two_people.png", optimize=True)


if __name__ == "__main__":
    main()
