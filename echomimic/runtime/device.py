"""The device: its precision, its free memory, and the process's allocator."""

from __future__ import annotations

import ctypes
import sys

import torch

# The CPU features that multiply a half-precision dtype natively, by the names of torch's checks.
NATIVE_HALF = {
    torch.bfloat16: ("_is_avx512_bf16_supported", "_is_amx_tile_supported"),
    torch.float16: ("_is_amx_fp16_supported",),
}

# glibc's numbers for mallopt's parameters, and the largest value that it takes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 2**31 - 1


def compute_dtype(dtype: torch.dtype, device: torch.device | str) -> torch.dtype:
    """The dtype of activations on a device, for weights of this dtype.

    It is the weights' own, except float32 on CPUs without native instructions for a half-precision dtype, where torch's
    kernels are many times slower than in float32. Weights stay in half precision there, which saves the memory.
    """
    if torch.device(device).type != "cpu" or dtype not in NATIVE_HALF:
        return dtype
    native = any(getattr(torch.cpu, name, lambda: False)() for name in NATIVE_HALF[dtype])
    return dtype if native else torch.float32


def vae_dtype(dtype: torch.dtype, device: torch.device | str) -> torch.dtype:
    """The VAE's precision where the networks compute in `dtype`: bfloat16 where that is half precision, else float32.

    float16 overflows in Stable Diffusion's VAE. bfloat16 agrees with float32 within 1/255 of full scale on average,
    measured by `python -m benchmarks.vae_precision` (0.57 of 255 at 256x256 on random weights of the published size).
    A device without native bfloat16 keeps float32.
    """
    if dtype == torch.float32:
        return torch.float32
    device = torch.device(device)
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        native = compute_dtype(torch.bfloat16, device) == torch.bfloat16
    else:
        native = False  # MPS converts bfloat16 layer by layer
    return torch.bfloat16 if native else torch.float32


def free_bytes(device: torch.device | str) -> int | None:
    """Memory that new tensors could get on a CUDA or ROCm device; None where the device does not report it.

    A share that this process was limited to (`torch.cuda.set_per_process_memory_fraction`) is kept to.
    """
    device = torch.device(device)
    if device.type != "cuda":
        return None
    index = cuda_index(device)
    taken = torch.cuda.memory_allocated(index)
    free, total = torch.cuda.mem_get_info(index)
    # (Older releases of torch set the share but cannot report it.)
    share = getattr(torch.cuda, "get_per_process_memory_fraction", lambda index: 1.0)(index)
    return min(free + torch.cuda.memory_reserved(index) - taken, int(share * total) - taken)


def cuda_index(device: torch.device) -> int:
    """The number of a CUDA device; plain "cuda" is the current one."""
    return torch.cuda.current_device() if device.index is None else device.index


def keep_freed_blocks() -> None:
    """Let this process keep the memory that tensors on a CPU free, for the next ones.

    glibc gives blocks of more than 32 MB back to the system as soon as they are freed and is given pages filled with
    zeros for the next one: 6 to 8 % of a window's time. The setting holds for the whole process, so programs call this
    and libraries do not; on other systems nothing is done.
    """
    if sys.platform != "linux":
        return
    allocator = ctypes.CDLL(None)
    if hasattr(allocator, "mallopt"):  # musl has none
        allocator.mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
        allocator.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
