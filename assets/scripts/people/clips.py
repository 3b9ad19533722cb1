"""Clips of drawn people who speak, drawn on the fly or written as a data folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from echomimic.pose import PoseSequence, load_poses
from echomimic.pose.sequence import FACE

from .canvas import Region
from .figure import draw_frame
from .looks import TRAINING_SEEDS, Person, random_person
from .motion import Mouth, blinks, retarget

CLIPS = Path(__file__).resolve().parents[2] / "clips"
FPS = 24.0
# A headshot's box: this many face widths wide, around the middle of the face.
HEADSHOT = 2.6


@dataclass(frozen=True)
class DrawnClip:
    """A clip with everything that is known about it.

    Attributes:
        who: the person.
        frames: uint8 RGB `[F, size, size, 3]`.
        poses: where things are drawn.
        gesture: the poses with the clip's own proportions, which `motion.retarget` puts on the person.
        mouth: opening, width, rounding of each frame, `[F, 3]` in 0..1.
        regions: uint8 `[F, size, size]`, numbers of `canvas.Region`.
        head_box: left, top, right, bottom in fractions: the part that a headshot covers, else everything.
        headshot: whether only the head is shown.
    """

    who: Person
    frames: np.ndarray
    poses: PoseSequence
    gesture: PoseSequence
    mouth: np.ndarray
    regions: np.ndarray
    head_box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    headshot: bool = False


@lru_cache(maxsize=1)
def gestures() -> tuple[PoseSequence, ...]:
    """The clips of `assets/clips`, by name."""
    return tuple(load_poses(path) for path in sorted(CLIPS.glob("*.safetensors")))


def draw_clip(
    who: Person, poses: PoseSequence, mouth: np.ndarray, size: int, lids: np.ndarray | None = None,
    headshot: bool = False,
) -> DrawnClip:  # fmt: skip
    """Draw every frame.

    Args:
        who: the person.
        poses: with the clip's own proportions.
        mouth: opening, width, rounding, `[F, 3]` in 0..1.
        size: side of the pictures in pixels.
        lids: how far they are closed, `[F]`; None leaves them open.
        headshot: whether to leave only a box around the head, the rest black and the points outside it absent.

    Raises:
        ValueError: poses and mouth values differ in length.
    """
    if len(poses) != len(mouth):
        raise ValueError(f"{len(poses)} frames of poses, but {len(mouth)} of mouth values")
    lids = np.zeros(len(poses)) if lids is None else lids
    drawn = [
        draw_frame(who, points, Mouth(*map(float, values)), float(closed), size)
        for points, values, closed in zip(retarget(poses, who), mouth, lids)
    ]
    frames, regions = (np.stack([getattr(frame, name) for frame in drawn]) for name in ("picture", "regions"))
    points, scores = np.stack([frame.points for frame in drawn]), poses.scores.copy()
    box = (0.0, 0.0, 1.0, 1.0)
    if headshot:
        box = head_box(points)
        left, top, right, bottom = (round(edge * size) for edge in box)
        inside = np.zeros((size, size), bool)
        inside[top:bottom, left:right] = True
        frames[:, ~inside], regions[:, ~inside] = 0, Region.BACKGROUND
        seen = ((points >= box[:2]) & (points <= box[2:])).all(axis=-1)
        scores = np.where(seen, scores, 0.0)
    drawn_poses = PoseSequence(points, scores, poses.fps)
    return DrawnClip(who, frames, drawn_poses, poses, np.asarray(mouth), regions, box, headshot)


def head_box(points: np.ndarray) -> tuple[float, float, float, float]:
    """A square around a clip's head, from `[F, 134, 2]`, inside the picture."""
    face = points[:, FACE].reshape(-1, 2)
    middle, half = (face.min(axis=0) + face.max(axis=0)) / 2, HEADSHOT / 2 * np.ptp(face[:, 0])
    low, high = np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def random_mouth(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Mouth values without a voice, `[F, 3]`: a third of the time closed, else moving like speech."""
    knots = max(2, frames // 2 + 2)
    values = np.stack([rng.random(knots), np.clip(rng.normal(0.5, 0.22, knots), 0, 1), rng.random(knots) ** 3], axis=-1)
    values[rng.random(knots) < 0.33] = (0.0, 0.5, 0.0)
    at = np.linspace(0, knots - 1, frames)
    return np.stack([np.interp(at, np.arange(knots), values[:, i]) for i in range(3)], axis=-1)


def sample_clip(
    rng: np.random.Generator,
    size: int,
    frames: int,
    mouth: np.ndarray | None = None,
    seeds: range = TRAINING_SEEDS,
    headshots: float = 0.0,
    hard_mouths: float = 0.0,
) -> DrawnClip:
    """A random person who makes a random part of a random gesture.

    Args:
        rng: decides everything.
        size: side of the pictures in pixels.
        frames: length.
        mouth: opening, width, rounding, `[frames, 3]`; None draws them without a voice.
        seeds: of the people.
        headshots: share of clips that show a head only.
        hard_mouths: share of clips whose person is chosen because the mouth is hard to see; see `looks.random_person`.
    """
    who = random_person(rng, seeds, hard_mouths)
    clip = gestures()[int(rng.integers(len(gestures())))]
    # There and back again, so that a clip of any length is smooth.
    turns = np.concatenate([np.arange(len(clip)), np.arange(len(clip) - 2, 0, -1)])
    begin = int(rng.integers(len(turns)))
    poses = clip.take(turns[(begin + np.arange(frames)) % len(turns)])
    mouth = random_mouth(rng, frames) if mouth is None else mouth
    return draw_clip(who, poses, mouth, size, blinks(rng, frames, clip.fps), bool(rng.random() < headshots))
