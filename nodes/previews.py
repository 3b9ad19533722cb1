"""Pictures that nodes show in themselves, through the widgets in `web/js`: files in ComfyUI's temporary folder."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
from comfy_api.latest import io, ui
from PIL import Image

from ..echomimic.errors import EchoMimicError
from ..echomimic.files.atomic import atomic_output
from ..echomimic.pose import PoseSequence
from ..echomimic.pose.drawing.preview import animated_preview

logger = logging.getLogger("echomimic")

MAX_SIDE = 1024
CLIP_SIDE, CLIP_SECONDS = 160, 6.0


def show_picture(picture: np.ndarray, key: str) -> dict[str, Any] | None:
    """The `ui` of a node whose widget shows a picture, uint8 RGB `[H, W, 3]`; None where it cannot be written."""

    def write(path: Path) -> None:
        small = Image.fromarray(picture)
        small.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
        with atomic_output(path) as temporary:
            small.save(temporary, format="JPEG", quality=88)

    return shown(key, ".jpg", (picture.shape, picture.tobytes()), write)


def show_poses(poses: PoseSequence, key: str) -> dict[str, Any] | None:
    """The `ui` of a node whose widget shows moving poses: their first seconds; None where it cannot be written."""
    part = poses.take(range(min(len(poses), round(CLIP_SECONDS * poses.fps))))
    content = (part.fps, part.canvas, part.keypoints.shape, part.keypoints.tobytes(), part.scores.tobytes())
    return shown(key, ".webp", content, lambda path: animated_preview(part, path, CLIP_SIDE))


def shown(key: str, ending: str, content: tuple[Any, ...], write: Callable[[Path], None]) -> dict[str, Any] | None:
    """A file in ComfyUI's temporary folder, named after all that decides how it looks, as the frontend finds it."""
    digest = hashlib.sha256()
    for part in content:
        digest.update(part if isinstance(part, bytes) else repr(part).encode())
    name = f"echomimic_{digest.hexdigest()[:20]}{ending}"
    path = Path(folder_paths.get_temp_directory(), name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write(path)
    except (OSError, EchoMimicError) as error:  # a closed folder, a full disk: the result is what counts
        logger.warning("the node shows no preview: %s", error)
        return None
    return {key: [ui.SavedResult(name, "", io.FolderType.temp)]}
