"""What the pose nodes share: sockets, and ComfyUI's pictures as the engine's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from comfy_api.latest import io

from ...echomimic.errors import PoseError
from ...echomimic.pose.fitting.crop import CropBox
from ...echomimic.vae import to_bytes

CATEGORY = "EchoMimic/pose"
PoseKeypoint = io.Custom("POSE_KEYPOINT")


def to_images(pictures: np.ndarray) -> torch.Tensor:
    """uint8 `[n, H, W, 3]` as ComfyUI's IMAGE, 0..1."""
    return torch.tensor(pictures).float() / 255


def to_picture(images: torch.Tensor) -> np.ndarray:
    """The first of ComfyUI's IMAGE `[n, H, W, 3 or 4]` as uint8 `[H, W, 3]`."""
    return to_bytes(images[0, ..., :3].float())


def pictures_of(images: torch.Tensor) -> Iterator[np.ndarray]:
    """All of them, one at a time."""
    for number in range(len(images)):
        yield to_picture(images[number : number + 1])


def to_crop_box(bounding_box: Any) -> CropBox:
    """ComfyUI's BOUNDING_BOX: one box, or lists of boxes as detectors give them, of which the first counts.

    Raises:
        PoseError: there is no box in it.
    """
    box = bounding_box
    while isinstance(box, (list, tuple)) and box:
        box = box[0]
    if not isinstance(box, dict) or not {"x", "y", "width", "height"} <= box.keys():
        raise PoseError("the crop box is empty: link crop_box of 'EchoMimic Align Portrait'")
    left, top, width, height = (round(box[name]) for name in ("x", "y", "width", "height"))
    if width < 1 or height < 1:
        raise PoseError(f"the crop box is {width}x{height} pixels: it must have a width and a height")
    return CropBox(left, top, width, height)
