"""Pose pictures over the portrait."""

from __future__ import annotations

import numpy as np
import pytest

from echomimic.errors import PoseError
from echomimic.pose.drawing.overlay import overlay_poses

GREY = np.full((4, 5, 3), 100, np.uint8)


def pictures() -> np.ndarray:
    """Two frames: black, and one with a fully bright blue and a half bright red pixel."""
    drawn = np.zeros((2, 4, 5, 3), np.uint8)
    drawn[1, 0, 0] = (0, 0, 255)
    drawn[1, 1, 1] = (128, 0, 0)
    return drawn


def test_black_shows_the_image():
    assert np.array_equal(overlay_poses(pictures(), GREY)[0], GREY)


def test_bright_covers_and_dim_mixes():
    laid = overlay_poses(pictures(), GREY)[1]
    assert laid[0, 0].tolist() == [0, 0, 255]
    assert laid[1, 1].tolist() == [178, 50, 50]


def test_opacity_of_zero_is_the_image_and_half_is_between():
    assert np.array_equal(overlay_poses(pictures(), GREY, 0.0)[1], GREY)
    assert overlay_poses(pictures(), GREY, 0.5)[1, 0, 0].tolist() == [50, 50, 178]


def test_other_sizes_and_impossible_opacity_are_refused():
    with pytest.raises(PoseError, match=r"\[4, 5, 3\] do not fit an image of \[5, 5, 3\]"):
        overlay_poses(pictures(), np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(PoseError, match=r"0 to 1, got 1\.5"):
        overlay_poses(pictures(), GREY, 1.5)
