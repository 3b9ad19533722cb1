"""A whole clip of the published size from portrait, voice and poses to the MP4: seconds, and the peak of memory.

    python -m benchmarks.render [--frames 120] [--size 768] [--modes exact fastest] [--memory 6]

A row for each mode and length: the time of the whole and of its stages (encoding the inputs, sampling, decoding with
writing), frames that went through the denoiser in a second, and the device's peak of allocated memory (on a CPU the
process's). Each row is run once, after a warm-up of two steps at the same shapes, with no more than 120 frames.

`--memory` limits the process to so many gigabytes of the CUDA device, as on a smaller card; the plan chosen is printed.
`--frames 240 14400 --size 256 --steps 1` holds ten seconds beside ten minutes.

Weights are drawn, so the pictures are noise; the recording is noise, too.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.networks import make_networks
from benchmarks.setup import describe_machine, peak_memory, reset_peak
from echomimic.cli.generate import DTYPES
from echomimic.kernels.float8 import describe_float8, to_float8
from echomimic.media.pictures import read_image
from echomimic.models import Networks
from echomimic.pipeline import Inputs, RenderSettings, render
from echomimic.pose import load_poses
from echomimic.runtime.device import cuda_index, keep_freed_blocks
from echomimic.sampling import FAST_MODES, SamplingSettings

ASSETS = Path(__file__).parents[1] / "assets"
SAMPLE_RATE = 16000
FPS = 24
# More windows than go at once.
WARM_UP_FRAMES = 120


@dataclass
class StageWatch:
    """Seconds of a render's stages, read off its progress."""

    began: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=dict)

    def __call__(self, stage: str, done: int, total: int) -> None:
        if done == total:
            now = time.perf_counter()
            self.seconds[stage] = now - self.began - sum(self.seconds.values())


def limit_memory(device: torch.device, gigabytes: float) -> None:
    """Let this process have so much of a CUDA device."""
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(gigabytes * 1e9 / total, cuda_index(device))


def make_inputs(frames: int) -> Inputs:
    """The portrait and a clip that ship, and noise long enough for so many frames."""
    generator = torch.Generator().manual_seed(0)
    voice = 0.1 * torch.randn(1, (frames // FPS + 1) * SAMPLE_RATE, generator=generator)
    poses = load_poses(ASSETS / "clips" / "explaining.safetensors")
    return Inputs(read_image(ASSETS / "portrait.png"), voice, SAMPLE_RATE, poses)


def measure_render(networks: Networks, settings: RenderSettings, device: torch.device) -> dict[str, Any]:
    """One row."""
    frames = settings.frames or 0
    inputs = make_inputs(frames)
    warm_up = replace(settings, frames=min(frames, WARM_UP_FRAMES), sampling=replace(settings.sampling, steps=2))
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "clip.mp4"
        render(networks, inputs, warm_up, output, device=device)
        reset_peak(device)
        watch = StageWatch()
        render(networks, inputs, settings, output, device=device, on_progress=watch)
        total = time.perf_counter() - watch.began
    sampling = settings.sampling
    through = sum(
        len(window) * (1 + sampling.uses_guidance(step))
        for step in range(sampling.steps)
        for window in sampling.windows(frames, step)
    )
    row = {"frames": frames, "size": settings.width, "seconds": total, "peak": peak_memory(device), **watch.seconds}
    return row | {"passes": through, "passes_per_second": through / watch.seconds["sample"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[120], help="lengths of the clip (120)")
    parser.add_argument("--size", type=int, default=768, help="pixels of the square picture (768)")
    parser.add_argument("--steps", type=int, default=6, help="denoising steps (6, as the accelerated weights want)")
    parser.add_argument("--guidance", type=float, default=1.0, help="guidance scale (1: none, likewise)")
    parser.add_argument("--modes", nargs="+", default=["exact", "fastest"], choices=FAST_MODES)
    parser.add_argument("--open-windows", action="store_true", help="as the command line's option")
    parser.add_argument("--compile", action="store_true", help="as the command line's option")
    parser.add_argument("--float8", action="store_true", help="as the command line's option")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float16" if torch.cuda.is_available() else "bfloat16", choices=DTYPES)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory", type=float, metavar="GB", help="use no more of the CUDA device than so much")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    keep_freed_blocks()  # as the command line does
    logging.basicConfig(format="%(message)s")
    logging.getLogger("echomimic").setLevel(logging.INFO)
    device = torch.device(arguments.device)
    if arguments.memory is not None:
        if device.type != "cuda":
            parser.error("--memory is for CUDA devices")
        limit_memory(device, arguments.memory)
    networks = make_networks(DTYPES[arguments.dtype])
    if arguments.float8:
        to_float8(networks.denoiser)
        print(describe_float8(networks.denoiser, device))
    record: dict[str, Any] = {"machine": describe_machine(arguments.device), "rows": []}
    record |= {name: value for name, value in vars(arguments).items() if name != "json"}
    print(json.dumps(record["machine"] | {"dtype": arguments.dtype, "memory": arguments.memory}))
    print("| mode | frames | seconds | encode | sample | decode | frame passes a second | peak memory |")
    print("|---|---|---|---|---|---|---|---|")
    for frames in arguments.frames:
        for mode in arguments.modes:
            sampling = SamplingSettings(
                arguments.steps, arguments.guidance, looped=not arguments.open_windows, fast=FAST_MODES[mode]
            )
            settings = RenderSettings(
                sampling, arguments.size, arguments.size, FPS, frames=frames, compile=arguments.compile
            )
            row = measure_render(networks, settings, device)
            record["rows"].append({"mode": mode, **row})
            print(
                f"| {mode} | {frames} | {row['seconds']:.1f} | {row['encode']:.1f} | {row['sample']:.1f} | "
                f"{row['decode']:.1f} | {row['passes_per_second']:.2f} | {row['peak'] / 1e9:.2f} GB |",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
