"""The published head-to-waist alignment."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors import safe_open

from echomimic.errors import PoseError
from echomimic.media.pictures import fit_image
from echomimic.pose import Canvas, PoseSequence
from echomimic.pose.canvas import picture_canvas
from echomimic.pose.fitting.align import WaistCrop, cover, crop_picture, crop_poses, head_to_waist
from echomimic.pose.sequence import BODY, FACE, HAND_A, HAND_B, POINTS
from tests.golden_cases import GOLDEN

CASES = ["pose_align", "pose_align_portrait"]


def golden(case: str) -> tuple[dict, PoseSequence, PoseSequence]:
    """Settings, detections in the picture, and keypoints in the aligned square."""
    with safe_open(GOLDEN / f"{case}.safetensors", "numpy") as file:
        meta = json.loads(file.metadata()["meta"])
        frames = range(meta["frames"])
        both = []
        for side in ("in", "out"):
            points = np.zeros((len(frames), POINTS, 2))
            for i in frames:
                points[i, BODY] = file.get_tensor(f"{side}.{i}.body")
                points[i, FACE] = file.get_tensor(f"{side}.{i}.face")
                points[i, HAND_A], points[i, HAND_B] = file.get_tensor(f"{side}.{i}.hands")
            canvas = picture_canvas(meta["width"], meta["height"])
            both.append(PoseSequence(points, np.ones(points.shape[:2]), canvas=canvas))
    return meta, both[0], both[1]


@pytest.mark.parametrize("case", CASES)
def test_crop_is_the_originals(case: str) -> None:
    meta, detections, _ = golden(case)
    crop = head_to_waist(detections)
    assert [*crop.rows, *crop.columns] == meta["crop_rows_cols"]
    canvas = crop.canvas
    (top, bottom), (left, right) = canvas.rows, canvas.columns
    assert [bottom - top, right - left, top, bottom, left, right] == meta["draw_pose_params"]


@pytest.mark.parametrize("case", CASES)
def test_keypoints_are_the_originals(case: str) -> None:
    _, detections, expected = golden(case)
    aligned = crop_poses(detections, head_to_waist(detections))
    stored = np.r_[BODY, FACE, HAND_A, HAND_B]
    np.testing.assert_allclose(aligned.keypoints[:, stored], expected.keypoints[:, stored], rtol=0, atol=1e-9)


def figure(frames: int = 1) -> PoseSequence:
    points = np.full((frames, POINTS, 2), 0.5)
    points[:, FACE, 1] = np.linspace(0.3, 0.45, 68)
    points[:, 2:8, 1] = 0.8
    return PoseSequence(points, np.ones((frames, POINTS)), canvas=picture_canvas(400, 600))


def test_absent_points_do_not_count() -> None:
    clean, stray = figure(2), figure(2)
    keypoints, scores = stray.keypoints.copy(), stray.scores.copy()
    keypoints[1], scores[1] = 0.01, 0  # a frame with nobody
    keypoints[0, 3], scores[0, 3] = 5.0, 0  # an elbow that was not found
    crop = head_to_waist(stray.with_points(keypoints, scores))
    assert crop == head_to_waist(clean)


def test_neck_is_taken_between_the_shoulders() -> None:
    sequence = figure()
    scores = sequence.scores.copy()
    scores[:, 1] = 0
    assert head_to_waist(sequence.with_points(sequence.keypoints, scores)) == head_to_waist(sequence)


def test_nobody_to_align_to() -> None:
    sequence = figure()
    with pytest.raises(PoseError, match="needs the face and the neck"):
        head_to_waist(sequence.with_points(sequence.keypoints, sequence.scores * 0))


def test_flat_figure_leaves_no_room() -> None:
    sequence = figure()
    with pytest.raises(PoseError, match="no head-to-waist square"):
        head_to_waist(sequence.with_points(sequence.keypoints * 0 + 1.5))


def test_picture_and_poses_are_cut_alike() -> None:
    """A dot painted where a keypoint is stays where the keypoint goes."""
    sequence = figure()
    image = np.zeros((600, 400, 3), np.uint8)
    x, y = (sequence.keypoints[0, FACE.start + 40] * [400, 600]).astype(int)
    image[y - 3 : y + 4, x - 3 : x + 4] = 255
    crop = head_to_waist(sequence)
    square = crop_picture(image, crop)
    place = crop_poses(sequence, crop).keypoints[0, FACE.start + 40]
    canvas = crop.canvas
    expected = place * [canvas.columns[1] - canvas.columns[0], 768] + [canvas.columns[0], 0]
    dot = np.argwhere(square[..., 0] > 128).mean(axis=0)[::-1]
    np.testing.assert_allclose(dot, expected, atol=4)


def test_narrow_crop_has_bands_and_crop_beyond_the_picture_is_black() -> None:
    image = np.full((100, 100, 3), 200, np.uint8)
    narrow = crop_picture(image, WaistCrop((100, 100), (0, 99), (0, 50), (0.0, 1.0)))
    assert (narrow[:, 192:576] == 200).all() and not narrow[:, :192].any() and not narrow[:, 576:].any()
    beyond = crop_picture(image, WaistCrop((100, 100), (0, 99), (60, 160), (0.0, 1.0)), size=100)
    assert (beyond[:, :39] == 200).all() and not beyond[:, 42:].any()


def test_crop_of_another_picture_is_refused() -> None:
    with pytest.raises(PoseError, match="for a picture of 400x600, not 10x20"):
        crop_picture(np.zeros((20, 10, 3), np.uint8), head_to_waist(figure()))


@pytest.mark.parametrize("size", [(512, 512), (512, 768), (768, 512), (400, 600)])
def test_covering_moves_poses_as_the_picture_is_cut(size: tuple[int, int]) -> None:
    image = np.zeros((600, 400, 3), np.uint8)
    image[300:320, 150:170] = 255
    points = np.tile((np.array([159.5, 309.5]) + 0.5) / [400, 600], (1, POINTS, 1))
    moved = cover(PoseSequence(points, np.ones((1, POINTS)), canvas=picture_canvas(400, 600)), *size)
    dot = np.argwhere(fit_image(image, *size)[..., 0] > 128).mean(axis=0)[::-1] + 0.5
    np.testing.assert_allclose(moved.keypoints[0, 0] * size, dot, atol=1)
    assert moved.canvas == picture_canvas(*size)


def test_covering_with_its_own_shape_changes_nothing() -> None:
    sequence = figure()
    np.testing.assert_allclose(cover(sequence, 200, 300).keypoints, sequence.keypoints)
    assert cover(sequence, 200, 300).canvas == Canvas(300, (0, 300), (50, 250))
