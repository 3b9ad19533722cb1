"""Waveforms brought into shape: mono at the encoder's rate, an excerpt, exactly as long as the frames."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import AudioError

# What Whisper hears.
SAMPLE_RATE = 16000
# More than any microphone array: samples and channels have changed places.
MOST_CHANNELS = 64


def check_waveform(waveform: Tensor | np.ndarray, sample_rate: int) -> Tensor:
    """The waveform as float32 `[channels, samples]` on the host; whole numbers are brought to -1..1.

    Raises:
        AudioError: another shape, no samples, no rate, NaN or infinite samples.
    """
    waveform = torch.as_tensor(waveform)
    if waveform.ndim == 1:
        waveform = waveform[None]
    if waveform.ndim != 2:
        raise AudioError(f"a waveform must be [channels, samples], got {list(waveform.shape)}")
    if not 0 < sample_rate < math.inf:
        raise AudioError(f"the sample rate must be above 0, got {sample_rate}")
    if not waveform.numel():
        raise AudioError("the recording is empty: it has no samples")
    if len(waveform) > MOST_CHANNELS:
        raise AudioError(
            f"the recording has {len(waveform)} channels of {waveform.shape[1]} samples: it is turned on its side, "
            "a waveform must be [channels, samples]"
        )
    if waveform.dtype in (torch.int16, torch.int32):
        waveform = waveform / -torch.iinfo(waveform.dtype).min
    waveform = waveform.detach().to("cpu", torch.float32)
    bad = int((~waveform.isfinite()).sum())
    if bad:
        raise AudioError(f"the recording holds {bad} samples that are NaN or infinite: export it again")
    return waveform


def mono_16khz(waveform: Tensor | np.ndarray, sample_rate: int) -> Tensor:
    """Any rate and number of channels to mono `[samples]` at 16 kHz, by librosa's soxr.

    Raises:
        AudioError: see `check_waveform`.
    """
    mono = check_waveform(waveform, sample_rate).mean(dim=0)
    if sample_rate == SAMPLE_RATE:
        return mono
    import librosa

    resampled = librosa.resample(mono.numpy(), orig_sr=sample_rate, target_sr=SAMPLE_RATE)
    return torch.from_numpy(np.ascontiguousarray(resampled, dtype=np.float32))


def cut_waveform(waveform: Tensor, sample_rate: int, start: float = 0.0, duration: float = 0.0) -> Tensor:
    """The part from `start`, `duration` seconds long (0: to the end), `[channels, samples]`.

    Raises:
        AudioError: the part lies outside the recording.
    """
    waveform = check_waveform(waveform, sample_rate)
    seconds = waveform.shape[1] / sample_rate
    if start < 0 or duration < 0:
        raise AudioError(f"start and duration must not be negative, got {start:g} s and {duration:g} s")
    if start >= seconds:
        raise AudioError(f"start is {start:g} s, but the recording lasts {seconds:.2f} s: choose an earlier start")
    begin = round(start * sample_rate)
    end = waveform.shape[1] if duration == 0 else begin + max(1, round(duration * sample_rate))
    return waveform[:, begin:end]


def fit_to_frames(waveform: Tensor, sample_rate: int, frames: int, fps: float) -> Tensor:
    """Cut, or followed by silence, to exactly as long as the frames: `[channels, round(frames / fps * rate)]`."""
    waveform = check_waveform(waveform, sample_rate)
    samples = round(frames / fps * sample_rate)
    return F.pad(waveform[:, :samples], (0, max(0, samples - waveform.shape[1])))
