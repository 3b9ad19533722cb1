"""Do generated gestures keep time with the voice, and how fast are they made?

    python -m benchmarks.gestures [RECORDING ...]

Without recordings: the voice that ships, those of a `shared` folder beside the checkout, and, where espeak-ng is
installed, a text spoken by six of its voices in five languages. The strokes of the hands (where they come to a stop or
turn after a clear movement) are compared with onsets found by librosa's own detector at its own settings, which the
planner never saw: not ours, and not only those of stressed syllables.

- alignment: mean of exp(-d^2 / 2 (0.1 s)^2) over the strokes, d from each to its nearest onset, as in AIST++ and BEAT;
- hits: share of strokes within 80 ms of an onset.

Baselines: the same strokes moved along the recording by a random time (200 times), and strokes that were made for the
other recordings. One line a figure.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.setup import describe_machine
from echomimic.audio import read_audio
from echomimic.pose.gestures import GestureSettings, generate_gestures, load_library, strokes

ROOT = Path(__file__).resolve().parents[1]
SEEDS = range(5)
WIDTH, NEAR = 0.1, 0.08
TEXT = (
    "Good morning everybody, and welcome to our little show. Today I want to tell you three things about bridges. "
    "First of all, they are older than you think. The Romans built hundreds of them, and many still stand. Second, "
    "they move! Every bridge bends and breathes with the weather. And third, my favourite: nobody builds one alone. "
    "Isn't that wonderful? I think so. Thank you very much for listening."
)
VOICES = ("en-us", "en-gb+f3", "de", "fr-fr+f2", "es", "it+m7")


def recordings(given: list[Path], folder: Path) -> list[Path]:
    """The recordings to measure; spoken ones are written to `folder`."""
    if given:
        return given
    found = [ROOT / "assets" / "speech.wav", *sorted((ROOT.parent / "shared" / "assets" / "audio").glob("*.wav"))]
    for number, voice in enumerate(VOICES):
        target = folder / f"espeak {voice}.wav"
        speed, pitch = str(135 + 9 * number), str(35 + 6 * number)
        try:
            subprocess.run(["espeak-ng", "-v", voice, "-s", speed, "-p", pitch, "-w", str(target), TEXT], check=True)
        except FileNotFoundError:
            print("espeak-ng is not installed: its voices are left out")
            break
        found.append(target)
    return found


def heard_onsets(waveform: torch.Tensor, sample_rate: int) -> np.ndarray:
    """Seconds of the onsets that librosa detects with its defaults."""
    from librosa import resample
    from librosa.onset import onset_detect

    mono = resample(waveform.mean(dim=0).numpy(), orig_sr=sample_rate, target_sr=22050)
    return onset_detect(y=mono, sr=22050, units="time")


def alignment(landings: np.ndarray, onsets: np.ndarray) -> tuple[float, float]:
    """Alignment and hits of strokes against onsets, both seconds."""
    distance = np.abs(landings[:, None] - onsets[None]).min(axis=1)
    return float(np.exp(-(distance**2) / (2 * WIDTH**2)).mean()), float((distance <= NEAR).mean())


def shuffled(landings: np.ndarray, onsets: np.ndarray, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Alignment and hits `[200, 2]` of the same strokes at other times."""
    return np.array([alignment((landings + shift) % seconds, onsets) for shift in rng.uniform(0, seconds, 200)])


def measure_alignment(paths: list[Path]) -> None:
    library, rng = load_library(), np.random.default_rng(0)
    onsets, seconds = [], []
    landings: list[list[np.ndarray]] = []
    for path in paths:
        waveform, rate = read_audio(path)
        made = [generate_gestures(waveform, rate, 24, library, GestureSettings(seed=seed)) for seed in SEEDS]
        onsets.append(heard_onsets(waveform, rate))
        seconds.append(waveform.shape[1] / rate)
        landings.append([strokes(sequence)[0] for sequence in made])
    real, moved, foreign = [], [], []
    for number, path in enumerate(paths):
        mine = np.array([alignment(times, onsets[number]) for times in landings[number] if len(times)])
        mixed = [shuffled(times, onsets[number], seconds[number], rng) for times in landings[number] if len(times)]
        others = [
            times[times < seconds[number]] for other, made in enumerate(landings) if other != number for times in made
        ]
        strange = np.array([alignment(times, onsets[number]) for times in others if len(times)])
        beaten = np.mean([(mix[:, 0] < own[0]).mean() for mix, own in zip(mixed, mine)])
        real.append(mine.mean(axis=0))
        moved.append(np.mean([mix.mean(axis=0) for mix in mixed], axis=0))
        count = np.mean([len(times) for times in landings[number]])
        print(
            f"{path.stem}: {seconds[number]:.1f} s, {count:.0f} strokes, alignment {real[-1][0]:.3f}, "
            f"shuffled {moved[-1][0]:.3f}, hits {real[-1][1]:.0%}, shuffled {moved[-1][1]:.0%}, "
            f"better than {beaten:.0%} of shuffles"
        )
        if len(strange):
            foreign.append(strange.mean(axis=0))
    for name, values in (("all recordings", real), ("shuffled in time", moved), ("made for another voice", foreign)):
        if values:
            score, hits = np.mean(values, axis=0)
            print(f"{name}: alignment {score:.3f}, hits {hits:.0%}")


def measure_speed(path: Path) -> None:
    """Seconds of speech a second of one core's time, with everything from waveform to sequence in it."""
    waveform, rate = read_audio(path)
    minute = waveform.repeat(1, int(60 * rate / waveform.shape[1]) + 1)[:, : 60 * rate]
    library = load_library()
    generate_gestures(minute[:, : 3 * rate], rate, 24, library)  # librosa compiles itself on first use
    spent = []
    for seed in SEEDS:
        begin = time.process_time()
        generate_gestures(minute, rate, 24, library, GestureSettings(seed=seed))
        spent.append(time.process_time() - begin)
    print(f"speed: 60 s of speech in {np.median(spent):.2f} s of one core, {60 / np.median(spent):.0f} times real time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="*", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(", ".join(f"{name} {value}" for name, value in describe_machine("cpu").items()))
    with tempfile.TemporaryDirectory() as folder:
        paths = recordings(arguments.recordings, Path(folder))
        measure_alignment(paths)
        measure_speed(paths[-1])


if __name__ == "__main__":
    main()
