"""The precision that a device computes in."""

from __future__ import annotations

import torch

# The CPU features with which a half-precision dtype is multiplied natively, as torch names its checks for them.
NATIVE_HALF = {
    torch.bfloat16: ("_is_avx512_bf16_supported", "_is_amx_tile_supported"),
    torch.float16: ("_is_amx_fp16_supported",),
}


def compute_dtype(dtype: torch.dtype, device: torch.device | str) -> torch.dtype:
    """The dtype of activations on a device, for weights of this dtype.

    It is the weights' own, except float32 on CPUs without native instructions for a half-precision dtype, where torch's
    kernels are many times slower than in float32. Weights stay in half precision there, which saves the memory.
    """
    if torch.device(device).type != "cpu" or dtype not in NATIVE_HALF:
        return dtype
    native = any(getattr(torch.cpu, name, lambda: False)() for name in NATIVE_HALF[dtype])
    return dtype if native else torch.float32
