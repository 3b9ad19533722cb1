"""Matrix products on CPUs, by the quicker of the two libraries that torch brings along.

torch multiplies float32 matrices with Intel's MKL, which keeps to AVX2 on other makers' processors. oneDNN, which does
torch's convolutions, uses AVX-512 wherever there is: on an AMD EPYC of the Zen 5 kind its products take 0.4 of the
time. torch's compiler hands linear layers to it through the operation that is called here, too.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor


def processor_maker() -> str:
    """What the processor says of its maker ("GenuineIntel", "AuthenticAMD"), with more words around it on Windows."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        lines = (line.partition(":") for line in listing.read_text().splitlines())
        return next((value.strip() for name, _, value in lines if name.strip() == "vendor_id"), "")
    return platform.processor()


@functools.cache
def mkl_holds_back() -> bool:
    """Whether this processor has AVX-512, MKL does not use it, and oneDNN is there to do so."""
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    other = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()
    return wide and other and "Intel" not in processor_maker()


def by_onednn(*tensors: Tensor | None) -> bool:
    """Whether the product of these is one that oneDNN should do: float32 on such a CPU, nobody following gradients."""
    if torch.compiler.is_compiling() or not mkl_holds_back():
        return False
    given = [tensor for tensor in tensors if tensor is not None]
    followed = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
    return not followed and all(t.device.type == "cpu" and t.dtype == torch.float32 for t in given)


def linear(hidden: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What `F.linear` gives for `hidden [..., in]`, `weight [out, in]` and `bias [out]`."""
    if by_onednn(hidden, weight, bias):
        return torch.ops.mkldnn._linear_pointwise(hidden, weight, bias, "none", [], "")
    return F.linear(hidden, weight, bias)


def linears(hidden: Tensor, weights: Tensor) -> Sequence[Tensor]:
    """`linear` of each of `hidden [n, T, in]` with its own of `weights [n, out, in]`: n of `[T, out]`."""
    if by_onednn(hidden, weights):
        return [linear(one, weight) for one, weight in zip(hidden, weights)]
    return torch.bmm(hidden, weights.transpose(1, 2)).unbind()
