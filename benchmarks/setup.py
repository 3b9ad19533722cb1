"""What the benchmarks share: recipe weights, a window's inputs, a description of the machine, timing."""

from __future__ import annotations

import ctypes
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from echomimic.kernels import layer_classes
from echomimic.models import DenoisingUNet, ReferenceUNet, UNetConfig
from echomimic.models.casting_layers import filters_to_channels_last
from echomimic.models.layers import LayerFactory
from echomimic.models.motion import PositionEncoding
from tests.recipe import recipe_array

SALT = "g1.denoising_unet."
PIXELS_PER_LATENT = 8
TOKENS = 50


@dataclass(frozen=True)
class Window:
    """Inputs: `latents [1, 4, F, h, w]`, `audio [1, F, 50, A]`, `pose [1, C0, F, h, w]`, `bank {block: [1, N, C]}`."""

    latents: Tensor
    audio: Tensor
    pose: Tensor
    bank: dict[str, Tensor]
    timestep: int = 600

    def to(self, *where: Any) -> Window:
        """Moved to a device or precision."""
        moved = {f.name: getattr(self, f.name).to(*where) for f in fields(self) if f.name not in ("bank", "timestep")}
        return replace(self, **moved, bank={name: tokens.to(*where) for name, tokens in self.bank.items()})


def make_window(config: UNetConfig, frames: int, width: int, height: int) -> Window:
    """A window of seeded normal numbers; those of the reference stand for LayerNorm's output, which is about normal."""
    h, w = height // PIXELS_PER_LATENT, width // PIXELS_PER_LATENT
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    with torch.no_grad():
        shapes = ReferenceUNet(config, device="meta")(torch.empty(1, 4, h, w, device="meta"))
    return Window(
        draw(1, 4, frames, h, w),
        draw(1, frames, TOKENS, config.audio_dim),
        0.1 * draw(1, config.block_out_channels[0], frames, h, w),
        {name: draw(*tokens.shape) for name, tokens in shapes.items()},
    )


def recipe_weights(config: UNetConfig, cache: Path) -> dict[str, Tensor]:
    """The denoising UNet's recipe weights, memory-mapped from `cache`, which is written if it is missing.

    In the published size they are 5.2 GB; processes that map the same file share the memory.
    """
    if not cache.exists():
        network = DenoisingUNet(config, device="meta")
        state = {
            name: PositionEncoding(LayerFactory(), tensor.shape[-1]).pe
            if name.endswith(".pe")
            else torch.from_numpy(recipe_array(name, tuple(tensor.shape), SALT))
            for name, tensor in network.state_dict().items()
        }
        cache.parent.mkdir(parents=True, exist_ok=True)
        unfinished = cache.with_suffix(".partial")
        save_file(state, unfinished)
        unfinished.rename(cache)
    return load_file(cache)


def make_denoiser(
    config: UNetConfig,
    weights: dict[str, Tensor],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    kernels: bool | None = None,
) -> DenoisingUNet:
    """The denoising UNet with these weights, computed with `echomimic.kernels` or without."""
    network = DenoisingUNet(config, operations=layer_classes(kernels), device="meta")
    network.load_state_dict({name: tensor.to(device, dtype) for name, tensor in weights.items()}, assign=True)
    filters_to_channels_last(network)
    return network.eval().requires_grad_(False)


@dataclass(frozen=True)
class Timing:
    """Medians of several runs: wall seconds, processor seconds of this process, and the peak of memory in bytes."""

    seconds: float
    cpu_seconds: float
    peak: int


def measure(work: Callable[[], Any], device: torch.device | str = "cpu", runs: int = 3) -> Timing:
    """Run once to warm up, then `runs` times, with the device synchronised before and after each."""
    device = torch.device(device)
    trim_memory()
    work()
    reset_peak(device)
    walls, processors = [], []
    for _ in range(runs):
        synchronize(device)
        wall, processor = time.perf_counter(), time.process_time()
        work()
        synchronize(device)
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return Timing(statistics.median(walls), statistics.median(processors), peak_memory(device))


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def trim_memory() -> None:
    """Return freed memory to the system, so that earlier work does not count in the next peak (glibc)."""
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)


def reset_peak(device: torch.device) -> None:
    """Start a new measurement of peak memory."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        reset_peak_resident()


def peak_memory(device: torch.device) -> int:
    """Peak bytes allocated on a CUDA device, or else peak resident memory of the process."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_resident()


def reset_peak_resident() -> None:
    """Reset the process's peak of resident memory on Linux; elsewhere the peak counts from the process's start."""
    switch = Path("/proc/self/clear_refs")
    if switch.exists():
        switch.write_text("5")


def peak_resident() -> int:
    """The process's peak of resident memory in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def describe_machine(device: torch.device | str) -> dict[str, Any]:
    """The device, the versions and the number of threads, for a benchmark's record."""
    device = torch.device(device)
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        listing = Path("/proc/cpuinfo")
        lines = listing.read_text().splitlines() if listing.exists() else []
        named = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        name = f"{named[0] if named else platform.processor()}, {torch.backends.cpu.get_cpu_capability()}"
    return {
        "device": f"{device.type}: {name}",
        "date": time.strftime("%Y-%m-%d"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "threads": torch.get_num_threads(),
    }
