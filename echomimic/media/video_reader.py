"""Reading the pictures of a video: every frame that can be decoded, as players show it, with its time."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..cancellation import check_cancelled
from ..errors import Cancelled, VideoError
from .colours import Convert, video_colours
from .containers import (
    JOINED,
    UNFINISHED,
    holds_picture,
    is_joined,
    is_unfinished,
    open_input,
    picture_stream,
    reason_of,
)
from .limits import input_limit

logger = logging.getLogger("echomimic")

# Some containers (MKV, WebM, FLV) round time stamps to whole milliseconds: so much may a time be off.
ROUNDING_SECONDS = 0.0015
# Time stamps further apart than this are broken ones.
MAX_STEP_SECONDS = 60.0
# So many frames wait for the next good time stamp; after that the stamps' own order is trusted.
LOOKAHEAD = 12
# A frame's usual distance is the median of this number of distances before it.
RECENT_STEPS = 101
FALLBACK_RATE = 24.0
MAX_RATE = 1000.0
# Smaller pictures always have room.
LARGE_PICTURE = 4096 * 4096
# Videos of high definition that name no colour matrix have BT.709's, smaller ones BT.601's, as players take it.
UNSPECIFIED, HD_WIDTH, SD_HEIGHT = 2, 1280, 576
# Pixels are no flatter; another aspect is a damaged header.
MAX_PIXEL_ASPECT = 8.0

# FFmpeg's flag AVFMT_NOTIMESTAMPS.
NO_TIMESTAMPS = 0x80

Item = TypeVar("Item")


@dataclass(frozen=True)
class VideoFrame:
    """A decoded frame.

    Attributes:
        picture: uint8 RGB `[H, W, 3]`, with square pixels, turned and mirrored as the file says.
        time: seconds from the first frame on, increasing from frame to frame (`place_in_time`).
    """

    picture: np.ndarray
    time: float


@dataclass(frozen=True)
class Video:
    """An open video.

    Attributes:
        path: for messages.
        container: FFmpeg's.
        rate: frames a second as the container claims; 24 where that is missing or impossible.
        expected_frames: how many frames the container claims, for progress only; None where it does not.
    """

    path: Path
    container: Any
    rate: float
    expected_frames: int | None

    def frames(self) -> Iterator[VideoFrame]:
        """Every frame of the first picture track; packets that cannot be decoded are skipped, which is logged.

        Raises:
            VideoError: none of its frames can be decoded, or one takes more than memory has room for.
        """
        for (picture, _), time in place_in_time(self._decoded(), lambda decoded: decoded[1], self.rate):
            yield VideoFrame(picture, time)

    def _decoded(self) -> Iterator[tuple[np.ndarray, float | None]]:
        """Pictures, and their times as the file says."""
        done, damaged, failure = 0, 0, None
        stream = picture_stream(self.container)
        stream.thread_type = "AUTO"
        context = stream.codec_context  # None for a codec that FFmpeg does not know
        colours = None if context is None else video_colours(context.color_primaries, context.color_trc)
        if colours is not None:
            logger.info("%s: its colours of high dynamic range or a wide gamut are converted to sRGB", self.path)
        without_times = has_no_times(self.container)
        # AVI stores no presentation times: with B-frames FFmpeg's guesses jump back and forth, decoding times do not.
        by_decoding = self.container.format.name == "avi"
        try:
            for packet in self.container.demux(stream):
                check_cancelled()
                try:
                    frames = packet.decode()
                except MemoryError:
                    raise
                except Exception as error:  # FFmpeg's decoders raise what their data lead them to
                    damaged, failure = damaged + 1, error
                    continue
                for frame in frames:
                    check_picture(frame, self.path)
                    time = None if without_times else frame.time
                    if by_decoding:
                        time = None if frame.dts is None else float(frame.dts * stream.time_base)
                    yield upright(frame, stream.sample_aspect_ratio, colours), time
                    done += 1
        except (VideoError, Cancelled, MemoryError):
            raise
        except Exception as error:  # the container itself is damaged from here on: what came before counts
            damaged, failure = damaged + 1, error
        if not done:
            raise VideoError(
                f"{self.path} holds no frames that can be decoded ({reason_of(failure) if failure else 'it is empty'})"
            )
        if damaged:
            logger.warning("%s is damaged: %d packets were skipped, %d frames are used", self.path, damaged, done)


@contextmanager
def open_video(path: str | os.PathLike[str]) -> Iterator[Video]:
    """Open a video file for reading its pictures.

    Raises:
        VideoError: it cannot be read as a video, or has no picture track.
    """
    path = Path(path)
    if is_joined(path):
        raise VideoError(f"{path} {JOINED}")
    try:
        container = open_input(path)
    except Exception as error:  # what FFmpeg makes of a foreign file is not documented
        if is_unfinished(path):
            raise VideoError(f"{path} {UNFINISHED}") from error
        reason = "it is a picture" if holds_picture(path) else reason_of(error)
        raise VideoError(f"{path} cannot be read as a video ({reason})") from error
    with container:
        if picture_stream(container) is None:
            raise VideoError(f"{path} has no picture track")
        rate, expected_frames = claims(container)
        if has_no_times(container):
            logger.warning("%s records no times: it is taken as %g frames a second", path, rate)
        yield Video(path, container, rate, expected_frames)


def claims(container: Any) -> tuple[float, int | None]:
    """The rate and the number of frames that a container claims, see `Video`."""
    stream = picture_stream(container)
    # Without times the average is FFmpeg's guess, and the stream itself may know.
    rates = (stream.guessed_rate, stream.average_rate)
    claimed = float(next(filter(None, rates if has_no_times(container) else reversed(rates)), 0))
    rate = claimed if 0.1 <= claimed <= MAX_RATE else FALLBACK_RATE
    if stream.frames:
        return rate, int(stream.frames)
    if container.duration and claimed:
        return rate, round(container.duration / 1_000_000 * claimed)
    return rate, None


def has_no_times(container: Any) -> bool:
    """Whether this is a bare stream of pictures (`.h264`, `.hevc`, `.mjpeg`), for which FFmpeg makes times up."""
    return bool(container.format.flags & NO_TIMESTAMPS)


def place_in_time(
    items: Iterable[Item], stamp_of: Callable[[Item], float | None], rate: float
) -> Iterator[tuple[Item, float]]:
    """Each item with its seconds from the first one on, increasing.

    Stamps that are missing, repeated, out of order or a minute and more away are replaced by what lies evenly between
    the good ones around them. Where more than `LOOKAHEAD` in a row are bad, items follow at their usual distance, and
    the stamps count on from there (a recording whose clock starts over).

    Args:
        items: in the order in which they are shown; at most `LOOKAHEAD` of them are held.
        stamp_of: an item's time as the file says, in seconds.
        rate: items a second where no two stamps are good.
    """
    waiting: list[tuple[Item, float | None]] = []
    steps: deque[float] = deque(maxlen=RECENT_STEPS)
    last: float | None = None  # time of the last item that was yielded
    offset: float | None = None  # a good stamp less its item's time

    def usual() -> float:
        return float(np.median(steps)) if steps else 1 / rate

    def emit(step: float) -> Iterator[tuple[Item, float]]:
        nonlocal last
        for item, _ in waiting:
            last = 0.0 if last is None else last + step
            yield item, last
        waiting.clear()

    for item in items:
        stamp = stamp_of(item)
        stamp = float(stamp) if stamp is not None and np.isfinite(stamp) else None
        if stamp is not None and offset is None:
            # The first stamp; what came before it without one lies at the usual distance.
            yield from emit(1 / rate)
            last = 0.0 if last is None else last + 1 / rate
            offset = stamp - last
            yield item, last
            continue
        count = len(waiting) + 1
        ahead = None if stamp is None or offset is None or last is None else stamp - offset - last
        waiting.append((item, stamp))
        if ahead is not None and 0 < ahead <= MAX_STEP_SECONDS * count:
            steps.append(ahead / count)
            yield from emit(ahead / count)
        elif count >= LOOKAHEAD:
            yield from emit(usual())
            offset = offset if stamp is None or last is None else stamp - last
    yield from emit(usual())


def check_picture(frame: Any, path: Path) -> None:
    """Raises: VideoError for a frame that takes more bytes as RGB than memory has room for."""
    size, limit = 3 * frame.width * frame.height, input_limit() if frame.width * frame.height > LARGE_PICTURE else 0
    if limit and size > limit:
        raise VideoError(
            f"{path} has frames of {frame.width}x{frame.height} pixels, {size / 1e9:.1f} GB each, and memory has room "
            f"for {limit / 1e9:.1f} GB: scale it down"
        )


def upright(frame: Any, pixel_aspect: Any, colours: Convert | None = None) -> np.ndarray:
    """A decoded frame as it is shown: with square pixels, turned and mirrored by the file's display matrix.

    Args:
        frame: FFmpeg's.
        pixel_aspect: width of a pixel by its height.
        colours: brings its colours to sRGB, see `video_colours`.
    """
    aspect = float(pixel_aspect or 1)
    aspect = aspect if 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT else 1.0
    width = max(1, round(frame.width * aspect))
    size: dict[str, Any] = {"width": width, "height": frame.height}
    if frame.colorspace == UNSPECIFIED and (frame.width >= HD_WIDTH or frame.height > SD_HEIGHT):
        size["src_colorspace"] = "ITU709"
    if colours is None:
        picture = frame.to_ndarray(format="rgb24", **size)
    else:
        picture = colours(frame.to_ndarray(format="rgb48le", **size))
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
