"""Waveforms brought into shape: mono at the encoder's rate, an excerpt, exactly as long as the frames."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..cancellation import run_cancellable
from ..errors import AudioError
from .limits import input_limit

logger = logging.getLogger("echomimic")

# Whisper's sample rate in Hz.
SAMPLE_RATE = 16000
# More than any microphone array: samples and channels have changed places.
MAX_CHANNELS = 64

# A sample at 16 kHz in float32, and the copy in float64 that the resampler makes.
RESAMPLING_BYTES = 12

# Channel names in the order of WAVE files (and of FFmpeg's default layouts), by their number.
DEFAULT_CHANNELS: dict[int, tuple[str, ...]] = {
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
# FFmpeg's name for a channel of which the file does not say where it belongs.
UNNAMED = "NONE"
# ITU-R BS.775-3, table 2: what each channel adds to left and right. The low-frequency channel is left out.
MINUS_3_DB = 0.5**0.5
STEREO_WEIGHTS = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FC": (MINUS_3_DB, MINUS_3_DB),
    "LFE": (0.0, 0.0),
    "BL": (MINUS_3_DB, 0.0),
    "BR": (0.0, MINUS_3_DB),
    "SL": (MINUS_3_DB, 0.0),
    "SR": (0.0, MINUS_3_DB),
    "FLC": (1.0, 0.0),
    "FRC": (0.0, 1.0),
    "BC": (0.5, 0.5),
}

# Floating point samples lie in -1..1. Mixes go a little beyond; a peak above this is another scale.
MAX_FLOAT_PEAK = 4.0
# Recorders that write floating point let loud sound go beyond full scale by some 40 dB; on the scale of whole numbers
# such a peak would be inaudible.
MAX_LOUD_PEAK = 128.0
# Up to this share of the samples may be damage, which is cut off or silenced; the others decide the scale.
MAX_BAD_SHARE = 1e-3
# Full scales of 16, 24 and 32 bits.
FULL_SCALES = (2.0**15, 2.0**23, 2.0**31)
# Half of the full scales of unsigned samples; sound swings around it, so that its mean is near.
UNSIGNED_MIDDLES, UNSIGNED_TOLERANCE = (128.0, 32768.0), 0.25
# A mean quieter than this share of the louder channel: the channels cancel each other.
CANCELLED = 0.25


def check_waveform(waveform: Tensor | np.ndarray, sample_rate: int) -> Tensor:
    """The waveform as float32 `[channels, samples]` on the host, in -1..1.

    Whole numbers are scaled by their type, or by their peak where the type is wider than the sound; floating point
    samples on the scale of whole numbers, or beyond full scale, are recognised by their peak, which goes to the log.
    `[samples, channels]` with more than 64 rows is transposed. Single samples that are not numbers become silence,
    single ones far beyond the others are cut off.

    Raises:
        AudioError: another shape, no samples, an impossible rate, many samples that are NaN or infinite, or no numbers.
    """
    if isinstance(waveform, np.ndarray):
        waveform = np.ascontiguousarray(waveform)  # torch takes no steps backwards
    waveform = torch.as_tensor(waveform)
    if waveform.ndim == 1:
        waveform = waveform[None]
    if waveform.ndim != 2:
        raise AudioError(f"a waveform must be [channels, samples], got {list(waveform.shape)}")
    if not 0 < sample_rate < math.inf:
        raise AudioError(f"the sample rate must be above 0, got {sample_rate}")
    if not waveform.numel():
        raise AudioError("the recording is empty: it has no samples")
    if waveform.dtype == torch.bool or waveform.is_complex():
        raise AudioError(f"a waveform must hold numbers, got {waveform.dtype}")
    if len(waveform) > MAX_CHANNELS:
        if waveform.shape[1] > MAX_CHANNELS:
            raise AudioError(f"the recording has {len(waveform)} channels: a waveform must be [channels, samples]")
        logger.warning("the recording is [samples, channels] %s and is transposed", list(waveform.shape))
        waveform = waveform.T
    waveform = waveform.detach().cpu()
    if waveform.is_floating_point():
        return scale_floats(waveform.float())
    return scale_integers(waveform)


def scale_floats(waveform: Tensor) -> Tensor:
    """Floating point samples of any scale to -1..1."""
    bad = ~waveform.isfinite()
    count = int(bad.sum())
    if count > MAX_BAD_SHARE * waveform.numel():
        raise AudioError(f"the recording holds {count} samples that are NaN or infinite: export it again")
    if count:
        logger.warning("the recording holds %d samples that are NaN or infinite: they become silence", count)
        waveform = waveform.masked_fill(bad, 0)
    highest = float(waveform.abs().max())
    middle = unsigned_middle(waveform)
    if middle:
        logger.warning("the recording lies between 0 and %.6g: it is taken as unsigned, %g is silence", highest, middle)
        return (waveform - middle) / middle
    if highest <= MAX_FLOAT_PEAK:
        return waveform
    peak = typical_peak(waveform)
    if peak <= MAX_FLOAT_PEAK:
        scale, limit = 1.0, MAX_FLOAT_PEAK
    elif peak <= MAX_LOUD_PEAK:
        scale = limit = min(highest, MAX_LOUD_PEAK)
        logger.warning("the recording goes beyond full scale, its peak is %.6g: it is made quieter by that", highest)
    else:
        scale = limit = full_scale(peak)
        logger.warning("the recording's peak is %.6g: it is taken as whole numbers up to %.0f", highest, scale)
    if highest > limit:
        beyond = int((waveform.abs() > limit).sum())
        logger.warning("%d samples of the recording reach %.3g and are cut off at %.6g", beyond, highest, limit)
    return waveform.clamp(-limit, limit) / scale


def unsigned_middle(waveform: Tensor) -> float:
    """What silence is in samples that lie above 0 throughout, as unsigned ones of 8 and 16 bits do that became other
    numbers; 0 for all others."""
    low, high = (float(extreme) for extreme in waveform.aminmax())
    if low < 0 or low == high:
        return 0.0
    mean = float(waveform.mean())
    return next((m for m in UNSIGNED_MIDDLES if high <= 2 * m and abs(mean - m) < UNSIGNED_TOLERANCE * m), 0.0)


def typical_peak(waveform: Tensor) -> float:
    """What all but a thousandth of the samples lie below; digital silence does not count."""
    sizes = np.abs(waveform.numpy().ravel())
    sizes = sizes[sizes > 0]
    place = int((1 - MAX_BAD_SHARE) * (len(sizes) - 1))
    return float(np.partition(sizes, place)[place])


def scale_integers(waveform: Tensor) -> Tensor:
    """Whole numbers to float32 in -1..1; unsigned ones have their zero in the middle."""
    bits = torch.iinfo(waveform.dtype).bits
    if waveform.dtype in (torch.uint8, torch.uint16, torch.uint32):
        middle = 2.0 ** (bits - 1)
        return ((waveform.double() - middle) / middle).float()
    middle = unsigned_middle(waveform.double())
    if middle:
        logger.warning("the recording lies above 0 throughout: it is taken as unsigned, %g is silence", middle)
        return ((waveform.double() - middle) / middle).float()
    peak = float(waveform.double().abs().max())
    scale = 2.0 ** (bits - 1)
    if bits > 16 and peak <= FULL_SCALES[0]:
        scale = full_scale(peak)
        logger.warning(
            "the recording's %d-bit samples reach only %.0f: they are taken as up to %.0f", bits, peak, scale
        )
    elif bits > 32:
        scale = full_scale(peak)
    return (waveform.double() / scale).float()


def full_scale(peak: float) -> float:
    """The smallest full scale of whole-number samples that holds this peak, at least that of 16 bits.

    Raises:
        AudioError: no sound has such a peak.
    """
    for scale in FULL_SCALES:
        if peak <= scale:
            return scale
    raise AudioError(f"the recording's samples reach {peak:.3g}, but must lie in -1..1: export it again")


def default_channels(count: int) -> tuple[str, ...]:
    """The usual names for this number of channels; empty where there is more than one convention."""
    return DEFAULT_CHANNELS.get(count, ())


def to_stereo(waveform: Tensor, channels: Sequence[str] = ()) -> Tensor:
    """Surround sound `[channels, samples]` as `[2, samples]` by the weights of ITU-R BS.775.

    Args:
        waveform: floating point.
        channels: their names as FFmpeg has them ("FL", "FC", ...); of unknown ones the mean is taken on both sides.
    """
    if len(waveform) <= 2:
        return waveform
    names = [name for name in channels if name != UNNAMED] or list(default_channels(len(waveform)))
    if len(names) != len(waveform) or not set(names) <= STEREO_WEIGHTS.keys():
        return waveform.mean(dim=0, keepdim=True).expand(2, -1)
    weights = torch.tensor([STEREO_WEIGHTS[name] for name in names], dtype=waveform.dtype)  # [channels, 2]
    return weights.T @ waveform


def to_mono(waveform: Tensor) -> Tensor:
    """`[channels, samples]` to `[samples]`: the mean, or the louder channel where channels cancel each other."""
    waveform = to_stereo(waveform)
    mono = waveform.mean(dim=0)
    if len(waveform) == 1:
        return mono
    loudest = waveform[int(waveform.square().mean(dim=1).argmax())]
    if mono.square().mean().sqrt() < CANCELLED * loudest.square().mean().sqrt():
        logger.warning("the recording's channels are opposite and would cancel each other: the louder one is used")
        return loudest
    return mono


def mono_16khz(waveform: Tensor | np.ndarray, sample_rate: int) -> Tensor:
    """Any rate and number of channels to mono `[samples]` at 16 kHz, by librosa's soxr.

    Raises:
        AudioError: see `check_waveform`.
    """
    mono = to_mono(check_waveform(waveform, sample_rate))
    if sample_rate == SAMPLE_RATE:
        return mono
    check_resampled(len(mono), sample_rate)

    def resample() -> np.ndarray:
        import librosa  # heavy

        return librosa.resample(mono.numpy(), orig_sr=sample_rate, target_sr=SAMPLE_RATE)

    resampled = run_cancellable(resample)
    return torch.from_numpy(np.ascontiguousarray(resampled, dtype=np.float32))


def check_resampled(samples: int, sample_rate: float) -> None:
    """Raises: AudioError when this many samples at this rate would not fit in memory at 16 kHz."""
    seconds = samples / sample_rate
    size, limit = RESAMPLING_BYTES * seconds * SAMPLE_RATE, input_limit()
    if size > limit:
        raise AudioError(
            f"{samples:,} samples at {sample_rate:g} Hz last {seconds / 3600:,.1f} hours, and memory has room for "
            f"{limit / RESAMPLING_BYTES / SAMPLE_RATE / 3600:.1f}: check the sample rate, or cut the recording"
        )


def cut_waveform(waveform: Tensor, sample_rate: int, start: float = 0.0, duration: float = 0.0) -> Tensor:
    """The part from `start`, `duration` seconds long (0: to the end), `[channels, samples]`.

    Raises:
        AudioError: the part lies outside the recording.
    """
    waveform = check_waveform(waveform, sample_rate)
    seconds = waveform.shape[1] / sample_rate
    if not (0 <= start < math.inf and 0 <= duration < math.inf):
        raise AudioError(f"start and duration must be 0 or more, got {start:g} s and {duration:g} s")
    if start >= seconds:
        raise AudioError(f"start is {start:g} s, but the recording lasts {seconds:.2f} s: choose an earlier start")
    begin = min(round(start * sample_rate), waveform.shape[1] - 1)  # never past the last sample by rounding
    end = waveform.shape[1] if duration == 0 else begin + max(1, round(duration * sample_rate))
    return waveform[:, begin:end]


def fit_to_frames(waveform: Tensor, sample_rate: int, frames: int, fps: float) -> Tensor:
    """Cut, or followed by silence, to exactly as long as the frames: `[channels, round(frames / fps * rate)]`."""
    waveform = check_waveform(waveform, sample_rate)
    samples = round(frames / fps * sample_rate)
    return F.pad(waveform[:, :samples], (0, max(0, samples - waveform.shape[1])))
