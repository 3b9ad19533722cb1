"""A window's step through ComfyUI's layers beside the engine's own, on the device at hand.

    COMFYUI_PATH=CHECKOUT PYTHON_OF_COMFYUI -m benchmarks.host [--size 256] [--frames 12] [--runs 3] [--json FILE]

Printed is a Markdown table: the denoising UNet in the published size with drawn weights, without and with guidance, in
the precision that ComfyUI chooses for the device.

- engine: what the command line computes with.
- engine, kernels off: the same with ECHOMIMIC_KERNELS=0.
- ComfyUI: the layers and the attention that the pack's nodes build the network with.
- ComfyUI, core's layers: the same without the pack's kernels for CPUs.

All share their weights and take turns in each run, so that a busy machine is equally busy for all. Times are medians,
of processor time on a CPU; ratios are to the engine. The error is relative, to the engine's result.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from benchmarks.networks import CONFIG, fill_drawn
from benchmarks.setup import Window, describe_machine, make_window, synchronize
from echomimic.kernels import layer_classes
from echomimic.models import DenoisingUNet
from echomimic.models.casting_layers import filters_to_channels_last
from tests import torchvision_operators
from tests.golden_cases import relative_error

ROOT = Path(__file__).resolve().parents[1]
ENGINE = "engine"


def load_host(checkout: Path) -> ModuleType:
    """The pack's `nodes.host`, in a process that has ComfyUI's modules but no server."""
    # Before this project's folder, whose `nodes` is not core's.
    sys.path.insert(0, str(checkout))
    torchvision_operators.declare()
    import comfy.cli_args

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    spec = importlib.util.spec_from_file_location("echomimic_pack", ROOT / "__init__.py")
    assert spec is not None and spec.loader is not None
    pack = importlib.util.module_from_spec(spec)
    sys.modules["echomimic_pack"] = pack
    spec.loader.exec_module(pack)
    return importlib.import_module("echomimic_pack.nodes.host")


def networks(host: Any, device: torch.device, dtype: torch.dtype) -> dict[str, DenoisingUNet]:
    """The network as each of them builds it, all with the same weights."""
    placed = host.placement(host.Precision(dtype, dtype))
    hosted = {"attention": placed["attention"], "device": "meta"}
    core = host.comfy.ops.pick_operations(dtype, None)
    built = {
        ENGINE: DenoisingUNet(CONFIG, operations=layer_classes(True), device="meta"),
        "engine, kernels off": DenoisingUNet(CONFIG, operations=layer_classes(False), device="meta"),
        "ComfyUI": DenoisingUNet(CONFIG, operations=placed["operations"], **hosted),
        "ComfyUI, core's layers": DenoisingUNet(CONFIG, operations=core, **hosted),
    }
    engine = fill_drawn(built[ENGINE], device, dtype)
    for network in built.values():
        if network is not engine:
            network.load_state_dict(engine.state_dict(), assign=True)
            network.eval().requires_grad_(False)
            filters_to_channels_last(network)
    return built


@torch.inference_mode()
def step(network: DenoisingUNet, window: Window, guided: bool) -> torch.Tensor:
    """The velocity of a window `[1 or 2, 4, F, h, w]`; with guidance both branches in one batch."""
    reference = network.project_reference(window.bank)
    rows = 2 if guided else 1
    audio = torch.cat([torch.zeros_like(window.audio), window.audio]) if guided else window.audio
    pose = torch.cat([torch.zeros_like(window.pose), window.pose]) if guided else window.pose
    return network.predict(
        window.latents.repeat(rows, 1, 1, 1, 1),
        window.timestep,
        network.project_audio(audio),
        pose,
        reference,
        conditioned=[False, True] if guided else [True],
    )


def measure(built: dict[str, DenoisingUNet], window: Window, guided: bool, runs: int) -> list[dict[str, Any]]:
    """A row for each network: seconds, their ratio to the engine's, and the error."""
    device = window.latents.device
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in built}
    results = {}
    for turn in range(runs + 1):
        for name, network in built.items():
            synchronize(device)
            start = clock()
            results[name] = step(network, window, guided)
            synchronize(device)
            seconds[name] += [clock() - start] if turn else []
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return [
        {
            "step": "guided" if guided else "plain",
            "layers": name,
            "seconds": medians[name],
            "ratio": medians[name] / medians[ENGINE],
            "error": relative_error(results[name].float(), results[ENGINE].float()),
        }
        for name in built
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="side of the picture in pixels (default: 256)")
    parser.add_argument("--frames", type=int, default=12, help="frames of the window (default: 12)")
    parser.add_argument("--runs", type=int, default=3, help="timed runs after a warm-up (default: 3)")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    checkout = os.environ.get("COMFYUI_PATH")
    if not checkout:
        parser.error("set COMFYUI_PATH to a checkout of ComfyUI")
    host = load_host(Path(checkout).resolve())
    device = host.comfy.model_management.get_torch_device()
    dtype = host.Precision.chosen().compute
    built = networks(host, device, dtype)
    window = make_window(CONFIG, options.frames, options.size, options.size).to(device, dtype)
    machine = describe_machine(device)
    print(f"{machine['device']}, {options.size}x{options.size}, {options.frames} frames, {dtype}\n")
    print("| step | layers | seconds | ratio | error |\n|---|---|---|---|---|")
    rows = []
    for guided in (False, True):
        for row in measure(built, window, guided, options.runs):
            rows.append(row)
            print(
                f"| {row['step']} | {row['layers']} | {row['seconds']:.2f} | {row['ratio']:.2f} | {row['error']:.0e} |"
            )
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
