"""The layer classes of `echomimic.models.casting_layers` with faster paths on a CPU.

Matrix products go through `cpu_matmul`, 3x3 convolutions through `winograd` or `patches` where those are faster.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ..models import casting_layers
from ..models.casting_layers import GroupNorm, LayerNorm
from . import cpu_matmul, patches, winograd

__all__ = ["Conv2d", "GroupNorm", "LayerNorm", "Linear"]


class Linear(casting_layers.Linear):
    product = staticmethod(cpu_matmul.linear)


class FastConvolution:
    """A mixin to put before `torch.nn.Conv2d`: a kernel computes the convolution where one is faster."""

    def _conv_forward(self: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.is_pointwise() and cpu_matmul.should_use(hidden, weight, bias):
            return cpu_matmul.linear(hidden.permute(0, 2, 3, 1), weight[:, :, 0, 0], bias).permute(0, 3, 1, 2)
        if self.is_3x3() and can_use_views(hidden, weight):
            if self.stride == (1, 1) and winograd.should_use(hidden, weight):
                return winograd.convolve(hidden, weight, bias)
            if patches.should_use(hidden, weight, self.stride[0]):
                return patches.convolve(hidden, weight, bias, self.stride[0])
        return super()._conv_forward(hidden, weight, bias)  # type: ignore[misc]

    def is_pointwise(self: Any) -> bool:
        """Whether this is a linear layer on every pixel."""
        return self.kernel_size == self.stride == (1, 1) and self.padding == (0, 0) and self.groups == 1

    def is_3x3(self: Any) -> bool:
        """Whether this is a 3x3 convolution that keeps the size, or divides it by the stride."""
        return (
            self.kernel_size == (3, 3)
            and self.padding == (1, 1)
            and self.groups == 1
            and self.stride[0] == self.stride[1]
        )


class Conv2d(FastConvolution, casting_layers.Conv2d):
    pass


class FastProduct(torch.nn.Linear):
    """`torch.nn.Linear` by `cpu_matmul`. As a base after a host's class it takes the place of torch's, which that one
    calls where it has no weights to cast or patch."""

    def forward(self, hidden: Tensor) -> Tensor:
        return cpu_matmul.linear(hidden, self.weight, self.bias)


def with_kernels(operations: Any) -> Any:
    """A host's layer classes (ComfyUI's `comfy.ops`) with kernels in their convolutions and matrix products.

    The host's layers cast and patch their weights before `_conv_forward` sees them. On devices other than CPUs nothing
    changes.
    """
    return SimpleNamespace(
        Linear=type("Linear", (operations.Linear, FastProduct), {}),
        Conv2d=type("Conv2d", (FastConvolution, operations.Conv2d), {}),
        GroupNorm=operations.GroupNorm,
        LayerNorm=operations.LayerNorm,
    )


def can_use_views(hidden: Tensor, weight: Tensor) -> bool:
    """Whether `winograd` and `patches` can compute this: on a CPU, and neither compiled nor differentiated.

    They lay views over memory and write into buffers, which neither the compiler nor autograd can follow.
    """
    if torch.compiler.is_compiling():
        return False
    differentiated = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    return hidden.device.type == "cpu" and hidden.dtype in patches.DTYPES and not differentiated
