"""Speak `assets/speech.wav`: a few seconds of synthetic English, 22.05 kHz, mono, 16 bit.

Needs the free speech synthesiser espeak-ng (`apt install espeak-ng`, `brew install espeak-ng`). The file ships with the
project; this script is kept so that anyone can make it again: `python assets/scripts/make_speech.py`.
"""

from __future__ import annotations

import subprocess
import wave
from pathlib import Path

import numpy as np

ASSETS = Path(__file__).resolve().parents[1]
TEXT = "Hello! A script drew me and gave me a voice. Watch my hands."
VOICE = "en-us"
WORDS_A_MINUTE = 175
PEAK = 0.7  # of full scale; loud enough for any player, never clipped


def main() -> None:
    """Synthesise, set the level, write."""
    target = ASSETS / "speech.wav"
    spoken = target.with_suffix(".raw.wav")
    try:
        subprocess.run(
            ["espeak-ng", "-v", VOICE, "-s", str(WORDS_A_MINUTE), "-p", "45", "-w", str(spoken), TEXT], check=True
        )
        with wave.open(str(spoken), "rb") as source:
            rate = source.getframerate()
            samples = np.frombuffer(source.readframes(source.getnframes()), dtype="<i2").astype(np.float64)
    finally:
        spoken.unlink(missing_ok=True)
    samples *= PEAK * 32767 / np.abs(samples).max()
    with wave.open(str(target), "wb") as output:
        output.setnchannels(1)
        output.setsampwidth(2)
        output.setframerate(rate)
        output.writeframes(np.round(samples).astype("<i2").tobytes())


if __name__ == "__main__":
    main()
