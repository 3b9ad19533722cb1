"""How near a rendered clip comes to the drawn truth."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from echomimic.pose.sequence import LIPS

from .canvas import Region
from .clips import DrawnClip
from .figure import draw_frame
from .motion import Mouth, retarget

# Mouths that a rendered one is compared with, at every opening: at rest, spread, rounded.
SHAPES = ((0.5, 0.0), (0.8, 0.0), (0.3, 0.8))
OPENINGS = np.linspace(0, 1, 9)
# How soft the drawings are: a Gaussian's sigma, in sides of the frame.
BLURS = (0.0, 0.004, 0.008, 0.012, 0.016)
# A hand is looked for so far around its true place, in sides of the frame.
REACH = 0.12
# And a mouth, in sides of the frame.
MOUTH_REACH = 0.04


def mouth_openings(made: np.ndarray, truth: DrawnClip) -> np.ndarray:
    """The opening of each frame's mouth, `[F]` in 0..1, read by comparing with drawings of the same person.

    The mouth is drawn with every opening and some shapes, and each drawing is looked for around the mouth's true place:
    a head that stands some pixels beside the truth still speaks. The opening is that of the drawing whose pixels
    correlate best, refined by a parabola through its neighbours. It is blind to the truth's own opening.

    The drawings are as soft as the clip is, by the blur at which they are most like it: among sharp ones a soft mouth
    is most like a nearly shut one, however wide it opens.

    Args:
        made: uint8 `[F, size, size, 3]`.
        truth: the drawn clip.
    """
    alike = mouth_likeness(made, truth)
    softness = alike.max(axis=(2, 3)).mean(axis=0).argmax()
    return np.array([lowest(1 - frame[frame.max(axis=1).argmax()]) for frame in alike[:, softness]])


def mouth_likeness(made: np.ndarray, truth: DrawnClip) -> np.ndarray:
    """Correlation of the pixels around each frame's mouth with drawings, `[F, BLURS, SHAPES, OPENINGS]` in -1..1."""
    size = made.shape[1]
    reach = round(MOUTH_REACH * size)
    alike = np.empty((len(made), len(BLURS), len(SHAPES), len(OPENINGS)))
    for frame, points in enumerate(retarget(truth.gesture, truth.who)):
        box = mouth_box(truth, frame, size)
        around = tuple(slice(max(0, side.start - reach), side.stop + reach) for side in box)
        seen = made[frame][around].astype(np.float32)
        for row, (width, rounding) in enumerate(SHAPES):
            for column, opening in enumerate(OPENINGS):
                drawn = draw_frame(truth.who, points, Mouth(float(opening), width, rounding), 0.0, size).picture
                for number, blur in enumerate(BLURS):
                    soft = cv2.GaussianBlur(drawn, (0, 0), blur * size) if blur else drawn
                    found = cv2.matchTemplate(seen, soft[box].astype(np.float32), cv2.TM_CCOEFF_NORMED)
                    alike[frame, number, row, column] = found.max()
    return alike


def lowest(errors: np.ndarray) -> float:
    """The opening at which a curve over `OPENINGS` is lowest."""
    at = int(errors.argmin())
    step = OPENINGS[1]
    if not 0 < at < len(errors) - 1:
        return float(OPENINGS[at])
    left, middle, right = errors[at - 1 : at + 2]
    bend = left - 2 * middle + right
    return float(OPENINGS[at] + (0.5 * step * (left - right) / bend if bend > 0 else 0.0))


def mouth_box(truth: DrawnClip, frame: int, size: int) -> tuple[slice, slice]:
    """Rows and columns around a frame's mouth, with the chin that moves with it."""
    lips = truth.poses.keypoints[frame, LIPS]
    low, high = lips.min(axis=0), lips.max(axis=0)
    middle, half = (low + high) / 2, max(float((high - low)[0]) * 0.8, 4 / size)
    left, top = np.clip(((middle - half) * size).astype(int), 0, size - 2)
    right, bottom = np.clip(np.ceil((middle + half) * size).astype(int), 2, size)
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def hand_distances(made: np.ndarray, truth: DrawnClip) -> np.ndarray:
    """How far each hand's centre lies from the truth, in sides of the frame, for every hand that is seen, `[n]`.

    The true hand's pixels are looked for around their place, at the least squared error.
    """
    size = made.shape[1]
    reach = round(REACH * size)
    found = []
    for frame in range(len(made)):
        for hand in (Region.HAND_A, Region.HAND_B):
            mask = (truth.regions[frame] == hand).astype(np.uint8)
            rows, columns = np.nonzero(mask)
            if len(rows) < 12:
                continue
            mask = cv2.dilate(mask, np.ones((3, 3), np.uint8))
            rows, columns = np.nonzero(mask)
            top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
            pattern, within = truth.frames[frame][top:bottom, left:right], mask[top:bottom, left:right]
            area = made[frame][max(0, top - reach) : bottom + reach, max(0, left - reach) : right + reach]
            error = cv2.matchTemplate(
                area.astype(np.float32), pattern.astype(np.float32), cv2.TM_SQDIFF,
                mask=np.repeat(within[..., None], 3, axis=2).astype(np.float32),
            )  # fmt: skip
            down, across = np.unravel_index(int(error.argmin()), error.shape)
            shift = down - min(reach, top), across - min(reach, left)
            found.append(float(np.hypot(*shift)) / size)
    return np.array(found)


def flicker(made: np.ndarray, truth: DrawnClip) -> np.ndarray:
    """Mean difference from each frame to the next where the truth stands still, `[F - 1]` in 0..255."""
    found = []
    for (a, b), (x, y) in zip(pairwise(truth.frames.astype(int)), pairwise(made.astype(int))):
        moved = (np.abs(a - b).max(axis=-1) > 0).astype(np.uint8)
        still = cv2.dilate(moved, np.ones((9, 9), np.uint8)) == 0
        found.append(float(np.abs(x - y)[still].mean()) if still.any() else np.nan)
    return np.array(found)


def nearest_person(made: np.ndarray, pictures: list[np.ndarray]) -> int:
    """Which of the pictures, each drawn in the first frame's pose, is nearest to the first frame."""
    return int(np.argmin([np.square(made[0].astype(float) - picture).mean() for picture in pictures]))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Over frames; 0 where one stands still."""
    if a.std() < 1e-9 or b.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
