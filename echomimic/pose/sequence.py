"""The pose sequence: the common form of all poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import PoseError
from .canvas import Canvas

# DWPose's 134 whole-body points, in the order of the original's detector.
POINTS = 134
BODY = slice(0, 18)
FEET = slice(18, 24)
FACE = slice(24, 92)
LIPS = slice(24 + 48, 24 + 68)
HAND_A = slice(92, 113)
HAND_B = slice(113, 134)
HANDS = (HAND_A, HAND_B)
# Farther than this many region sides away, a coordinate is a detector's or a file's mistake.
FARTHEST = 1000.0


@dataclass(frozen=True)
class PoseSequence:
    """Whole-body keypoints over time.

    Every number in it is finite: a point that is given as NaN, infinite or absurdly far away, or with such a score,
    becomes absent (score 0, coordinates 0), so that no consumer has to check for them.

    Attributes:
        keypoints: `[F, 134, 2]` float64, x and y in units of the canvas region (0..1, may leave it).
        scores: `[F, 134]` float64, the detector's confidence; 0 means absent, values may exceed 1.
        fps: frames a second.
        canvas: the square they live in.
        info: free text that travels with the clip (name, description, energy, source, licence).

    Raises:
        PoseError: wrong shapes, no frames, or an impossible rate.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    fps: float = 24.0
    canvas: Canvas = field(default_factory=Canvas)
    info: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        keypoints = np.ascontiguousarray(self.keypoints, dtype=np.float64)
        scores = np.ascontiguousarray(self.scores, dtype=np.float64)
        if keypoints.ndim != 3 or keypoints.shape[1:] != (POINTS, 2) or scores.shape != keypoints.shape[:2]:
            raise PoseError(
                f"a pose sequence needs keypoints [frames, {POINTS}, 2] and scores [frames, {POINTS}], "
                f"got {list(keypoints.shape)} and {list(scores.shape)}"
            )
        if not len(keypoints):
            raise PoseError("the pose sequence has no frames")
        check_rate(self.fps)
        # NaN fails every comparison, so this also finds it.
        usable = (np.abs(keypoints) <= FARTHEST).all(axis=-1) & (np.abs(scores) <= FARTHEST)
        if not usable.all():
            keypoints = np.where(usable[..., None], keypoints, 0.0)
            scores = np.where(usable, scores, 0.0)
        object.__setattr__(self, "keypoints", keypoints)
        object.__setattr__(self, "scores", scores)

    def __len__(self) -> int:
        return len(self.keypoints)

    @property
    def seconds(self) -> float:
        """Length of the clip in seconds."""
        return len(self) / self.fps

    def check_frame(self, frame: int) -> None:
        """Raises: PoseError for a frame that the clip does not have."""
        if not 0 <= frame < len(self):
            raise PoseError(f"frame {frame} was requested of a pose clip with {len(self)} frames")

    def take(self, frames: Sequence[int] | np.ndarray) -> PoseSequence:
        """The same clip with the listed frames, in that order (repeats allowed)."""
        index = np.asarray(frames, dtype=np.int64)
        return replace(self, keypoints=self.keypoints[index], scores=self.scores[index])

    def with_points(self, keypoints: np.ndarray, scores: np.ndarray | None = None, **changes: Any) -> PoseSequence:
        """The same clip with other keypoints (and, if given, other scores)."""
        return replace(self, keypoints=keypoints, scores=self.scores if scores is None else scores, **changes)


def check_rate(fps: float) -> None:
    """Raises: PoseError for a rate that no clip can have."""
    if not 0 < fps <= 1000:  # also false for NaN
        raise PoseError(f"a pose sequence's rate must be above 0 and at most 1000 frames a second, got {fps}")
