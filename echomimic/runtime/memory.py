"""How much device memory a window takes, and what to do when it is too much."""

from __future__ import annotations

import ctypes
import sys

import torch

from ..models.config import MAX_WINDOW, UNetConfig
from ..models.layers import CHUNK_BYTES_ON_DEVICE

# Peak of the denoising UNet's activations, in units of one frame's first level, [h, w, C0] numbers: so many a frame,
# and so many whatever the frames. Found by following every allocation of a pass (tests/test_memory.py). It is reached
# either in the widest resnet or in the widest feed-forward, whose middle is computed in pieces.
RESNET_UNITS, RESNET_CONSTANT = 13.5, 12
BLOCK_UNITS, BLOCK_CONSTANT, MIDDLE_UNITS = 10, 12, 12
# The middle's projection and what comes of it, in pieces of the projection.
MIDDLE_PIECES = 1.75
# glibc's numbers for mallopt's parameters, and the most that an int can say.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 2**31 - 1


def window_bytes(config: UNetConfig, frames: int, height: int, width: int, element_size: int) -> int:
    """Peak bytes of activations in one window, the weights not counted.

    Args:
        config: the networks' size.
        frames: window length.
        height, width: latent size (image / 8).
        element_size: bytes of one number: 2 in half precision, 4 in float32.
    """
    unit = height * width * config.block_out_channels[0] * element_size
    resnet = (RESNET_UNITS * frames + RESNET_CONSTANT) * unit
    middle = min(MIDDLE_UNITS * frames * unit, MIDDLE_PIECES * CHUNK_BYTES_ON_DEVICE)
    return int(max(resnet, (BLOCK_UNITS * frames + BLOCK_CONSTANT) * unit + middle))


def free_bytes(device: torch.device | str) -> int | None:
    """Memory that new tensors could get on a CUDA or ROCm device; None where it cannot be asked.

    A share that this process was limited to (`torch.cuda.set_per_process_memory_fraction`) is kept to.
    """
    device = torch.device(device)
    if device.type != "cuda":
        return None
    index = cuda_index(device)
    taken = torch.cuda.memory_allocated(index)
    free, total = torch.cuda.mem_get_info(index)
    # (Older releases of torch set the share but do not tell it.)
    share = getattr(torch.cuda, "get_per_process_memory_fraction", lambda index: 1.0)(index)
    return min(free + torch.cuda.memory_reserved(index) - taken, int(share * total) - taken)


def cuda_index(device: torch.device) -> int:
    """The number of a CUDA device; plain "cuda" is the current one."""
    return torch.cuda.current_device() if device.index is None else device.index


def keep_freed_blocks() -> None:
    """Let this process keep the memory that tensors on a CPU free, for the next ones.

    glibc gives blocks of more than 32 MB back to the system as soon as they are freed and is given pages to fill with
    zeros for the next one: 6 to 8 % of a window's time. It concerns the whole process, so a program calls it for
    itself; on other systems nothing is done.
    """
    if sys.platform != "linux":
        return
    allocator = ctypes.CDLL(None)
    if hasattr(allocator, "mallopt"):  # musl has none
        allocator.mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
        allocator.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


def smaller_settings(
    config: UNetConfig, frames: int, height: int, width: int, element_size: int, free: int | None
) -> str:
    """A sentence for the user whose window did not fit: what it takes, and which length and size would fit.

    Args:
        config, frames, height, width, element_size: as in `window_bytes`.
        free: bytes that the window may take; None if unknown, then half of what this window takes is aimed at.
    """
    needed = window_bytes(config, frames, height, width, element_size)
    budget = needed // 2 if free is None else free
    length = next(
        (
            n
            for n in range(min(frames, MAX_WINDOW) - 1, 0, -1)
            if window_bytes(config, n, height, width, element_size) <= budget
        ),
        None,
    )
    scale = min(1.0, (budget / needed) ** 0.5)
    # Whole multiples of 64 pixels: eight latent rows.
    small_height, small_width = (max(8, int(side * scale) // 8 * 8) * 8 for side in (height, width))
    said = f"a window of {frames} frames at {width * 8}x{height * 8} takes about {gigabytes(needed)} beside the weights"
    if free is not None:
        said += f", {gigabytes(free)} are free"
    ways = [f"{small_width}x{small_height} pixels"]
    if length:
        ways.insert(0, f"a window length of {length}")
    return f"{said}; try {' or '.join(ways)}, or free memory by closing other programs"


def gigabytes(count: int) -> str:
    """Bytes in words: `2.3 GB`, or `310 MB` below one."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
