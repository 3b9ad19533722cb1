"""The original's pose frames: one dict of arrays each, in `.npy` files numbered from 0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import PoseError
from .sequence import BODY, FACE, HAND_A, HAND_B, POINTS, Canvas


def frame_points(frame: Any, label: str) -> tuple[np.ndarray, np.ndarray, Canvas]:
    """Points `[134, 2]`, scores `[134]` and canvas of one frame.

    Raises:
        PoseError: an entry is missing or has another shape.
    """
    if not isinstance(frame, Mapping):
        raise PoseError(f"{label} holds no frame of a pose: a dict with bodies, hands and faces is needed")
    bodies = frame.get("bodies")
    if not isinstance(bodies, Mapping):
        raise PoseError(f"{label} lacks 'bodies'")
    points, scores = np.zeros((POINTS, 2)), np.zeros(POINTS)
    # Where several people were found the first one's entries come first, and it is the one that the original takes.
    points[BODY] = entry(bodies, "candidate", (18, 2), label)
    found = entry(bodies, "subset", (1, 18), label)[0] >= 0
    scores[BODY] = np.where(found, entry(bodies, "score", (1, 18), label)[0], 0)
    points[HAND_A], points[HAND_B] = entry(frame, "hands", (2, 21, 2), label)
    scores[HAND_A], scores[HAND_B] = entry(frame, "hands_score", (2, 21), label)
    points[FACE] = entry(frame, "faces", (1, 68, 2), label)[0]
    scores[FACE] = entry(frame, "faces_score", (1, 68), label)[0]
    return points, scores, frame_canvas(frame, label)


def entry(source: Mapping[str, Any], name: str, shape: tuple[int, ...], label: str) -> np.ndarray:
    """An array of at least this length and otherwise this shape, cut to it."""
    value = source.get(name)
    if not isinstance(value, np.ndarray) or value.ndim != len(shape) or value.shape[1:] != shape[1:]:
        seen = list(value.shape) if isinstance(value, np.ndarray) else "nothing of the kind"
        raise PoseError(f"{label}: {name} must be {list(shape)}, got {seen}")
    if len(value) < shape[0]:
        raise PoseError(
            f"{label}: {name} must be {list(shape)}, got {list(value.shape)}: nobody was found in this frame"
        )
    return value[: shape[0]].astype(np.float64)


def frame_canvas(frame: Mapping[str, Any], label: str) -> Canvas:
    """Where the picture lies: `draw_pose_params` are height, width, row begin and end, column begin and end."""
    numbers = frame.get("draw_pose_params", [768, 768, 0, 768, 0, 768])
    if not isinstance(numbers, (list, np.ndarray)) or len(numbers) != 6:
        raise PoseError(f"{label}: draw_pose_params must be six numbers")
    height, width, top, bottom, left, right = (int(number) for number in numbers)
    if (height, width) != (bottom - top, right - left):
        raise PoseError(f"{label}: draw_pose_params {list(numbers)} contradict themselves")
    # The square is as large as its picture is along the longer side.
    return Canvas(size=max(height, width), rows=(top, bottom), columns=(left, right))


def frame_dict(points: np.ndarray, scores: np.ndarray, canvas: Canvas) -> dict[str, Any]:
    """One frame as the original writes it; feet have no place in it."""
    (top, bottom), (left, right) = canvas.rows, canvas.columns
    present = scores[BODY] > 0
    return {
        "bodies": {
            "candidate": points[BODY].copy(),
            "subset": np.where(present, np.arange(18.0), -1.0)[None],
            "score": scores[BODY][None].copy(),
        },
        "hands": np.stack([points[HAND_A], points[HAND_B]]),
        "hands_score": np.stack([scores[HAND_A], scores[HAND_B]]),
        "faces": points[FACE][None].copy(),
        "faces_score": scores[FACE][None].copy(),
        "num": 0,
        "draw_pose_params": [bottom - top, right - left, top, bottom, left, right],
    }
