"""What each faster mode saves, and what it does to the result.

    python -m benchmarks.fast [--steps 12] [--frames 24]

The error is the PSNR of the latents against the exact result's (their range as the peak). Recipe weights stand in for
the published ones, which are not part of this repository: the figures compare modes, they do not say how a video looks.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.setup import describe_machine
from echomimic.models import DenoisingUNet, ReferenceUNet, UNetConfig
from echomimic.sampling import FAST_MODES, SamplingSettings, make_noise, sample
from tests.recipe import fill

CONFIG = UNetConfig((64, 128, 128), layers_per_block=1, attention_heads=8, norm_num_groups=32, audio_dim=384)
SIDE = 32
# Modes that need no code of their own: settings of the sampler.
SETTINGS: dict[str, dict[str, Any]] = {
    "overlap 1": {"overlap": 1},
    "window 24, overlap 6": {"window_length": 24, "overlap": 6},
    "open windows": {"looped": False},
}


def psnr(value: Tensor, exact: Tensor) -> float:
    """Decibels; the peak is the exact result's range."""
    error = float((value.double() - exact.double()).square().mean())
    peak = float(exact.max() - exact.min())
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--guidance", type=float, default=2.5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    print(json.dumps(describe_machine(arguments.device)))
    generator = torch.Generator().manual_seed(0)
    reference_unet = fill(ReferenceUNet(CONFIG), "bench.").to(arguments.device).eval()
    latents = torch.randn(1, 4, SIDE, SIDE, generator=generator).to(arguments.device)
    common: dict[str, Any] = {
        "denoiser": fill(DenoisingUNet(CONFIG), "bench.").to(arguments.device).eval(),
        "reference": reference_unet(latents),
        "audio": torch.randn(arguments.frames, 50, CONFIG.audio_dim, generator=generator),
        "pose": None,
        "noise": make_noise(arguments.frames, SIDE, SIDE, seed=0),
    }
    plain = SamplingSettings(arguments.steps, arguments.guidance)
    modes = {name: {"fast": fast} for name, fast in FAST_MODES.items()} | SETTINGS
    print("| mode | processor seconds | of exact | PSNR of latents |\n|---|---|---|---|")
    exact, exact_seconds = None, 0.0
    for name, settings in modes.items():
        begin = time.process_time() if arguments.device == "cpu" else time.perf_counter()
        result = sample(**common, settings=replace(plain, **settings))
        seconds = (time.process_time() if arguments.device == "cpu" else time.perf_counter()) - begin
        if exact is None:
            exact, exact_seconds = result, seconds
        print(f"| {name} | {seconds:.2f} | {seconds / exact_seconds:.2f} | {psnr(result, exact):.1f} dB |", flush=True)


if __name__ == "__main__":
    main()
