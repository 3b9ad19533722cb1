"""Pose clips on disk: the original's folders, and our one-file format."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import PoseError
from .frames import frame_dict, frame_points
from .sequence import Canvas, PoseSequence
from .unpickle import MOST_BYTES, load_pickled_array

FORMAT = "echomimic-pose"
VERSION = 1
# The demo clips' rate; a folder of frames does not say it.
FOLDER_FPS = 24.0
# How many missing frames a message names.
NAMED = 5


def load_poses(path: str | os.PathLike[str], fps: float | None = None) -> PoseSequence:
    """Read a pose clip.

    Args:
        path: a folder of the original's `0.npy`, `1.npy`, ... or one of our `.safetensors` clips.
        fps: rate of a folder, which does not say its own (24 unless given); a clip's own rate counts before it.

    Raises:
        PoseError: not one of these, damaged, carrying code (refused by name, not run), or with frames missing.
    """
    path = Path(path)
    if path.is_dir():
        return load_folder(path, fps or FOLDER_FPS)
    if not path.is_file():
        raise PoseError(f"there is no pose clip {path}")
    if path.suffix.lower() == ".safetensors":
        return load_clip(path)
    raise PoseError(
        f"{path} is no pose clip: give a .safetensors clip, or the folder that holds frames 0.npy, 1.npy, ..."
    )


def load_folder(folder: Path, fps: float) -> PoseSequence:
    """The original's folder: one pickled frame a file, numbered from 0."""
    numbers = sorted(int(file.stem) for file in folder.glob("*.npy") if file.stem.isdecimal() and file.stem.isascii())
    if not numbers:
        raise PoseError(f"the folder {folder} holds no frames 0.npy, 1.npy, ...")
    missing = sorted(set(range(numbers[-1] + 1)) - set(numbers))
    if missing:
        named = ", ".join(f"{number}.npy" for number in missing[:NAMED])
        raise PoseError(
            f"{folder} lacks {len(missing)} of {numbers[-1] + 1} frames: {named}"
            + (", ..." if len(missing) > NAMED else "")
        )
    frames = []
    for number in numbers:
        file = folder / f"{number}.npy"
        if file.stat().st_size > MOST_BYTES:
            raise PoseError(f"{file} has {file.stat().st_size / 2**20:.0f} MB, too large for one frame of a pose")
        frames.append(frame_points(load_pickled_array(file.read_bytes(), str(file)), str(file)))
    points, scores, canvases = zip(*frames)
    other = next((number for number, canvas in enumerate(canvases) if canvas != canvases[0]), None)
    if other is not None:
        raise PoseError(f"{folder}: {other}.npy is laid out on another canvas than 0.npy ({canvases[other]})")
    return PoseSequence(np.stack(points), np.stack(scores), fps, canvases[0], {"name": folder.name})


def load_clip(path: Path) -> PoseSequence:
    """Our format: a `.safetensors` with `keypoints` and `scores`, and in its metadata rate, canvas and texts."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise PoseError(f"{path} is no pose clip: its metadata do not say format {FORMAT!r}")
            if int(metadata.get("version", 0)) > VERSION:
                raise PoseError(
                    f"{path} has version {metadata['version']}, this reads up to {VERSION}: update the pack"
                )
            keypoints, scores = file.get_tensor("keypoints"), file.get_tensor("scores")
        size, rows, columns = json.loads(metadata["canvas"])
        canvas = Canvas(int(size), (int(rows[0]), int(rows[1])), (int(columns[0]), int(columns[1])))
        info = {str(key): str(value) for key, value in json.loads(metadata.get("info", "{}")).items()}
        sequence = PoseSequence(keypoints, scores, float(metadata["fps"]), canvas, info)
    except PoseError as error:
        raise error if str(path) in str(error) else PoseError(f"{path}: {error}") from error
    except (
        SafetensorError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        OverflowError,
        OSError,
    ) as error:
        raise PoseError(f"{path} cannot be read as a pose clip ({error})") from error
    if not np.isfinite(sequence.scores).all():
        raise PoseError(f"{path} holds scores that are NaN or infinite")
    return sequence


def save_poses(sequence: PoseSequence, path: str | os.PathLike[str]) -> Path:
    """Write a clip: to one `.safetensors` file, or, for a path without ending, to a folder as the original has it.

    Nothing half-written is left behind.

    Raises:
        PoseError: another ending, a folder that is there already, or a place that cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".safetensors", ""):
        raise PoseError(f"poses are written to a .safetensors file or to a folder, not to {path.name}")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix:
            save_clip(sequence, partial)
        else:
            if path.exists():
                raise PoseError(f"{path} is there already: name a new folder for the frames")
            save_folder(sequence, partial)
        partial.replace(path)
    except OSError as error:
        raise PoseError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)
    return path


def save_clip(sequence: PoseSequence, path: Path) -> None:
    from safetensors.numpy import save_file

    canvas = sequence.canvas
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "fps": repr(float(sequence.fps)),
        "canvas": json.dumps([canvas.size, canvas.rows, canvas.columns]),
        "info": json.dumps(sequence.info, ensure_ascii=False, sort_keys=True),
    }
    save_file({"keypoints": sequence.keypoints, "scores": sequence.scores}, path, metadata)


def save_folder(sequence: PoseSequence, folder: Path) -> None:
    folder.mkdir()
    for number, (points, scores) in enumerate(zip(sequence.keypoints, sequence.scores)):
        frame: Any = frame_dict(points, scores, sequence.canvas)
        np.save(folder / f"{number}.npy", frame, allow_pickle=True)
