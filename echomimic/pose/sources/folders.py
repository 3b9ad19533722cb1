"""The original's pose folders: one `.npy` a frame, `0.npy`, `1.npy`, ..., each a pickled dict.

    bodies {candidate [18,2], subset [1,18], score [1,18]}, hands [2,21,2], hands_score [2,21],
    faces [1,68,2], faces_score [1,68], num, draw_pose_params [height, width, row begin, row end, column begin, end]

The feet of the 134 points are not stored there.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from ...cancellation import check_cancelled
from ...errors import PoseError
from ...files.pickles import as_numpy, read_pickled_npy
from ..canvas import Canvas
from ..sequence import BODY, FACE, HANDS, POINTS, PoseSequence

ORIGINAL_SIZE = 768  # the original pastes every region into a square of this side
_SEEN = 0.3  # the original's `subset` lists the body points above this score


def read_folder(folder: Path, fps: float) -> PoseSequence:
    """A folder of the original's frames.

    Frames that were cut from different squares are brought into one full square.

    Raises:
        PoseError: no poses, frames missing (which), wrong contents, or a file that carries code.
    """
    files: dict[int, Path] = {}
    for entry in sorted(folder.iterdir(), key=lambda entry: len(entry.name)):  # of 0.npy and 000.npy the first counts
        if entry.suffix == ".npy" and entry.stem.isascii() and entry.stem.isdigit():
            files.setdefault(int(entry.stem), entry)
    numbers = sorted(files)
    if not numbers:
        raise PoseError(f"{folder}: no poses in this folder (expected 0.npy, 1.npy, ...)")
    if len(numbers) != numbers[-1] + 1:
        raise PoseError(f"{folder}: {_missing(numbers)}")
    frames = [_read_frame(files[number]) for number in numbers]
    keypoints = np.stack([frame[0] for frame in frames])
    scores = np.stack([frame[1] for frame in frames])
    canvases = [frame[2] for frame in frames]
    canvas = canvases[0]
    if any(other != canvas for other in canvases):
        keypoints = np.stack([_to_square(points, own) for points, own in zip(keypoints, canvases)])
        canvas = Canvas(ORIGINAL_SIZE, (0, ORIGINAL_SIZE), (0, ORIGINAL_SIZE))
    return PoseSequence(keypoints, scores, fps, canvas, {"name": folder.resolve().name})


def write_folder(sequence: PoseSequence, folder: Path) -> None:
    """Write the clip as the original's scripts read it, into a new or empty folder. Feet, rate and info are lost."""
    canvas = sequence.canvas
    (top, bottom), (left, right) = (
        (round(begin * ORIGINAL_SIZE / canvas.size), round(end * ORIGINAL_SIZE / canvas.size))
        for begin, end in (canvas.rows, canvas.columns)
    )
    folder.mkdir(exist_ok=True)
    for number, (points, scores) in enumerate(zip(sequence.keypoints, sequence.scores)):
        seen = np.where(scores[BODY] > _SEEN, np.arange(18.0), -1.0)
        frame = {
            "bodies": {"candidate": points[BODY], "subset": seen[None], "score": scores[None, BODY]},
            "hands": np.stack([points[hand] for hand in HANDS]),
            "hands_score": np.stack([scores[hand] for hand in HANDS]),
            "faces": points[None, FACE],
            "faces_score": scores[None, FACE],
            "num": number,
            "draw_pose_params": [bottom - top, right - left, top, bottom, left, right],
        }
        with (folder / f"{number}.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
            # Protocol 3 with numpy 1's module name, so that the old numpy of the original's environment reads it too.
            body = pickle.dumps(np.array(frame, dtype=object), protocol=3)
            file.write(body.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))


def _missing(numbers: list[int]) -> str:
    """Which frames a folder lacks, as a sentence; `numbers` is sorted and has gaps."""
    count = numbers[-1] + 1 - len(numbers)
    named: list[str] = []
    for before, after in zip([-1, *numbers], numbers):
        if after - before > 1 and len(named) < 5:
            named.append(f"{before + 1}.npy" if after - before == 2 else f"{before + 1}.npy to {after - 1}.npy")
    listed = ", ".join(named)
    return f"{count} of {numbers[-1] + 1} frames are missing: {listed}{', ...' if len(named) == 5 else ''}"


def _read_frame(path: Path) -> tuple[np.ndarray, np.ndarray, Canvas]:
    """One frame: points [134, 2], scores [134] and the square it was drawn for."""
    check_cancelled()
    frame = read_pickled_npy(path)
    bodies = _entry(frame, "bodies", path)
    points, scores = np.zeros((POINTS, 2)), np.zeros(POINTS)
    points[BODY] = _array(bodies, "candidate", (18, 2), path)
    scores[BODY] = _array(bodies, "score", (1, 18), path)[0]
    points[FACE] = _array(frame, "faces", (1, 68, 2), path)[0]
    scores[FACE] = _array(frame, "faces_score", (1, 68), path)[0]
    for hand, hand_points, hand_scores in zip(
        HANDS, _array(frame, "hands", (2, 21, 2), path), _array(frame, "hands_score", (2, 21), path)
    ):
        points[hand], scores[hand] = hand_points, hand_scores
    return points, scores, _canvas(_entry(frame, "draw_pose_params", path), path)


def _entry(frame: Any, name: str, path: Path) -> Any:
    if not isinstance(frame, dict) or name not in frame:
        raise PoseError(f"{path}: not a pose of the original's kind, '{name}' is missing")
    return frame[name]


def _array(frame: Any, name: str, shape: tuple[int, ...], path: Path) -> np.ndarray:
    array = as_numpy(_entry(frame, name, path), name, path)
    if array.shape != shape:
        raise PoseError(f"{path}: '{name}' is {list(array.shape)}, expected {list(shape)} (one person)")
    return array


def _canvas(stored: Any, path: Path) -> Canvas:
    """The square out of `draw_pose_params`, whose side is not stored: it is the larger side of the region."""
    if isinstance(stored, (list, tuple)):
        numbers = list(stored)
    else:
        numbers = as_numpy(stored, "draw_pose_params", path).reshape(-1).tolist()
    if len(numbers) != 6 or not all(type(n) in (int, float) and 0 <= n <= 1 << 16 and n == int(n) for n in numbers):
        raise PoseError(f"{path}: 'draw_pose_params' is {str(stored)[:80]}, expected six pixel counts")
    height, width, top, bottom, left, right = (int(n) for n in numbers)
    if (height, width) != (bottom - top, right - left):
        raise PoseError(
            f"{path}: 'draw_pose_params' contradict themselves: {width}x{height} pixels in "
            f"rows {top}..{bottom}, columns {left}..{right}"
        )
    return Canvas(max(bottom, right), (top, bottom), (left, right))


def _to_square(points: np.ndarray, canvas: Canvas) -> np.ndarray:
    """Points in fractions of the canvas region -> in fractions of the whole square."""
    (top, bottom), (left, right) = canvas.rows, canvas.columns
    return (points * [right - left, bottom - top] + [left, top]) / canvas.size
