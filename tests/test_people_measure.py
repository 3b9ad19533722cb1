"""What the demo model is measured with knows the truth when it sees it, and what is wrong when something is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from assets.scripts.people.canvas import Region
from assets.scripts.people.clips import DrawnClip, draw_clip, gestures, sample_clip
from assets.scripts.people.looks import HELD_OUT_SEEDS, person
from assets.scripts.people.measure import correlation, flicker, hand_distances, mouth_openings, nearest_person

SIZE, FRAMES = 128, 8


@pytest.fixture(scope="module")
def truth() -> DrawnClip:
    return sample_clip(np.random.default_rng(5), SIZE, FRAMES, seeds=HELD_OUT_SEEDS)


class TestMouth:
    def test_openings_are_read_from_the_pictures(self, truth: DrawnClip) -> None:
        found = mouth_openings(truth.frames, truth)
        assert correlation(found, truth.mouth[:, 0]) > 0.95

    @pytest.mark.parametrize("sigma", [1.0, 2.0])
    def test_and_from_soft_pictures(self, truth: DrawnClip, sigma: float) -> None:
        soft = np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in truth.frames])
        assert correlation(mouth_openings(soft, truth), truth.mouth[:, 0]) > 0.95

    def test_a_mouth_that_stays_shut_is_seen(self, truth: DrawnClip) -> None:
        shut = draw_clip(truth.who, truth.gesture, np.tile([0.0, 0.5, 0.0], (FRAMES, 1)), SIZE)
        assert mouth_openings(shut.frames, truth).max() < 0.1
        soft = np.stack([cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in shut.frames])
        assert mouth_openings(soft, truth).max() < 0.1

    def test_standing_still_correlates_with_nothing(self) -> None:
        assert correlation(np.ones(5), np.arange(5.0)) == 0


class TestHands:
    def test_hands_in_their_place(self, truth: DrawnClip) -> None:
        assert hand_distances(truth.frames, truth).max() == 0

    def test_a_picture_that_is_shifted(self, truth: DrawnClip) -> None:
        moved = np.roll(truth.frames, (3, 4), axis=(1, 2))
        seen = sum(int((truth.regions[f] == hand).sum() >= 12) for f in range(FRAMES) for hand in list(Region)[5:])
        found = hand_distances(moved, truth)
        assert len(found) == seen
        assert np.median(found) == pytest.approx(5 / SIZE, abs=1.5 / SIZE)


class TestFlicker:
    def test_the_truth_has_none(self, truth: DrawnClip) -> None:
        assert np.nanmax(flicker(truth.frames, truth)) == 0

    def test_frames_of_different_brightness(self, truth: DrawnClip) -> None:
        brighter = truth.frames.astype(int) + np.where(np.arange(FRAMES) % 2, 2, 0)[:, None, None, None]
        assert np.nanmean(flicker(brighter.clip(0, 255).astype(np.uint8), truth)) == pytest.approx(2, abs=0.2)


def test_the_right_person_is_nearest() -> None:
    pose, mouth = gestures()[0].take([0]), np.array([[0.0, 0.5, 0.0]])
    pictures = [draw_clip(person(HELD_OUT_SEEDS[n]), pose, mouth, SIZE).frames[0] for n in range(6)]
    noisy = np.clip(pictures[4].astype(int) + np.random.default_rng(0).normal(0, 20, pictures[4].shape), 0, 255)
    assert nearest_person(noisy.astype(np.uint8)[None], pictures) == 4
