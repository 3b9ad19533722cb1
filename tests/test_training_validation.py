"""What a validation render is measured by."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from echomimic.pose import PoseSequence
from echomimic.pose.sequence import LIPS, POINTS
from echomimic.training.validation import measure, mouth_follows_voice

FPS, FRAMES, SIZE, RATE = 24.0, 48, 64, 16000


@pytest.fixture
def clip() -> Any:
    """Lips in the middle of the picture; nothing else is seen."""
    points, scores = np.zeros((FRAMES, POINTS, 2)), np.zeros((FRAMES, POINTS))
    count = len(points[0, LIPS])
    points[:, LIPS] = 0.5 + 0.1 * np.stack([np.cos(np.arange(count)), np.sin(np.arange(count))], axis=-1)
    scores[:, LIPS] = 1
    return SimpleNamespace(poses=PoseSequence(points, scores, FPS), record=SimpleNamespace(fps=FPS, headshot=False))


def speech(levels: np.ndarray) -> tuple[torch.Tensor, int]:
    """A hum that is as loud in each frame as the levels say."""
    samples = np.arange(round(len(levels) / FPS * RATE))
    frame = np.minimum((samples / RATE * FPS).astype(int), len(levels) - 1)
    return torch.from_numpy(levels[frame] * np.sin(samples)).float()[None], RATE


def moving_mouth(amounts: np.ndarray) -> np.ndarray:
    """Frames whose middle changes by so much from one to the next, and whose rim flickers at random."""
    frames = np.random.default_rng(1).integers(0, 255, (FRAMES, SIZE, SIZE, 3), np.uint8)
    grey = 100 + 100 * amounts * np.where(np.arange(FRAMES) % 2, 0.5, -0.5)
    frames[:, 8:56, 8:56] = grey.astype(np.uint8)[:, None, None, None]
    return frames


def test_a_mouth_that_moves_with_the_voice_correlates(clip):
    levels = 0.5 + 0.5 * np.sin(np.arange(FRAMES) / 4)
    assert mouth_follows_voice(moving_mouth(levels), clip, speech(levels)) > 0.95
    assert mouth_follows_voice(moving_mouth(1 - levels), clip, speech(levels)) < -0.95


def test_nothing_is_measured_of_a_still_mouth_or_a_silent_voice(clip):
    levels = 0.5 + 0.5 * np.sin(np.arange(FRAMES) / 4)
    assert mouth_follows_voice(moving_mouth(np.zeros(FRAMES)), clip, speech(levels)) is None
    assert mouth_follows_voice(moving_mouth(levels), clip, speech(np.zeros(FRAMES))) is None


@pytest.mark.parametrize("away", [-1.0, 1.0])
def test_nothing_is_measured_of_a_mouth_outside_the_picture(clip, away: float):
    levels = 0.5 + 0.5 * np.sin(np.arange(FRAMES) / 4)
    clip.poses = clip.poses.with_points(clip.poses.keypoints + np.array([away, 0]))
    assert mouth_follows_voice(moving_mouth(levels), clip, speech(levels)) is None


def test_a_headshots_padding_does_not_count(clip):
    """Training leaves it out, so a render may show anything there."""
    pytest.importorskip("torchmetrics", reason="SSIM is torchmetrics'")
    truth = np.random.default_rng(2).integers(0, 255, (FRAMES, SIZE, SIZE, 3), np.uint8)
    truth[:, 48:], truth[:, :, :16] = 0, 0
    made = np.full_like(truth, 255)
    made[:, :48, 16:] = truth[:, :48, 16:]
    assert measure(truth, made, clip, None)["psnr"] < 15
    clip.record.headshot, clip.record.head_box = True, (0.25, 0.0, 1.0, 0.75)
    found = measure(truth, made, clip, None)
    assert found["psnr"] > 90 and found["ssim"] == pytest.approx(1, abs=1e-6)
