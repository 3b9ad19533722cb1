"""The gesture clips that ship with the project, and users' folders of clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import PoseError
from ..sequence import PoseSequence
from ..sources.files import clip_kind, load_poses

SHIPPED_CLIPS = Path(__file__).resolve().parents[3] / "assets" / "clips"


def clip_names(folder: str | Path = SHIPPED_CLIPS) -> list[str]:
    """The names of the clips in a folder, in alphabetical order: `.safetensors` clips and folders of `.npy` frames.

    Raises:
        PoseError: the folder does not exist or cannot be read.
    """
    return list(_clip_paths(Path(folder)))


def load_clip(name: str, folder: str | Path = SHIPPED_CLIPS) -> PoseSequence:
    """One clip by its name; its info has that name as `file`, and as `name` where the clip records none.

    Raises:
        PoseError: there is none of that name (the message lists those there are), or it cannot be read.
    """
    paths = _clip_paths(Path(folder))
    if name not in paths:
        raise PoseError(f"there is no gesture clip {name!r}; there are: {', '.join(paths) or 'none'}")
    clip = load_poses(paths[name])
    return clip.with_points(clip.keypoints, info={"name": name, **clip.info, "file": name})


def load_library(names: Sequence[str] | None = None, folder: str | Path = SHIPPED_CLIPS) -> list[PoseSequence]:
    """Clips to generate gestures from: the named ones, or all of a folder.

    Raises:
        PoseError: a name that is not there, an unreadable clip, or a folder without clips.
    """
    chosen = clip_names(folder) if names is None else list(names)
    if not chosen:
        raise PoseError(f"{folder}: no gesture clips chosen or found (.safetensors clips or folders of .npy frames)")
    return [load_clip(name, folder) for name in chosen]


def _clip_paths(folder: Path) -> dict[str, Path]:
    """The clips of a folder by name: those that record their rate, and the original's folders."""
    try:
        entries = [(entry, entry.is_dir()) for entry in sorted(folder.iterdir())]
    except OSError as error:
        raise PoseError(f"{folder}: no folder of gesture clips ({error.strerror or error})") from error
    kinds = [(entry, clip_kind(entry, is_folder)) for entry, is_folder in entries]
    return {entry.stem if kind == "clip" else entry.name: entry for entry, kind in kinds if kind in ("clip", "frames")}
