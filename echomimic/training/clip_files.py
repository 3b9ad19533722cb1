"""The files of a prepared clip: its video, read frame by frame, and its sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ..errors import TrainingError
from ..media.containers import open_input
from ..media.video_reader import ROUNDING_SECONDS, open_video
from ..media.waveform import SAMPLE_RATE


def read_clip_frames(path: Path, numbers: Sequence[int], size: int | None = None) -> list[np.ndarray]:
    """The frames of these numbers of a prepared video, in the given order.

    Args:
        path: constant frame rate, as `prepare` writes it.
        numbers: from 0, in any order; repeats allowed.
        size: side of the square to resize them to; None leaves them.

    Returns:
        uint8 RGB `[H, W, 3]` each.

    Raises:
        TrainingError: the video cannot be read, or has fewer frames.
    """
    wanted, found = set(numbers), {}
    try:
        with open_input(path) as container:
            stream = container.streams.video[0]
            rate, base = stream.average_rate, stream.time_base
            if rate is None or base is None:
                raise TrainingError(f"{path} does not say its frame rate: remove it and prepare the data again")
            first = stream.start_time or 0
            if min(wanted) > 0:
                container.seek(first + int(min(wanted) / rate / base), stream=stream)
            for frame in container.decode(stream):
                if frame.pts is None:
                    continue
                number = round((frame.pts - first) * base * rate)
                if number in wanted:
                    found[number] = frame.to_ndarray(format="rgb24")
                if number >= max(wanted):
                    break
    except TrainingError:
        raise
    except Exception as error:  # what FFmpeg makes of a damaged file is not documented
        raise TrainingError(
            f"{path} cannot be read as a video ({error}): remove it and prepare the data again"
        ) from error
    missing = wanted - found.keys()
    if missing:
        raise TrainingError(
            f"{path} has no frame {min(missing)}: it was cut or edited, remove it and prepare the data again"
        )
    if size is not None:
        found = {number: resized(picture, size) for number, picture in found.items()}
    return [found[number] for number in numbers]


def resized(picture: np.ndarray, size: int) -> np.ndarray:
    """uint8 `[H, W, 3]` as a square of this side."""
    import cv2  # heavy

    if picture.shape[:2] == (size, size):
        return picture
    method = cv2.INTER_AREA if picture.shape[0] > size else cv2.INTER_CUBIC
    return cv2.resize(picture, (size, size), interpolation=method)


def frames_at_rate(path: Path, fps: float, begin: int = 0, end: int | None = None) -> Iterator[np.ndarray]:
    """A video's frames at another rate, by their time stamps: at each moment the frame that is shown then.

    Args:
        path: any video.
        fps: the rate wanted.
        begin, end: numbers at that rate; None reads to the end.

    Yields:
        uint8 RGB `[H, W, 3]`, as shown.

    Raises:
        VideoError: no video, or none of its frames can be decoded.
    """
    number, shown = 0, None
    times: list[float] = []
    with open_video(path) as video:
        for frame in video.frames():
            times.append(without_rounding(frame.time, video.rate))
            while shown is not None and number / fps < times[-1] - ROUNDING_SECONDS:
                if end is not None and number >= end:
                    return
                if number >= begin:
                    yield shown
                number += 1
            shown = frame.picture
        # The last frame is shown for as long as its clip's frames usually last, which not every container's rate says.
        usual = float(np.median(np.diff(times))) if len(times) > 1 else 1 / video.rate
        over = times[-1] + usual - min(ROUNDING_SECONDS, usual / 2)
        while shown is not None and number / fps < over and (end is None or number < end):
            if number >= begin:
                yield shown
            number += 1


def without_rounding(time: float, rate: float) -> float:
    """A frame's time in seconds; where it is that of a frame at the container's rate but for rounding, that one."""
    exact = round(time * rate) / rate
    return exact if abs(time - exact) <= ROUNDING_SECONDS else time


def write_wav(path: Path, waveform: Tensor) -> None:
    """Mono samples `[n]` at 16 kHz as 16-bit WAV."""
    import soundfile  # heavy

    soundfile.write(path, waveform.clamp(-1, 1).numpy(), SAMPLE_RATE, subtype="PCM_16", format="WAV")
