"""Pose clips on disk: our one-file format, the original's folders of `.npy` files, and POSE_KEYPOINT JSON."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from ...errors import Cancelled, EchoMimicError, OutputError, PoseError
from ...files.atomic import atomic_folder, atomic_output, check_name
from ...files.heads import read_head
from ...files.listing import list_folder
from ...files.tensors import impostor
from ..canvas import Canvas
from ..sequence import POINTS, PoseSequence, check_rate
from .folders import read_folder, write_folder
from .foreign import OPENPOSE_FILE
from .keypoints import UNRECORDED_FPS, assume_rate, read_pose_keypoints, write_pose_keypoints

FORMAT = "echomimic-pose"
FORMAT_VERSION = 1
KEYPOINT_ENDINGS = (".json", ".jsonl", ".ndjson")
SEEN_ENDINGS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif", ".png", ".jpg", ".jpeg", ".webp")
CLIP_ENDINGS = (".safetensors", ".json", "")
FIRST_FRAME = re.compile(r"0+\.npy")  # of the original's folders
# One file of ours, one of keypoints; a folder of the original's frames, one of keypoint files.
ClipKind = Literal["clip", "keypoints", "frames", "keypoint files"]
_FLOATS = ("F16", "F32", "F64")


def clip_kind(path: str | os.PathLike[str], is_folder: bool) -> ClipKind | None:
    """What `load_poses` reads there, by the names of files alone; None where it is not a clip."""
    if not is_folder:
        suffix = Path(path).suffix.lower()
        return "clip" if suffix == ".safetensors" else "keypoints" if suffix in KEYPOINT_ENDINGS else None
    names = [entry.name for entry in list_folder(path) if not entry.is_folder]
    if any(map(FIRST_FRAME.fullmatch, names)):
        return "frames"
    return "keypoint files" if any(map(OPENPOSE_FILE.fullmatch, names)) else None


def load_poses(
    path: str | os.PathLike[str],
    fps: float | None = None,
    canvas_size: tuple[int, int] | None = None,
    unrecorded_fps: float = UNRECORDED_FPS,
) -> PoseSequence:
    """Read a pose clip.

    Args:
        path: a clip of ours (`.safetensors`), the original's folder (`0.npy`, `1.npy`, ...), or POSE_KEYPOINT frames
            (`.json`), or a folder of OpenPose's --write_json.
        fps: the rate of a folder or JSON (else the one that a JSON records); a clip of ours knows its own.
        canvas_size: (width, height) in pixels of the picture that JSON keypoints were found in, where they do not
            record it.
        unrecorded_fps: without `fps`, the rate of what records none; 24, as the original's clips, unless given.

    Raises:
        PoseError: an impossible rate, nothing there, frames missing (which), a foreign or damaged file, or one that
            carries code.
    """
    path = Path(path)
    check_rate(unrecorded_fps if fps is None else fps)
    try:
        return _load(path, fps, canvas_size, unrecorded_fps)
    except (EchoMimicError, Cancelled):
        raise
    except Exception as error:  # a closed folder, a name that no file system has, whatever a parser raises
        raise PoseError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _load(path: Path, fps: float | None, canvas_size: tuple[int, int] | None, unrecorded_fps: float) -> PoseSequence:
    is_folder = path.is_dir()
    kind = clip_kind(path, is_folder)
    if is_folder and kind != "keypoint files":
        return read_folder(path, assume_rate(path, unrecorded_fps) if fps is None else fps)
    if not path.exists():
        raise PoseError(f"{path}: no such pose clip")
    if kind == "clip":
        return _read_clip(path)
    if kind is not None:
        return read_pose_keypoints(path, fps, canvas_size=canvas_size, unrecorded_fps=unrecorded_fps)
    if path.suffix.lower() == ".npy":
        raise PoseError(f"{path}: give the folder that holds 0.npy, 1.npy, ..., one frame each, not an .npy file")
    if path.suffix.lower() in SEEN_ENDINGS:
        raise PoseError(f"{path} is a video or picture: find its poses first (`pose extract`, EchoMimic Extract Pose)")
    raise PoseError(
        f"{path}: not a pose clip. Give a .safetensors clip, a .json of POSE_KEYPOINT frames, or a folder of .npy files"
    )


def save_poses(
    sequence: PoseSequence,
    path: str | os.PathLike[str],
    precision: str = "float64",
    real_scores: bool = False,
    as_folder: bool = False,
) -> Path:
    """Write a pose clip; the name decides the format.

    Args:
        sequence: the clip.
        path: `NAME.safetensors` keeps everything; `NAME.json` writes POSE_KEYPOINT frames, for other packs; a name
            without an ending writes a folder as the original reads it, which has no feet, rate or info.
        precision: "float64", or "float32" for a `.safetensors` of half the size (4e-8 of the picture's side).
        real_scores: for `.json`, the detector's scores where other packs expect 1.0 or 0.0.
        as_folder: write such a folder whatever the name, which may hold dots.

    Returns:
        The path. Nothing half-written is ever there under that name.

    Raises:
        PoseError: see `check_clip_name`.
        OutputError: it cannot be written.
    """
    path = Path(path)
    check_clip_name(path, as_folder)
    suffix = "" if as_folder else path.suffix.lower()
    if suffix == ".safetensors":
        with atomic_output(path) as target:
            _write_clip(sequence, target, precision)
    elif suffix == ".json":
        with atomic_output(path) as target:
            write_pose_keypoints(sequence, target, real_scores)
    else:
        try:
            with atomic_folder(path, replace=True) as folder:
                write_folder(sequence, folder)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    return path


def check_clip_name(path: str | os.PathLike[str], as_folder: bool = False) -> None:
    """Check that `save_poses` takes that name, before a clip is made.

    Raises:
        PoseError: an unknown ending, or something that will not be replaced is there: a folder of that name that holds
            anything but poses, or any folder where a file is to be written.
    """
    path = Path(path)
    suffix = "" if as_folder else path.suffix.lower()
    if suffix not in CLIP_ENDINGS:
        raise PoseError(f"{path.name}: a pose clip ends in .safetensors or .json, or in nothing for a folder of .npy")
    check_name(path)
    try:
        if suffix and path.is_dir():
            raise PoseError(f"{path} is a folder, where the file of a pose clip is to be written: choose another name")
        if not suffix and path.exists() and not _holds_only_poses(path):
            raise PoseError(f"{path}: will not be replaced, it is not a folder of poses only")
    except OSError as error:  # a name that is too long
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


def _holds_only_poses(path: Path) -> bool:
    return path.is_dir() and all(entry.suffix == ".npy" and entry.stem.isdigit() for entry in path.iterdir())


def _write_clip(sequence: PoseSequence, path: Path, precision: str) -> None:
    if precision not in ("float64", "float32"):
        raise PoseError(f"precision is float64 or float32, not {precision!r}")
    canvas = sequence.canvas
    metadata = {
        "format": FORMAT,
        "version": str(FORMAT_VERSION),
        "fps": repr(float(sequence.fps)),
        "canvas": json.dumps([canvas.size, canvas.rows, canvas.columns]),
        # A file name in no encoding: JSON reads the escape as the same character.
        "info": json.dumps(sequence.info, ensure_ascii=False).encode("utf-8", "backslashreplace").decode(),
    }
    tensors = {"keypoints": sequence.keypoints.astype(precision), "scores": sequence.scores.astype(precision)}
    save_file(tensors, str(path), metadata=metadata)


def _read_clip(path: Path) -> PoseSequence:
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise PoseError(f"{path}: a .safetensors file, but not a pose clip")
            if metadata.get("version") != str(FORMAT_VERSION):
                raise PoseError(
                    f"{path}: pose clip format {metadata.get('version')}, this version reads {FORMAT_VERSION}: "
                    "update the node pack"
                )
            tensors = {}
            for name, tail in (("keypoints", [POINTS, 2]), ("scores", [POINTS])):
                if name not in file.keys():  # noqa: SIM118 - a safetensors handle is not a dict
                    raise PoseError(f"{path}: the pose clip has no tensor '{name}'")
                stored = file.get_slice(name)
                if stored.get_dtype() not in _FLOATS or list(stored.get_shape()[1:]) != tail:
                    raise PoseError(
                        f"{path}: '{name}' is {stored.get_shape()} of {stored.get_dtype()}, expected [frames, "
                        f"{', '.join(map(str, tail))}] of floats"
                    )
                tensors[name] = file.get_tensor(name)
    except PoseError:
        raise
    except Exception as error:  # the header's text decides what safetensors raises
        detect_impostor(path)
        raise PoseError(f"{path}: not a readable .safetensors file ({error})") from error
    with np.errstate(invalid="ignore"):  # NaN in a file is dealt with by PoseSequence
        keypoints, scores = (tensors[name].astype(np.float64) for name in ("keypoints", "scores"))
    try:
        return PoseSequence(keypoints, scores, **_settings(metadata))
    except PoseError as error:
        raise PoseError(f"{path}: {error}") from error


def detect_impostor(path: Path) -> None:
    """Raises: PoseError for a file that is something else under this name, a web page or a Git LFS pointer."""
    reason = impostor(read_head(path, "pose clip", PoseError))
    if reason:
        raise PoseError(f"{path} {reason}")


def _settings(metadata: dict[str, str]) -> dict[str, Any]:
    """Rate, canvas and info out of a clip's metadata."""
    try:
        size, rows, columns = json.loads(metadata["canvas"])
        return {
            "fps": float(metadata["fps"]),
            "canvas": Canvas(int(size), (int(rows[0]), int(rows[1])), (int(columns[0]), int(columns[1]))),
            "info": {str(key): str(value) for key, value in json.loads(metadata.get("info", "{}")).items()},
        }
    except PoseError:
        raise
    except Exception as error:  # the metadata may hold anything that JSON can
        raise PoseError(f"the pose clip's settings cannot be read ({type(error).__name__}: {error})") from error
