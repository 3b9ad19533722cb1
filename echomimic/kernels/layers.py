"""The layer classes that the networks use unless a host brings its own: torch's, with two differences.

Weights may be kept in another precision than the numbers that flow (they are cast when used, as ComfyUI's layers do).
And where torch's way is slow there is another: on a CPU products go through `products` and 3x3 convolutions through
`winograd` or `patches`, on CUDA norms of pictures through `group_norm`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import cpu_matmul as products
from . import group_norm, patches, winograd


def cast(parameter: Tensor | None, like: Tensor) -> Tensor | None:
    """The parameter in the precision of `like`; the parameter itself where it has it already."""
    return None if parameter is None else parameter.to(like.dtype)


class Linear(nn.Linear):
    def forward(self, hidden: Tensor) -> Tensor:
        return products.linear(hidden, self.weight.to(hidden.dtype), cast(self.bias, hidden))


class Conv2d(nn.Conv2d):
    def forward(self, hidden: Tensor) -> Tensor:
        weight, bias = self.weight.to(hidden.dtype), cast(self.bias, hidden)
        if self.is_pointwise() and products.by_onednn(hidden, weight, bias):
            return products.linear(hidden.permute(0, 2, 3, 1), weight[:, :, 0, 0], bias).permute(0, 3, 1, 2)
        if self.has_shortcuts(hidden):
            if self.stride == (1, 1) and hidden.dtype == torch.float32 and winograd.pays(hidden, weight):
                return winograd.convolve(hidden, weight, bias)
            if patches.pays(hidden, weight, self.stride[0]):
                return patches.convolve(hidden, weight, bias, self.stride[0])
        return self._conv_forward(hidden, weight, bias)

    def is_pointwise(self) -> bool:
        """Whether this is a linear layer on every pixel."""
        return self.kernel_size == self.stride == (1, 1) and self.padding == (0, 0) and self.groups == 1

    def has_shortcuts(self, hidden: Tensor) -> bool:
        """Whether this is a kind of convolution for which there are quicker ways than torch's on this device."""
        simple = self.kernel_size == (3, 3) and self.padding == (1, 1) and self.groups == 1
        quicker = hidden.device.type == "cpu" and hidden.dtype in (torch.float32, torch.bfloat16, torch.float16)
        # They lay views over memory and write into buffers, which neither the compiler nor gradients can follow.
        followed = torch.compiler.is_compiling() or (torch.is_grad_enabled() and self.weight.requires_grad)
        return simple and self.stride[0] == self.stride[1] and quicker and not followed


def arrange_filters(module: nn.Module) -> None:
    """Keep the 3x3 filters of these layers with their channels last in memory, as all convolutions here read them.

    Another order would be brought into this one at each call.
    """
    for layer in module.modules():
        if isinstance(layer, Conv2d) and layer.kernel_size == (3, 3):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)


class GroupNorm(nn.GroupNorm):
    def forward(self, hidden: Tensor) -> Tensor:
        if group_norm.pays(hidden):
            return group_norm.normalise(hidden, self.num_groups, self.weight, self.bias, self.eps)
        return F.group_norm(hidden, self.num_groups, cast(self.weight, hidden), cast(self.bias, hidden), self.eps)


class LayerNorm(nn.LayerNorm):
    def forward(self, hidden: Tensor) -> Tensor:
        shape = self.normalized_shape
        return F.layer_norm(hidden, shape, cast(self.weight, hidden), cast(self.bias, hidden), self.eps)


# What a CPU says of itself when it multiplies numbers of this precision without going through float32.
NATIVE_HALF = {
    torch.bfloat16: ("_is_avx512_bf16_supported", "_is_amx_tile_supported"),
    torch.float16: ("_is_amx_fp16_supported",),
}


def activation_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The precision to compute in with these layers when `dtype` is asked for.

    It is `dtype`, but float32 on CPUs without instructions for it: torch's half-precision kernels are many times
    slower there than its float32 ones. The weights stay in half precision, so memory is saved all the same.
    """
    if device.type != "cpu" or dtype not in NATIVE_HALF:
        return dtype
    native = any(getattr(torch.cpu, name, lambda: False)() for name in NATIVE_HALF[dtype])
    return dtype if native else torch.float32
