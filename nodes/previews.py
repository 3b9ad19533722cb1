"""Pictures that nodes show in themselves, through the widgets in `web/js`: files in ComfyUI's temporary folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
from comfy_api.latest import io, ui
from PIL import Image

from ..echomimic.files.atomic import atomic_output
from ..echomimic.pose import PoseSequence
from ..echomimic.pose.drawing.preview import animated_preview

MAX_SIDE = 1024
CLIP_SIDE, CLIP_SECONDS = 160, 6.0


def temporary_file(content: bytes, ending: str) -> tuple[Path, ui.SavedResult]:
    """A file named after its content, and the entry that names it to the frontend."""
    name = f"echomimic_{hashlib.sha256(content).hexdigest()[:20]}{ending}"
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name, ui.SavedResult(name, "", io.FolderType.temp)


def show_picture(picture: np.ndarray, key: str) -> dict[str, Any]:
    """The `ui` of a node whose widget shows a picture, uint8 RGB `[H, W, 3]`."""
    path, saved = temporary_file(picture.tobytes(), ".jpg")
    if not path.exists():
        small = Image.fromarray(picture)
        small.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
        with atomic_output(path) as temporary:
            small.save(temporary, format="JPEG", quality=88)
    return {key: [saved]}


def show_poses(poses: PoseSequence, key: str) -> dict[str, Any]:
    """The `ui` of a node whose widget shows moving poses: their first seconds."""
    part = poses.take(range(min(len(poses), round(CLIP_SECONDS * poses.fps))))
    path, saved = temporary_file(part.keypoints.tobytes() + part.scores.tobytes(), ".webp")
    if not path.exists():
        animated_preview(part, path, CLIP_SIDE)
    return {key: [saved]}
