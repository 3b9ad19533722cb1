"""How well the demo's model makes people talk whom it has never seen, with voices that it has never heard.

    python -m benchmarks.demo_model --people 20 --seed 0 [--bundle FILE ...] [--voices FOLDER] [--output FOLDER]

Draws people and takes voices that are kept out of training, renders each with every bundle, and compares with the drawn
truth. `--voices` takes recordings (WAV) instead of synthetic voices; then nothing is known of the mouth, and only its
correlation with the loudness is shown. Needs espeak-ng unless `--voices` is given.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from assets.scripts.people.clips import FPS, DrawnClip, draw_clip, sample_clip
from assets.scripts.people.figure import draw_frame
from assets.scripts.people.looks import HELD_OUT_SEEDS, person
from assets.scripts.people.measure import correlation, flicker, hand_distances, mouth_openings, nearest_person
from assets.scripts.people.motion import Mouth, retarget
from assets.scripts.people.visemes import mouth_at_frames
from assets.scripts.people.voices import Speech, sample_speech
from echomimic.audio import encode_speech, frame_levels, read_audio
from echomimic.media.video_writer import write_picture, write_video
from echomimic.media.waveform import SAMPLE_RATE
from echomimic.models.networks import Networks
from echomimic.sampling import SamplingSettings, sample_frames
from echomimic.training.metrics import as_tensor
from echomimic.training.similarity import psnr, ssim
from echomimic.training.validation import make_strip
from echomimic.weights import load_bundle

ASSETS = Path(__file__).resolve().parents[1] / "assets"
# Among so many drawn people the right one has to be found.
LINE_UP = 50
WINDOW, OVERLAP = 12, 3


@dataclass(frozen=True)
class Case:
    """A person, a voice and a gesture.

    Attributes:
        truth: drawn.
        portrait: the same person with closed lips, in the clip's first pose.
        speech: the voice.
    """

    truth: DrawnClip
    portrait: np.ndarray
    speech: Speech


def make_case(number: int, seed: int, size: int, frames: int, voices: int) -> Case:
    """The case of a seed; its voice is one of `voices`."""
    speech = sample_speech(np.random.default_rng([101, seed, number % voices]), frames / FPS, held_out=True)
    rng = np.random.default_rng([103, seed, number])
    truth = sample_clip(rng, size, frames, mouth_at_frames(speech.track, frames, FPS), HELD_OUT_SEEDS)
    return Case(truth, portrait_of(truth), speech)


def portrait_of(truth: DrawnClip) -> np.ndarray:
    """The person in the first pose, lips closed, eyes open."""
    return draw_frame(truth.who, retarget(truth.gesture, truth.who)[0], Mouth(), 0.0, truth.frames.shape[1]).picture


def render(networks: Networks, case: Case, steps: int = 0, guidance: float = 0.0) -> np.ndarray:
    """Frames uint8 `[F, size, size, 3]`, with the weights' own steps and guidance where 0 is given."""
    frames = len(case.truth.frames)
    speech = encode_speech(networks.audio_encoder, torch.from_numpy(case.speech.samples), SAMPLE_RATE, FPS)
    window = min(WINDOW, frames)
    settings = SamplingSettings(
        steps or networks.settings.steps, guidance or networks.settings.guidance,
        window_length=window, overlap=min(OVERLAP, window - 1), seed=0,
    )  # fmt: skip
    return sample_frames(networks, case.portrait, speech, case.truth.poses, settings, frames=frames)


def line_up(case: Case, seed: int, number: int) -> tuple[list[np.ndarray], int]:
    """The person and others in the first frame's gesture, and which of them is right."""
    rng = np.random.default_rng([107, seed, number])
    seeds = rng.choice(HELD_OUT_SEEDS, LINE_UP - 1, replace=False)
    size = case.truth.frames.shape[1]
    others = [
        draw_clip(person(int(other)), case.truth.gesture.take([0]), case.truth.mouth[:1], size).frames[0]
        for other in seeds
        if int(other) != case.truth.who.seed
    ]
    place = int(rng.integers(len(others) + 1))
    return [*others[:place], case.truth.frames[0], *others[place:]], place


def seams(frames: int) -> list[int]:
    """Frames at which a sampling window begins or ends."""
    stride = WINDOW - OVERLAP
    return [edge for begin in range(0, frames, stride) for edge in (begin, begin + WINDOW) if 0 < edge < frames]


def measure(made: np.ndarray, case: Case, other: Case, number: int, seed: int) -> dict[str, float | list[float]]:
    """The row of one render; `other` has another voice."""
    truth = case.truth
    opening = mouth_openings(made, truth)
    a, b = as_tensor(truth.frames), as_tensor(made)
    still = flicker(made, truth)
    at_seams = still[[edge - 1 for edge in seams(len(made))]]
    people, right = line_up(case, seed, number)
    return {
        "mouth": correlation(opening, truth.mouth[:, 0]),
        "mouth of another voice": correlation(opening, other.truth.mouth[:, 0]),
        "hands": hand_distances(made, truth).tolist(),
        "psnr": psnr(a, b),
        "ssim": ssim(a, b),
        "right person": float(nearest_person(made, people) == right),
        "flicker": float(np.nanmean(still)),
        "flicker at seams": float(np.nanmean(at_seams)),
        "opening": opening.tolist(),
    }


def summary(rows: list[dict[str, float | list[float]]]) -> dict[str, float]:
    """Means over the renders; of hands the median and the share within 5 % of all that are seen."""
    hands = np.concatenate([np.array(row["hands"]) for row in rows])
    names = [name for name in rows[0] if name not in ("hands", "opening")]
    found = {name: float(np.mean([row[name] for row in rows])) for name in names}
    return {**found, "hands median": float(np.median(hands)), "hands within 5 %": float((hands <= 0.05).mean())}


def recorded_cases(folder: Path, seed: int, size: int, frames: int) -> list[tuple[str, Case]]:
    """A person for each recording; nothing is known of its mouth."""
    cases = []
    for number, path in enumerate(sorted(folder.glob("*.wav"))):
        waveform, rate = read_audio(path)
        samples = torch.nn.functional.pad(waveform.mean(dim=0), (0, frames * rate))[: round(frames / FPS * rate)]
        import librosa  # heavy, and for recordings only

        speech = Speech(librosa.resample(samples.numpy(), orig_sr=rate, target_sr=SAMPLE_RATE), [], np.zeros((1, 3)))
        rng = np.random.default_rng([109, seed, number])
        truth = sample_clip(rng, size, frames, np.tile([0.0, 0.5, 0.0], (frames, 1)), HELD_OUT_SEEDS)
        cases.append((path.stem, Case(truth, portrait_of(truth), speech)))
    return cases


def decibels(speech: Speech, frames: int) -> np.ndarray:
    """The voice's level in each frame, at least 60 dB below the loudest."""
    levels = frame_levels(torch.from_numpy(speech.samples)[None], SAMPLE_RATE, FPS, frames)
    return 20 * np.log10(np.maximum(levels, max(levels.max(), 1e-9) * 1e-3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--different-voices", type=int, default=10, metavar="N", help="how many voices they share")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each clip")
    parser.add_argument("--bundle", type=Path, nargs="+", default=[ASSETS / "demo_bundle.safetensors"])
    parser.add_argument("--steps", type=int, default=0, help="0: the bundle's own")
    parser.add_argument("--guidance", type=float, default=0.0, help="0: the bundle's own")
    parser.add_argument("--voices", type=Path, help="folder of recordings")
    parser.add_argument("--output", type=Path, help="folder for videos, strips and a JSON file")
    options = parser.parse_args()
    frames = round(options.seconds * FPS)
    cv2.setNumThreads(1)
    results = {}
    for path in options.bundle:
        networks = load_bundle(path)
        size = networks.settings.width
        if options.voices:
            for name, case in recorded_cases(options.voices, options.seed, size, frames):
                made = render(networks, case, options.steps, options.guidance)
                follows = correlation(mouth_openings(made, case.truth), decibels(case.speech, frames))
                print(f"{path.name}, {name}: mouth opening against loudness {follows:.2f}", flush=True)
                show(options.output, f"{path.stem}-{name}", case, made)
            continue
        cases = [
            make_case(number, options.seed, size, frames, options.different_voices) for number in range(options.people)
        ]
        rows = []
        for number, case in enumerate(cases):
            made = render(networks, case, options.steps, options.guidance)
            rows.append(measure(made, case, cases[(number + 1) % len(cases)], number, options.seed))
            numbers = {name: round(value, 3) for name, value in summary(rows[-1:]).items()}
            print(f"{path.name}, person {number}: {numbers}", flush=True)
            show(options.output, f"{path.stem}-{number:02d}", case, made)
        results[path.name] = summary(rows)
        print(json.dumps({path.name: results[path.name]}, indent=1), flush=True)
        if options.output:
            content = json.dumps({"summary": results, "rows": rows}, indent=1)
            (options.output / f"{path.stem}.json").write_text(content, encoding="utf-8")


def show(folder: Path | None, name: str, case: Case, made: np.ndarray) -> None:
    """The render as a video with its sound, and a strip: truth above, render below."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        audio = (torch.from_numpy(case.speech.samples)[None], SAMPLE_RATE)
        write_video(folder / f"{name}.mp4", [made], FPS, audio=audio)
        write_picture(folder / f"{name}.png", make_strip(case.truth.frames, made))


if __name__ == "__main__":
    main()
