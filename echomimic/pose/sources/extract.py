"""Poses from videos and pictures, by any detector of 134 points (the model was trained with `dwpose.DWPose`).

Every decodable frame of a video gets its pose: frames are read to the end, not to the count that the container claims,
and placed in time by their own time stamps, so clips of 23.976 or a varying rate keep their timing at the run's rate.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from math import floor
from pathlib import Path
from typing import Protocol

import numpy as np

from ...cancellation import check_cancelled
from ...errors import Cancelled, PoseError, VideoError
from ...media.video_reader import ROUNDING_SECONDS, Video, open_video
from ..canvas import picture_canvas
from ..sequence import POINTS, PoseSequence, check_rate
from ..timing import check_length, resample, sample_at
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
) -> PoseSequence:
    """The poses of a video file at the run's rate.

    Args:
        video: anything that FFmpeg reads. Turned phone videos are turned upright.
        detect: finds the people of a picture.
        fps: the rate wanted.
        person: index of the person in the first frame that shows so many, the largest being 0; None takes the largest
            of the video. They are followed from there.
        on_frame: called with the frames done and the number expected (None if unknown); return False to cancel.
        cache: folder that keeps results by the content of the file, the detector, the rate and the person.

    Returns:
        `round(seconds of the video * fps)` frames, canvas region = the picture. Frames without the person are gaps.

    Raises:
        PoseError: an impossible rate or person, not a video, damaged (after which frame), or nobody in any frame.
        Cancelled: `on_frame` returned False.
    """
    path = Path(video)
    _check_arguments(fps, person)

    def extract() -> PoseSequence:
        times: list[float] = []

        def pictures(video: Video) -> Iterator[np.ndarray]:
            for frame in video.frames():
                times.append(frame.time)
                yield frame.picture

        try:
            with open_video(path) as video:
                rate = video.rate
                found = poses_of_pictures(pictures(video), detect, 1.0, person, on_frame, video.expected_frames)
        except VideoError as error:
            raise PoseError(str(error)) from error
        sequence = _at_rate(found, np.array(times), rate, fps)
        return replace(sequence, info={"name": path.stem, "source": f"extracted from {path.name}"})

    return cached(cache, file_key(path, detect.identity, fps, person_fact(person)), extract)


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


def _at_rate(found: PoseSequence, times: np.ndarray, nominal: float, fps: float) -> PoseSequence:
    """One pose a frame of the video -> the wanted rate, by the frames' times in seconds, `[F]`."""
    count = len(times)
    if count == 1:
        return resample(replace(found, fps=nominal), fps)
    steady = times[-1] / (count - 1)
    if np.abs(times - np.arange(count) * steady).max() <= ROUNDING_SECONDS:
        # The container's rate is exact where the stamps are rounded; it may also be wrong altogether.
        exact = nominal if abs(nominal * steady - 1) < 0.005 else 1 / steady
        return resample(replace(found, fps=exact), fps)
    seconds = times[-1] + float(np.median(np.diff(times)))
    check_length(seconds * fps, f"this video at {fps:g} frames a second")
    wanted = np.arange(max(1, floor(seconds * fps + 0.5))) / fps
    return replace(sample_at(found, np.interp(wanted, times, np.arange(count))), fps=fps)
