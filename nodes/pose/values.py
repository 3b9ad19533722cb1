"""What the pose nodes share: sockets, and ComfyUI's pictures as the engine's."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...echomimic.errors import PoseError
from ...echomimic.pose.fitting.crop import CropBox
from ..values import image_batch, pictures_of, to_images, to_picture

__all__ = ["CATEGORY", "PoseKeypoint", "image_batch", "pictures_of", "to_crop_box", "to_images", "to_picture"]

CATEGORY = "EchoMimic/pose"
PoseKeypoint = io.Custom("POSE_KEYPOINT")


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
