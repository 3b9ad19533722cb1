"""From the host to the device without waiting."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
    """What `tensor.to(device, dtype)` gives; from the host to CUDA through pinned memory.

    The copy is put in the device's queue, so that the host can prepare what comes next. torch holds the pinned memory
    until the copy is done.
    """
    dtype = dtype or tensor.dtype
    if torch.device(device).type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device, dtype)
    return tensor.to(dtype).pin_memory().to(device, non_blocking=True)
