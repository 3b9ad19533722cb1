"""Every stage of a render, measured: audio, pose, reference, a window's step with and without guidance, decoding.

    python -m benchmarks.stages [--sizes 256 512] [--dtype float32] [--json FILE]

Printed is the median time of several runs after a warm-up (the device is synchronised around each), peak memory, and
for a roofline the floating-point operations of torch's own layers (counted without running), the rate achieved, and its
share of the rate that large matrix products reach on the device. On a CPU Winograd convolutions do fewer operations
than are counted, so the rate is an effective one. The networks have the published size and drawn weights.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.networks import (
    CONFIG,
    make_audio_encoder,
    make_denoiser,
    make_pose_encoder,
    make_reference_unet,
    make_vae,
)
from benchmarks.setup import TOKENS, describe_machine, make_window, measure
from echomimic.cli.generate import DTYPES
from echomimic.kernels import cpu_matmul
from echomimic.runtime.device import compute_dtype, keep_freed_blocks

GUIDANCE = 2.5


def audio_stage(size: int, frames: int, device: str, dtype: torch.dtype) -> Callable[[], Any]:
    encoder = make_audio_encoder(device, dtype)
    mel = torch.randn(1, 80, 3000, device=device, dtype=dtype)
    return lambda: encoder(mel)


def pose_stage(size: int, frames: int, device: str, dtype: torch.dtype) -> Callable[[], Any]:
    encoder = make_pose_encoder(device, dtype)
    pictures = torch.rand(1, 3, frames, size, size, device=device, dtype=compute_dtype(dtype, device))
    return lambda: encoder(pictures)


def reference_stage(size: int, frames: int, device: str, dtype: torch.dtype) -> Callable[[], Any]:
    network = make_reference_unet(device, dtype)
    latents = torch.randn(1, 4, size // 8, size // 8, device=device, dtype=compute_dtype(dtype, device))
    return lambda: network(latents)


def step_stage(guided: bool, batched: bool = False) -> Callable[..., Callable[[], Any]]:
    def stage(size: int, frames: int, device: str, dtype: torch.dtype) -> Callable[[], Any]:
        network = make_denoiser(device, dtype)
        window = make_window(CONFIG, frames, size, size).to(device, compute_dtype(dtype, device))
        reference, audio = network.project_reference(window.bank), network.project_audio(window.audio)

        def step() -> torch.Tensor:
            if batched:
                both = torch.cat([window.latents, window.latents])
                velocity, plain = network.predict(
                    both, window.timestep, audio, window.pose, reference, conditioned=[True, False]
                ).chunk(2)
                return plain + GUIDANCE * (velocity - plain)
            velocity = network(window.latents, window.timestep, audio, window.pose, reference)
            if guided:
                plain = network(window.latents, window.timestep)
                velocity = plain + GUIDANCE * (velocity - plain)
            return velocity

        return step

    return stage


def decode_stage(size: int, frames: int, device: str, dtype: torch.dtype) -> Callable[[], Any]:
    vae = make_vae(device, dtype)
    latents = torch.randn(1, 4, size // 8, size // 8, device=device, dtype=dtype)
    return lambda: vae.decode(latents).sample


STAGES = {
    "audio, 30 s": audio_stage,
    "pose, a window": pose_stage,
    "reference": reference_stage,
    "step": step_stage(guided=False),
    "step, guided": step_stage(guided=True),
    "step, guided in one batch": step_stage(guided=True, batched=True),
    "decode, a frame": decode_stage,
}


def count_operations(stage: Callable[..., Callable[[], Any]], size: int, frames: int) -> int:
    """Floating-point operations of a stage, two for a multiplication with addition."""
    work = stage(size, frames, "meta", torch.float32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        work()
    return counter.get_total_flops()


def measure_ceiling(device: str, dtype: torch.dtype) -> float:
    """Operations a second that large matrix products reach on the device."""
    side = 8192 if device.startswith("cuda") else 1536
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    # With the library that multiplies in the networks: the other may be slower.
    return 2 * side**3 / measure(lambda: cpu_matmul.linear(left, right), device, runs=7).seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256], help="pixels of the square picture (256)")
    parser.add_argument("--frames", type=int, default=12, help="frames of the window (12)")
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="bfloat16" if torch.cuda.is_available() else "float32", choices=DTYPES)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_blocks()  # as the command line does
    dtype = DTYPES[arguments.dtype]
    ceiling = measure_ceiling(arguments.device, dtype)
    record: dict[str, Any] = {"machine": describe_machine(arguments.device), "dtype": arguments.dtype}
    record |= {"frames": arguments.frames, "ceiling": ceiling, "tokens": TOKENS, "rows": []}
    print(json.dumps(record["machine"] | {"dtype": arguments.dtype, "ceiling": f"{ceiling / 1e12:.2f} TFLOP/s"}))
    print("| stage | size | seconds | peak memory | TFLOP | TFLOP/s | of ceiling |\n|---|---|---|---|---|---|---|")
    for size in arguments.sizes:
        for name in arguments.stages:
            operations = count_operations(STAGES[name], size, arguments.frames)
            work = STAGES[name](size, arguments.frames, arguments.device, dtype)
            with torch.no_grad():
                timing = measure(work, arguments.device, arguments.runs)
            rate = operations / timing.seconds
            row = {"stage": name, "size": size, "seconds": timing.seconds, "peak": timing.peak}
            record["rows"].append(row | {"cpu_seconds": timing.cpu_seconds, "operations": operations, "rate": rate})
            print(
                f"| {name} | {size}x{size} | {timing.seconds:.3f} | {timing.peak / 1e9:.2f} GB | "
                f"{operations / 1e12:.3f} | {rate / 1e12:.3f} | {rate / ceiling:.0%} |",
                flush=True,
            )
            del work
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
