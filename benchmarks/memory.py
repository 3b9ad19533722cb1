"""Time per window and peak memory for a short and a long clip: `python -m benchmarks.memory`, or `make bench`.

Each length is rendered in a process of its own, to an MP4 that is thrown away. What grows with the clip is the host's
part: the last line gives it per frame. On a CPU the process's peak is host and device together.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "assets" / "demo_bundle.safetensors"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help="the networks (default: the one that ships)")
    parser.add_argument("--size", type=int, default=256, help="side of the picture in pixels (default: %(default)s)")
    parser.add_argument("--frames", type=int, nargs=2, default=(24, 96), help="the lengths (default: 24 96)")
    parser.add_argument("--steps", type=int, default=1, help="denoising steps (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: %(default)s)")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def render_one(options: argparse.Namespace) -> dict[str, float]:
    """Render `options.one` frames; seconds per window (median), device and host peaks in bytes."""
    import numpy as np
    import torch

    from echomimic.commands.generate import pick_device, pick_dtype
    from echomimic.pipeline import Inputs, RenderSettings, render
    from echomimic.pose import load_poses
    from echomimic.weights import load_bundle

    device = pick_device(options.device)
    networks = load_bundle(options.bundle, dtype=pick_dtype("auto", device))
    generator = np.random.default_rng(0)
    voice = torch.from_numpy(generator.standard_normal((1, (options.one // 24 + 1) * 16000)).astype(np.float32) * 0.1)
    image = generator.integers(0, 255, (options.size, options.size, 3), np.uint8)
    poses = load_poses(ROOT / "assets" / "clips" / "explaining.safetensors")
    settings = RenderSettings(
        steps=options.steps, guidance=1.0, width=options.size, height=options.size, frames=options.one, overlap=3
    )
    moments: list[float] = []

    def on_progress(stage: str, done: int, total: int) -> None:
        if stage == "sample":
            moments.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        inputs = Inputs(image, voice, 16000, poses)
        render(networks, inputs, settings, Path(folder) / "a.mp4", device=device, on_progress=on_progress)
    on_gpu = device.type == "cuda"
    return {
        "seconds": statistics.median(b - a for a, b in pairwise(moments)),
        "device": torch.cuda.max_memory_allocated(device) if on_gpu else 0,
        # Linux counts in kilobytes.
        "host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main() -> None:
    options = parse()
    if options.one is not None:
        print(json.dumps(render_one(options)))
        return
    figures = {}
    for frames in options.frames:
        command = [sys.executable, "-m", "benchmarks.memory", *sys.argv[1:], "--one", str(frames)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        figures[frames] = json.loads(done.stdout.splitlines()[-1])
        said = figures[frames]
        print(f"{frames} frames at {options.size}x{options.size}: {said['seconds']:.2f} s per window")
        if said["device"]:
            print(f"{frames} frames at {options.size}x{options.size}: {said['device'] / 1e6:.0f} MB peak on the device")
        print(f"{frames} frames at {options.size}x{options.size}: {said['host'] / 1e6:.0f} MB peak of the process")
    short, long = sorted(figures)
    growth = (figures[long]["host"] - figures[short]["host"]) / (long - short)
    print(f"growth of the process: {growth / 1e6:.3f} MB a frame")


if __name__ == "__main__":
    main()
