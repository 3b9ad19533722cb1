"""What each faster mode saves, and what it does to the result.

    python -m benchmarks.fast [--steps 6] [--frames 30]

Printed is a Markdown table. Frame passes count how often a frame goes through the network, and of those how often
through its lower resolutions, too; the time is the processor's on a CPU, relative to the exact run of the same call.
PSNRs are against the exact result, of latents (their range as the peak) and of frames that the demo's small VAE makes
of them (255 as the peak).

Recipe weights stand in for the published ones, which are not part of this repository: the figures compare modes with
one another, they do not say how a video looks.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.setup import describe_machine
from echomimic.kernels import float8, layer_classes
from echomimic.models import DenoisingUNet, ReferenceUNet, UNetConfig
from echomimic.sampling import FAST_MODES, FastMode, SamplingSettings, make_noise, sample
from echomimic.vae import decode_frames
from echomimic.weights import load_bundle_vae
from tests.recipe import fill

CONFIG = UNetConfig((64, 128, 128), layers_per_block=1, attention_heads=8, norm_num_groups=32, audio_dim=384)
SIDE = 16
BUNDLE = Path(__file__).parents[1] / "assets" / "demo_bundle.safetensors"
# Settings of the sampler by name: the modes that the command line has, single shortcuts, and other windows.
MODES: dict[str, dict[str, Any]] = {
    **{name: {"fast": fast} for name, fast in FAST_MODES.items()},
    "guidance in a quarter of the steps": {"fast": FastMode(guided_share=0.25)},
    "deep features of every 3rd step": {"fast": FastMode(reuse_every=3)},
    "reference merged 4x4": {"fast": FastMode(merge_reference=4)},
    "window 24, overlap 6": {"window_length": 24, "overlap": 6},
    "open windows": {"looped": False},
}


@dataclass
class Work:
    """Frames that went through the network, and through its lower resolutions."""

    frames: int = 0
    deep: int = 0


@contextmanager
def counted(denoiser: DenoisingUNet) -> Iterator[Work]:
    """Count the work that a denoiser does meanwhile."""
    work = Work()

    def outer(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        work.frames += len(output)

    def middle(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        work.deep += len(output)

    handles = [denoiser.conv_out.register_forward_hook(outer), denoiser.mid_block.register_forward_hook(middle)]
    try:
        yield work
    finally:
        for handle in handles:
            handle.remove()


def psnr(value: np.ndarray, exact: np.ndarray, peak: float) -> str:
    """Decibels in words."""
    error = float(np.square(value.astype(np.float64) - exact).mean())
    return "identical" if error == 0 else f"{10 * math.log10(peak**2 / error):.1f} dB"


def make_denoiser(device: str) -> DenoisingUNet:
    """The denoising UNet, the same at each call."""
    return fill(DenoisingUNet(CONFIG, operations=layer_classes()), "bench.").to(device).eval().requires_grad_(False)


def in_float8(denoiser: DenoisingUNet) -> DenoisingUNet:
    """The same network, now in float8; this small one's layers count as wide."""
    least, float8.MIN_SIDE = float8.MIN_SIDE, min(CONFIG.block_out_channels)
    try:
        float8.to_float8(denoiser)
    finally:
        float8.MIN_SIDE = least
    return denoiser


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--guidance", type=float, default=2.5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    on_cpu = arguments.device == "cpu"
    print(json.dumps(describe_machine(arguments.device)))
    generator = torch.Generator().manual_seed(0)
    reference_unet = fill(ReferenceUNet(CONFIG, operations=layer_classes()), "bench.").to(arguments.device).eval()
    denoiser = make_denoiser(arguments.device)
    vae = load_bundle_vae(BUNDLE).to(arguments.device)
    common: dict[str, Any] = {
        "reference": reference_unet(torch.randn(1, 4, SIDE, SIDE, generator=generator).to(arguments.device)),
        "audio": torch.randn(arguments.frames, 50, CONFIG.audio_dim, generator=generator),
        "pose": None,
        "noise": make_noise(arguments.frames, SIDE, SIDE, seed=0),
    }
    plain = SamplingSettings(arguments.steps, arguments.guidance)
    # What is set up at the first use is not the exact mode's fault.
    sample(denoiser=denoiser, **common, settings=replace(plain, steps=1))

    clock = time.process_time if on_cpu else time.perf_counter
    print(f"| mode | frame passes (deep) | {'processor ' if on_cpu else ''}time | PSNR of latents | of frames |")
    print("|---|---|---|---|---|")
    exact: tuple[np.ndarray, np.ndarray, float] | None = None
    multiplied = float8.product_for(torch.device(arguments.device)) is not None
    runs = [(name, denoiser, settings) for name, settings in MODES.items()]
    runs.append(("float8" if multiplied else "float8, kept only", in_float8(make_denoiser(arguments.device)), {}))
    for name, network, settings in runs:
        with counted(network) as work:
            begin = clock()
            result = sample(denoiser=network, **common, settings=replace(plain, **settings))
            seconds = clock() - begin
        latents, frames = result.numpy(), np.concatenate(list(decode_frames(vae, result)))
        exact = exact or (latents, frames, seconds)
        errors = psnr(latents, exact[0], float(np.ptp(exact[0]))), psnr(frames, exact[1], 255)
        counts = f"{work.frames} ({work.deep})"
        print(f"| {name} | {counts} | {seconds / exact[2]:.2f} | {errors[0]} | {errors[1]} |", flush=True)
    print(f"\nexact: {exact[2]:.1f} s" if exact else "")


if __name__ == "__main__":
    main()
