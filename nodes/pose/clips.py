"""Where pose clips are found: shipped, in the pack's model folders, in ComfyUI's input folder, among saved ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import folder_paths

from .. import host

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
    """Clip files, and folders that hold the original's `0.npy`, below a folder."""
    if depth == 0 or not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if (path.is_file() and path.suffix.lower() in ENDINGS) or (path / "0.npy").is_file():
            yield path
        elif path.is_dir():
            yield from walk(path, depth - 1)


def changed(path: Path) -> float:
    """When a clip was last changed; of a folder, its newest frame."""
    return (
        max((entry.stat().st_mtime for entry in path.iterdir()), default=0.0) if path.is_dir() else path.stat().st_mtime
    )
