"""Where a video's cuts are, by PySceneDetect."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TrainingError
from .clip_files import frames_at_rate
from .clip_filters import PrepareSettings
from .packages import missing_package


def check_packages() -> None:
    """Raises: MissingPackageError when PySceneDetect is not installed."""
    try:
        import scenedetect  # noqa: F401 - optional
    except ImportError as error:
        raise missing_package("scenedetect", "finding cuts in videos") from error


def scenes(path: Path, settings: PrepareSettings) -> list[tuple[int, int]]:
    """Stretches without a cut, none longer than a clip may be, as frame numbers at the clips' rate.

    Raises:
        VideoError: the video cannot be read.
        TrainingError: OpenCV fails on its pictures.
    """
    from scenedetect import ContentDetector, FrameTimecode, __version__  # heavy

    # syncnet-python, which `evaluate` uses, needs version 0.6, where frames are plain numbers.
    numbered = __version__.startswith("0.6")
    detector, frames = ContentDetector(threshold=settings.scene_threshold), 0
    cuts: list[int] = []
    for frames, picture in enumerate(frames_at_rate(path, settings.fps), 1):
        try:
            place: Any = frames - 1 if numbered else FrameTimecode(frames - 1, settings.fps)
            found: list[Any] = detector.process_frame(place, small_bgr(picture))
        except Exception as error:  # OpenCV and PySceneDetect have no common base
            raise TrainingError(f"{path} cannot be searched for cuts ({error})") from error
        cuts += [cut if numbered else cut.frame_num for cut in found]
    edges = sorted({0, frames, *cuts})
    longest = round(settings.max_seconds * settings.fps)
    stretches: list[tuple[int, int]] = []
    for begin, end in pairwise(edges):
        pieces = -(-(end - begin) // longest)
        inner = [begin + round((end - begin) * i / pieces) for i in range(pieces + 1)]
        stretches += list(pairwise(inner))
    return stretches


def small_bgr(picture: np.ndarray) -> np.ndarray:
    """uint8 RGB `[H, W, 3]` as OpenCV has it, at most 256 pixels wide: cuts are seen as well, and much quicker."""
    import cv2  # heavy

    step = max(1, max(picture.shape[:2]) // 256)
    if step > 1:
        picture = cv2.resize(picture, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(picture[..., ::-1])
