"""Where pose clips are found: shipped, in the pack's model folders, in ComfyUI's input folder, among saved ones."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import folder_paths

from .. import host

logger = logging.getLogger("echomimic")

# What the engine's `load_poses` reads beside folders of `.npy`.
ENDINGS = (".safetensors", ".json")
# Nobody nests clips deeper; an input folder may hold anything.
DEEPEST = 3


def pose_clips() -> dict[str, Path]:
    """Clips by the name that the list shows. Names of shipped clips are bare; saved workflows hold them."""
    found = {path.stem: path for path in sorted((host.ASSETS / "clips").glob("*.safetensors"))}
    for root in folder_paths.get_folder_paths(host.FOLDER):
        for path in walk(Path(root, "poses"), DEEPEST):
            found.setdefault(f"poses/{path.relative_to(Path(root, 'poses')).as_posix()}", path)
    inputs = Path(folder_paths.get_input_directory())
    for path in walk(inputs, DEEPEST):
        found.setdefault(f"input/{path.relative_to(inputs).as_posix()}", path)
    outputs = Path(folder_paths.get_output_directory())
    for path in walk(outputs / "poses", DEEPEST):
        found.setdefault(f"output/{path.relative_to(outputs).as_posix()}", path)
    return found


def walk(folder: Path, depth: int) -> Iterator[Path]:
    """Clip files, and folders that hold the original's `0.npy`, below a folder; what is closed is left out.

    One scan a folder: the directory says itself which entries are folders.
    """
    if depth == 0:
        return
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            logger.info("%s cannot be looked into (%s) and is left out", folder, error.strerror or error)
        return
    for entry in listed:
        path = Path(entry.path)
        if is_folder(entry):
            if has_first_frame(path):
                yield path
            else:
                yield from walk(path, depth - 1)
        elif path.suffix.lower() in ENDINGS:
            yield path


def is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def has_first_frame(folder: Path) -> bool:
    """Whether a folder is a clip of the original's."""
    try:
        return (folder / "0.npy").is_file()
    except OSError:
        return False


def changed(path: Path) -> float:
    """When a clip was last changed; of a folder, its newest frame."""
    try:
        if path.is_dir():
            return max((entry.stat().st_mtime for entry in path.iterdir()), default=0.0)
        return path.stat().st_mtime
    except OSError:
        return 0.0  # gone or closed meanwhile; loading it says so
