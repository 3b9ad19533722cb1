"""Poses from videos and pictures, by any detector of 134 points (the model was trained with `dwpose.DWPose`).

Every decodable frame of a video gets its pose: frames are read to the end, not to the count that the container claims,
and placed in time by their own time stamps, so clips of 23.976 or a varying rate keep their timing at the run's rate.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from math import floor, inf
from pathlib import Path
from typing import Protocol

import numpy as np

from ...cancellation import check_cancelled
from ...errors import Cancelled, PoseError, VideoError
from ...media.video_reader import ROUNDING_SECONDS, Video, open_video
from ..canvas import picture_canvas
from ..sequence import POINTS, PoseSequence, check_rate
from ..timing import check_length, frames_of_seconds, resampled_length, sample_at
from .cache import cached, file_key
from .person_tracking import choose_person, hands_to_their_wrists

OnFrame = Callable[[int, int | None], object]


class Detector(Protocol):
    """Finds people: uint8 RGB `[H, W, 3]` -> `[people, 134, 3]`, x and y in pixels and the confidence (0: absent)."""

    identity: str  # names the weights, so that cached results of other weights are not used

    def __call__(self, picture: np.ndarray) -> np.ndarray: ...


def extract_poses(
    video: str | os.PathLike[str],
    detect: Detector,
    *,
    fps: float = 24.0,
    person: int | None = None,
    on_frame: OnFrame | None = None,
    cache: Path | None = None,
    start: float = 0.0,
    duration: float | None = None,
) -> PoseSequence:
    """The poses of a video file at the run's rate.

    Args:
        video: anything that FFmpeg reads. Turned phone videos are turned upright.
        detect: finds the people of a picture.
        fps: the rate wanted.
        person: index of the person in the first frame that shows so many, the largest being 0; None takes the largest
            over all frames. They are followed from there; see `choose_person`.
        on_frame: called with the frames done and the number expected (None if unknown); return False to cancel.
        cache: folder that keeps results by the content of the file, the detector, the rate, the person and the part.
        start, duration: the part of the video that counts, in seconds; no other frame is analysed, and the person is
            chosen in it. None: to the end.

    Returns:
        `round(seconds of the video * fps)` frames, of a part those of `trim_seconds`; canvas region = the picture.
        Frames without the person are gaps.

    Raises:
        PoseError: an impossible rate, person or part, not a video, damaged (after which frame), or nobody in any frame.
        Cancelled: `on_frame` returned False.
    """
    path = Path(video)
    _check_arguments(fps, person)
    if not 0 <= start < inf or (duration is not None and not 0 < duration < inf):
        raise PoseError(f"cannot take {duration} seconds of a video from {start} s on")

    def extract() -> PoseSequence:
        part = _Part(start, inf if duration is None else start + duration, 1 / fps)
        try:
            with open_video(path) as video:
                rate, expected = video.rate, part.expected(video)
                found = poses_of_pictures(part.pictures(video), detect, 1.0, person, on_frame, expected)
        except VideoError as error:
            raise PoseError(str(error)) from error
        positions = _positions(np.array(part.times), rate, fps)
        begin, end = frames_of_seconds(len(positions), fps, start, duration)
        sequence = replace(sample_at(found, positions[begin:end] - part.first), fps=fps)
        return replace(sequence, info={"name": path.stem, "source": f"extracted from {path.name}"})

    facts: list[object] = [detect.identity, fps, person_fact(person)]
    if start or duration is not None:
        facts += [start, duration]
    return cached(cache, file_key(path, *facts), extract)


@dataclass
class _Part:
    """The part of a video from `start` to `end` (seconds), and the times of all frames that were read for it.

    Reading ends `beyond` seconds after it, so that the frames at the wanted rate can be counted.
    """

    start: float
    end: float
    beyond: float
    times: list[float] = field(default_factory=list)
    first: int = 0

    def pictures(self, video: Video) -> Iterator[np.ndarray]:
        """The pictures that are shown in the part; `first` becomes the number of the first one."""
        # A frame is shown until the next one is.
        begin = self.start + ROUNDING_SECONDS if self.start else 0.0
        shown = None
        for frame in video.frames():
            if shown is not None and frame.time > begin:
                yield shown
            if frame.time <= begin:
                self.first = len(self.times)
            self.times.append(frame.time)
            shown = frame.picture if frame.time <= begin or frame.time < self.end - ROUNDING_SECONDS else None
            if frame.time > self.end + self.beyond:
                return
        if shown is not None:
            yield shown

    def expected(self, video: Video) -> int | None:
        """How many pictures there will be, if the container tells the truth."""
        if video.expected_frames is None:
            return None
        last = min(video.expected_frames, self.end * video.rate)
        return max(1, round(last - self.start * video.rate))


def person_fact(person: int | None) -> str | None:
    """What a cache's key says of the person; a number alone meant their place in every frame before."""
    return None if person is None else f"followed {person}"


def poses_of_pictures(
    pictures: Iterable[np.ndarray],
    detect: Callable[[np.ndarray], np.ndarray],
    fps: float = 24.0,
    person: int | None = None,
    on_frame: OnFrame | None = None,
    expected: int | None = None,
) -> PoseSequence:
    """The poses of pictures that are already decoded, one a picture; a portrait is a list of one.

    Args:
        pictures: uint8 RGB `[H, W, 3]`, taken one at a time.
        detect: finds the people of a picture, see `Detector`.
        fps: the pictures' rate.
        person, on_frame: as in `extract_poses`.
        expected: number of pictures, for `on_frame`.

    Raises:
        PoseError: an impossible rate or person, no pictures, nobody in any, pictures of different shapes, or a detector
            of other points.
        Cancelled: `on_frame` returned False.
    """
    _check_arguments(fps, person)
    found: list[np.ndarray] = []
    size: tuple[int, int] | None = None
    for picture in pictures:
        check_cancelled()
        height, width = picture.shape[:2]
        size = size or (width, height)
        if abs(width * size[1] - height * size[0]) > 0.01 * width * size[1]:
            raise PoseError(
                f"picture {len(found)} is {width}x{height}, the first is {size[0]}x{size[1]}: one shape only"
            )
        found.append(_people(detect(picture), width, height))
        if on_frame is not None and on_frame(len(found), expected) is False:
            raise Cancelled(f"cancelled after {len(found)} frames")
    if size is None:
        raise PoseError("there are no pictures to find poses in")
    chosen = choose_person(found, person, follow=True)
    hands_to_their_wrists(chosen, *size)
    return PoseSequence(chosen[..., :2], chosen[..., 2], fps, picture_canvas(*size))


def _check_arguments(fps: float, person: int | None) -> None:
    """Raises: PoseError for arguments that would otherwise fail after the last frame."""
    check_rate(fps)
    if person is not None and person < 0:
        raise PoseError(f"people are counted from 0, the largest first; person {person} was requested")


def _people(detected: np.ndarray, width: int, height: int) -> np.ndarray:
    """A detector's output with x and y as fractions of the picture, and zeros where absent."""
    people = np.array(detected, dtype=np.float64).reshape(-1, *np.shape(detected)[1:])
    if people.shape[1:] != (POINTS, 3):
        raise PoseError(f"the detector gave {list(people.shape)}, expected [people, {POINTS}, 3]")
    people[..., :2] /= width, height
    people[~np.isfinite(people).all(axis=-1) | (people[..., 2] <= 0)] = 0
    return people


def _positions(times: np.ndarray, nominal: float, fps: float) -> np.ndarray:
    """The frames at the wanted rate as fractional numbers of the video's frames, by their times in seconds, `[F]`."""
    count = len(times)
    steady = times[-1] / (count - 1) if count > 1 else 1 / nominal
    if np.abs(times - np.arange(count) * steady).max() <= ROUNDING_SECONDS:
        # The container's rate is exact where the stamps are rounded; it may also be wrong altogether.
        exact = nominal if abs(nominal * steady - 1) < 0.005 else 1 / steady
        check_rate(exact)
        check_length(count * fps / exact, f"{fps:g} frames a second")
        return np.arange(resampled_length(count, exact, fps)) * (exact / fps)
    seconds = times[-1] + float(np.median(np.diff(times)))
    check_length(seconds * fps, f"this video at {fps:g} frames a second")
    wanted = np.arange(max(1, floor(seconds * fps + 0.5))) / fps
    return np.interp(wanted, times, np.arange(count))
