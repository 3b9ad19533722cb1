"""Loudness of a recording as broadcasters measure it, and its level in each frame of a video."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..cancellation import check_cancelled, run_cancellable
from ..media.waveform import check_waveform

# EBU R 128's programme loudness.
TARGET_LUFS = -23.0
BLOCK_SECONDS = 0.4
STEP_SECONDS = 0.1
SILENCE_LUFS = -70.0


def k_weighting(sample_rate: int) -> np.ndarray:
    """The two biquads of ITU-R BS.1770-4 as second-order sections `[2, 6]`, for any sample rate.

    The standard tabulates them for 48 kHz; these are the analogue prototypes behind that table (a shelf for the head,
    a high-pass), brought to other rates by the bilinear transform.
    """
    shelf, gain, quality = (
        math.tan(math.pi * 1681.974450955533 / sample_rate),
        10 ** (3.999843853973347 / 20),
        0.7071752369554196,
    )
    band = gain**0.4996667741545416
    scale = 1 + shelf / quality + shelf**2
    high_shelf = [
        (gain + band * shelf / quality + shelf**2) / scale,
        2 * (shelf**2 - gain) / scale,
        (gain - band * shelf / quality + shelf**2) / scale,
        1.0,
        2 * (shelf**2 - 1) / scale,
        (1 - shelf / quality + shelf**2) / scale,
    ]
    cut, quality = math.tan(math.pi * 38.13547087602444 / sample_rate), 0.5003270373238773
    scale = 1 + cut / quality + cut**2
    high_pass = [1.0, -2.0, 1.0, 1.0, 2 * (cut**2 - 1) / scale, (1 - cut / quality + cut**2) / scale]
    return np.array([high_shelf, high_pass])


def loudness(waveform: Tensor, sample_rate: int) -> float:
    """Gated loudness in LUFS (ITU-R BS.1770-4) of `[channels, samples]`; minus infinity for silence.

    Raises:
        AudioError: see `check_waveform`.
    """
    from scipy.signal import sosfilt  # heavy

    samples = check_waveform(waveform, sample_rate).numpy()
    weighted = run_cancellable(lambda: sosfilt(k_weighting(sample_rate), samples.astype(np.float64), axis=1))
    block, step = round(BLOCK_SECONDS * sample_rate), round(STEP_SECONDS * sample_rate)
    starts = range(0, max(1, weighted.shape[1] - block + 1), step)
    power = np.zeros(len(starts))
    for number, start in enumerate(starts):
        check_cancelled()
        power[number] = np.square(weighted[:, start : start + block]).mean(axis=1).sum()

    def lufs(value: float) -> float:
        return -0.691 + 10 * math.log10(value) if value > 0 else -math.inf

    audible = power[[lufs(p) > SILENCE_LUFS for p in power]]
    if not audible.size:
        return -math.inf
    threshold = lufs(float(audible.mean())) - 10
    return lufs(float(audible[[lufs(p) > threshold for p in audible]].mean()))


def frame_levels(waveform: Tensor, sample_rate: int, fps: float, frames: int) -> np.ndarray:
    """How loud each frame of a video is: root mean square of its part of the sound, `[frames]`.

    Args:
        waveform: `[channels, samples]`, mixed to one channel.
        sample_rate: in Hz.
        fps: frames a second.
        frames: how many, from the start of the sound on; what lies beyond its end is 0.

    Raises:
        AudioError: see `check_waveform`.
    """
    mono = check_waveform(waveform, sample_rate).double().mean(dim=0).numpy()
    edges = np.round(np.arange(frames + 1) / fps * sample_rate).astype(int)
    power = np.concatenate([[0.0], np.square(mono).cumsum()])
    begin, end = (power[np.minimum(side, len(mono))] for side in (edges[:-1], edges[1:]))
    return np.sqrt((end - begin) / np.maximum(np.diff(edges), 1))


def normalise_loudness(waveform: Tensor, sample_rate: int, target: float = TARGET_LUFS) -> Tensor:
    """The waveform `[channels, samples]` at the target loudness in LUFS, its peaks kept within -1..1.

    Silence stays as it is.
    """
    waveform = check_waveform(waveform, sample_rate)
    measured = loudness(waveform, sample_rate)
    if math.isinf(measured):
        return waveform
    gain = min(10 ** ((target - measured) / 20), 1 / float(waveform.abs().max()))
    return waveform * torch.tensor(gain, dtype=waveform.dtype)
