"""Synthetic speech with the mouth shapes that belong to it, by the free synthesiser espeak-ng.

Needed when data are made (`apt install espeak-ng`), never when the demo runs. The synthesiser reports each phoneme
with its time, so the mouth shapes are the speech's own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import fftconvolve, resample_poly

from echomimic.media.waveform import SAMPLE_RATE

from .visemes import PAUSE, Phoneme, mouth_track

PROCESS = Path(__file__).with_name("espeak.py")

# Languages that are written in Latin letters, so that made-up words can be read in each; the last ones are kept out
# of training.
TRAINING_LANGUAGES = (
    "en-us", "en", "en-gb-scotland", "de", "fr", "es", "es-419", "it", "pt", "pt-br", "nl", "sv", "da", "nb",
    "fi", "et", "pl", "cs", "sk", "sl", "hr", "hu", "ro", "tr", "id", "ms", "sw", "eu", "ca", "lv",
)  # fmt: skip
HELD_OUT_LANGUAGES = ("en-gb-x-rp", "af", "lt", "cy", "sq")
TRAINING_VARIANTS = ("m1", "m2", "m3", "m4", "m6", "f1", "f2", "f3", "klatt", "klatt2", "croak", "Andy", "Annie")
HELD_OUT_VARIANTS = ("m5", "f4", "m7", "f5", "klatt3")

ONSETS = (
    "b",
    "p",
    "m",
    "f",
    "v",
    "t",
    "d",
    "n",
    "l",
    "s",
    "z",
    "k",
    "g",
    "r",
    "h",
    "w",
    "j",
    "st",
    "pr",
    "bl",
    "sk",
    "",
)
VOWELS = ("a", "e", "i", "o", "u", "a", "e", "o", "ai", "ou", "ia", "ue")
CODAS = ("", "", "", "n", "m", "s", "t", "r", "l", "p", "k")


@dataclass(frozen=True)
class Voice:
    """How something is spoken: espeak-ng's language and variant, words a minute, pitch and its range in 0..99."""

    language: str = "en-us"
    variant: str = ""
    speed: int = 165
    pitch: int = 50
    pitch_range: int = 50


@dataclass(frozen=True)
class Speech:
    """A recording.

    Attributes:
        samples: mono float32 at 16 kHz.
        phonemes: with their times.
        track: mouth values, see `visemes.mouth_track`.
    """

    samples: np.ndarray
    phonemes: list[Phoneme]
    track: np.ndarray

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


def speak(text: str, voice: Voice) -> Speech:
    """Say a text; the same text and voice always sound the same.

    Raises:
        RuntimeError: espeak-ng is missing, or does not know the voice.
    """
    name = voice.language + (f"+{voice.variant}" if voice.variant else "")
    request = {
        "voice": name, "speed": voice.speed, "pitch": voice.pitch, "range": voice.pitch_range, "text": text,
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-I", "-S", str(PROCESS)], input=json.dumps(request).encode(),
                          capture_output=True, check=True)  # fmt: skip
    line, _, content = done.stdout.partition(b"\n")
    header = json.loads(line)
    if "error" in header:
        raise RuntimeError(header["error"])
    rate = header["rate"]
    samples = np.frombuffer(content, "<i2").astype(np.float32) / 32768 if content else np.zeros(rate // 10, np.float32)
    samples = resample_poly(samples, SAMPLE_RATE // 50, rate // 50).astype(np.float32)
    starts = [(at / rate, name) for at, name in header["phonemes"]]
    phonemes = timed(starts, len(samples) / SAMPLE_RATE, samples)
    return Speech(samples, phonemes, mouth_track(phonemes, len(samples) / SAMPLE_RATE))


def timed(starts: list[tuple[float, str]], seconds: float, samples: np.ndarray) -> list[Phoneme]:
    """Phonemes from their starts; each lasts until the next one, or until it falls silent for the length of a pause."""
    hop = SAMPLE_RATE // 100
    loud = np.abs(samples[: len(samples) // hop * hop].reshape(-1, hop)).max(axis=1) > 0.01
    phonemes = []
    for (begin, name), (end, _) in zip(starts, [*starts[1:], (seconds, "")]):
        name = name.strip("ˈˌː _|-")
        first, last = int(begin * 100), min(int(end * 100), len(loud))
        sounding = np.flatnonzero(loud[first:last])
        finish = float(first + sounding[-1] + 1) / 100 if len(sounding) else begin
        silent = end - finish > PAUSE
        phonemes.append(Phoneme(name, begin, finish if silent else end))
        if silent:
            phonemes.append(Phoneme("", finish, end))
    return phonemes


def made_up_text(rng: np.random.Generator, words: int) -> str:
    """Words that do not exist, with the pauses of sentences."""
    parts = []
    for number in range(words):
        syllables = int(rng.integers(1, 4))
        word = "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(syllables))
        stop = "." if rng.random() < 0.10 else "," if rng.random() < 0.12 else ""
        parts.append(word + (stop if number < words - 1 else "."))
    return " ".join(parts)


def random_voice(rng: np.random.Generator, held_out: bool = False) -> Voice:
    """Of the training's languages and variants, or of those that training never takes."""
    return Voice(
        language=str(rng.choice(HELD_OUT_LANGUAGES if held_out else TRAINING_LANGUAGES)),
        variant=str(rng.choice(HELD_OUT_VARIANTS if held_out else TRAINING_VARIANTS)),
        speed=int(rng.integers(115, 200)),
        pitch=int(rng.integers(25, 75)),
        pitch_range=int(rng.integers(25, 80)),
    )


def recorded(speech: Speech, rng: np.random.Generator) -> Speech:
    """The same speech as another microphone in another room has it: tone, reverb, noise, loudness."""
    samples = speech.samples.astype(np.float64)
    if rng.random() < 0.5:  # tone: brighter or duller
        tilt = rng.uniform(-0.6, 0.6)
        samples = samples - tilt * np.concatenate([[0], samples[:-1]])
    if rng.random() < 0.5:  # reverb: noise that dies away
        length = int(rng.uniform(0.04, 0.25) * SAMPLE_RATE)
        tail = rng.normal(0, 1, length) * np.exp(-5 * np.arange(length) / length)
        wet = fftconvolve(samples, tail)[: len(samples)]
        samples = samples + rng.uniform(0.05, 0.35) * wet * (samples.std() / max(wet.std(), 1e-9))
    noise = rng.normal(0, 1, len(samples))
    if rng.random() < 0.5:  # brown instead of white
        noise = np.convolve(noise, 0.9 ** np.arange(40), mode="same")
    samples = samples + noise / noise.std() * samples.std() * 10 ** (-rng.uniform(18, 50) / 20)
    samples *= 10 ** (-rng.uniform(1, 18) / 20) / max(np.abs(samples).max(), 1e-9)
    return Speech(samples.astype(np.float32), speech.phonemes, speech.track)


def sample_speech(rng: np.random.Generator, seconds: float, held_out: bool = False) -> Speech:
    """Random speech of this length, cut or filled with silence."""
    voice = random_voice(rng, held_out)
    speech = speak(made_up_text(rng, max(3, round(seconds * 3.2))), voice)
    lead = float(rng.uniform(0, 0.4))
    count, shift = round(seconds * SAMPLE_RATE), round(lead * SAMPLE_RATE)
    samples = np.zeros(count, np.float32)
    part = speech.samples[: max(0, count - shift)]
    samples[shift : shift + len(part)] = part
    phonemes = [Phoneme(p.name, p.begin + lead, min(p.end + lead, seconds)) for p in speech.phonemes
                if p.begin + lead < seconds]  # fmt: skip
    return recorded(Speech(samples, phonemes, mouth_track(phonemes, seconds)), rng)
