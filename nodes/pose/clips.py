"""Where pose clips are found: shipped, in the pack's model folders, in ComfyUI's input folder, among saved ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import folder_paths

from ...echomimic.files.listing import list_folder
from ...echomimic.pose.sources.files import clip_kind
from .. import folders

# OpenPose's --write_json writes a file with this ending for each frame; other numbered files may be a clip each.
FRAME_ENDING = "_keypoints.json"
# Clips are not nested deeper; an input folder may hold anything.
DEEPEST = 3


def pose_clips(frames: bool = False) -> dict[str, Path]:
    """Clips by the name that the list shows. Names of shipped clips are bare; saved workflows hold them.

    Args:
        frames: the single files of folders that are a clip as a whole, too.
    """
    found = {path.stem: path for path in sorted((folders.ASSETS / "clips").glob("*.safetensors"))}
    for root in folder_paths.get_folder_paths(folders.FOLDER):
        for path in walk(Path(root, "poses"), DEEPEST, frames):
            found.setdefault(f"poses/{path.relative_to(Path(root, 'poses')).as_posix()}", path)
    inputs = Path(folder_paths.get_input_directory())
    for path in walk(inputs, DEEPEST, frames):
        found.setdefault(f"input/{path.relative_to(inputs).as_posix()}", path)
    outputs = Path(folder_paths.get_output_directory())
    for path in walk(outputs / "poses", DEEPEST, frames):
        found.setdefault(f"output/{path.relative_to(outputs).as_posix()}", path)
    return found


def find_clip(name: str) -> Path | None:
    """A clip by its name; one frame of a folder that is a clip, too, as earlier lists had it."""
    return pose_clips().get(name) or pose_clips(frames=True).get(name)


def walk(folder: Path, depth: int, frames: bool = False, in_clip: bool = False) -> Iterator[Path]:
    """Clips below a folder: files, and folders of frames; what is closed is left out.

    Args:
        frames: see `pose_clips`.
        in_clip: the folder is a clip of keypoint files itself, so that these are none of their own.
    """
    if depth == 0:
        return
    for entry in list_folder(folder):
        kind, path = clip_kind(entry.path, entry.is_folder), Path(entry.path)
        if kind is not None and not (in_clip and entry.name.lower().endswith(FRAME_ENDING)):
            yield path
        if entry.is_folder and kind != "frames":
            yield from walk(path, depth - 1, frames, kind == "keypoint files" and not frames)


def changed(path: Path) -> float:
    """When a clip was last changed; of a folder, its newest frame."""
    try:
        if path.is_dir():
            return max((entry.stat().st_mtime for entry in path.iterdir()), default=0.0)
        return path.stat().st_mtime
    except OSError:
        return 0.0  # gone or closed meanwhile; loading it says so
