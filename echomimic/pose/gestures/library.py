"""The gesture clips that ship with the project, and users' folders of clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import PoseError
from ..sequence import PoseSequence
from ..sources.files import load_poses

SHIPPED_CLIPS = Path(__file__).resolve().parents[3] / "assets" / "clips"


def clip_names(folder: str | Path = SHIPPED_CLIPS) -> list[str]:
    """The names of the clips in a folder, in alphabetical order: `.safetensors` clips and folders of `.npy` frames.

    Raises:
        PoseError: the folder does not exist or cannot be read.
    """
    folder = Path(folder)
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise PoseError(f"{folder}: no folder of gesture clips ({error.strerror or error})") from error
    return [entry.stem if entry.suffix else entry.name for entry in entries if _is_clip(entry)]


def load_clip(name: str, folder: str | Path = SHIPPED_CLIPS) -> PoseSequence:
    """One clip by its name.

    Raises:
        PoseError: there is none of that name (the message lists those there are), or it cannot be read.
    """
    names = clip_names(folder)
    if name not in names:
        raise PoseError(f"there is no gesture clip {name!r}; there are: {', '.join(names) or 'none'}")
    path = Path(folder) / f"{name}.safetensors"
    clip = load_poses(path if path.is_file() else Path(folder) / name)
    return clip.with_points(clip.keypoints, info={**clip.info, "name": clip.info.get("name", name)})


def load_library(names: Sequence[str] | None = None, folder: str | Path = SHIPPED_CLIPS) -> list[PoseSequence]:
    """Clips to generate gestures from: the named ones, or all of a folder.

    Raises:
        PoseError: a name that is not there, an unreadable clip, or a folder without clips.
    """
    chosen = clip_names(folder) if names is None else list(names)
    if not chosen:
        raise PoseError(f"{folder}: no gesture clips chosen or found (.safetensors clips or folders of .npy frames)")
    return [load_clip(name, folder) for name in chosen]


def _is_clip(entry: Path) -> bool:
    return (entry.is_file() and entry.suffix == ".safetensors") or (entry.is_dir() and (entry / "0.npy").is_file())
