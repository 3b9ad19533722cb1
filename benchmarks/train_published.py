"""One LoRA step at the published size on this machine: recipe weights, bfloat16, 256x256, 4 frames.

    python -m benchmarks.train_published FOLDER

Writes the weights into FOLDER first (5 GB, minutes); prints the loss, the time and the process's peak memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import torch

from echomimic.models import UNetConfig
from echomimic.training.config import config_from
from echomimic.training.train import train
from tests.published import PUBLISHED_VAE, write_published
from tests.training_data import write_data

SIZE, FRAMES = 256, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--write-only", action="store_true", help="write the weights and stop, so that they cost no peak"
    )
    options = parser.parse_args()
    weights, data = options.folder / "weights", options.folder / "data"
    if not (weights / "audio_processor" / "tiny.pt").is_file():
        write_published(weights, UNetConfig(), variants=("",), dtype=torch.bfloat16, vae=PUBLISHED_VAE)
    if not (data / "metadata.jsonl").is_file():
        write_data(data, clips=1, frames=FRAMES, size=SIZE)
    if options.write_only:
        return
    config = config_from(
        {
            "stage": "lora",
            "data": str(data),
            "output": str(options.folder / f"run-{int(time.time())}"),
            "weights": {"path": str(weights)},
            "size": SIZE,
            "frames": FRAMES,
            "steps": 1,
            "null_share": 0.0,
            "lora": {"rank": 16, "alpha": 16.0},
            "loss": {"low_level": "encoder", "crop": SIZE},
            "validation": {"every": 0},
        },
        Path(),
    )
    started = time.monotonic()
    train(config, device="cpu")
    line = json.loads((Path(config.output) / "losses.jsonl").read_text().splitlines()[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"loss {line['total']:.4f}, gradient norm {line['norm']:.4g}, the step took {line['seconds']:.0f} s of "
        f"{time.monotonic() - started:.0f} s; peak memory {peak:.1f} GiB (weights are mapped files: part of it)"
    )


if __name__ == "__main__":
    main()
