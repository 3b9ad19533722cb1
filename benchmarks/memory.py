"""Time per window and peak memory for two clip lengths, one line a figure: both should not depend on the length.

    python -m benchmarks.memory [--lengths 24 240]

Runs the sampler with a small network (recipe weights) on the device at hand; the latents on the host are the only thing
that grows with the clip.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.setup import describe_machine, measure
from echomimic.kernels import layer_classes
from echomimic.models import DenoisingUNet, ReferenceUNet, UNetConfig
from echomimic.sampling import SamplingSettings, make_noise, sample, windows
from tests.recipe import fill

CONFIG = UNetConfig((64, 128, 128), layers_per_block=1, attention_heads=8, norm_num_groups=32, audio_dim=384)
SIDE = 32


class Silence:
    """Audio tokens made for the window at hand."""

    def tokens(self, frames: Sequence[int]) -> Tensor:
        return torch.zeros(len(frames), 50, CONFIG.audio_dim)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs=2, default=[24, 240], metavar="FRAMES")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    print(json.dumps(describe_machine(arguments.device)))
    denoiser = fill(DenoisingUNet(CONFIG, operations=layer_classes()), "bench.").to(arguments.device).eval()
    reference_unet = fill(ReferenceUNet(CONFIG, operations=layer_classes()), "bench.").to(arguments.device).eval()
    with torch.no_grad():
        reference = reference_unet(torch.randn(1, 4, SIDE, SIDE, device=arguments.device))
    for frames in arguments.lengths:
        noise = make_noise(frames, SIDE, SIDE, seed=0)

        def run(noise: Tensor = noise) -> None:
            settings = SamplingSettings(steps=1, guidance=1.0)
            sample(denoiser=denoiser, reference=reference, audio=Silence(), pose=None, noise=noise, settings=settings)

        timing = measure(run, arguments.device, runs=1)
        count = len(windows(frames, 12, 3))
        print(f"{frames} frames: {timing.seconds / count:.3f} s a window ({count} windows)")
        print(f"{frames} frames: {timing.peak / 1e6:.0f} MB peak, {noise.nbytes / 1e6:.1f} MB of it latents")


if __name__ == "__main__":
    main()
