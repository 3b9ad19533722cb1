"""Writing a safetensors file of any size without holding its bytes."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import OutputError, WeightsError
from .atomic import atomic_write
from .state_dicts import name_some

# safetensors' names of the element types that weights are stored in.
DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
}


def write_safetensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    *,
    dtype: torch.dtype | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a safetensors file tensor by tensor (the library's own writer needs all bytes in memory).

    The format: the header's length in 8 bytes, little-endian; the header, JSON; the tensors' bytes, in header order.

    Raises:
        OutputError: the file cannot be written, or the disk is too full; nothing is left behind.
        WeightsError: a value does not fit into `dtype`, or a tensor is of a type that is not for weights.
    """
    path = Path(path)
    stored = {name: dtype if dtype and t.is_floating_point() else t.dtype for name, t in tensors.items()}
    unknown = [name for name, kind in stored.items() if kind not in DTYPE_NAMES]
    if unknown:
        raise WeightsError(f"tensors of type {stored[unknown[0]]} cannot be put into a bundle: {name_some(unknown)}")
    # The widest elements first: then every tensor starts at a multiple of its element size, as readers expect.
    order = sorted(tensors, key=lambda name: (-stored[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    total = 0
    for name in order:
        end = total + tensors[name].numel() * stored[name].itemsize
        header[name] = {
            "dtype": DTYPE_NAMES[stored[name]],
            "shape": list(tensors[name].shape),
            "data_offsets": [total, end],
        }
        total = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    try:
        with atomic_write(path) as temporary:
            check_space(temporary.parent, total + len(text) + 8)
            with temporary.open("wb") as file:
                file.write(len(text).to_bytes(8, "little") + text)
                written = 0
                for name in order:
                    tensor = tensors[name].detach().to(device="cpu", dtype=stored[name]).contiguous()
                    if stored[name] != tensors[name].dtype:
                        _check_fits(name, tensor, stored[name])
                    written += file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
                    if on_progress:
                        on_progress(written, total)
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or error
        raise OutputError(f"{path} cannot be written: {reason}") from error


def check_space(folder: Path, needed: int) -> None:
    """Raises: OutputError when the folder's disk has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(f"{folder} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed: make room first")


def _check_fits(name: str, tensor: Tensor, dtype: torch.dtype) -> None:
    if tensor.numel() and not all(bound.isfinite() for bound in torch.aminmax(tensor)):
        raise WeightsError(f"{name} has values too large for {str(dtype).removeprefix('torch.')}: choose bfloat16")
