"""Which scenes of a video become training clips, and the reasons for which the others do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..pose import PoseSequence
from ..pose.anatomy import SEEN
from ..pose.sequence import FACE, HANDS
from ..pose.sources.extract import Detector

# A person smaller than this share of the largest one stands in the background.
BYSTANDER = 0.25


@dataclass(frozen=True)
class PrepareSettings:
    """What becomes a clip.

    Attributes:
        size: side of the clips' square pictures in pixels.
        fps: frames a second.
        min_seconds, max_seconds: length of a clip; longer scenes are cut.
        min_face: height of the face, brows to chin, as a share of the picture's height.
        min_found: share of the frames in which the person is found.
        min_hands: share of the frames in which a hand is found; below it a clip is a headshot, if it is one at all.
        max_gap: seconds without the person.
        min_loudness: root mean square of the sound, in -1..1.
        headshots: whether to keep clips of heads, padded to half-body pictures.
        scene_threshold: of PySceneDetect's content detector.
    """

    size: int = 768
    fps: float = 24.0
    min_seconds: float = 1.0
    max_seconds: float = 30.0
    min_face: float = 0.05
    min_found: float = 0.95
    min_hands: float = 0.5
    max_gap: float = 0.5
    min_loudness: float = 1e-3
    headshots: bool = True
    scene_threshold: float = 27.0


class CountingDetector:
    """A detector that also counts the frames with more than one person of size.

    Attributes:
        crowded, frames: how many of the frames show more than one, and how many there were.
        example: the first crowded picture, else the first; None before any.
    """

    def __init__(self, detect: Detector) -> None:
        self.detect = detect
        self.crowded = 0
        self.frames = 0
        self.example: np.ndarray | None = None

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        people = self.detect(picture)
        self.frames += 1
        heights = [np.ptp(person[person[:, 2] > SEEN, 1]) for person in people if (person[:, 2] > SEEN).sum() > 2]
        crowded = sum(height > BYSTANDER * max(heights) for height in heights) > 1
        if self.example is None or (crowded and not self.crowded):
            self.example = picture
        self.crowded += crowded
        return people


def is_headshot(poses: PoseSequence, settings: PrepareSettings) -> bool:
    """Whether hands are found in too few frames for a half-body clip."""
    hands = np.stack([(poses.scores[:, hand] >= SEEN).mean(axis=1) > 0.5 for hand in HANDS]).any(axis=0)
    return bool(hands.mean() < settings.min_hands)


def refuse_poses(poses: PoseSequence, counting: CountingDetector, settings: PrepareSettings) -> str | None:
    """Why a scene's poses make no clip; None if they do."""
    if counting.crowded > 0.1 * counting.frames:
        return f"more than one person is seen in {counting.crowded} of {counting.frames} frames"
    found = (poses.scores >= SEEN).any(axis=1)
    if found.mean() < settings.min_found:
        return f"the person is found in {found.mean():.0%} of the frames, {settings.min_found:.0%} are needed"
    gap = longest_run(np.logical_not(found)) / poses.fps
    if gap > settings.max_gap:
        return f"nobody is found for {gap:.2f} s, at most {settings.max_gap:g} s are allowed"
    seen = poses.scores[:, FACE] >= SEEN
    enough = seen.sum(axis=1) >= 10
    if enough.mean() < settings.min_found:
        return f"the face is seen in {enough.mean():.0%} of the frames, {settings.min_found:.0%} are needed"
    y = poses.keypoints[:, FACE, 1]
    heights = [np.ptp(y[f][seen[f]]) for f in np.flatnonzero(enough)]
    if heights and np.median(heights) < settings.min_face:
        return (
            f"the face is {np.median(heights):.1%} of the picture's height, {settings.min_face:.0%} are needed: "
            "the person is too far away"
        )
    return None


def longest_run(flags: np.ndarray) -> int:
    """Length of the longest stretch of True."""
    longest = current = 0
    for flag in flags:
        current = current + 1 if flag else 0
        longest = max(longest, current)
    return longest
