"""Face, eyes and mouth of a drawn person, and the 68 face points that they have."""

# An offset added to a point is arithmetic, not a list made longer.
# ruff: noqa: RUF005

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from echomimic.pose.sequence import FACE

from .canvas import Canvas, Region, mirrored, mixed, shaded, smooth
from .looks import Person
from .motion import Mouth

# The chin's distance below the ears, in halves of the face's width, as the clips' skeleton has it.
CHIN = 1.51
# Openings below this show no gap between the lips.
CLOSED = 0.02
# The mouth in face coordinates: half its width at rest, the gap when it is wide open, and the lips' thickness against
# that of a plain drawing. Larger than life, as cartoonists draw those who speak: in a small picture the mouth has to be
# seen, and the networks' latents have one value for 8 pixels.
MOUTH_HALF, GAP, LIP = 0.52, 0.74, 1.15


@dataclass(frozen=True)
class Head:
    """The face's own coordinates: u to the right in halves of its width, v down, from the middle between the ears.

    Attributes:
        origin, x_axis, y_axis: `[2]` each.
        points: the clip's 68 face points in these coordinates, `[68, 2]`.
    """

    origin: np.ndarray
    x_axis: np.ndarray
    y_axis: np.ndarray
    points: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray) -> Head:
        """From a frame's points `[134, 2]`."""
        face = points[FACE]
        origin = (face[0] + face[16]) / 2
        x_axis, y_axis = (face[16] - face[0]) / 2, (face[8] - origin) / CHIN
        own = (face - origin) @ np.linalg.inv(np.stack([x_axis, y_axis]))
        return cls(origin, x_axis, y_axis, own)

    @property
    def unit(self) -> float:
        """Half the face's width, in sides of the picture."""
        return float(np.linalg.norm(self.x_axis))

    def place(self, points: np.ndarray | list[tuple[float, float]]) -> np.ndarray:
        """Face coordinates `[n, 2]` to the picture's."""
        return self.origin + np.asarray(points, np.float64) @ np.stack([self.x_axis, self.y_axis])

    def eye(self, side: int) -> np.ndarray:
        """Middle of an eye, -1 the one at the left."""
        return self.points[36:42].mean(axis=0) if side < 0 else self.points[42:48].mean(axis=0)

    @property
    def mouth(self) -> np.ndarray:
        """Middle of the mouth."""
        return self.points[[48, 54]].mean(axis=0)


def face_outline(who: Person, jaw_drop: float) -> np.ndarray:
    """The face in its coordinates, closed."""
    jaw = 0.66 + 0.14 * (who.jaw - 0.5)
    half = [(0.0, -1.24), (0.60, -1.10), (0.92, -0.62), (0.99, -0.05), (0.955, 0.46),
            (jaw + 0.02, 0.98 + 0.4 * jaw_drop),
            (0.33 + 0.13 * (who.jaw - 0.5), 1.37 + jaw_drop), (0.0, CHIN + jaw_drop)]  # fmt: skip
    return mirrored(half) * [who.face_width, 1]


def jaw_drop(mouth: Mouth) -> float:
    """How far the chin goes down."""
    return 0.24 * mouth.opening


def draw_face(canvas: Canvas, head: Head, who: Person, mouth: Mouth) -> None:
    """Ears, the face, its shade away from the light, cheeks."""
    canvas.region = Region.FACE
    ear_colour = shaded(who.skin, -0.06)
    for side in (-1, 1):
        centre = head.place([(side * 1.03 * who.face_width, 0.10)])[0]
        canvas.ellipse(centre, head.x_axis * 0.14, head.y_axis * 0.27, ear_colour)
        canvas.ellipse(centre, head.x_axis * 0.07, head.y_axis * 0.15, who.skin_shade)
        if who.earrings:
            canvas.disc(head.place([(side * 1.06 * who.face_width, 0.42)])[0], 0.055 * head.unit, (232, 196, 110))
    outline = face_outline(who, jaw_drop(mouth))
    canvas.fill(head.place(outline), who.skin_shade)
    # The lit part is the face itself, shifted towards the light and cut by the outline on that side.
    shift = 0.10 * np.sign(who.light or 1)
    lit = outline.copy()
    away = outline[:, 0] * shift < 0
    lit[away, 0] *= 1 - 0.10
    lit[away, 1] -= 0.02
    canvas.fill(head.place(lit), who.skin)
    blush = mixed(who.skin, (226, 96, 88), 0.20)
    for side in (-1, 1):
        centre = head.place([(side * 0.58 * who.face_width, 0.46)])[0]
        canvas.ellipse(centre, head.x_axis * 0.19, head.y_axis * 0.12, blush)


def draw_eyes(canvas: Canvas, head: Head, who: Person, closed: float) -> None:
    """Whites, irises, lids and brows."""
    canvas.region = Region.FACE
    ink = mixed((46, 32, 34), who.hair, 0.25) if who.hair_style != "scarf" else (46, 32, 34)
    wide, high = 0.205 * who.eye_size, 0.135 * who.eye_size
    for side in (-1, 1):
        eye = head.eye(side)
        lid = -high * (1 - closed) + 0.45 * high * closed
        corners = [(-wide, 0.01), (-0.5 * wide, lid * 0.86), (0.0, lid), (0.5 * wide, lid * 0.86), (wide, 0.01)]
        upper = smooth(corners, closed=False)
        lower = smooth([(wide, 0.01), (0.5 * wide, 0.80 * high), (0.0, 0.92 * high), (-0.5 * wide, 0.80 * high),
                        (-wide, 0.01)], closed=False)  # fmt: skip
        if closed < 0.8:
            canvas.fill(head.place(eye + np.concatenate([upper, lower])), (252, 249, 245))
            gaze = eye + [0.0, 0.005]
            for radius, colour in ((0.118, who.iris), (0.062, (30, 22, 26))):
                canvas.ellipse(
                    head.place([gaze])[0],
                    head.x_axis * radius * who.eye_size,
                    head.y_axis * radius * who.eye_size,
                    colour,
                )
            canvas.disc(head.place([gaze + [0.045, -0.045]])[0], 0.034 * head.unit, (255, 255, 255))
            top = np.array([(wide * 1.02, -1.35 * high), (-wide * 1.02, -1.35 * high)])
            canvas.fill(head.place(eye + np.concatenate([upper, top])), who.skin)
        canvas.line(head.place(eye + upper), 0.046 * head.unit, ink)
        outer = eye + [side * wide, 0.0]
        if who.lashes:
            canvas.line(head.place([outer, outer + [side * 0.06, -0.05]]), 0.034 * head.unit, ink)
        brow = mixed(who.hair, who.skin, 0.12) if who.hair_style not in ("scarf", "bald") else (62, 46, 42)
        middle = head.points[17:22].mean(axis=0) if side < 0 else head.points[22:27].mean(axis=0)
        arch = [(-side * 0.24, 0.03), (side * 0.02, -0.055), (side * 0.26, 0.035)]
        canvas.line(head.place(middle + smooth(arch, closed=False)), 0.066 * who.brow**0.7 * head.unit, brow)


def draw_nose(canvas: Canvas, head: Head, who: Person) -> None:
    """A line down one side, and its base."""
    canvas.region = Region.FACE
    tip = head.points[33]
    side = 1 if who.light < 0 else -1
    wide = 0.095 * who.nose
    line = [(side * 0.03, -0.34), (side * wide, -0.06), (side * 0.8 * wide, 0.03), (-side * 0.5 * wide, 0.045)]
    canvas.line(head.place(tip + smooth(line, closed=False)), 0.042 * head.unit, who.skin_line)


@dataclass(frozen=True)
class Lips:
    """Curves in face coordinates, left to right."""

    upper_outer: np.ndarray
    upper_inner: np.ndarray
    lower_inner: np.ndarray
    lower_outer: np.ndarray
    gap: float
    half: float


def lips(head: Head, who: Person, mouth: Mouth) -> Lips:
    """The mouth's outline."""
    half = MOUTH_HALF * who.mouth_width * (1 + 0.36 * (mouth.width - 0.5)) * (1 - 0.44 * mouth.rounding)
    gap = 0.0 if mouth.opening < CLOSED else GAP * mouth.opening
    up, low = 0.26 * gap, 0.74 * gap
    upper = LIP * (0.070 + 0.030 * mouth.rounding) * who.lip
    lower = LIP * (0.096 + 0.035 * mouth.rounding) * who.lip
    corner = -0.035 * (1 - mouth.rounding) * (1 - mouth.opening)
    c = head.mouth + [0, 0.01]

    def curve(points: list[tuple[float, float]]) -> np.ndarray:
        return c + smooth(points, closed=False)

    inner = 0.90 * half
    return Lips(
        curve([(-half, corner), (-0.30 * half, -up - upper), (0, -up - 0.72 * upper), (0.30 * half, -up - upper),
               (half, corner)]),
        curve([(-inner, corner), (-0.45 * inner, -0.85 * up), (0, -up), (0.45 * inner, -0.85 * up), (inner, corner)]),
        curve([(-inner, corner), (-0.55 * inner, 0.80 * low), (0, low), (0.55 * inner, 0.80 * low), (inner, corner)]),
        curve([(-half, corner), (-0.52 * half, 0.80 * low + 0.86 * lower), (0, low + lower),
               (0.52 * half, 0.80 * low + 0.86 * lower), (half, corner)]),
        gap, half,
    )  # fmt: skip


def draw_mouth(canvas: Canvas, head: Head, who: Person, mouth: Mouth) -> None:
    """Lips, and between them teeth and tongue where the mouth is open."""
    canvas.region = Region.MOUTH
    shape = lips(head, who, mouth)
    canvas.fill(head.place(np.concatenate([shape.upper_outer, shape.lower_outer[::-1]])), who.lips)
    canvas.fill(
        head.place(np.concatenate([shape.upper_outer, shape.upper_inner[::-1]])), shaded(who.lips, -0.12)
    )  # fmt: skip
    line = shaded(mixed(who.lips, (120, 40, 48), 0.4), -0.30)
    if shape.gap <= 0:
        canvas.line(head.place(shape.upper_inner), 0.040 * head.unit, line)
        return
    canvas.fill(head.place(np.concatenate([shape.upper_inner, shape.lower_inner[::-1]])), (86, 28, 38))
    height = np.abs(shape.lower_inner - shape.upper_inner)[:, 1]
    if shape.gap > 0.16:
        raised = shape.lower_inner.copy()
        raised[:, 1] -= np.clip(0.36 * (height - 0.10), 0, None)
        canvas.fill(head.place(np.concatenate([raised, shape.lower_inner[::-1]])), (206, 96, 100))
    teeth = shape.upper_inner.copy()
    teeth[:, 1] += np.minimum(0.42 * height, 0.105 * (1 - 0.75 * mouth.rounding))
    shown = np.abs(teeth[:, 0] - head.mouth[0]) < 0.80 * shape.half
    if shape.gap > 0.04:
        canvas.fill(head.place(np.concatenate([shape.upper_inner[shown], teeth[shown][::-1]])), (252, 248, 240))


def face_points(head: Head, who: Person, mouth: Mouth, closed: float) -> np.ndarray:
    """The 68 points `[68, 2]` of the face as it is drawn, in the picture's coordinates."""
    own = head.points.copy()
    own[:17, 0] *= who.face_width
    weight = np.clip((own[:17, 1] - 0.4) / (CHIN - 0.4), 0, 1)
    own[:17, 1] += jaw_drop(mouth) * weight
    for rows, side in ((range(36, 42), -1), (range(42, 48), 1)):
        eye, (wide, high) = head.eye(side), np.array([0.205, 0.135]) * who.eye_size
        lid = -high * (1 - closed) + 0.45 * high * closed
        own[list(rows)] = eye + [(-wide, 0.01), (-0.5 * wide, 0.86 * lid), (0.5 * wide, 0.86 * lid), (wide, 0.01),
                                 (0.5 * wide, 0.8 * high), (-0.5 * wide, 0.8 * high)]  # fmt: skip
    shape = lips(head, who, mouth)
    along = np.linspace(0, len(shape.upper_outer) - 1, 7).round().astype(int)
    inner = np.linspace(0, len(shape.upper_inner) - 1, 5).round().astype(int)
    own[48:55] = shape.upper_outer[along]
    own[55:60] = shape.lower_outer[along[1:-1]][::-1]
    own[60:65] = shape.upper_inner[inner]
    own[65:68] = shape.lower_inner[inner[1:-1]][::-1]
    return head.place(own)
