"""Prosody of a voice, which gestures follow: speech and pauses, loudness, and stressed syllables.

Gestures and speech meet at stressed syllables, and speakers gesture larger when louder (McNeill, 1992; Krahmer and
Swerts, 2007). Stresses are found as onsets of sound, weighted by how loud and how high the syllable after them is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ...media.waveform import SAMPLE_RATE, mono_16khz

HOP = 256  # samples at 16 kHz: 16 ms
RATE = SAMPLE_RATE / HOP
# Below this many decibels under the loud parts a voice is silent; below the floor there is no voice at all.
_SILENCE_BELOW_LOUD, _FLOOR = 32.0, -60.0
_SHORTEST_PAUSE, _SHORTEST_SOUND = 0.25, 0.08
# The syllable that an onset begins.
_SYLLABLE = 0.18


@dataclass(frozen=True)
class Prosody:
    """The course of a voice. Tracks have 62.5 values a second.

    Attributes:
        seconds: length of the recording.
        loudness: `[T]`, 0 (silent) to 1 (as loud as the voice gets).
        pitch: `[T]`, semitones above the speaker's median, 0 where there is none.
        speaking: `[T]` bool; pauses of more than a quarter of a second are False.
        onsets: `[n]` seconds, where syllables begin, ascending.
        stress: `[n]`, how much the syllable stands out, 0..1.
    """

    seconds: float
    loudness: np.ndarray
    pitch: np.ndarray
    speaking: np.ndarray
    onsets: np.ndarray
    stress: np.ndarray

    @property
    def phrases(self) -> list[tuple[float, float]]:
        """Begin and end in seconds of each stretch of speech without a pause."""
        return [(begin / RATE, end / RATE) for begin, end in runs(self.speaking)]


def analyse_voice(waveform: Tensor | np.ndarray, sample_rate: int) -> Prosody:
    """Prosody of a recording.

    Args:
        waveform: `[samples]` or `[channels, samples]`, any rate.
        sample_rate: in Hz.

    Raises:
        AudioError: no samples, or samples that are not numbers.
    """
    from librosa.onset import onset_detect, onset_strength  # heavy

    voice = mono_16khz(waveform, sample_rate).numpy()
    seconds = len(voice) / SAMPLE_RATE
    if len(voice) < 2048:
        voice = np.pad(voice, (0, 2048 - len(voice)))
    count = 1 + len(voice) // HOP
    decibels = _decibels(voice, count)
    loud = np.percentile(decibels, 95)
    quiet = max(loud - _SILENCE_BELOW_LOUD, _FLOOR)
    loudness = np.clip((decibels - quiet) / max(loud - quiet, 1.0), 0, 1)
    speaking = _closed(decibels > quiet)

    pitch = np.zeros(count)
    stress = onsets = np.zeros(0)
    if speaking.any():
        strength = onset_strength(y=voice, sr=SAMPLE_RATE, hop_length=HOP, n_fft=1024, n_mels=48)
        strength = _fit(strength, count)
        pitch = _pitch(voice, loudness > 0.3, count)
        peaks = onset_detect(onset_envelope=strength, sr=SAMPLE_RATE, hop_length=HOP)
        peaks = peaks[speaking[peaks]]
        onsets, stress = peaks / RATE, _stress(peaks, strength, loudness, pitch)
    return Prosody(seconds, loudness, pitch, speaking, onsets, stress)


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Begin and end (exclusive) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(begin), int(end)) for begin, end in zip(edges[::2], edges[1::2])]


def _decibels(voice: np.ndarray, count: int) -> np.ndarray:
    """Level of each 32 ms around a hop, in decibels of full scale."""
    total = np.concatenate([[0], np.cumsum(np.square(voice, dtype=np.float64))])
    centre = np.arange(count) * HOP
    low, high = np.clip(centre - HOP, 0, len(voice)), np.clip(centre + HOP, 0, len(voice))
    power = (total[high] - total[low]) / np.maximum(high - low, 1)
    return 10 * np.log10(np.maximum(power, 1e-12))


def _closed(sounding: np.ndarray) -> np.ndarray:
    """Clicks removed and the short silences inside words and between them filled."""
    result = sounding.copy()
    for begin, end in runs(sounding):
        if end - begin < _SHORTEST_SOUND * RATE:
            result[begin:end] = False
    for begin, end in runs(~result):
        if begin and end < len(result) and end - begin < _SHORTEST_PAUSE * RATE:
            result[begin:end] = True
    return result


def _pitch(voice: np.ndarray, voiced: np.ndarray, count: int) -> np.ndarray:
    """Semitones above the median, 0 where unvoiced. At 8 kHz and 50 estimates a second, which is plenty for a trend."""
    import librosa  # heavy

    hop = HOP // 2
    f0 = librosa.yin(voice[::2], fmin=65, fmax=420, sr=SAMPLE_RATE // 2, frame_length=512, hop_length=hop)
    f0 = _fit(f0, count)
    # An estimate at the edge of the range is a failure to find one.
    voiced = voiced & (f0 > 70) & (f0 < 400)
    if not voiced.any():
        return np.zeros(count)
    semitones = 12 * np.log2(np.maximum(f0, 1) / np.median(f0[voiced]))
    return np.where(voiced, np.clip(semitones, -12, 12), 0)


def _stress(peaks: np.ndarray, strength: np.ndarray, loudness: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """0..1 for each onset: the mean of its sharpness, loudness and height among the others of this voice."""
    if not len(peaks):
        return np.zeros(0)
    syllable = peaks[:, None] + np.arange(round(_SYLLABLE * RATE))
    syllable = np.minimum(syllable, len(strength) - 1)
    cues = (strength[peaks], loudness[syllable].max(axis=1), pitch[syllable].max(axis=1))
    ranks = [cue.argsort(kind="stable").argsort() / max(len(peaks) - 1, 1) for cue in cues]
    return np.average(ranks, axis=0, weights=[1, 1.2, 0.8])


def _fit(track: np.ndarray, count: int) -> np.ndarray:
    """The track with exactly `count` values, its last repeated where it is short."""
    return np.pad(track, (0, max(count - len(track), 0)), mode="edge")[:count]
