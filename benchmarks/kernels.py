"""What each kernel of `echomimic.kernels` gains on this device.

    python -m benchmarks.kernels [--size 256] [--frames 12] [--dtype float32] [--json FILE]

Printed is a Markdown table. Every ratio is time with the kernel divided by time without it, so 0.5 means twice as fast:
once for the operation alone, at the size that it has in the network, and once for a whole step of the denoising UNet in
which all other kernels are on. The runs with and without take turns, so a busy machine is equally busy for both; ratios
are of medians, on a CPU of processor time. The last row switches all of them (ECHOMIMIC_KERNELS=0). The networks have
the published size and drawn weights.

The kernels do nothing on other devices than CPUs, except float8 on NVIDIA GPUs since Ada. On a CPU float8 saves memory
only, and its row is the price in time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.networks import CONFIG, fill_drawn
from benchmarks.setup import PIXELS_PER_LATENT, Window, describe_machine, make_window, synchronize
from echomimic.cli.generate import DTYPES
from echomimic.kernels import cpu_matmul, layer_classes, layers, patches, winograd
from echomimic.kernels.float8 import Float8Linear, product_for, to_float8
from echomimic.models import DenoisingUNet
from echomimic.models.casting_layers import filters_to_channels_last
from echomimic.models.layers import channels_last
from echomimic.runtime.device import keep_freed_blocks

Work = Callable[[], Any]


@dataclass(frozen=True)
class Shape:
    """A window: picture side in pixels, frames, and where and in which dtype it is computed."""

    size: int
    frames: int
    device: torch.device
    dtype: torch.dtype

    def draw(self, *shape: int) -> Tensor:
        return torch.randn(*shape, device=self.device, dtype=self.dtype)

    def pictures(self, level: int) -> Tensor:
        """Hidden states of a level, `[F, C, h, w]`."""
        side = max(1, self.size // PIXELS_PER_LATENT // 2**level)
        return channels_last(self.draw(self.frames, CONFIG.block_out_channels[level], side, side))


def convolution(level: int) -> Callable[[Shape], Work]:
    """A resnet's 3x3 convolution at a level."""

    def operation(shape: Shape) -> Work:
        pictures, channels = shape.pictures(level), CONFIG.block_out_channels[level]
        layer = layers.Conv2d(channels, channels, 3, padding=1, device=shape.device, dtype=shape.dtype)
        filters_to_channels_last(layer)
        return lambda: layer(pictures)

    return operation


def feed_forward_product(shape: Shape) -> Work:
    """The widest linear layer of the first level."""
    channels = CONFIG.block_out_channels[0]
    tokens = shape.draw(shape.frames * (shape.size // PIXELS_PER_LATENT) ** 2, channels)
    layer = layers.Linear(channels, 8 * channels, device=shape.device, dtype=shape.dtype)
    return lambda: layer(tokens)


@dataclass(frozen=True)
class Kernel:
    """A kernel, the operation that it speeds up, and what switches it off: an attribute of a module, and its value."""

    name: str
    operation: Callable[[Shape], Work]
    module: Any
    attribute: str
    off: Any

    def without(self) -> contextlib.AbstractContextManager[Any]:
        return patch.object(self.module, self.attribute, self.off)


KERNELS = [
    Kernel("matrix products by oneDNN", feed_forward_product, cpu_matmul, "prefer_onednn", lambda *_: False),
    Kernel("Winograd convolution", convolution(0), winograd, "should_use", lambda *_: False),
    Kernel("convolution by patches", convolution(3), patches, "should_use", lambda *_: False),
]


def make_denoiser(shape: Shape, plain: DenoisingUNet | None = None, with_kernels: bool = True) -> DenoisingUNet:
    """The denoising UNet with drawn weights, or with the weights of `plain`."""
    network = DenoisingUNet(CONFIG, operations=layer_classes(with_kernels), device="meta")
    if plain is None:
        return fill_drawn(network, shape.device, shape.dtype)
    network.load_state_dict(plain.state_dict(), assign=True)
    return network.eval().requires_grad_(False)


def step_of(network: DenoisingUNet, window: Window) -> Work:
    """A window's step without guidance."""
    reference, audio = network.project_reference(window.bank), network.project_audio(window.audio)
    return lambda: network.predict(window.latents, window.timestep, audio, window.pose, reference)


def ratio_of(with_kernel: Work, without: Work, device: torch.device, runs: int) -> dict[str, float]:
    """Median seconds of both, taking turns after a warm-up, and their ratio."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(runs + 1):
        for work, times in zip((with_kernel, without), seconds):
            clock = time.process_time if device.type == "cpu" else time.perf_counter
            synchronize(device)
            start = clock()
            work()
            synchronize(device)
            times += [clock() - start] if turn else []
    on, off = map(statistics.median, seconds)
    return {"with": on, "without": off, "ratio": on / off}


def switched_off(kernel: Kernel, work: Work) -> Work:
    def run() -> None:
        with kernel.without():
            work()

    return run


def float8_layer(shape: Shape, runs: int) -> dict[str, float]:
    """The widest linear layer of the third level in float8 and in the window's dtype."""
    channels = CONFIG.block_out_channels[2]
    tokens = shape.draw(shape.frames * max(1, shape.size // PIXELS_PER_LATENT // 4) ** 2, channels)
    layer = layers.Linear(channels, 8 * channels, device=shape.device, dtype=shape.dtype).requires_grad_(False)
    stored = Float8Linear(layer)
    return ratio_of(lambda: stored(tokens), lambda: layer(tokens), shape.device, runs)


def measure_all(shape: Shape, runs: int) -> Iterator[dict[str, Any]]:
    """A row for every kernel that this device has, then for all of them, then for float8."""
    window = make_window(CONFIG, shape.frames, shape.size, shape.size).to(shape.device, shape.dtype)
    fast = make_denoiser(shape)
    step = step_of(fast, window)
    if shape.device.type == "cpu":
        for kernel in KERNELS:
            operation = kernel.operation(shape)
            alone = ratio_of(operation, switched_off(kernel, operation), shape.device, max(runs, 5))
            yield {
                "kernel": kernel.name,
                "alone": alone,
                "step": ratio_of(step, switched_off(kernel, step), shape.device, runs),
            }
        plain = step_of(make_denoiser(shape, fast, with_kernels=False), window)
        yield {"kernel": "all", "alone": None, "step": ratio_of(step, plain, shape.device, runs)}
    in_float8 = make_denoiser(shape, fast)
    to_float8(in_float8)
    name = "float8" if product_for(shape.device) is not None else "float8, stored only"
    alone = float8_layer(shape, max(runs, 5))
    yield {"kernel": name, "alone": alone, "step": ratio_of(step_of(in_float8, window), step, shape.device, runs)}


def as_text(timing: dict[str, float] | None) -> str:
    if timing is None:
        return "| | | "
    return f"| {timing['with']:.4g} s | {timing['without']:.4g} s | **{timing['ratio']:.2f}** "


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=DTYPES, help="default: float32 on a CPU, else float16")
    parser.add_argument("--size", type=int, help="pixels of the square picture (256 on a CPU, else 768)")
    parser.add_argument("--frames", type=int, default=12, help="frames of the window (12)")
    parser.add_argument("--runs", type=int, default=3, help="timed turns of a step (3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()

    device = torch.device(arguments.device)
    on_cpu = device.type == "cpu"
    torch.set_num_threads(arguments.threads)
    keep_freed_blocks()  # as the command line does
    dtype = DTYPES[arguments.dtype or ("float32" if on_cpu else "float16")]
    shape = Shape(arguments.size or (256 if on_cpu else 768), arguments.frames, device, dtype)
    record: dict[str, Any] = {"machine": describe_machine(device), "size": shape.size, "frames": shape.frames}
    record |= {"dtype": str(dtype), "rows": []}
    print(json.dumps(record["machine"]))
    print(f"{shape.size}x{shape.size}, {shape.frames} frames, {dtype}\n")
    print("| kernel | operation with | without | ratio | step with | without | ratio |")
    print("|---|---|---|---|---|---|---|")
    with torch.no_grad():
        for row in measure_all(shape, arguments.runs):
            record["rows"].append(row)
            print(f"| {row['kernel']} {as_text(row['alone'])}{as_text(row['step'])}|", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
