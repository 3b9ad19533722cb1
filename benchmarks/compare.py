"""Our window step against the released implementation's: same inputs, recipe weights and device, one run.

    python -m benchmarks.compare --original CHECKOUT --python PYTHON --weights FILE

CHECKOUT is a checkout of the released code, PYTHON an interpreter with diffusers 0.31, transformers 4.46, einops,
omegaconf and this environment's torch, FILE where the recipe weights are stored (5.2 GB, drawn if missing). Both
processes live side by side and take turns (ours, theirs, ours, theirs), so a busy machine is equally busy for both;
ratios are of medians.

On a CUDA device both compute in float16 at 768x768, and wall time is compared. On a CPU ours in float32 and bfloat16,
each with `echomimic.kernels` and without, stand beside the original's float32 at 256x256, and processor time is
compared, which with `--threads 1` hardly depends on what else runs. Needs about 12 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.setup import (
    Window,
    describe_machine,
    make_denoiser,
    make_window,
    recipe_weights,
    synchronize,
)
from echomimic.cli.generate import DTYPES
from echomimic.models import DenoisingUNet, UNetConfig
from echomimic.runtime.device import compute_dtype, keep_freed_blocks
from tests.golden_cases import relative_error

GUIDANCE = 2.5


class Original:
    """The released implementation, waiting in a process of its own."""

    def __init__(
        self, python: Path, checkout: Path, weights: Path, inputs: Path, threads: int, device: str, precision: str
    ) -> None:
        self.precision = precision
        script = Path(__file__).with_name("original_worker.py")
        command = [python, script, checkout, weights, inputs, str(threads), device, precision]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.velocity_file = inputs.with_suffix(".velocity")
        self.about = self.answer()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the original stopped with exit code {self.process.wait()}; its message is above")
        return json.loads(line)

    def step(self, kind: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        print(kind, file=self.process.stdin, flush=True)
        return self.answer()

    def velocity(self) -> Tensor:
        return torch.load(self.velocity_file, weights_only=True)


def our_step(denoiser: DenoisingUNet, window: Window, kind: str) -> dict[str, Any]:
    """One window step as `echomimic.sampling` does it: conditions projected beforehand, cond and uncond in turn."""
    device = window.latents.device
    with torch.no_grad():
        reference, audio = denoiser.project_reference(window.bank), denoiser.project_audio(window.audio)
        synchronize(device)
        wall, processor = time.perf_counter(), time.process_time()
        if kind == "batched":
            both = torch.cat([window.latents, window.latents])
            velocity, plain = denoiser.predict(
                both, window.timestep, audio, window.pose, reference, conditioned=[True, False]
            ).chunk(2)
        else:
            velocity = denoiser(window.latents, window.timestep, audio, window.pose, reference)
        if kind == "guided":
            plain = denoiser(window.latents, window.timestep)
        if kind != "plain":
            velocity = plain + GUIDANCE * (velocity - plain)
        synchronize(device)
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - processor
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "velocity": velocity}


def compare(
    original: Original, runners: dict[str, tuple[DenoisingUNet, Window]], kind: str, pairs: int
) -> list[dict[str, Any]]:
    """Rows of medians and ratios for one kind of step, one for each of our networks."""
    theirs: list[dict[str, Any]] = []
    ours: dict[str, list[dict[str, Any]]] = {name: [] for name in runners}
    for _ in range(pairs):
        for name, (denoiser, window) in runners.items():
            ours[name].append(our_step(denoiser, window, kind))
        theirs.append(original.step("plain" if kind == "plain" else "guided"))
    rows = []
    for name, runs in ours.items():
        row: dict[str, Any] = {"step": kind, "ours": name, "original": original.precision}
        for clock in ("seconds", "cpu_seconds"):
            mine, other = (statistics.median(run[clock] for run in side) for side in (runs, theirs))
            row |= {f"our_{clock}": mine, f"original_{clock}": other, f"{clock}_ratio": mine / other}
        row["relative_error"] = relative_error(runs[-1]["velocity"].float().cpu(), original.velocity())
        rows.append(row)
    return rows


def as_table_row(row: dict[str, Any], clock: str) -> str:
    """A row of the Markdown table, by one of the two clocks."""
    return (
        f"| {row['step']} | {row['ours']} | {row[f'our_{clock}']:.2f} s | {row['original']} | "
        f"{row[f'original_{clock}']:.2f} s | **{row[f'{clock}_ratio']:.3f}** | {row['seconds_ratio']:.3f} | "
        f"{row['relative_error']:.1e} |"
    )


def make_runners(
    config: UNetConfig, weights: dict[str, Tensor], window: Window, device: str, dtypes: list[str]
) -> dict[str, tuple[DenoisingUNet, Window]]:
    """Our networks by name: one for each dtype, on a CPU one with kernels and one without, which share the weights."""
    runners = {}
    for name in dtypes:
        # (On a CPU without native bfloat16 the weights are bfloat16 and the activations float32, as in a render.)
        moved = window.to(device, compute_dtype(DTYPES[name], device))
        network = make_denoiser(config, weights, device, DTYPES[name], kernels=True)
        runners[name] = (network, moved)
        if device == "cpu":
            plain = make_denoiser(config, network.state_dict(), device, DTYPES[name], kernels=False)
            runners[f"{name}, kernels off"] = (plain, moved)
    return runners


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--original", type=Path, required=True, metavar="CHECKOUT")
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", type=int, help="pixels of the square picture (256 on a CPU, else 768)")
    parser.add_argument("--frames", type=int, default=12, help="frames of the window (12)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--pairs", type=int, default=3, help="turns that each side takes (3)")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, help="ours (float32 bfloat16 on a CPU, else float16)")
    parser.add_argument("--original-dtype", choices=DTYPES, help="the original's (float32 on a CPU, else float16)")
    parser.add_argument("--kinds", nargs="+", default=["plain", "guided", "batched"])
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()

    on_cpu = arguments.device == "cpu"
    dtypes = arguments.dtypes or (["float32", "bfloat16"] if on_cpu else ["float16"])
    theirs_in = arguments.original_dtype or ("float32" if on_cpu else "float16")
    size = arguments.size or (256 if on_cpu else 768)
    torch.set_num_threads(arguments.threads)
    keep_freed_blocks()  # as the command line does
    config = UNetConfig()
    weights = recipe_weights(config, arguments.weights)
    window = make_window(config, arguments.frames, size, size)
    runners = make_runners(config, weights, window, arguments.device, dtypes)
    record: dict[str, Any] = {"machine": describe_machine(arguments.device), "size": size, "frames": arguments.frames}
    record["rows"] = []
    clock = "cpu_seconds" if on_cpu else "seconds"
    print(json.dumps(record["machine"]))
    print(f"{size}x{size}, {arguments.frames} frames, {'processor' if on_cpu else 'wall'} time\n")
    print("| step | ours | time | original | time | ratio | ratio of wall time | relative difference |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs.safetensors"
        bank = {f"bank.{name}": tokens for name, tokens in window.bank.items()}
        save_file({"latents": window.latents, "audio": window.audio, "pose": window.pose, **bank}, inputs)
        checkout, settings = arguments.original, (arguments.threads, arguments.device, theirs_in)
        original = Original(arguments.python, checkout, arguments.weights, inputs, *settings)
        for denoiser, window in runners.values():  # warms up: weights are read from the file
            our_step(denoiser, window, "plain")
        original.step("plain")
        for kind in arguments.kinds:
            for row in compare(original, runners, kind, arguments.pairs):
                record["rows"].append(row)
                print(as_table_row(row, clock), flush=True)
        original.process.stdin.close()
        original.process.wait()
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
