"""All frames of a video file, for tests that look at what the reader gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from echomimic.media.video_reader import VideoFrame, open_video


def read_frames(path: Path) -> Iterator[VideoFrame]:
    with open_video(path) as video:
        yield from video.frames()
