"""Neck, garment, arms and hands of a drawn person, where the points of a frame are."""

from __future__ import annotations

import numpy as np

from echomimic.pose.sequence import HAND_A, HAND_B

from .canvas import Canvas, Colour, Region, mixed, shaded, smooth
from .looks import Person
from .motion import ARMS, NECK

# The clips' skeleton: half its shoulders' width, the measure of everything that the points do not say.
HALF_SHOULDERS = 0.2045

FINGERS = ((17, 18, 19, 20), (13, 14, 15, 16), (9, 10, 11, 12), (5, 6, 7, 8))
FINGER_RADII = (0.0128, 0.0142, 0.0148, 0.0142)
TAPER = np.array([1.0, 0.93, 0.85, 0.70])
# The trunk below the armpits: half its width by the distance below the neck point.
SIDES = ((0.168, 0.16), (0.150, 0.30), (0.148, 0.42), (0.162, 0.60))
SHORT_SLEEVES = ("t_shirt",)


class Torso:
    """The trunk's outline and the places on it where a garment's details go.

    Args:
        points: `[134, 2]` of a frame.
        who: the person.
    """

    def __init__(self, points: np.ndarray, who: Person) -> None:
        self.neck = points[NECK]
        self.right, self.left = points[2], points[5]
        self.unit = float(np.linalg.norm(self.left - self.right)) / 2 / HALF_SHOULDERS
        across = (self.left - self.right) / max(float(np.linalg.norm(self.left - self.right)), 1e-6)
        self.across = across
        self.down = np.array([-across[1], across[0]])
        self.girth = who.girth
        hips = (points[8] + points[11]) / 2
        self.hips = np.stack([hips + (points[8] - hips) * 1.0, hips + (points[11] - hips) * 1.0])

    def at(self, x: float, y: float) -> np.ndarray:
        """A place by its offset from the neck point, in sides of the clip's square."""
        return self.neck + (x * self.across + y * self.down) * self.unit

    def places(self, offsets: list[tuple[float, float]]) -> np.ndarray:
        """Many of them, `[n, 2]`."""
        grid = np.asarray(offsets) * self.unit
        return self.neck + grid[:, :1] * self.across + grid[:, 1:] * self.down

    def outline(self) -> np.ndarray:
        """Of the garment, from neck to neck by way of the hips."""
        half = [(0.052, -0.056), (0.080, -0.038), (0.135, -0.020), (0.178, 0.004), (0.186, 0.07)]
        half += [(x * self.girth, y) for x, y in SIDES]
        right = smooth(self.places([(-x, y) for x, y in half]), closed=False)
        left = smooth(self.places(half), closed=False)
        return np.concatenate([left, right[::-1]])


def draw_neck(canvas: Canvas, torso: Torso, who: Person, chin: np.ndarray) -> None:
    """The neck with the chin's shadow, and the skin above the neckline."""
    canvas.region = Region.BODY
    half = 0.047 * (0.6 + 0.4 * who.girth)
    low = 0.075 if who.neckline in ("v_neck", "shirt", "blazer", "cardigan") else 0.03
    neck = [(-half, -0.16), (-half, -0.06), (-0.085, -0.025), (0, low), (0.085, -0.025), (half, -0.06), (half, -0.16)]
    canvas.fill(torso.places(neck), who.skin)
    middle = (chin - torso.neck) @ torso.across / torso.unit
    below = (chin - torso.neck) @ torso.down / torso.unit
    shadow = [(-half, -0.16), (-half, below + 0.005), (middle * 0.6, below + 0.045), (half, below + 0.005),
              (half, -0.16)]  # fmt: skip
    canvas.fill(torso.places(shadow), who.skin_shade)


def draw_garment(canvas: Canvas, torso: Torso, who: Person) -> None:
    """The trunk's garment: its colour, its shadow at the side away from the light, and its neckline."""
    canvas.region = Region.BODY
    canvas.fill(torso.outline(), who.garment)
    canvas.fill(torso.places([(-0.047, -0.066), (0.047, -0.066), (0.060, -0.040), (-0.060, -0.040)]), who.skin)
    if who.stripes:
        for level in np.arange(0.05, 0.62, 0.062):
            edges = []
            for y in (level, level + 0.020):
                half = (
                    0.184 if y < 0.10 else float(np.interp(y, *zip(*((y, x) for x, y in SIDES)))) * torso.girth - 0.002
                )
                edges.append([(-half, y), (-0.5 * half, y + 0.008), (0, y + 0.011), (0.5 * half, y + 0.008), (half, y)])
            canvas.fill(torso.places(edges[0] + edges[1][::-1]), who.second)
    side = -1 if who.light > 0 else 1
    strip = [(0.168, 0.10), (0.150, 0.28), (0.148, 0.42), (0.166, 0.62), (0.115, 0.62), (0.118, 0.35)]
    canvas.fill(torso.places([(side * x * torso.girth, y) for x, y in strip]), shaded(who.garment, -0.10))
    NECKLINES[who.neckline](canvas, torso, who)


def ribbed_neck(canvas: Canvas, torso: Torso, who: Person, depth: float, skin: Colour | None = None) -> None:
    """A round neckline with its hem."""
    curve = [(-0.070, -0.046), (-0.045, depth * 0.55), (0, depth), (0.045, depth * 0.55), (0.070, -0.046)]
    edge = smooth(torso.places(curve), closed=False)
    canvas.fill(edge, skin or who.skin)
    canvas.line(edge, 0.014 * torso.unit, shaded(who.garment, -0.16))


def draw_crew(canvas: Canvas, torso: Torso, who: Person) -> None:
    ribbed_neck(canvas, torso, who, 0.028)


def draw_v_neck(canvas: Canvas, torso: Torso, who: Person) -> None:
    edge = torso.places([(-0.068, -0.050), (-0.046, 0.0), (0, 0.115), (0.046, 0.0), (0.068, -0.050)])
    canvas.fill(edge, who.skin)
    canvas.line(edge, 0.013 * torso.unit, shaded(who.garment, -0.16))


def draw_turtleneck(canvas: Canvas, torso: Torso, who: Person) -> None:
    tube = [(-0.058, -0.100), (0, -0.085), (0.058, -0.100), (0.072, -0.028), (0, 0.006), (-0.072, -0.028)]
    canvas.fill(smooth(torso.places(tube)), shaded(who.garment, 0.05))
    canvas.line(smooth(torso.places([(-0.070, -0.030), (0, 0.004), (0.070, -0.030)]), closed=False),
                0.006 * torso.unit, shaded(who.garment, -0.2))  # fmt: skip


def collar(canvas: Canvas, torso: Torso, colour: Colour, reach: float = 0.062) -> None:
    """Two pointed flaps."""
    for side in (-1, 1):
        flap = [(0.052, -0.066), (0.094, -0.030), (reach, 0.052), (0.0, 0.022), (0.030, -0.014)]
        canvas.fill(torso.places([(side * x, y) for x, y in flap]), colour)
        edge = [(0.094, -0.030), (reach, 0.052), (0.0, 0.022)]
        canvas.line(torso.places([(side * x, y) for x, y in edge]), 0.004 * torso.unit, shaded(colour, -0.16))


def draw_knit_collar(canvas: Canvas, torso: Torso, who: Person) -> None:
    canvas.fill(torso.places([(-0.06, -0.056), (0, 0.026), (0.06, -0.056)]), who.skin)
    collar(canvas, torso, who.second)


def buttons(canvas: Canvas, torso: Torso, colour: Colour, first: float) -> None:
    for level in np.arange(first, 0.6, 0.085):
        canvas.disc(torso.at(0, level), 0.006 * torso.unit, colour)


def draw_shirt(canvas: Canvas, torso: Torso, who: Person) -> None:
    canvas.fill(torso.places([(-0.06, -0.056), (0, 0.046), (0.06, -0.056)]), who.skin)
    line = shaded(who.garment, -0.2)
    canvas.line(torso.places([(0.012, 0.03), (0.012, 0.62)]), 0.004 * torso.unit, line)
    buttons(canvas, torso, shaded(who.garment, -0.35), 0.085)
    collar(canvas, torso, shaded(who.garment, 0.16), 0.060)


def draw_blazer(canvas: Canvas, torso: Torso, who: Person) -> None:
    shirt = [(-0.066, -0.056), (-0.075, 0.05), (0, 0.33), (0.075, 0.05), (0.066, -0.056)]
    canvas.fill(torso.places(shirt), who.second)
    canvas.fill(torso.places([(-0.046, -0.056), (0, 0.030), (0.046, -0.056)]), who.skin)
    if who.accent[0] % 2:
        tie = [(-0.014, 0.018), (0.014, 0.018), (0.011, 0.045), (0.026, 0.24), (0, 0.29), (-0.026, 0.24),
               (-0.011, 0.045)]  # fmt: skip
        canvas.fill(torso.places(tie), who.frames)
    collar(canvas, torso, who.second, 0.044)
    lapel = shaded(who.garment, -0.10)
    for side in (-1, 1):
        flap = [(0.066, -0.056), (0.108, 0.02), (0.122, 0.085), (0.092, 0.095), (0.104, 0.125), (0.0, 0.345),
                (0.058, 0.05)]  # fmt: skip
        canvas.fill(torso.places([(side * x, y) for x, y in flap]), lapel)
    canvas.line(torso.places([(0, 0.335), (0.004, 0.62)]), 0.005 * torso.unit, shaded(who.garment, -0.3))
    canvas.disc(torso.at(0.016, 0.39), 0.008 * torso.unit, shaded(who.garment, -0.4))


def draw_hoodie(canvas: Canvas, torso: Torso, who: Person) -> None:
    hood = [(-0.062, -0.075), (-0.104, -0.035), (-0.082, 0.022), (0, 0.062), (0.082, 0.022), (0.104, -0.035),
            (0.062, -0.075), (0.045, -0.022), (0, 0.012), (-0.045, -0.022)]  # fmt: skip
    canvas.fill(smooth(torso.places(hood)), shaded(who.garment, -0.12))
    for side in (-1, 1):
        canvas.line(torso.places([(side * 0.024, 0.03), (side * 0.027, 0.15)]), 0.006 * torso.unit, who.second)
    pocket = [(-0.085, 0.36), (0.085, 0.36), (0.118, 0.52), (-0.118, 0.52)]
    canvas.line(torso.places(pocket), 0.005 * torso.unit, shaded(who.garment, -0.18), closed=True)


def draw_cardigan(canvas: Canvas, torso: Torso, who: Person) -> None:
    inner = [(-0.070, -0.050), (-0.062, 0.10), (-0.030, 0.62), (0.030, 0.62), (0.062, 0.10), (0.070, -0.050)]
    canvas.fill(torso.places(inner), who.second)
    ribbed = [(-0.064, -0.050), (-0.040, 0.005), (0, 0.024), (0.040, 0.005), (0.064, -0.050)]
    canvas.fill(smooth(torso.places(ribbed), closed=False), who.skin)
    for side in (-1, 1):
        edge = [(side * 0.072, -0.052), (side * 0.064, 0.10), (side * 0.034, 0.62)]
        canvas.line(smooth(torso.places(edge), closed=False), 0.016 * torso.unit, shaded(who.garment, -0.16))


NECKLINES = {
    "crew": draw_crew, "t_shirt": draw_crew, "v_neck": draw_v_neck, "turtleneck": draw_turtleneck,
    "knit_collar": draw_knit_collar, "shirt": draw_shirt, "blazer": draw_blazer, "hoodie": draw_hoodie,
    "cardigan": draw_cardigan,
}  # fmt: skip


def draw_arm(canvas: Canvas, points: np.ndarray, arm: tuple[int, int, int], unit: float, who: Person) -> None:
    """An arm with its sleeve, from the shoulder to just before the wrist."""
    canvas.region = Region.BODY
    shoulder, elbow, wrist = points[list(arm)]
    side = -1.0 if arm[0] == 2 else 1.0
    width = unit * (0.6 + 0.4 * who.girth)
    # The joint lies inside the shoulder's outline.
    joint = shoulder - [side * 0.022 * unit, -0.042 * unit]
    cuff = wrist + (elbow - wrist) * 0.16
    sleeve, edge = who.garment, shaded(who.garment, -0.17)
    short = who.neckline in SHORT_SLEEVES
    fore = np.stack([elbow, (elbow + cuff) / 2, cuff])
    fore_radii = np.array([0.0455, 0.042, 0.0335]) * width
    upper = np.stack([joint, (joint + elbow) / 2, elbow])
    upper_radii = np.array([0.0530, 0.0500, 0.0450]) * width
    rim = 0.0040 * unit
    if short:
        bare = np.array([0.040, 0.036, 0.026]) * width
        reach = np.stack([elbow, (elbow + wrist) / 2, wrist])
        canvas.limb(upper, upper_radii * 0.86 + rim, who.skin_line)
        canvas.limb(reach, bare + rim, who.skin_line)
        canvas.limb(upper, upper_radii * 0.86, who.skin)
        canvas.limb(reach, bare, who.skin)
        hem = joint + (elbow - joint) * 0.52
        sleeved = np.stack([joint, hem])
        canvas.limb(np.stack([joint + (elbow - joint) * 0.2, hem]), upper_radii[:2] + rim, edge)
        canvas.limb(sleeved, upper_radii[:2], sleeve)
        band(canvas, hem, elbow - joint, upper_radii[1] * 1.02, 0.016 * unit, edge)
        return
    # The rim begins below the shoulder, where the arm leaves the trunk.
    begin = joint + (elbow - joint) * 0.34
    canvas.limb(np.stack([begin, elbow]), upper_radii[1:] + rim, edge)
    canvas.limb(fore, fore_radii + rim, edge)
    canvas.limb(upper, upper_radii, sleeve)
    # Shade along the side of the arm that is away from the light.
    canvas.limb(fore, fore_radii, sleeve)
    along = (elbow - joint) / max(float(np.linalg.norm(elbow - joint)), 1e-6)
    bend = elbow + (joint - elbow) * 0.08
    across = np.array([-along[1], along[0]]) * side
    fold = np.stack([bend - across * 0.012 * unit, bend + across * 0.030 * unit + along * 0.006 * unit])
    canvas.line(fold, 0.005 * unit, edge)


def band(canvas: Canvas, at: np.ndarray, along: np.ndarray, half: float, length: float, colour: Colour) -> None:
    """A band across a limb."""
    along = along / max(float(np.linalg.norm(along)), 1e-6)
    across = np.array([-along[1], along[0]]) * half
    a, b = at - along * length / 2, at + along * length / 2
    canvas.fill(np.stack([a - across, b - across, b + across, a + across]), colour)


def draw_cuff(canvas: Canvas, points: np.ndarray, arm: tuple[int, int, int], unit: float, who: Person) -> None:
    """The end of a long sleeve, over the wrist."""
    if who.neckline in SHORT_SLEEVES:
        return
    canvas.region = Region.BODY
    _, elbow, wrist = points[list(arm)]
    width = unit * (0.6 + 0.4 * who.girth)
    length = max(float(np.linalg.norm(elbow - wrist)), 1e-6)
    along = (elbow - wrist) / length
    if who.neckline in ("blazer", "knit_collar"):
        band(canvas, wrist + along * 0.020 * unit, along, 0.0325 * width, 0.020 * unit, who.second)
    band(canvas, wrist + along * 0.040 * unit, along, 0.0372 * width, 0.030 * unit, shaded(who.garment, -0.17))
    band(canvas, wrist + along * 0.040 * unit, along, 0.0352 * width, 0.024 * unit, shaded(who.garment, -0.05))


def draw_hand(canvas: Canvas, hand: np.ndarray, region: Region, unit: float, who: Person) -> None:
    """A hand along its 21 points `[21, 2]`: the palm, then finger by finger, each with its outline."""
    canvas.region = region
    size = unit * who.hand_scale
    rim = 0.0034 * size
    palm = [(hand[[0, knuckle]], np.array([0.0240, 0.0165]) * size) for knuckle in (5, 9, 13, 17)]
    palm.append((hand[[5, 9, 13, 17]], np.full(4, 0.0165) * size))
    palm.append((hand[[0, 1, 2]], np.array([0.0235, 0.0215, 0.0165]) * size))
    for points, radii in palm:
        canvas.limb(points, radii + rim, who.skin_line)
    hull = hand[[0, 1, 2, 5, 9, 13, 17]]
    canvas.fill(hull, who.skin)
    for points, radii in palm:
        canvas.limb(points, radii, who.skin)
    for chain, radius in zip(FINGERS, FINGER_RADII):
        draw_finger(canvas, hand[list(chain)], radius * size * TAPER, rim, who)
    draw_finger(canvas, hand[[1, 2, 3, 4]], np.array([0.0195, 0.0172, 0.0150, 0.0112]) * size, rim, who)


def draw_finger(canvas: Canvas, points: np.ndarray, radii: np.ndarray, rim: float, who: Person) -> None:
    """The outline begins a third along the first bone, so that the finger grows out of the palm."""
    outer = points.copy()
    outer[0] = points[0] + (points[1] - points[0]) * 0.42
    canvas.limb(outer, radii + rim, who.skin_line)
    canvas.limb(points, radii, who.skin)


def draw_arms(canvas: Canvas, points: np.ndarray, unit: float, who: Person) -> None:
    """Both arms, then both hands with their cuffs: hands are seen in front of everything."""
    for arm in ARMS:
        draw_arm(canvas, points, arm, unit, who)
    for arm, rows, region in ((ARMS[0], HAND_B, Region.HAND_B), (ARMS[1], HAND_A, Region.HAND_A)):
        draw_hand(canvas, points[rows], region, unit, who)
        draw_cuff(canvas, points, arm, unit, who)


def lit(colour: Colour, who: Person) -> Colour:
    """A little of the light's warmth."""
    return mixed(colour, (255, 214, 170) if who.warmth > 0 else (190, 210, 255), 0.08 * abs(who.warmth))
