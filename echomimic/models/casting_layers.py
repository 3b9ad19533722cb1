"""torch's layers whose weights may be of another precision than the activations, as in ComfyUI's `manual_cast`.

Weights and biases are cast to the activations' dtype when they are used, so a network can keep half-precision weights
in memory and compute in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def cast(parameter: Tensor | None, like: Tensor) -> Tensor | None:
    """The parameter in the dtype of `like`; itself where it has it already."""
    return None if parameter is None else parameter.to(like.dtype)


class Linear(nn.Linear):
    # (hidden [..., in], weight [out, in], bias [out] or None) -> [..., out], for subclasses with a faster one.
    product: Callable[[Tensor, Tensor, Tensor | None], Tensor] = staticmethod(F.linear)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.product(hidden, self.weight.to(hidden.dtype), cast(self.bias, hidden))


class Conv2d(nn.Conv2d):
    def forward(self, hidden: Tensor) -> Tensor:
        return self._conv_forward(hidden, self.weight.to(hidden.dtype), cast(self.bias, hidden))


class GroupNorm(nn.GroupNorm):
    def forward(self, hidden: Tensor) -> Tensor:
        return F.group_norm(hidden, self.num_groups, cast(self.weight, hidden), cast(self.bias, hidden), self.eps)


class LayerNorm(nn.LayerNorm):
    def forward(self, hidden: Tensor) -> Tensor:
        shape = self.normalized_shape
        return F.layer_norm(hidden, shape, cast(self.weight, hidden), cast(self.bias, hidden), self.eps)


def filters_to_channels_last(module: nn.Module) -> None:
    """Store the 3x3 filters of these layers with channels last in memory, the layout of the activations.

    Filters in another layout would be reordered in every call.
    """
    for layer in module.modules():
        if isinstance(layer, Conv2d) and layer.kernel_size == (3, 3):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
