"""How well a clip fits a portrait, before anything is rendered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import PoseError
from ..anatomy import LEFT_SHOULDER, NECK, NOSE, RIGHT_SHOULDER, SEEN, distance, face_height, to_square, with_neck
from ..sequence import HANDS, PoseSequence

# In the published demo clips the longest view of a hand is 1.16 to 1.37 times the height of the face (brows to chin),
# and that height is 0.69 to 0.78 of the distance from neck to nose.
_HAND_OF_FACE = (1.0, 1.55)
_FACE_OF_NECK = 0.72
# From `FAULTLESS` on a quality is as it should be, and from `WELL` on no remedy is advised. As the total is the product
# of the qualities, a clip that "fits well" has none below `WELL`: verdict and measures cannot contradict each other.
FAULTLESS, WELL = 0.95, 0.75


@dataclass(frozen=True)
class Measure:
    """One thing that has to fit.

    Attributes:
        name: "hands in frame", "shoulder width", "neck" or "hand size".
        value: the measured number; None where it cannot be measured.
        quality: 0 (does not fit) to 1 (fits); None where it cannot be measured.
        sentence: the result in words, with what to do.
    """

    name: str
    value: float | None
    quality: float | None
    sentence: str


@dataclass(frozen=True)
class FitScore:
    """The fit of a clip to a portrait.

    Attributes:
        hands_in_frame: share of the hand points that lie in the picture.
        shoulders: shoulder width of the clip over the portrait's.
        neck: distance of the necks, as a share of the picture's longer side.
        hand_size: longest view of a hand in the clip over the height of the portrait's face.
    """

    hands_in_frame: Measure
    shoulders: Measure
    neck: Measure
    hand_size: Measure

    @property
    def measures(self) -> tuple[Measure, ...]:
        return self.hands_in_frame, self.shoulders, self.neck, self.hand_size

    @property
    def total(self) -> float:
        """0 to 1: the product of the qualities, since one thing that does not fit spoils the video."""
        return float(np.prod([measure.quality for measure in self.measures if measure.quality is not None]))

    @property
    def verdict(self) -> str:
        """The fit in one sentence, without details."""
        word = "fits well" if self.total >= WELL else "can be used" if self.total >= 0.4 else "does not fit"
        return f"The pose {word} ({self.total:.0%})."


def score_fit(clip: PoseSequence, portrait: PoseSequence) -> FitScore:
    """Score a clip, retargeted or not, against the portrait's keypoints.

    Args:
        clip: poses as they would be drawn over the portrait.
        portrait: keypoints of the picture; the first frame counts.

    Raises:
        PoseError: the portrait shows neither neck nor shoulders.
    """
    points, scores = with_neck(to_square(clip), clip.scores)
    goal, goal_scores = with_neck(to_square(portrait)[0], portrait.scores[0])
    if goal_scores[NECK] < SEEN:
        raise PoseError("the portrait's neck and shoulders are not known, so the fit cannot be judged")
    return FitScore(
        _hands_in_frame(points, scores, portrait),
        _shoulders(points, scores, goal, goal_scores),
        _neck(points, scores, goal),
        _hand_size(points, scores, goal, goal_scores),
    )


def _falling(value: float, good: float, bad: float) -> float:
    """1 up to `good`, 0 from `bad` on, a line between."""
    return float(np.clip((bad - value) / (bad - good), 0, 1))


def _hands_in_frame(points: np.ndarray, scores: np.ndarray, portrait: PoseSequence) -> Measure:
    canvas = portrait.canvas
    low = np.array([canvas.columns[0], canvas.rows[0]]) / canvas.size
    high = np.array([canvas.columns[1], canvas.rows[1]]) / canvas.size
    hands = np.r_[HANDS[0], HANDS[1]]
    drawn = scores[:, hands] > 0
    if not drawn.any():
        return Measure("hands in frame", 0.0, 0.0, "The clip shows no hands at all: choose another.")
    inside = ((points[:, hands] >= low) & (points[:, hands] <= high)).all(axis=2) & drawn
    share = float(inside.sum() / drawn.sum())
    # The demo clips have 80 to 100 % in the picture: hands sink below its edge now and then.
    quality = _falling(1 - share, 0.15, 0.75)
    if share == 0:
        text = "No hand point is ever in the picture: move the pose up, or make it smaller."
    elif quality >= FAULTLESS:
        text = f"{share:.0%} of the hand points lie in the picture."
    elif quality >= WELL:
        text = f"{share:.0%} of the hand points lie in the picture, a little less than usual."
    else:
        below = (points[:, hands, 1] > high[1])[drawn & ~inside].mean()
        where = "mostly below it: move the pose up" if below > 0.5 else "beside or above it: make the pose smaller"
        text = f"Only {share:.0%} of the hand points lie in the picture, the others {where}, or choose a calmer clip."
    return Measure("hands in frame", share, quality, text)


def _shoulders(points: np.ndarray, scores: np.ndarray, goal: np.ndarray, goal_scores: np.ndarray) -> Measure:
    seen = (scores[:, [RIGHT_SHOULDER, LEFT_SHOULDER]] >= SEEN).all(axis=1)
    own = float(distance(goal, RIGHT_SHOULDER, LEFT_SHOULDER))
    if not seen.any() or not goal_scores[[RIGHT_SHOULDER, LEFT_SHOULDER]].min() >= SEEN or own == 0:
        return Measure("shoulder width", None, None, "The shoulders cannot be compared: one of the two hides them.")
    ratio = float(np.median(distance(points[seen], RIGHT_SHOULDER, LEFT_SHOULDER))) / own
    quality = _falling(abs(float(np.log(ratio))), np.log(1.08), np.log(1.7)) if ratio > 0 else 0.0
    much, cure = ("wider", "smaller") if ratio > 1 else ("narrower", "larger")
    if quality >= FAULTLESS:
        text = f"The shoulders are as wide as the portrait's ({ratio:.2f} times)."
    elif quality >= WELL:
        text = f"The shoulders are a little {much} than the portrait's ({ratio:.2f} times), which hardly shows."
    else:
        text = f"The shoulders are {much} than the portrait's ({ratio:.2f} times): retarget, or make the pose {cure}."
    return Measure("shoulder width", ratio, quality, text)


def _neck(points: np.ndarray, scores: np.ndarray, goal: np.ndarray) -> Measure:
    seen = scores[:, NECK] >= SEEN
    if not seen.any():
        return Measure("neck", None, None, "The clip's neck is never seen, so its place cannot be compared.")
    apart = np.median(points[seen, NECK], axis=0) - goal[NECK]
    offset = float(np.linalg.norm(apart))
    quality = _falling(offset, 0.025, 0.15)
    across = abs(apart[0]) > abs(apart[1])
    side = ("far right" if apart[0] > 0 else "far left") if across else ("low" if apart[1] > 0 else "high")
    if quality >= FAULTLESS:
        text = f"The necks are {offset:.1%} of the picture apart."
    elif quality >= WELL:
        text = f"The pose stands a little too {side} ({offset:.0%} of the picture), which hardly shows."
    else:
        text = f"The pose stands {offset:.0%} of the picture too {side}: retarget or move it."
    return Measure("neck", offset, quality, text)


def _hand_size(points: np.ndarray, scores: np.ndarray, goal: np.ndarray, goal_scores: np.ndarray) -> Measure:
    face, doubt = face_height(goal, goal_scores), ""
    if face is None and min(goal_scores[NOSE], goal_scores[NECK]) >= SEEN:
        face = _FACE_OF_NECK * float(distance(goal, NOSE, NECK))
        doubt = "look whether nose and neck are marked where they are, or "
    longest = []
    for hand in HANDS:
        seen = scores[:, hand] > 0
        reach = np.linalg.norm(points[:, hand] - points[:, hand.start, None], axis=2)
        reach = np.where(seen & seen[:, :1], reach, 0).max(axis=1)
        if reach.any():
            longest.append(float(np.percentile(reach[reach > 0], 95)))
    if not face or not longest:
        missing = "the portrait's face" if not face else "a hand in the clip"
        return Measure("hand size", None, None, f"The hands cannot be compared with the face without {missing}.")
    ratio = max(longest) / face
    low, high = _HAND_OF_FACE
    off = max(low / ratio, ratio / high)
    quality = _falling(off, 1.0, 2.0)
    size, cure = ("small", "larger") if ratio < low else ("large", "smaller")
    if quality >= FAULTLESS:
        text = f"The hands suit the face ({ratio:.2f} times its height)."
    elif quality >= WELL:
        text = f"The hands are a little {size} for the face ({ratio:.2f} times its height), which hardly shows."
    else:
        text = f"The hands are too {size} for the face ({ratio:.2f} times its height): {doubt}make the pose {cure}."
    return Measure("hand size", ratio, quality, text)
