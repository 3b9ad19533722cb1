"""Speak `assets/speech.wav`, and `assets/dialogue_1.wav` and `dialogue_2.wav`: two people in turn, each silent while
the other speaks. A few seconds of synthetic English, 22.05 kHz, mono, 16 bit.

Needs the free speech synthesiser espeak-ng (`apt install espeak-ng`, `brew install espeak-ng`). The file ships with the
project; this script is kept so that anyone can make it again: `python assets/scripts/make_speech.py`.
"""

from __future__ import annotations

import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np

ASSETS = Path(__file__).resolve().parents[1]
TEXT = "Hello! A script drew me and gave me a voice. Watch my hands."
VOICE, PITCH = "en-us", 45
# Who says what: voice, pitch, words.
DIALOGUE = (
    ("en-gb", 40, "Hello! Are we in one picture?"),
    ("en-us+f3", 60, "Yes, and we take turns."),
)
PAUSE = 0.25  # seconds between them
WORDS_A_MINUTE = 175
PEAK = 0.7  # of full scale; loud enough for any player, never clipped


def speak(text: str, voice: str, pitch: int) -> tuple[np.ndarray, int]:
    """Synthesised speech as samples of 16 bit at the usual level, and their rate."""
    with tempfile.TemporaryDirectory() as folder:
        spoken = Path(folder, "spoken.wav")
        subprocess.run(
            ["espeak-ng", "-v", voice, "-s", str(WORDS_A_MINUTE), "-p", str(pitch), "-w", str(spoken), text], check=True
        )
        with wave.open(str(spoken), "rb") as source:
            rate = source.getframerate()
            samples = np.frombuffer(source.readframes(source.getnframes()), dtype="<i2").astype(np.float64)
    return samples * PEAK * 32767 / np.abs(samples).max(), rate


def write(path: Path, samples: np.ndarray, rate: int) -> None:
    """A mono file."""
    with wave.open(str(path), "wb") as output:
        output.setnchannels(1)
        output.setsampwidth(2)
        output.setframerate(rate)
        output.writeframes(np.round(samples).astype("<i2").tobytes())


def main() -> None:
    """Synthesise, set the level, write."""
    write(ASSETS / "speech.wav", *speak(TEXT, VOICE, PITCH))
    spoken = [speak(text, voice, pitch) for voice, pitch, text in DIALOGUE]
    rate = spoken[0][1]
    pause = np.zeros(round(PAUSE * rate))
    for number in range(len(spoken)):
        turns = [samples if turn == number else np.zeros_like(samples) for turn, (samples, _) in enumerate(spoken)]
        write(ASSETS / f"dialogue_{number + 1}.wav", np.concatenate([turns[0], pause, turns[1], pause]), rate)


if __name__ == "__main__":
    main()
