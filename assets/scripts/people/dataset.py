"""Write clips of drawn people who speak as a data folder for `python -m echomimic train`.

    python -m assets.scripts.people.dataset OUTPUT --clips 400 --size 128 --seconds 4 --headshots 0.2

Needs espeak-ng. The folder is laid out as `python -m echomimic prepare` lays it out; each line of `metadata.jsonl` also
names the person's seed and a file with the mouth values. A run that was interrupted goes on with the clips that are
missing; clip n of a seed is always the same.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from echomimic.files.atomic import atomic_write
from echomimic.media.video_writer import write_video
from echomimic.pose.sources.files import save_poses
from echomimic.training.clip_files import write_wav
from echomimic.training.records import METADATA, ClipRecord

from .clips import FPS, sample_clip
from .looks import HELD_OUT_SEEDS, TRAINING_SEEDS
from .visemes import mouth_at_frames
from .voices import sample_speech

logger = logging.getLogger("echomimic")


def write_clip(
    folder: Path, number: int, seed: int, size: int, frames: int, headshots: float, hard_mouths: float, held_out: bool
) -> dict[str, object]:
    """Write clip `number` unless it is there; returns its line of `metadata.jsonl`."""
    stem = f"{'held' if held_out else 'drawn'}-{seed}-{number:05d}"
    line_path = folder / f"{stem}.json"
    if line_path.is_file():
        return dict(json.loads(line_path.read_text(encoding="utf-8")))
    rng = np.random.default_rng([23, seed, number, int(held_out)])
    speech = sample_speech(rng, frames / FPS, held_out)
    mouth = mouth_at_frames(speech.track, frames, FPS)
    seeds = HELD_OUT_SEEDS if held_out else TRAINING_SEEDS
    clip = sample_clip(rng, size, frames, mouth, seeds, headshots, hard_mouths)
    write_video(folder / f"{stem}.mp4", [clip.frames], FPS, crf=6)
    write_wav(folder / f"{stem}.wav", torch.from_numpy(speech.samples))
    save_poses(clip.poses, folder / f"{stem}.poses.safetensors", precision="float32")
    with atomic_write(folder / f"{stem}.mouth.safetensors") as temporary:
        save_file({"mouth": clip.mouth.astype(np.float32)}, temporary)
    record = ClipRecord(
        file_name=f"{stem}.mp4",
        audio=f"{stem}.wav",
        poses=f"{stem}.poses.safetensors",
        frames=frames,
        fps=FPS,
        size=size,
        headshot=clip.headshot,
        head_box=clip.head_box,
        source=f"person {clip.who.seed}",
    )
    line = {**asdict(record), "person": clip.who.seed, "mouth": f"{stem}.mouth.safetensors"}
    with atomic_write(line_path) as temporary:
        temporary.write_text(json.dumps(line), encoding="utf-8")
    return line


def write_dataset(
    folder: Path, clips: int, size: int, frames: int, seed: int = 0, headshots: float = 0.2, hard_mouths: float = 0.0,
    held_out: bool = False,
) -> Path:  # fmt: skip
    """Write a data folder.

    Args:
        folder: made if need be.
        clips: how many.
        size: side of the pictures in pixels, even.
        frames: length of each clip, 24 a second.
        seed: of everything drawn.
        headshots: share of clips that show a head only.
        hard_mouths: share of clips whose person is chosen because the mouth is hard to see.
        held_out: people and voices that training never sees.

    Returns:
        the path of `metadata.jsonl`.

    Raises:
        RuntimeError: espeak-ng is missing.
        OutputError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(clips):
        lines.append(json.dumps(write_clip(folder, number, seed, size, frames, headshots, hard_mouths, held_out)))
        if (number + 1) % 50 == 0:
            logger.info("%d of %d clips", number + 1, clips)
    with atomic_write(folder / METADATA) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder / METADATA


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--size", type=int, default=128, help="side of the pictures in pixels")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a clip")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--headshots", type=float, default=0.2, help="share of clips that show a head only")
    parser.add_argument(
        "--hard-mouths", type=float, default=0.0, help="share of clips with mouths that are hard to see"
    )
    parser.add_argument("--held-out", action="store_true", help="people and voices that training never sees")
    given = parser.parse_args()
    frames = round(given.seconds * FPS)
    write_dataset(
        given.output, given.clips, given.size, frames, given.seed, given.headshots, given.hard_mouths, given.held_out
    )


if __name__ == "__main__":
    main()
