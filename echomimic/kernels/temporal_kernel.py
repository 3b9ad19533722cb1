"""Attention along time on CUDA by a kernel of our own, where torch's are poor: 73728 matrices of 12x40 at a time.

Torch's attention kernels work in blocks of 64 or 128 tokens, of which a window's frames fill a dozen, and want every
pixel's frames side by side. The kernel (`temporal_triton`) reads the layout that the projections write.

It needs triton, which torch brings on Linux. Where that is missing, or ECHOMIMIC_TRITON=0 is set, or the kernel fails
to compile, the plain path goes on. Under torch.compile it steps aside: the compiler sees torch's operations only.

No GPU was at hand: its speed is not measured there, neither alone nor against torch's kernels
(`python -m benchmarks.stages --stages "temporal attention, a level" "temporal attention, plain"` does that).
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os

import torch
from torch import Tensor

from ..errors import is_out_of_memory
from ..models.config import MAX_WINDOW

logger = logging.getLogger("echomimic")

SWITCH = "ECHOMIMIC_TRITON"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# Wider heads would not fit a program's registers.
MOST_CHANNELS = 256
# Without the matrix instructions that came with Ampere the compiler spills registers.
LEAST_CAPABILITY = (8, 0)

# Whether the kernel failed in this process; it is not tried again then.
failed = False


def available(query: Tensor, key: Tensor, value: Tensor, heads: int) -> bool:
    """Whether `attend` may be asked for `query`, `key` and `value [B, F, N, heads * head size]`.

    That is on CUDA from Ampere on (ROCm has its name), with triton installed, not switched off by ECHOMIMIC_TRITON=0,
    not failed before, followed by neither gradients nor torch.compile, in float32, float16 or bfloat16, with at most
    32 frames and heads of at most 256 channels.
    """
    if torch.compiler.is_compiling() or failed or not supports(query.device):
        return False
    tensors = (query, key, value)
    followed = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    fits = query.shape[1] <= MAX_WINDOW and query.shape[3] // heads <= MOST_CHANNELS and query.numel() > 0
    alike = query.dtype in DTYPES and all(x.dtype == query.dtype and x.shape == query.shape for x in tensors)
    return fits and alike and not followed and os.environ.get(SWITCH) != "0" and has_triton()


@functools.cache
def supports(device: torch.device) -> bool:
    """Whether the kernel is meant for this device."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= LEAST_CAPABILITY


@functools.cache
def has_triton() -> bool:
    """Whether triton is installed."""
    return importlib.util.find_spec("triton") is not None


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor | None:
    """Softmax attention along F for every pixel and head, accumulated in float32.

    Args:
        query, key, value: `[B, F, N, heads * head size]`, F at most 32, for which `available` says yes.
        heads: number of heads.

    Returns:
        `[B, F, N, heads * head size]`, contiguous; None if the kernel does not work here, which is said once.
    """
    global failed
    query, key, value = (x if x.stride(-1) == 1 else x.contiguous() for x in (query, key, value))
    mixed = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    try:
        from .temporal_triton import launch

        launch(query, key, value, mixed, heads)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # Whatever is missing (a C compiler, a driver, support for this GPU) has its own exception.
        failed = True
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        logger.warning("the kernel for attention along time does not work here (%s): going on without", reason)
        return None
    return mixed
