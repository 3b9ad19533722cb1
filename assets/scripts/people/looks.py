"""People by seed: what they look like and what stands behind them."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, replace

import numpy as np

from .canvas import Colour, mixed, shaded

# Of the clips' heads: larger than life, so that a small picture shows the mouth.
HEAD = 1.3
# Seeds of people that training may draw, and of those that only measurements draw.
TRAINING_SEEDS = range(1_000_000)
HELD_OUT_SEEDS = range(1_000_000, 1_010_000)

# From very light to very dark; undertones differ.
SKINS: tuple[Colour, ...] = (
    (250, 220, 198), (243, 206, 180), (242, 196, 164), (232, 184, 148), (222, 170, 130), (208, 152, 112),
    (190, 134, 96), (170, 116, 84), (148, 100, 72), (128, 86, 63), (110, 74, 56), (96, 66, 52),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (38, 30, 32), (52, 38, 36), (74, 48, 44), (96, 62, 44), (122, 80, 52), (156, 108, 66), (196, 150, 92),
    (222, 188, 132), (164, 82, 46), (132, 58, 40), (150, 148, 150), (208, 206, 204),
)  # fmt: skip
IRISES: tuple[Colour, ...] = ((84, 54, 40), (110, 76, 48), (66, 44, 36), (86, 112, 84), (84, 120, 152), (112, 128, 140))
LEATHERS: tuple[Colour, ...] = ((40, 36, 40), (96, 58, 44), (178, 60, 62), (60, 74, 108), (150, 120, 70), (90, 90, 96))

HAIR_STYLES = (
    "bob", "long", "wavy", "bangs", "bun", "ponytail", "short", "side_part", "quiff", "curly", "afro", "crew",
    "receding", "bald", "scarf",
)  # fmt: skip
# Colours that clothes have: hue, saturation, darkest and lightest value.
GARMENT_TONES = (
    (0.60, 0.55, 0.28, 0.60), (0.57, 0.38, 0.50, 0.82), (0.07, 0.62, 0.62, 0.93), (0.02, 0.60, 0.50, 0.82),
    (0.97, 0.42, 0.55, 0.88), (0.11, 0.52, 0.70, 0.92), (0.10, 0.22, 0.62, 0.92), (0.33, 0.28, 0.36, 0.66),
    (0.25, 0.30, 0.42, 0.68), (0.48, 0.42, 0.38, 0.70), (0.78, 0.26, 0.36, 0.68), (0.60, 0.08, 0.22, 0.48),
    (0.10, 0.05, 0.78, 0.95), (0.06, 0.42, 0.34, 0.58), (0.94, 0.52, 0.36, 0.60),
)  # fmt: skip
# Skin is dark where its red, green and blue add up to less.
DARK = 300
BEARDS = ("none", "stubble", "full", "goatee", "moustache")
GLASSES = ("none", "round", "square")
GARMENTS = ("knit_collar", "crew", "v_neck", "shirt", "blazer", "turtleneck", "hoodie", "t_shirt", "cardigan")
WALLS = ("plain", "circle", "window", "shelf", "panels", "picture", "lamp")


@dataclass(frozen=True)
class Person:
    """Everything that stays the same about a person from frame to frame.

    Attributes:
        seed: the one it was drawn by; -1 for the person of `assets/portrait.png`.
        skin, hair, iris, lips, garment, second, wall, accent, frames: colours; `second` is the shirt, tie or stripe,
            `frames` the glasses' colour.
        hair_style, beard, glasses, neckline, wall_style: one of the tuples above.
        stripes: whether the garment has them.
        earrings, plant: whether they are there.
        light: -1 from the left to 1 from the right.
        warmth: -1 (cool light) to 1 (warm light).
        face_width, jaw, eye_size, brow, nose, mouth_width, lip: shape of the face, 1 is average.
        scale, offset: of the whole figure about the middle of the lower edge, and its shift in x.
        head_scale, shoulders, upper_arm, forearm, hand_scale, girth: proportions, 1 is the clip's own.
    """

    seed: int
    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour
    garment: Colour
    second: Colour
    wall: Colour
    accent: Colour
    frames: Colour
    hair_style: str
    beard: str
    glasses: str
    neckline: str
    wall_style: str
    stripes: bool = False
    earrings: bool = False
    plant: bool = False
    light: float = 0.0
    warmth: float = 0.0
    face_width: float = 1.0
    jaw: float = 1.0
    eye_size: float = 1.0
    brow: float = 1.0
    nose: float = 1.0
    mouth_width: float = 1.0
    lip: float = 1.0
    scale: float = 1.0
    offset: float = 0.0
    head_scale: float = 1.0
    shoulders: float = 1.0
    upper_arm: float = 1.0
    forearm: float = 1.0
    hand_scale: float = 1.0
    girth: float = 1.0

    @property
    def skin_shade(self) -> Colour:
        return shaded(mixed(self.skin, (196, 84, 60), 0.12), -0.13)

    @property
    def skin_line(self) -> Colour:
        """Of outlines: stronger on dark skin, where a weak one would not be seen."""
        return shaded(mixed(self.skin, (176, 76, 56), 0.28), -0.26 - 0.30 * (1 - self.skin[0] / 255))

    @property
    def lashes(self) -> bool:
        return self.hair_style in ("bob", "long", "wavy", "bangs", "bun", "ponytail", "scarf") or self.earrings


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Hue in turns, the others in 0..1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, min(saturation, 1), min(value, 1))
    return round(red * 255), round(green * 255), round(blue * 255)


def cloth(rng: np.random.Generator) -> Colour:
    """A colour that clothes have."""
    hue, saturation, low, high = GARMENT_TONES[int(rng.integers(len(GARMENT_TONES)))]
    return hsv(hue + rng.uniform(-0.02, 0.02), saturation * rng.uniform(0.7, 1.05), rng.uniform(low, high))


def person(seed: int) -> Person:
    """The person of a seed, from `TRAINING_SEEDS` or `HELD_OUT_SEEDS`."""
    rng = np.random.default_rng([7, seed])

    def around(spread: float) -> float:
        return float(np.clip(rng.normal(1, spread / 2), 1 - spread, 1 + spread))

    tone = int(rng.integers(len(SKINS)))
    skin = mixed(SKINS[tone], SKINS[min(tone + 1, len(SKINS) - 1)], float(rng.random()))
    natural = HAIRS if tone < 5 else (*HAIRS[:5], *HAIRS[10:])
    weights = np.array([0.6 if hair in HAIRS[10:] else 1.0 for hair in natural])
    hair = natural[int(rng.choice(len(natural), p=weights / weights.sum()))]
    style = str(rng.choice(HAIR_STYLES))
    bearded = style in ("short", "side_part", "quiff", "curly", "crew", "receding", "bald") and rng.random() < 0.5
    beard = str(rng.choice(BEARDS[1:])) if bearded else "none"
    neckline = str(rng.choice(GARMENTS))
    garment = cloth(rng)
    if neckline == "blazer":
        garment = hsv(rng.choice([0.6, 0.65, 0.08, 0.95, 0.4]), rng.uniform(0.1, 0.45), rng.uniform(0.22, 0.55))
    light_shirt = neckline in ("blazer", "knit_collar") or rng.random() < 0.4
    second = (250, 246, 238) if light_shirt else cloth(rng)
    wall_hue = float(
        rng.choice([0.08, 0.11, 0.14, 0.30, 0.42, 0.48, 0.54, 0.58, 0.63, 0.95]) + rng.uniform(-0.02, 0.02)
    )
    wall = hsv(wall_hue, rng.uniform(0.05, 0.22), rng.uniform(0.66, 0.93))
    return Person(
        seed=seed,
        skin=skin,
        hair=hair if style != "scarf" else cloth(rng),
        iris=IRISES[int(rng.integers(len(IRISES) if tone < 5 else 3))],
        lips=mixed(mixed(skin, (190, 66, 72), rng.uniform(0.34, 0.66)), (70, 24, 34), 0.03 * tone),
        garment=garment,
        second=second,
        wall=wall,
        accent=hsv(wall_hue + rng.uniform(-0.12, 0.12), rng.uniform(0.2, 0.5), rng.uniform(0.4, 0.75)),
        frames=LEATHERS[int(rng.integers(len(LEATHERS)))],
        hair_style=style,
        beard=beard,
        glasses=str(rng.choice(GLASSES, p=[0.68, 0.16, 0.16])),
        neckline=neckline,
        wall_style=str(rng.choice(WALLS)),
        stripes=neckline in ("crew", "t_shirt", "v_neck") and bool(rng.random() < 0.35),
        earrings=style in ("bob", "bun", "ponytail", "bangs", "afro") and bool(rng.random() < 0.5),
        plant=bool(rng.random() < 0.35),
        light=float(rng.uniform(-1, 1)),
        warmth=float(rng.uniform(-1, 1)),
        face_width=around(0.07),
        jaw=around(0.5),
        eye_size=around(0.14),
        brow=around(0.4),
        nose=around(0.2),
        mouth_width=around(0.14),
        lip=around(0.3),
        scale=float(rng.uniform(0.88, 0.94)),
        offset=float(rng.uniform(-0.02, 0.02)),
        head_scale=HEAD * around(0.06),
        shoulders=around(0.06),
        upper_arm=around(0.05),
        forearm=around(0.04),
        hand_scale=around(0.08),
        girth=around(0.12),
    )


def mouth_is_hard_to_see(who: Person) -> bool:
    """Whether the lips stand in a beard, and the face is dark or darker than the beard: 6 of 100 people."""
    bearded = who.beard not in ("none", "stubble")
    return bearded and (sum(who.skin) < DARK or sum(who.hair) > sum(who.skin))


def random_person(rng: np.random.Generator, seeds: range, hard_mouths: float = 0.0) -> Person:
    """A person of these seeds; `hard_mouths` is the share that is drawn from those whose mouth is hard to see alone."""
    wanted = hard_mouths > 0 and rng.random() < hard_mouths
    while True:
        who = person(int(rng.integers(seeds.start, seeds.stop)))
        if not wanted or mouth_is_hard_to_see(who):
            return who


def portrait_person() -> Person:
    """The person of `assets/portrait.png`; training never draws them."""
    return replace(
        person(HELD_OUT_SEEDS[-1]), seed=-1, skin=(242, 196, 164), hair=(74, 48, 44), iris=(96, 64, 48),
        lips=(204, 96, 92), garment=(236, 152, 86), second=(250, 246, 238), wall=(192, 219, 218),
        accent=(112, 160, 138), hair_style="bob", beard="none", glasses="none", neckline="knit_collar",
        wall_style="circle", stripes=False, earrings=False, plant=True, light=0.3, warmth=0.2, face_width=1.0, jaw=0.8,
        eye_size=1.08, brow=1.0, nose=1.0, mouth_width=1.0, lip=1.0, scale=0.91, offset=0.0, head_scale=HEAD,
        shoulders=1.0, upper_arm=1.0, forearm=1.0, hand_scale=1.0, girth=1.0,
    )  # fmt: skip
