"""What training shows of the pose, where it lets audio act, and where headshots go."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from echomimic.errors import TrainingError
from echomimic.pose import Canvas, PoseSequence, draw_poses
from echomimic.training.conditions import (
    FINE_TUNING_PHASES,
    PAPER_PHASES,
    Curriculum,
    Phase,
    StepConditions,
    draw_row,
)
from echomimic.training.pose_pictures import draw_pose_parts
from echomimic.training.regions import (
    Box,
    HeadPlacement,
    PlacedHeadshot,
    RegionWeights,
    audio_mask,
    hand_and_body_points,
    hard_box,
    loss_weights,
    region_box,
    soft_box,
)


def person(frames: int = 2) -> PoseSequence:
    """Keypoints spread over the square, each part in a place of its own; all are seen."""
    points, scores = np.zeros((frames, 134, 2)), np.ones((frames, 134))
    points[:, :24] = np.linspace([0.2, 0.45], [0.8, 0.95], 24)
    points[:, [0, 14, 15, 16, 17]] = [[0.5, 0.2], [0.46, 0.18], [0.54, 0.18], [0.42, 0.2], [0.58, 0.2]]
    points[:, 24:72] = np.linspace([0.4, 0.1], [0.6, 0.3], 48)
    points[:, 72:92] = np.linspace([0.45, 0.25], [0.55, 0.27], 20)
    points[:, 92:113] = np.linspace([0.1, 0.6], [0.25, 0.75], 21)
    points[:, 113:] = np.linspace([0.7, 0.6], [0.85, 0.75], 21)
    return PoseSequence(points, scores, canvas=Canvas(64, (0, 64), (0, 64)))


class TestCurriculum:
    def test_papers_phases_in_quarters(self) -> None:
        curriculum = Curriculum()
        assert curriculum.boundaries(1200) == [0, 300, 600, 800, 1000, 1200]
        seen = [curriculum.at(step, 1200) for step in (0, 299, 300, 600, 800, 1000, 1199)]
        assert [(c.phase, c.audio) for c in seen] == [
            ("initial", "none"),
            ("initial", "none"),
            ("iterative", "none"),
            ("no lips", "lips"),
            ("no head", "face"),
            ("hands only", "picture"),
            ("hands only", "picture"),
        ]

    def test_pose_drop_grows_linearly_from_0_to_20_percent(self) -> None:
        curriculum = Curriculum()
        drops = [curriculum.at(step, 1200).pose_drop for step in range(1200)]
        assert drops[:301] == [0.0] * 301
        assert drops[599] == pytest.approx(0.2)
        assert np.diff(drops[300:600]) == pytest.approx(0.2 / 299)
        assert set(drops[600:]) == {0.2}

    def test_parts_leave_one_after_the_other_and_hands_stay(self) -> None:
        shown = [set(phase.parts) for phase in PAPER_PHASES]
        assert shown[-3:] == [{"body", "head", "hands"}, {"body", "hands"}, {"hands"}]

    def test_every_step_of_a_short_run_has_a_phase(self) -> None:
        assert [Curriculum().at(step, 3).phase for step in range(3)]
        assert Curriculum(FINE_TUNING_PHASES).at(0, 1) == StepConditions("hands only", ("hands",), "picture", 0.0)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"parts": ("feet",)}, "shows 'feet'; the parts are body, head, lips, hands"),
            ({"audio": "ears"}, "in 'ears'; the regions are none, lips, face, picture"),
            ({"share": 0}, "share 0; it must be above 0"),
            ({"pose_drop": (0, 2)}, "pose_drop is two probabilities"),
        ],
    )
    def test_impossible_phases_are_refused(self, changes: dict, words: str) -> None:
        with pytest.raises(TrainingError, match=words):
            Phase(**{"name": "x", "share": 1.0, **changes})

    def test_a_step_outside_the_run_is_refused(self) -> None:
        with pytest.raises(TrainingError, match="step 10 lies outside a training run of 10 steps"):
            Curriculum().at(10, 10)


class TestDrawnRows:
    def test_shares_of_null_and_poseless_rows(self) -> None:
        generator = torch.Generator().manual_seed(0)
        conditions = StepConditions("x", ("hands",), "picture", 0.2)
        rows = [draw_row(conditions, 0.1, generator) for _ in range(4000)]
        assert np.mean([not row.conditioned for row in rows]) == pytest.approx(0.1, abs=0.02)
        assert np.mean([not row.posed for row in rows if row.conditioned]) == pytest.approx(0.2, abs=0.02)
        assert not any(row.posed for row in rows if not row.conditioned)

    def test_what_follows_in_the_generator_does_not_depend_on_the_conditions(self) -> None:
        after = []
        for drop, null in ((0.0, 0.0), (1.0, 1.0)):
            generator = torch.Generator().manual_seed(1)
            draw_row(StepConditions("x", (), "none", drop), null, generator)
            after.append(torch.rand(3, generator=generator))
        assert torch.equal(*after)


class TestMasks:
    def test_a_soft_box_is_the_box_blurred_by_a_gaussian(self) -> None:
        mask = soft_box(Box(0.25, 0.25, 0.75, 0.75), 64, 64, softness=0.1)
        sigma, x = 0.1 * 0.5, (32 + 0.5) / 64
        across = [
            0.5 * (math.erf((p - 0.25) / (sigma * 2**0.5)) - math.erf((p - 0.75) / (sigma * 2**0.5)))
            for p in (x, 16.5 / 64)
        ]
        assert mask[32, 32] == pytest.approx(across[0] ** 2, abs=1e-6)
        assert mask[16, 32] == pytest.approx(across[0] * across[1], abs=1e-6)

    def test_far_outside_a_soft_box_is_exactly_zero(self) -> None:
        mask = soft_box(Box(0.4, 0.4, 0.6, 0.6), 32, 32)
        assert mask[16, 16] > 0.99
        assert torch.count_nonzero(mask[:8]) == torch.count_nonzero(mask[:, 24:]) == 0

    def test_regions_grow_from_nothing_over_lips_and_face_to_the_picture(self) -> None:
        masks = [audio_mask(person(), region, 16, 16) for region in ("none", "lips", "face", "picture")]
        assert masks[0].max() == 0
        assert masks[3].min() == 1
        sizes = [float(mask.sum()) for mask in masks]
        assert sizes == sorted(set(sizes))
        assert (masks[2] >= masks[1] - 0.01).all()

    def test_lips_box_is_twice_the_points_bounding_box(self) -> None:
        box = region_box(person(), "lips", 64, 64)
        assert box is not None
        assert (box.left, box.right) == pytest.approx((0.40, 0.60))
        assert (box.top, box.bottom) == pytest.approx((0.24, 0.28))

    def test_a_moving_mouth_is_covered_wherever_it_goes(self) -> None:
        clip = person()
        clip.keypoints[1, 72:92, 0] += 0.2
        box = region_box(clip, "lips", 64, 64)
        assert box is not None
        assert (box.left, box.right) == pytest.approx((0.30, 0.90))

    def test_without_lips_audio_acts_nowhere(self) -> None:
        clip = person()
        clip.scores[:, 72:92] = 0
        assert audio_mask(clip, "lips", 16, 16).max() == 0

    def test_a_hard_box_is_zeros_and_ones(self) -> None:
        assert hard_box(Box(0.25, 0.5, 0.75, 1.0), 4, 4).tolist() == [[0] * 4, [0] * 4, [0, 1, 1, 0], [0, 1, 1, 0]]

    def test_points_of_the_pose_loss_are_in_pixels_and_weighted_by_score(self) -> None:
        clip = person()
        clip.scores[0, 1], clip.scores[0, 92] = 0.1, 1.2
        points, weights = hand_and_body_points(clip, 128, 128)
        assert points.shape == (2, 50, 2)
        assert points[0, 8].tolist() == pytest.approx([0.1 * 128, 0.6 * 128])
        assert (weights[0, 0], weights[0, 8], weights[1, 0]) == (0, 1, 1)


class TestHeadshots:
    def test_the_face_comes_where_half_body_pictures_have_it(self) -> None:
        frame = np.zeros((100, 120, 3), np.uint8)
        frame[30:70, 40:80] = 255  # the face
        face = Box(40 / 120, 0.3, 80 / 120, 0.7)
        placed = PlacedHeadshot.of(120, 100, face, 200, HeadPlacement((0.5, 0.3), 0.2))
        rows, columns = np.nonzero(placed.picture(frame)[..., 0] > 127)
        assert np.ptp(rows) + 1 == pytest.approx(0.2 * 200, abs=2)
        assert (rows.mean() / 200, columns.mean() / 200) == (pytest.approx(0.3, abs=0.01), pytest.approx(0.5, abs=0.01))
        box = placed.box
        assert (box.left, box.top, box.right, box.bottom) == pytest.approx((0.2, 0.05, 0.8, 0.55))

    def test_padding_is_black(self) -> None:
        placed = PlacedHeadshot.of(50, 50, Box(0.3, 0.3, 0.7, 0.7), 100)
        picture = placed.picture(np.full((50, 50, 3), 255, np.uint8))
        inside = hard_box(placed.box, 100, 100).numpy().astype(bool)
        assert not picture[~np.pad(inside, 2)[:-4, :-4] & ~inside & ~np.roll(inside, 2, (0, 1))].all()
        assert picture[99, 99].tolist() == [0, 0, 0]

    def test_an_impossible_placement_is_refused(self) -> None:
        with pytest.raises(TrainingError, match="share of the picture from 0 to 1"):
            HeadPlacement(face_height=1.5)


class TestPosePictures:
    def test_hands_alone_are_the_picture_of_inference(self) -> None:
        clip = person()
        assert np.array_equal(draw_pose_parts(clip, [1, 0], 96, 64, ("hands",)), draw_poses(clip, [1, 0], 96, 64))

    @pytest.mark.parametrize(
        ("part", "place"), [("body", (0.62, 0.5)), ("head", (0.18, 0.46)), ("lips", (0.26, 0.5)), ("hands", (0.6, 0.1))]
    )
    def test_each_part_shows_where_it_is_and_only_when_it_is_named(self, part: str, place: tuple[float, float]) -> None:
        clip = person()
        with_it = draw_pose_parts(clip, [0], 256, 256, (part,))[0]
        without = draw_pose_parts(clip, [0], 256, 256, [p for p in ("body", "head", "lips", "hands") if p != part])[0]
        drawn = np.zeros(with_it.shape[:2], bool)
        y, x = (round(p * 256) for p in place)
        drawn[max(0, y - 24) : y + 24, max(0, x - 24) : x + 24] = True
        assert with_it[drawn].any()
        everything = draw_pose_parts(clip, [0], 256, 256, ("body", "head", "lips", "hands"))[0]
        assert not np.array_equal(everything, without)

    def test_absent_points_are_not_drawn(self) -> None:
        clip = PoseSequence(person().keypoints, np.zeros((2, 134)))
        assert not draw_pose_parts(clip, [0], 64, 64, ("body", "head", "lips")).any()


class TestLossWeights:
    def test_published_weights_are_one_everywhere(self) -> None:
        assert torch.equal(loss_weights(person(), RegionWeights(), 16, 16), torch.ones(2, 16, 16))

    def test_each_region_counts_as_much_as_it_should(self) -> None:
        counts = loss_weights(person(), RegionWeights(lips=4, face=2, hands=3), 64, 64)[0]
        at = {"lips": (0.26, 0.5), "face": (0.15, 0.5), "hands": (0.68, 0.18), "other hand": (0.68, 0.78)}
        found = {name: float(counts[int(y * 64), int(x * 64)]) for name, (y, x) in at.items()}
        assert found == pytest.approx({"lips": 4, "face": 2, "hands": 3, "other hand": 3}, abs=0.05)
        assert float(counts[60, 2]) == 1

    def test_a_region_follows_its_points(self) -> None:
        poses = person()
        moved = poses.keypoints.copy()
        moved[1, 92:113] += [0.3, -0.3]
        counts = loss_weights(poses.with_points(moved), RegionWeights(hands=3), 32, 32)
        assert counts[0, 22, 5] > 2.5 and counts[1, 22, 5] < 1.2

    def test_hands_that_are_not_seen_count_nothing(self) -> None:
        poses = person(1)
        scores = poses.scores.copy()
        scores[:, 92:] = 0
        hidden = PoseSequence(poses.keypoints, scores, canvas=poses.canvas)
        assert torch.equal(loss_weights(hidden, RegionWeights(hands=3), 16, 16), torch.ones(1, 16, 16))

    def test_a_weight_of_zero_is_refused(self) -> None:
        with pytest.raises(TrainingError, match="hands"):
            RegionWeights(hands=0)
