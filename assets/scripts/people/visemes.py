"""Mouth shapes from phonemes and their times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Opening, width, rounding by the phoneme's first letter in the International Phonetic Alphabet: what a speaker's lips
# show of it, by the usual classes of visemes; the numbers are chosen by eye on the drawn people.
REST = (0.0, 0.5, 0.0)
SHAPES: dict[str, tuple[float, float, float]] = {
    **dict.fromkeys("mbp", (0.0, 0.5, 0.0)),
    **dict.fromkeys("fvɱʋβ", (0.08, 0.52, 0.05)),
    **dict.fromkeys("θð", (0.18, 0.52, 0.0)),
    **dict.fromkeys("tdnlɬɫɭ", (0.22, 0.55, 0.0)),
    **dict.fromkeys("szɕʑ", (0.14, 0.64, 0.0)),
    **dict.fromkeys("ʃʒʂʐ", (0.22, 0.36, 0.60)),
    **dict.fromkeys("kɡgŋxɣqχʁhɦcɟɲʎʔ", (0.30, 0.52, 0.0)),
    **dict.fromkeys("rɹɾɻʀɽ", (0.26, 0.42, 0.30)),
    **dict.fromkeys("wʍɥ", (0.14, 0.20, 1.0)),
    **dict.fromkeys("jʝ", (0.22, 0.76, 0.0)),
    "a": (0.92, 0.55, 0.0), "ɑ": (0.90, 0.46, 0.10), "æ": (0.84, 0.68, 0.0), "ɐ": (0.74, 0.50, 0.0),
    "ʌ": (0.68, 0.50, 0.0), "ə": (0.42, 0.50, 0.05), "ɚ": (0.42, 0.44, 0.25), "ɜ": (0.48, 0.44, 0.20),
    "ɛ": (0.58, 0.66, 0.0), "e": (0.46, 0.74, 0.0), "ɪ": (0.34, 0.74, 0.0), "i": (0.26, 0.90, 0.0),
    "ɨ": (0.30, 0.66, 0.0), "ɯ": (0.30, 0.62, 0.0), "ᵻ": (0.34, 0.68, 0.0), "o": (0.52, 0.30, 0.78),
    "ɔ": (0.64, 0.36, 0.58), "ɒ": (0.74, 0.38, 0.42), "u": (0.24, 0.18, 1.0), "ʊ": (0.32, 0.28, 0.80),
    "ʉ": (0.26, 0.28, 0.86), "ɵ": (0.44, 0.34, 0.66), "y": (0.24, 0.28, 0.92),
    "ø": (0.40, 0.30, 0.76), "œ": (0.50, 0.36, 0.60), "ɤ": (0.44, 0.52, 0.0),
}  # fmt: skip
BILABIALS = frozenset("mbp")
# Seconds: of smoothing between neighbours, from closed lips to open ones, and of a pause that closes them.
SMOOTHING, RELEASE, PAUSE = 0.028, 0.075, 0.09
# Rate of the track that the frames are taken from.
TRACK_RATE = 200


@dataclass(frozen=True)
class Phoneme:
    """A phoneme of a recording.

    Attributes:
        name: in the International Phonetic Alphabet; empty for a pause.
        begin, end: in seconds.
    """

    name: str
    begin: float
    end: float


def shape_of(name: str) -> tuple[float, float, float]:
    """Opening, width, rounding of a phoneme, by its first letter that has a shape; `REST` for a pause.

    Affricates (tʃ, dʒ) look like their second letter.
    """
    letters = [letter for letter in name if letter in SHAPES]
    if not letters:
        return REST
    if len(letters) > 1 and letters[0] in "td" and letters[1] in "ʃʒʂʐɕʑ":
        return SHAPES[letters[1]]
    return SHAPES[letters[0]]


def diphthong(name: str) -> tuple[tuple[float, float, float], tuple[float, float, float]] | None:
    """First and second shape of a phoneme of two vowels; None for others."""
    vowels = [letter for letter in name if letter in SHAPES and letter not in CONSONANTS]
    return (SHAPES[vowels[0]], SHAPES[vowels[1]]) if len(vowels) > 1 else None


CONSONANTS = frozenset("mbpfvɱʋβθðtdnlɬɫɭszɕʑʃʒʂʐkɡgŋxɣqχʁhɦcɟɲʎʔrɹɾɻʀɽwʍɥjʝ")


def mouth_track(phonemes: list[Phoneme], seconds: float) -> np.ndarray:
    """Opening, width, rounding at `TRACK_RATE` values a second, `[n, 3]` in 0..1.

    Neighbours are smoothed into each other; the lips are closed in the middle of m, b, p and in pauses, whatever
    stands beside them.
    """
    count = max(1, round(seconds * TRACK_RATE))
    track = np.tile(np.array(REST), (count, 1))
    closed = np.ones(count, bool)
    for phoneme in phonemes:
        begin, end = (min(count, max(0, round(at * TRACK_RATE))) for at in (phoneme.begin, phoneme.end))
        if end <= begin or not phoneme.name:
            continue
        pair = diphthong(phoneme.name)
        if pair is None:
            track[begin:end] = shape_of(phoneme.name)
        else:
            track[begin:end] = np.linspace(pair[0], pair[1], end - begin)
        first = next((letter for letter in phoneme.name if letter in SHAPES), "")
        closed[begin:end] = first in BILABIALS
    reach = int(3 * SMOOTHING * TRACK_RATE)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (SMOOTHING * TRACK_RATE)) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(track, ((reach, reach), (0, 0)), mode="edge")
    smooth = np.stack([np.convolve(padded[:, i], kernel, mode="valid") for i in range(3)], axis=-1)
    smooth[:, 0] = np.minimum(smooth[:, 0], distance_from(long_enough(closed)) / (RELEASE * TRACK_RATE))
    return np.clip(smooth, 0, 1)


def long_enough(closed: np.ndarray) -> np.ndarray:
    """Closed stretches `[n]` without gaps between words, which are too short to close the lips for."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], closed.astype(np.int8), [0]])))
    kept = np.zeros_like(closed)
    for begin, end in zip(edges[::2], edges[1::2]):
        if end - begin >= 0.03 * TRACK_RATE:
            kept[begin:end] = True
    return kept


def distance_from(marked: np.ndarray) -> np.ndarray:
    """How many places away the nearest marked one is, `[n]`."""
    far = np.full(len(marked), np.inf)
    for order in (slice(None), slice(None, None, -1)):
        at = np.where(marked[order], np.arange(len(marked)), -np.inf)
        since = np.arange(len(marked)) - np.maximum.accumulate(at)
        far[order] = np.minimum(far[order], since)
    return far


def mouth_at_frames(track: np.ndarray, frames: int, fps: float) -> np.ndarray:
    """Values of the frames, `[frames, 3]`; rest beyond the end."""
    at = np.round(np.arange(frames) / fps * TRACK_RATE).astype(int)
    values = track[np.minimum(at, len(track) - 1)].copy()
    values[at >= len(track)] = REST
    return values
