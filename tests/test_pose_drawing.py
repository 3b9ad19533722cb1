"""The hand pictures: the original's pixels, other sizes, and points that must not be drawn."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from echomimic.errors import PoseError
from echomimic.pose import Canvas, PoseSequence, draw_poses, load_poses
from echomimic.pose.sequence import HAND_A, HAND_B, POINTS
from echomimic.pose.sources.folders import write_folder
from echomimic.sampling import DrawnPose
from tests.golden_cases import GOLDEN, GoldenCase, relative_error

OWN_FRAMES = ["counting.77", "explaining.0", "open_palms.33", "pointing.55", "thumbs_up.30", "waving.40"]
ORIGINAL_FRAMES = ["01.0", "01.200", "fight.50", "good.30", "salute.60"]


def open_hand(x: float, y: float, size: float = 0.2) -> np.ndarray:
    """A hand of 21 points about (x, y), fingers spread upwards."""
    points = [[x, y]]
    for finger in range(5):
        angle = np.pi * (0.25 + 0.125 * finger)
        points += [[x + size * j / 4 * np.cos(angle), y - size * j / 4 * np.sin(angle)] for j in range(1, 5)]
    return np.array(points)


def hands_clip(a: np.ndarray, b: np.ndarray, score_a: float = 1.0, score_b: float = 1.0, **settings) -> PoseSequence:
    keypoints, scores = np.zeros((1, POINTS, 2)), np.zeros((1, POINTS))
    keypoints[0, HAND_A], keypoints[0, HAND_B] = a, b
    scores[0, HAND_A], scores[0, HAND_B] = score_a, score_b
    return PoseSequence(keypoints, scores, **settings)


@pytest.mark.parametrize("case", OWN_FRAMES)
def test_pixels_equal_the_originals_drawing(case: str) -> None:
    with np.load(GOLDEN / "pose_draw_own" / f"{case}.npz") as frame:
        clip = PoseSequence(frame["keypoints"][None], frame["scores"][None])
    golden = cv2.imread(str(GOLDEN / "pose_draw_own" / f"{case}.png"))[..., ::-1]
    np.testing.assert_array_equal(draw_poses(clip, [0], 768, 768)[0], golden)


@pytest.mark.parametrize("case", ORIGINAL_FRAMES)
def test_pixels_equal_the_originals_drawing_of_its_own_clips(shared: Path, case: str) -> None:
    name, frame = case.split(".")
    picture = draw_poses(load_poses(shared / "assets" / "pose" / name), [int(frame)], 768, 768)[0]
    golden = cv2.imread(str(shared / "golden" / "pose_draw" / f"{case}.png"))[..., ::-1]
    np.testing.assert_array_equal(picture, golden)


def test_frames_come_in_the_requested_order() -> None:
    clip = hands_clip(open_hand(0.3, 0.6), open_hand(0.7, 0.6))
    clip = PoseSequence(np.concatenate([clip.keypoints, clip.keypoints + 0.1]), np.repeat(clip.scores, 2, 0))
    pictures = draw_poses(clip, [1, 0, 1], 64, 64)
    assert pictures.shape == (3, 64, 64, 3) and pictures.dtype == np.uint8
    np.testing.assert_array_equal(pictures[0], pictures[2])
    assert (pictures[0] != pictures[1]).any()


def test_region_is_drawn_alone_and_pasted_in_its_place() -> None:
    hands = open_hand(0.3, 0.6), open_hand(0.7, 0.6)
    picture = draw_poses(hands_clip(*hands, canvas=Canvas(768, (0, 768), (67, 701))), [0], 768, 768)[0]
    assert not picture[:, :67].any() and not picture[:, 701:].any()
    # A region of the same size in another place is the same picture, moved.
    moved = draw_poses(hands_clip(*hands, canvas=Canvas(768, (0, 768), (0, 634))), [0], 768, 768)[0]
    np.testing.assert_array_equal(picture[:, 67:701], moved[:, :634])


def test_region_scales_with_the_picture() -> None:
    clip = hands_clip(open_hand(0.3, 0.6), open_hand(0.7, 0.6), canvas=Canvas(768, (0, 768), (192, 576)))
    picture = draw_poses(clip, [0], 256, 256)[0]
    assert picture[:, 64:192].any() and not picture[:, :64].any() and not picture[:, 192:].any()


@pytest.mark.parametrize(("width", "height"), [(512, 768), (768, 512), (96, 160)])
def test_oblong_picture_is_the_middle_of_the_square(width: int, height: int) -> None:
    clip = hands_clip(open_hand(0.2, 0.6), open_hand(0.7, 0.3))
    side = max(width, height)
    top, left = (side - height) // 2, (side - width) // 2
    square = draw_poses(clip, [0], side, side)[0]
    np.testing.assert_array_equal(
        draw_poses(clip, [0], width, height)[0], square[top : top + height, left : left + width]
    )


def test_portrait_region_fills_a_picture_of_its_shape() -> None:
    hands = open_hand(0.2, 0.6), open_hand(0.7, 0.3)
    clip = hands_clip(*hands, canvas=Canvas(768, (0, 768), (128, 640)))
    assert draw_poses(clip, [0], 512, 768)[0, :, :150].any(), "the region reaches the left edge"


@pytest.mark.parametrize(("score", "red"), [(0.5, 127), (1.0, 255), (1.2, 255), (3.0, 255)])
def test_points_are_as_bright_as_their_score_and_saturate(score: float, red: int) -> None:
    clip = hands_clip(open_hand(0.5, 0.5), np.zeros((21, 2)), score)
    assert draw_poses(clip, [0], 800, 800)[0, 400, 400].tolist() == [red, 0, 0]


def test_absent_hand_leaves_nothing_and_erases_nothing() -> None:
    hand = open_hand(0.5, 0.6)
    alone = draw_poses(hands_clip(hand, np.zeros((21, 2))), [0], 256, 256)
    covered = draw_poses(hands_clip(hand, hand, 1.0, 0.0), [0], 256, 256)
    np.testing.assert_array_equal(alone, covered)


def test_absent_point_takes_its_bones_with_it() -> None:
    clip = hands_clip(open_hand(0.5, 0.6), np.zeros((21, 2)))
    scores = clip.scores.copy()
    scores[0, HAND_A] = 0
    scores[0, 92] = 1  # the wrist alone
    picture = draw_poses(clip.with_points(clip.keypoints, scores), [0], 800, 800)[0]
    assert not picture[..., 1:].any() and 40 < (picture[..., 0] > 0).sum() < 80, "one disc of radius 4"


def test_points_on_the_first_row_or_column_are_not_drawn() -> None:
    hand = open_hand(0.5, 0.6)
    hand[:, 0] = 0.0001
    assert not draw_poses(hands_clip(hand, np.zeros((21, 2))), [0], 256, 256).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, 999.0, -999.0, 1e-320])
def test_odd_coordinates_do_not_crash(value: float) -> None:
    hand = open_hand(0.5, 0.6)
    hand[3], hand[8, 0], hand[12, 1] = value, value, value
    assert draw_poses(hands_clip(hand, hand + 0.1), [0], 256, 256).any()


@pytest.mark.parametrize("score", [np.nan, np.inf, -1.0, 1e300, 999.0])
def test_odd_scores_do_not_crash(score: float) -> None:
    hand = open_hand(0.5, 0.6)
    assert draw_poses(hands_clip(hand, hand + 0.1, score, 1.0), [0], 256, 256).any()


@pytest.mark.parametrize("frame", [-1, 1, 10**12])
def test_frames_that_are_not_there(frame: int) -> None:
    with pytest.raises(PoseError, match="clip with 1 frames"):
        draw_poses(hands_clip(open_hand(0.5, 0.5), open_hand(0.5, 0.5)), [frame], 64, 64)


def test_needle_of_a_region_is_refused() -> None:
    clip = hands_clip(open_hand(0.5, 0.5), open_hand(0.5, 0.5), canvas=Canvas(768, (0, 768), (0, 1)))
    with pytest.raises(PoseError, match="too narrow"):
        draw_poses(clip, [0], 768, 768)


def test_empty_picture_is_refused() -> None:
    with pytest.raises(PoseError, match="0x64"):
        draw_poses(hands_clip(open_hand(0.5, 0.5), open_hand(0.5, 0.5)), [0], 0, 64)


def test_no_frames_give_no_pictures() -> None:
    clip = hands_clip(open_hand(0.5, 0.5), open_hand(0.5, 0.5))
    assert draw_poses(clip, [], 64, 48).shape == (0, 48, 64, 3)


def test_features_of_pose_files_are_the_encoders_for_the_originals_pictures(tmp_path: Path) -> None:
    """Files, drawing and encoder in one: each frame at its time, its picture in 0..1."""
    frames = []
    for case in OWN_FRAMES[:3]:
        with np.load(GOLDEN / "pose_draw_own" / f"{case}.npz") as frame:
            frames.append((frame["keypoints"], frame["scores"]))
    write_folder(PoseSequence(*map(np.stack, zip(*frames))), tmp_path / "clip")
    encoder = GoldenCase.read("unet_tiny").network("pose_encoder")
    with torch.no_grad():
        features = DrawnPose(encoder, load_poses(tmp_path / "clip"), 768, 768).features(range(3))
        for i, case in enumerate(OWN_FRAMES[:3]):
            golden = cv2.imread(str(GOLDEN / "pose_draw_own" / f"{case}.png"))[..., ::-1] / np.float32(255)
            expected = encoder(torch.from_numpy(golden).permute(2, 0, 1)[None, :, None])[0, :, 0]
            assert relative_error(features[:, i], expected) < 1e-5
