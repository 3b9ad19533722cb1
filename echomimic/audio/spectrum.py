"""Whisper's log-mel spectrogram of a whole clip."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..cancellation import check_cancelled
from ..errors import AudioError
from ..media.waveform import SAMPLE_RATE

WINDOW = 400
HOP = 160
MELS = 80
# Columns that Whisper encodes at a time: 30 seconds.
SEGMENT = 3000


def log_mel(samples: Tensor) -> Tensor:
    """Log-mel columns of mono samples `[n]` at 16 kHz: `[80, floor(n / 160)]`.

    Periodic Hann window of 400, centred with reflection, Slaney mels, the last column dropped, log10, clamped to 8
    below the clip's maximum (Whisper's `log_mel_spectrogram`, arXiv 2212.04356). The spectrum is made a segment at a
    time, so that an hour needs no more than its mels.

    Raises:
        AudioError: fewer samples than reflection needs, or values that no sound has.
    """
    if len(samples) <= WINDOW // 2:
        raise AudioError(f"the recording lasts {len(samples) / SAMPLE_RATE * 1000:.0f} ms, too short to encode")
    filters = mel_filters()
    padded = F.pad(samples[None], (WINDOW // 2, WINDOW // 2), mode="reflect")[0]
    columns = len(samples) // HOP
    window = torch.hann_window(WINDOW)
    parts = []
    for begin in range(0, columns, SEGMENT):
        check_cancelled()
        end = min(begin + SEGMENT, columns)
        part = padded[begin * HOP : (end - 1) * HOP + WINDOW]
        spectrum = torch.stft(part, WINDOW, HOP, window=window, center=False, return_complex=True)
        parts.append((filters @ spectrum.abs().square()).clamp(min=1e-10).log10())
    mels = torch.cat(parts, dim=1) if parts else torch.zeros(MELS, 0)
    if not mels.isfinite().all():
        raise AudioError(f"the recording's samples reach {float(samples.abs().max()):.3g}, but must lie in -1..1")
    if columns:
        mels = mels.maximum(mels.max() - 8.0)
    return (mels + 4.0) / 4.0


@cache
def mel_filters() -> Tensor:
    """Slaney's mel filters, `[80, 201]`; the first call imports librosa, which takes seconds."""
    from librosa.filters import mel  # heavy

    return torch.from_numpy(mel(sr=SAMPLE_RATE, n_fft=WINDOW, n_mels=MELS))


def segments(mels: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Segments `[1, 80, 3000]`, the last one padded with zeros, each with its number of real columns.

    Zeros, not log-silence: the published model was trained so (golden cases audio_*).
    """
    for begin in range(0, mels.shape[1], SEGMENT):
        part = mels[:, begin : begin + SEGMENT]
        yield F.pad(part, (0, SEGMENT - part.shape[1]))[None], part.shape[1]
