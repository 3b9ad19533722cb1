"""DWPose, the detector that the model's own poses came from, through the optional package rtmlib.

rtmlib brings the pictures into the networks' form and runs them with onnxruntime. The networks' output is decoded
here as the original decodes it: rtmlib averages a point's confidence over x and y where the original takes the smaller,
and the hand pictures' brightness is that confidence.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np

from ...errors import EchoMimicError, MissingPackageError, PoseError

PERSON_FILE = "yolox_l.onnx"
POSE_FILE = "dw-ll_ucoco_384.onnx"
WHERE = "https://huggingface.co/yzd-v/DWPose"
_PERSON_SIDE = 640
_POSE_SIZE = (288, 384)
_PERSON_SCORE, _OVERLAP = 0.3, 0.45
_MAX_PEOPLE = 8
_STRIDES = (8, 16, 32)
# COCO-WholeBody's order (17 body points) to OpenPose's (18, with the neck, which is put at place 17 first).
_FROM_COCO = [0, 17, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
_SHOULDERS = [5, 6]


class DWPose:
    """Finds the people of a picture, largest first.

    Args:
        folder: holds `yolox_l.onnx` and `dw-ll_ucoco_384.onnx`.
        device: "cuda" or "cpu"; None takes the GPU where onnxruntime has one.

    Raises:
        MissingPackageError: rtmlib or onnxruntime is not installed.
        PoseError: a weights file is missing or cannot be used, or onnxruntime cannot use the requested GPU.
    """

    def __init__(self, folder: Path, device: str | None = None) -> None:
        try:
            import onnxruntime  # optional
            from rtmlib import YOLOX, RTMPose  # optional
        except ImportError as error:
            raise MissingPackageError(
                f"finding poses in videos needs two more packages ({error}). Install them with: "
                "pip install onnxruntime && pip install --no-deps rtmlib  (onnxruntime-gpu instead of onnxruntime for "
                "NVIDIA cards). ComfyUI's own SDPose nodes are another way, and need neither"
            ) from error
        files = [Path(folder) / name for name in (PERSON_FILE, POSE_FILE)]
        missing = [file.name for file in files if not file.is_file()]
        if missing:  # rtmlib would take the name for a URL and try to download it
            raise PoseError(f"{folder} lacks {' and '.join(missing)}: download them from {WHERE} into that folder")
        has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        if device == "cuda" and not has_cuda:  # onnxruntime would fall back to the CPU almost silently
            raise PoseError(
                "this onnxruntime cannot use an NVIDIA card: pip install onnxruntime-gpu in its place, or take the CPU"
            )
        device = device or ("cuda" if has_cuda else "cpu")
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # rtmlib prints
                self._persons = YOLOX(str(files[0]), (_PERSON_SIDE, _PERSON_SIDE), backend="onnxruntime", device=device)
                self._pose = RTMPose(str(files[1]), _POSE_SIZE, backend="onnxruntime", device=device)
        except EchoMimicError:
            raise
        except Exception as error:  # onnxruntime's errors have no common base
            raise PoseError(f"the pose networks in {folder} cannot be used ({error})") from error
        sizes = [file.stat().st_size for file in files]
        self.identity = f"dwpose {sizes[0]} {sizes[1]}"

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """uint8 RGB `[H, W, 3]` -> `[people, 134, 3]`: x, y in pixels, confidence."""
        # YOLOX was trained on BGR, the pose network on RGB.
        prepared, ratio = self._persons.preprocess(np.ascontiguousarray(picture[..., ::-1]))
        boxes = person_boxes(self._persons.inference(prepared)[0], ratio)
        people = []
        for box in boxes[:_MAX_PEOPLE]:
            crop, centre, scale = self._pose.preprocess(picture, box)
            x_axis, y_axis = self._pose.inference(crop)[:2]
            people.append(to_openpose(*decode_points(x_axis[0], y_axis[0], centre, scale)))
        return np.array(people, dtype=np.float64).reshape(-1, 134, 3)


def person_boxes(answer: np.ndarray, ratio: float) -> np.ndarray:
    """People in YOLOX's raw output, largest first.

    Args:
        answer: `[1, 8400, 85]`: offsets in cells, log sizes, objectness and 80 classes, of which person is the first.
        ratio: picture pixels to network pixels.

    Returns:
        `[n, 4]`: left, top, right, bottom in pixels of the picture.
    """
    cells, strides = [], []
    for stride in _STRIDES:
        side = _PERSON_SIDE // stride
        y, x = np.mgrid[0:side, 0:side]
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((side * side, 1), stride))
    grid, step = np.concatenate(cells), np.concatenate(strides)
    scores = answer[0, :, 4] * answer[0, :, 5]
    kept = scores > _PERSON_SCORE
    centre = (answer[0, kept, :2] + grid[kept]) * step[kept]
    half = np.exp(answer[0, kept, 2:4]) * step[kept] / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1) / ratio
    boxes = boxes[np.argsort(-scores[kept])]
    chosen: list[np.ndarray] = []
    for box in boxes:
        if all(_overlap(box, other) <= _OVERLAP for other in chosen):
            chosen.append(box)
    chosen.sort(key=lambda box: -float((box[2] - box[0]) * (box[3] - box[1])))
    return np.array(chosen).reshape(-1, 4)


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    return shared / float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def decode_points(
    x_axis: np.ndarray, y_axis: np.ndarray, centre: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points from the network's responses along both axes (SimCC, two bins a pixel), as the original decodes them.

    Args:
        x_axis: `[133, 576]`.
        y_axis: `[133, 768]`.
        centre, scale: middle and size of the crop in the picture, `[2]` each.

    Returns:
        points `[133, 2]` in pixels of the picture, and confidences `[133]`: the smaller response of the two axes.
    """
    confidence = np.minimum(x_axis.max(axis=1), y_axis.max(axis=1)).astype(np.float64)
    places = np.stack([x_axis.argmax(axis=1), y_axis.argmax(axis=1)], axis=1) / 2.0
    points = places / _POSE_SIZE * scale + centre - np.asarray(scale) / 2
    return points, np.maximum(confidence, 0)


def to_openpose(points: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """COCO-WholeBody's 133 points -> our 134, `[134, 3]`: the neck is put between the shoulders.

    As in the original, the neck's confidence is 1 where both shoulders' exceed 0.3, else 0.
    """
    neck = points[_SHOULDERS].mean(axis=0)
    neck_seen = float((confidence[_SHOULDERS] > 0.3).all())
    points = np.insert(points, 17, neck, axis=0)
    confidence = np.insert(confidence, 17, neck_seen)
    points[:18], confidence[:18] = points[_FROM_COCO], confidence[_FROM_COCO]
    return np.concatenate([points, confidence[:, None]], axis=1)
