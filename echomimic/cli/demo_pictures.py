"""What `demo` writes beside its video: a strip of frames, and the mouth under the voice."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from ..pose import PoseSequence
from ..pose.drawing.sheet import font
from ..pose.sequence import LIPS

PICTURES = 8
# The mouth's box is the lips' points and this share of their width around them, so that the chin is in it.
MARGIN = 0.4
PAPER, INK, RULE, VOICE, MOUTH = "#ffffff", "#303030", "#e4e4e4", "#7b93b4", "#c2453d"
WIDTH, HEIGHT, LEFT, RIGHT = 1280, 420, 24, 24
VOICE_LANE, MOUTH_LANE = (40, 200), (236, 390)


def frame_strip(frames: np.ndarray) -> np.ndarray:
    """Some frames of a clip side by side, from its beginning to its end: uint8 `[H, n W, 3]`."""
    chosen = np.linspace(0, len(frames) - 1, min(PICTURES, len(frames))).round().astype(int)
    return np.concatenate(list(frames[chosen]), axis=1)


def mouth_change(frames: np.ndarray, portrait: np.ndarray, poses: PoseSequence) -> np.ndarray:
    """How far each frame's mouth is from the portrait's, whose lips are closed: `[F]`, of 255.

    Args:
        frames: uint8 `[F, H, W, 3]`.
        portrait: uint8 `[H, W, 3]`.
        poses: of these frames, with the lips' points where the portrait has its lips.
    """
    height, width = portrait.shape[:2]
    lips = poses.keypoints[:, LIPS].reshape(-1, 2)
    low, high = lips.min(axis=0), lips.max(axis=0)
    around = MARGIN * (high - low)[0]
    left, top = np.clip((low - around) * [width, height], 0, [width - 1, height - 1]).astype(int)
    right, bottom = np.ceil((high + around) * [width, height]).astype(int)
    box = (slice(top, bottom), slice(left, right))
    change = np.abs(frames[(slice(None), *box)].astype(float) - portrait[box])
    return np.asarray(change.mean(axis=(1, 2, 3)))


def mouth_plot(samples: np.ndarray, seconds: float, change: np.ndarray) -> np.ndarray:
    """The voice, and below it what `mouth_change` gives.

    Args:
        samples: mono, of the whole clip or longer.
        seconds: length of the clip.
        change: one value a frame.

    Returns:
        uint8 `[H, W, 3]`.
    """
    scale = 2  # drawn twice as large and reduced, which smooths lines
    image = Image.new("RGB", (WIDTH * scale, HEIGHT * scale), PAPER)
    draw = ImageDraw.Draw(image)
    text = font(14 * scale)

    def across(share: float) -> float:
        return (LEFT + (WIDTH - LEFT - RIGHT) * share) * scale

    for second in range(int(seconds) + 1):
        x = across(second / seconds)
        draw.line((x, VOICE_LANE[0] * scale, x, MOUTH_LANE[1] * scale), fill=RULE, width=scale)
        draw.text((x, (HEIGHT - 14) * scale), f"{second} s", fill=INK, font=text, anchor="mm")

    columns = int(across(1) - across(0))
    edges = np.linspace(0, max(len(samples), 1), columns + 1).astype(int)
    peaks = np.array([np.abs(samples[a:b]).max() if b > a else 0.0 for a, b in pairwise(edges)])
    peaks = peaks / max(float(peaks.max()), 1e-6)
    middle, half = sum(VOICE_LANE) / 2 * scale, (VOICE_LANE[1] - VOICE_LANE[0]) / 2 * scale
    for column, peak in enumerate(peaks):
        x = across(0) + column
        draw.line((x, middle - half * peak, x, middle + half * peak), fill=VOICE)

    top, bottom = (edge * scale for edge in MOUTH_LANE)
    highest = max(float(change.max()), 1e-6)
    places = [
        (across((frame + 0.5) / len(change)), bottom - (bottom - top) * value / highest)
        for frame, value in enumerate(change)
    ]
    draw.line((across(0), bottom, across(1), bottom), fill=RULE, width=scale)
    draw.line(places, fill=MOUTH, width=3 * scale, joint="curve")
    draw.text((across(0), 20 * scale), "the voice", fill=INK, font=text, anchor="lm")
    label = "the mouth: how far it is from the portrait's closed one"
    draw.text((across(0), (MOUTH_LANE[0] - 16) * scale), label, fill=MOUTH, font=text, anchor="lm")
    return np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))
