"""Fits a clip to a portrait: a method, a scale and an offset on top, and a score of the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ...errors import PoseError
from ..anatomy import LEFT_SHOULDER, RIGHT_SHOULDER, SEEN, region_sides
from ..sequence import PoseSequence
from .align import cover
from .linear import adjust, fit_linear
from .retarget import retarget
from .score import FitScore, score_fit

FitMethod = Literal["retarget", "linear", "none"]

# Shoulders of the published demo clips, in shares of the picture's shorter side, and how far from them a model has
# hardly seen anybody.
USUAL_SHOULDERS, NARROWEST, WIDEST = 0.41, 0.25, 0.62


@dataclass(frozen=True)
class FitSettings:
    """How a clip is brought onto a portrait.

    Attributes:
        method: "retarget" gives each limb the portrait's length; "linear" scales and moves the clip as a whole; "none"
            leaves it where it is.
        proportions: for "retarget": 1 the portrait's limbs, 0 the driver's; see `retarget`.
        scale: on top, about the neck: above 1 makes the person larger, 0.01 to 100.
        offset: on top: x to the right, y down, in shares of the picture.
    """

    method: FitMethod = "retarget"
    proportions: float = 1.0
    scale: float = 1.0
    offset: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if self.method not in get_args(FitMethod):
            raise PoseError(
                f"unknown way to fit a clip to a portrait: {self.method!r}; choose one of "
                f"{', '.join(get_args(FitMethod))}"
            )


@dataclass(frozen=True)
class PortraitFit:
    """A clip on a portrait.

    Attributes:
        sequence: the clip, in the canvas of the video.
        portrait: the portrait's keypoints in that canvas, for the overlay.
        score: how well they go together.
        notes: what was missing and how it was made up for, in plain sentences.
        warnings: what has to be read before the verdict: the body is assumed, the person small, the recording silent.
    """

    sequence: PoseSequence
    portrait: PoseSequence
    score: FitScore
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def report(self) -> str:
        """The warnings, the verdict, one line a measure, and the other notes."""
        verdict = self.score.verdict
        if "note" in self.portrait.info:
            # The assumed body may be nobody's.
            verdict = f"If that is right, {verdict[0].lower()}{verdict[1:]}"
        lines = [*self.warnings, verdict, *(f"- {measure.sentence}" for measure in self.score.measures)]
        return "\n".join([*lines, *(f"- {note}" for note in self.notes)])


def fit_to_portrait(
    clip: PoseSequence,
    portrait: PoseSequence,
    settings: FitSettings | None = None,
    size: tuple[int, int] | None = None,
) -> PortraitFit:
    """Fit a clip to a portrait and score the result.

    Args:
        clip: any poses.
        portrait: keypoints of the picture, canvas region = the picture; the first frame counts.
        settings: see `FitSettings`.
        size: width and height of the video. Where it has another shape than the portrait, the portrait's middle is
            shown, as `media.pictures.fit_image` cuts it; None: the portrait's own shape.

    Raises:
        PoseError: shoulders that are not known, or impossible settings.
    """
    settings = settings or FitSettings()
    if size is not None:
        width, height = region_sides(portrait.canvas)
        # A pixel of rounding does not make another shape.
        if abs(width * size[1] - height * size[0]) > max(width, height):
            portrait = cover(portrait, *size)
    notes: tuple[str, ...] = ()
    if settings.method == "retarget":
        retargeted = retarget(clip, portrait, settings.proportions)
        sequence, notes = retargeted.sequence, retargeted.notes
    elif settings.method == "linear":
        sequence = fit_linear(clip, portrait).sequence
    else:
        sequence = clip
    if settings.scale != 1 or any(settings.offset):
        sequence = adjust(sequence, settings.scale, settings.offset)
    said = (portrait.info.get("note"), clip.info.get("note"), size_note(portrait), portrait.info.get("picture"))
    warnings = tuple(note for note in said if note)
    return PortraitFit(sequence, portrait, score_fit(sequence, portrait), notes, warnings)


def size_note(portrait: PoseSequence) -> str | None:
    """What to do about a person who is much smaller or larger in the picture than a model knows people."""
    shoulders = [RIGHT_SHOULDER, LEFT_SHOULDER]
    if portrait.scores[0, shoulders].min() < SEEN:
        return None
    sides = region_sides(portrait.canvas)
    right, left = portrait.keypoints[0, shoulders] * sides
    share = float(np.linalg.norm(right - left) / sides.min())
    if NARROWEST <= share <= WIDEST:
        return None
    if share < NARROWEST:
        size, cure = "small", "Look whether the marks are where the person is, and choose 'auto' in Fit Portrait."
    else:
        size, cure = "very large", "Show more around the person."
    return (
        f"The person is {size} in the picture: the shoulders take {share:.0%} of its shorter side, where a model knows "
        f"about {USUAL_SHOULDERS:.0%}. The face may come out wrong. {cure}"
    )
