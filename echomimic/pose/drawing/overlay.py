"""Pose pictures over the portrait, to see how they fit before a long run."""

from __future__ import annotations

import numpy as np

from ...errors import PoseError


def overlay_poses(pictures: np.ndarray, image: np.ndarray, opacity: float = 1.0) -> np.ndarray:
    """Lay pose pictures over a picture; where the pose is black, the picture shows through.

    Args:
        pictures: from `draw_poses`, uint8 RGB `[n, H, W, 3]`.
        image: uint8 RGB `[H, W, 3]`.
        opacity: 0 (only the image) to 1 (poses cover it).

    Returns:
        uint8 RGB `[n, H, W, 3]`.

    Raises:
        PoseError: sizes differ, or an impossible opacity.
    """
    if pictures.shape[1:] != image.shape:
        raise PoseError(f"pose pictures of {list(pictures.shape[1:])} do not fit an image of {list(image.shape)}")
    if not 0 <= opacity <= 1:
        raise PoseError(f"the opacity must be 0 to 1, got {opacity}")
    laid = np.empty_like(pictures)
    for target, pose in zip(laid, pictures):
        # Drawn with antialiased edges and by confidence: the brightest channel says how much of a point is there.
        cover = pose.max(axis=-1, keepdims=True).astype(np.float32) * (opacity / 255)
        target[:] = np.round(image * (1 - cover) + pose * opacity).clip(0, 255)
    return laid
