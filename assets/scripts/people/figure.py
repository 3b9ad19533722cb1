"""One frame of a drawn person: the picture, its points, and what region each pixel belongs to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from echomimic.pose.sequence import FACE

from .body import Torso, draw_arms, draw_garment, draw_neck
from .canvas import Canvas
from .hair import draw_beard, draw_glasses, draw_hair, draw_hair_behind
from .head import Head, draw_eyes, draw_face, draw_mouth, draw_nose, face_points
from .looks import Person
from .motion import Mouth
from .room import apply_light, room


@dataclass(frozen=True)
class Frame:
    """A drawn frame.

    Attributes:
        picture: uint8 RGB `[size, size, 3]`.
        points: `[134, 2]` where things are drawn, in sides of the picture.
        regions: uint8 `[size, size]`, numbers of `canvas.Region`.
        mouth: as drawn.
    """

    picture: np.ndarray
    points: np.ndarray
    regions: np.ndarray
    mouth: Mouth


def canvas_side(size: int) -> int:
    """Side of the canvas for a picture of this size: several times as large, within reason."""
    return size * max(3, min(4, 640 // size))


def draw_frame(who: Person, points: np.ndarray, mouth: Mouth, closed: float = 0.0, size: int = 768) -> Frame:
    """Draw a person.

    Args:
        who: the person.
        points: `[134, 2]` with the person's proportions, see `motion.retarget`.
        mouth: how it stands.
        closed: how far the lids are closed, 0..1.
        size: side of the picture in pixels.
    """
    head, torso = Head.of(points), Torso(points, who)
    canvas = Canvas(room(who, canvas_side(size)))
    draw_hair_behind(canvas, head, who)
    drawn = points.copy()
    drawn[FACE] = face_points(head, who, mouth, closed)
    draw_neck(canvas, torso, who, drawn[FACE][8])
    draw_garment(canvas, torso, who)
    draw_face(canvas, head, who, mouth)
    draw_nose(canvas, head, who)
    draw_beard(canvas, head, who, mouth)
    draw_mouth(canvas, head, who, mouth)
    draw_eyes(canvas, head, who, closed)
    draw_hair(canvas, head, who)
    draw_glasses(canvas, head, who)
    draw_arms(canvas, points, torso.unit, who)
    picture, regions = canvas.reduced(size)
    return Frame(apply_light(picture, who), drawn, regions, mouth)
