"""What the pose nodes share: sockets, and ComfyUI's pictures as the engine's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ...echomimic.errors import PoseError
from ...echomimic.pose.fitting.crop import CropBox
from ..values import describe, image_batch, pictures_of, to_images, to_masks, to_number, to_picture

__all__ = [
    "CATEGORY",
    "PORTRAIT_TOOLTIP",
    "PoseKeypoint",
    "canvas_widgets",
    "image_batch",
    "pictures_of",
    "to_bounding_box",
    "to_canvas",
    "to_crop_box",
    "to_images",
    "to_masks",
    "to_picture",
]

CATEGORY = "EchoMimic/pose"
PORTRAIT_TOOLTIP = (
    "The portrait's own keypoints: from EchoMimic Extract Pose or EchoMimic Pose From Keypoints of the portrait, or "
    "EchoMimic Mark Portrait."
)
PoseKeypoint = io.Custom("POSE_KEYPOINT")
# Sides of a picture in pixels that keypoints may have been found in.
MAX_CANVAS = 65536
SIDES = ("x", "y", "width", "height")
# No picture is larger; a box may reach beyond it.
MAX_BOX_PIXELS = 1_000_000


def to_crop_box(bounding_box: Any) -> CropBox:
    """ComfyUI's BOUNDING_BOX: one box, or lists of boxes as detectors give them, of which the first counts.

    Raises:
        PoseError: there is no box in it.
    """
    box = bounding_box
    while isinstance(box, (list, tuple)) and box:
        box = box[0]
    if not isinstance(box, Mapping) or not set(SIDES) <= box.keys():
        raise PoseError(
            f"the crop box is {describe(bounding_box)}, but must be a box with {', '.join(SIDES)}: link crop_box of "
            "'EchoMimic Align Portrait'"
        )
    numbers = {name: to_number(box[name]) for name in SIDES}
    for name, number in numbers.items():
        if number is None or abs(number) > MAX_BOX_PIXELS:
            raise PoseError(f"the crop box's {name} must be a number of pixels, got {describe(box[name])}")
    left, top, width, height = (round(number) for number in numbers.values() if number is not None)
    if width < 1 or height < 1:
        raise PoseError(f"the crop box is {width}x{height} pixels: it must have a width and a height")
    return CropBox(left, top, width, height)


def canvas_widgets() -> list[io.Int.Input]:
    """`canvas_width` and `canvas_height`: the picture that keypoints were found in."""
    return [
        io.Int.Input(
            f"canvas_{side}",
            # Optional, so that graphs saved before this input existed still run.
            optional=True,
            default=0,
            min=0,
            max=MAX_CANVAS,
            advanced=True,
            tooltip=f"The {side} in pixels of the picture that the keypoints were found in, where they do "
            "not record it (OpenPose's own files); 0 takes what they record.",
        )
        for side in ("width", "height")
    ]


def to_canvas(width: int, height: int) -> tuple[int, int] | None:
    """What `canvas_widgets` give; None for 0."""
    return (width, height) if width and height else None


def to_bounding_box(box: CropBox) -> dict[str, int]:
    """ComfyUI's BOUNDING_BOX."""
    return {"x": box.left, "y": box.top, "width": box.width, "height": box.height}
