"""Matrix products on CPUs, by the faster of the two libraries that torch ships.

torch multiplies float32 matrices with Intel's MKL, which uses AVX2 only on other makers' processors. oneDNN, which
computes torch's convolutions, uses AVX-512 wherever the processor has it: on an AMD EPYC (Zen 5) its products take 0.4
of the time. torch's compiler calls the same operation for linear layers.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor


def processor_vendor() -> str:
    """The processor's vendor id ("GenuineIntel", "AuthenticAMD"); on Windows as part of a longer description."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        lines = (line.partition(":") for line in listing.read_text().splitlines())
        return next((value.strip() for name, _, value in lines if name.strip() == "vendor_id"), "")
    return platform.processor()


@functools.cache
def prefer_onednn() -> bool:
    """Whether this processor has AVX-512 that MKL does not use, and this torch has oneDNN."""
    has_avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
    has_onednn = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()
    return has_avx512 and has_onednn and "Intel" not in processor_vendor()


def should_use(*tensors: Tensor | None) -> bool:
    """Whether oneDNN should multiply these: float32 on such a CPU, neither compiled nor differentiated."""
    if torch.compiler.is_compiling() or not prefer_onednn():
        return False
    given = [tensor for tensor in tensors if tensor is not None]
    differentiated = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
    return not differentiated and all(t.device.type == "cpu" and t.dtype == torch.float32 for t in given)


def linear(hidden: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What `F.linear` gives for `hidden [..., in]`, `weight [out, in]` and `bias [out]`."""
    if should_use(hidden, weight, bias):
        return torch.ops.mkldnn._linear_pointwise(hidden, weight, bias, "none", [], "")
    return F.linear(hidden, weight, bias)


def linears(hidden: Tensor, weights: Tensor) -> Sequence[Tensor]:
    """`linear` of `hidden [n, T, in]` and `weights [n, out, in]`, pair by pair: n of `[T, out]`."""
    if should_use(hidden, weights):
        return [linear(one, weight) for one, weight in zip(hidden, weights)]
    return torch.bmm(hidden, weights.transpose(1, 2)).unbind()
