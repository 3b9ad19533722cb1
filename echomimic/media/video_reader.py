"""Reading the pictures of a video: every frame that can be decoded, as players show it, with its time."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import VideoError
from .containers import open_input

logger = logging.getLogger("echomimic")

# Time stamps further apart than this are broken ones.
MAX_STEP_SECONDS = 60.0
FALLBACK_RATE = 24.0
MAX_RATE = 1000.0


@dataclass(frozen=True)
class VideoFrame:
    """A decoded frame.

    Attributes:
        picture: uint8 RGB `[H, W, 3]`, with square pixels, turned and mirrored as the file says.
        time: seconds, as the file says; None without a time stamp.
    """

    picture: np.ndarray
    time: float | None


def read_frames(path: str | os.PathLike[str]) -> Iterator[VideoFrame]:
    """Every frame of a video's first picture track; packets that cannot be decoded are skipped, which is logged.

    Raises:
        VideoError: it cannot be read, has no picture track, or none of its frames can be decoded.
    """
    path = Path(path)
    done, damaged, failure = 0, 0, None
    try:
        with open_input(path) as container:
            if not container.streams.video:
                raise VideoError(f"{path} has no picture track")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except Exception as error:  # FFmpeg's decoders raise what their data lead them to
                    damaged, failure = damaged + 1, error
                    continue
                for frame in frames:
                    yield VideoFrame(upright(frame, stream.sample_aspect_ratio), frame.time)
                    done += 1
    except VideoError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # FFmpeg's errors are of these classes
        if not done:
            raise VideoError(f"{path} cannot be read as a video ({_reason(error)})") from error
        damaged, failure = damaged + 1, error
    if not done:
        reason = f" ({_reason(failure)})" if failure else ""
        raise VideoError(f"{path} holds no frames that can be decoded{reason}")
    if damaged:
        logger.warning("%s is damaged: %d packets were skipped, %d frames are used", path, damaged, done)


def nominal_rate(path: str | os.PathLike[str]) -> float:
    """Frames a second as the container claims; 24 where that is missing or impossible."""
    stream_rate = None
    try:
        with open_input(path) as container:
            if container.streams.video:
                stream = container.streams.video[0]
                stream_rate = stream.average_rate or stream.guessed_rate
    except (OSError, ValueError, RuntimeError):
        pass  # reading the frames reports it
    rate = float(stream_rate or FALLBACK_RATE)
    return rate if 0.1 <= rate <= MAX_RATE else FALLBACK_RATE


def expected_frames(path: str | os.PathLike[str]) -> int | None:
    """How many frames the container claims, for progress only; None where it does not."""
    try:
        with open_input(path) as container:
            stream = container.streams.video[0] if container.streams.video else None
            if stream is None:
                return None
            if stream.frames:
                return int(stream.frames)
            if container.duration and stream.average_rate:
                return round(container.duration / 1_000_000 * float(stream.average_rate))
    except (OSError, ValueError, RuntimeError):
        return None
    return None


def frame_times(stamps: Sequence[float | None], rate: float) -> np.ndarray:
    """Seconds of every frame from the first one on, increasing, `[F]`.

    Stamps that are missing, repeated, out of order or a minute and more away are replaced by what lies evenly between
    the good ones around them; beyond those frames follow at their usual distance.

    Args:
        stamps: as the file says, in the order of the frames.
        rate: frames a second where no two stamps are good.
    """
    good: list[tuple[int, float]] = []
    for index, stamp in enumerate(stamps):
        if stamp is None or not np.isfinite(stamp):
            continue
        if not good or 0 < stamp - good[-1][1] <= MAX_STEP_SECONDS * (index - good[-1][0]):
            good.append((index, float(stamp)))
    if len(good) < 2 or len(good) < len(stamps) / 2:
        return np.arange(len(stamps)) / rate
    indices, times = np.array([index for index, _ in good]), np.array([time for _, time in good])
    step = float(np.median(np.diff(times) / np.diff(indices)))
    everywhere = np.interp(np.arange(len(stamps)), indices, times)
    before, after = np.arange(len(stamps)) - indices[0], np.arange(len(stamps)) - indices[-1]
    everywhere = np.where(before < 0, times[0] + before * step, everywhere)
    everywhere = np.where(after > 0, times[-1] + after * step, everywhere)
    return everywhere - everywhere[0]


def upright(frame: Any, pixel_aspect: Any) -> np.ndarray:
    """A decoded frame as it is shown: with square pixels, turned and mirrored by the file's display matrix."""
    width = max(1, round(frame.width * float(pixel_aspect))) if pixel_aspect else frame.width
    picture = frame.to_ndarray(format="rgb24", width=width, height=frame.height)
    matrix = display_matrix(frame)
    return picture if matrix is None else apply_matrix(picture, matrix)


def display_matrix(frame: Any) -> tuple[int, int, int, int] | None:
    """The four numbers a, b, c, d of the display matrix: a pixel (x, y) is shown at (a x + c y, b x + d y)."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            values = np.frombuffer(bytes(data)[:36], dtype="<i4")
            return (int(values[0]), int(values[1]), int(values[3]), int(values[4])) if len(values) == 9 else None
    return None


def apply_matrix(picture: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """`[H, W, 3]` turned by a multiple of 90 degrees and mirrored; other angles go to the nearest of these."""
    a, b, c, d = matrix
    if abs(a) + abs(d) >= abs(b) + abs(c):
        across, down = a, d
    else:
        picture, across, down = picture.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(picture[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error).strip().split("\n")[0] or type(error).__name__
