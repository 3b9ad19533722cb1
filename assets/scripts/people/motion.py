"""A clip's points on a person: their proportions, and the face that their mouth and eyes have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from echomimic.pose import PoseSequence
from echomimic.pose.anatomy import HAND_WRISTS, to_square
from echomimic.pose.sequence import FACE

from .looks import Person

NECK = 1
HEAD = (0, 14, 15, 16, 17, *range(FACE.start, FACE.stop))
# Shoulder, elbow, wrist.
ARMS = ((2, 3, 4), (5, 6, 7))


@dataclass(frozen=True)
class Mouth:
    """How a mouth stands: each value in 0..1.

    Attributes:
        opening: 0 closed, 1 as wide open as in speech.
        width: 0.5 at rest, 1 spread (as in "ee"), 0 narrow.
        rounding: 1 lips forward (as in "oo").
    """

    opening: float = 0.0
    width: float = 0.5
    rounding: float = 0.0


def retarget(clip: PoseSequence, who: Person) -> np.ndarray:
    """The clip's points `[F, 134, 2]` with the person's proportions.

    Bones keep their angles and change their lengths, from the neck outwards; hands keep their shape, hung on the new
    wrists; the head grows about the chin, so that the neck keeps its length.
    """
    old = to_square(clip)
    new = old.copy()
    neck = old[:, NECK]
    chin = old[:, FACE.start + 8]
    for index in HEAD:
        new[:, index] = chin + (old[:, index] - chin) * who.head_scale
    for index in (8, 11):
        new[:, index, 0] = neck[:, 0] + (old[:, index, 0] - neck[:, 0]) * who.girth**0.5
    for shoulder, elbow, wrist in ARMS:
        new[:, shoulder] = neck + (old[:, shoulder] - neck) * [who.shoulders, 1]
        new[:, elbow] = new[:, shoulder] + (old[:, elbow] - old[:, shoulder]) * who.upper_arm
        new[:, wrist] = new[:, elbow] + (old[:, wrist] - old[:, elbow]) * who.forearm
    for hand, wrist in HAND_WRISTS:
        new[:, hand] = new[:, [wrist]] + (old[:, hand] - old[:, [wrist]]) * who.hand_scale
    foot = np.array([0.5, 1.0])
    return foot + (new - foot) * who.scale + [who.offset, 0]


def blinks(rng: np.random.Generator, frames: int, fps: float) -> np.ndarray:
    """How far the lids are closed, `[F]` in 0..1: a blink of a sixth of a second every two to six seconds."""
    closed = np.zeros(frames)
    shape = np.array([0.5, 1.0, 0.7, 0.3])
    at = rng.uniform(0.3, 4) * fps
    while at < frames:
        for i, value in enumerate(shape):
            if int(at) + i < frames:
                closed[int(at) + i] = value
        at += rng.uniform(2, 6) * fps
    return closed
