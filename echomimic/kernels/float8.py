"""Linear layers that keep their weights in float8, and multiply in it on devices that can.

The format is e4m3 (arXiv 2209.05433): 4 bits of exponent, 3 of mantissa, at most 448. Each row of a weight and each
token has its own scale, so that its largest number becomes 448; products are summed up in float32 by the device.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from . import cpu_matmul as products
from . import layers as operations
from .layers import cast

FLOAT8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FLOAT8).max
# Layers with a shorter side stay as they are: little is saved there.
LEAST_SIDE = 320
# Casting a token moves about 23 bytes for each of its numbers, and what the product then saves grows with the outputs.
# By the bandwidths and rates of an H100 and of an RTX 4060 the two are even at 3700 and 5100 outputs (sums, not timed):
# so many has the wide side of the feed-forwards from the second level on.
LEAST_OUTPUTS = 5120
# The device's product wants sides that are multiples of this.
SIDE_STEP = 16
# What is said once for a window (the bias for all-zero audio) is not worth a cast; some kernels want full tiles, too.
LEAST_TOKENS = 16
# Tokens are cast so many bytes at a time, because in between they are float32.
CAST_BYTES = 64 * 2**20
# The first NVIDIA generation that multiplies float8 (Ada).
LEAST_CAPABILITY = (8, 9)

# (tokens [n, in], their scales [n, 1], weight [out, in], its scales [out, 1]) -> [n, out], bfloat16
Product = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def scale_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """`[n, k]` of any precision as float8 of the same shape and float32 scales `[n, 1]`: `rows = float8 * scales`."""
    low, high = rows.aminmax(dim=1, keepdim=True)
    scales = torch.maximum(-low, high).float().clamp(min=torch.finfo(torch.float32).tiny * LARGEST) / LARGEST
    cast_rows = torch.empty_like(rows, dtype=FLOAT8)
    piece = max(1, CAST_BYTES // (4 * rows.shape[1]))
    for begin in range(0, len(rows), piece):
        part = slice(begin, begin + piece)
        # Rounding can bring a row's largest number above what float8 holds, where it would become NaN.
        cast_rows[part] = (rows[part] / scales[part]).clamp(-LARGEST, LARGEST).to(FLOAT8)
    return cast_rows, scales


def multiply_rows(tokens: Tensor, token_scales: Tensor, weight: Tensor, weight_scales: Tensor) -> Tensor:
    """The product with both scales applied by the device."""
    # bfloat16 is what every device with scales for rows gives; its rounding is 30 times finer than float8's.
    return torch._scaled_mm(tokens, weight.t(), token_scales, weight_scales.t(), out_dtype=torch.bfloat16)


def multiply_plain(tokens: Tensor, token_scales: Tensor, weight: Tensor, weight_scales: Tensor) -> Tensor:
    """The product for devices that take one scale for a tensor: the rows' scales are applied to what comes out."""
    one = token_scales.new_ones(())
    plain = torch._scaled_mm(tokens, weight.t(), one, one, out_dtype=torch.bfloat16)
    return plain.mul_(token_scales).mul_(weight_scales.t())


def has_float8(device: torch.device) -> bool:
    """Whether this device is of a kind that multiplies float8 faster than half precision."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(device) >= LEAST_CAPABILITY


@functools.cache
def product_for(device: torch.device) -> Product | None:
    """How this device multiplies float8, found by trying; None where it does not."""
    if not has_float8(device):
        return None
    for product in (multiply_rows, multiply_plain):
        eye, scales = torch.eye(LEAST_TOKENS, 32, device=device).to(FLOAT8), torch.full((16, 1), 2.0, device=device)
        try:
            if torch.equal(product(eye, scales, eye, scales).float(), 4 * torch.eye(16, device=device)):
                return product
        except (AttributeError, NotImplementedError, RuntimeError):
            continue  # this torch or this device does not have it
    return None


class Float8Linear(nn.Module):
    """A linear layer whose weight is float8 `[out, in]` with a float32 scale for each row, `weight_scale [out, 1]`.

    `product` is how the device where the weight is multiplies, where that pays; None: the weight is cast to the
    precision of the numbers that flow whenever it is used.
    """

    weight_scale: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight, scale = scale_rows(layer.weight.detach())
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = layer.bias
        self.register_buffer("weight_scale", scale)
        self.find_product()

    def find_product(self) -> None:
        self.product = product_for(self.weight.device) if self.out_features >= LEAST_OUTPUTS else None

    def forward(self, hidden: Tensor) -> Tensor:
        tokens = hidden.flatten(0, -2)
        if self.product is None or len(tokens) < LEAST_TOKENS:
            # By way of float32: float16 has too small a range for the scales.
            weight = (self.weight.float() * self.weight_scale).to(hidden.dtype)
            return products.linear(hidden, weight, cast(self.bias, hidden))
        product = self.product(*scale_rows(tokens), self.weight, self.weight_scale).to(hidden.dtype)
        if self.bias is not None:
            product += self.bias.to(hidden.dtype)
        return product.unflatten(0, hidden.shape[:-1])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Float8Linear:
        """Moving goes with the device; casting (`half()`, `to(dtype)`) leaves weight and scales in their precision."""
        weight, scale = self.weight.detach(), self.weight_scale
        super()._apply(fn, recurse)
        if self.weight.dtype != FLOAT8:
            self.weight = nn.Parameter(weight.to(self.weight.device), requires_grad=False)
        if self.weight_scale.dtype != torch.float32:
            self.weight_scale = scale.to(self.weight_scale.device)
        # (A size alone, on the meta device, has nothing to multiply.)
        self.find_product()
        return self

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def fits(name: str, layer: nn.Module) -> bool:
    """Whether this layer is one to keep in float8: wide, and not of the time embedding, whose errors reach all."""
    if not isinstance(layer, operations.Linear) or "time_emb" in name:
        return False
    sides = (layer.in_features, layer.out_features)
    return min(sides) >= LEAST_SIDE and all(side % SIDE_STEP == 0 for side in sides)


def to_float8(network: nn.Module) -> int:
    """Put float8 layers in the place of a network's wide linear layers, one after another; how many there were.

    Convolutions, norms, the time embedding and narrow layers stay as they are, and so do a host's layers.
    """
    chosen = [name for name, layer in network.named_modules() if fits(name, layer)]
    for name in chosen:
        parent, _, last = name.rpartition(".")
        # Numbered layers stand in module lists, where the number is the name, too.
        setattr(network.get_submodule(parent), last, Float8Linear(network.get_submodule(name)))  # type: ignore[arg-type]
    return len(chosen)


def float8_layers(network: nn.Module) -> list[Float8Linear]:
    """The layers of a network that are kept in float8."""
    return [layer for layer in network.modules() if isinstance(layer, Float8Linear)]


def describe_float8(network: nn.Module, device: torch.device | str) -> str:
    """What float8 does for a network that will compute on this device, in one sentence."""
    layers: list[Any] = float8_layers(network)
    if not layers:
        return f"float8 changes nothing: this network has no linear layer with {LEAST_SIDE} or more on both sides"
    size = sum(layer.weight.nbytes for layer in layers)
    half = 2 * sum(layer.weight.numel() for layer in layers)
    said = f"{len(layers)} linear layers are kept in float8 ({size / 1e6:.1f} MB, {half / 1e6:.1f} in half precision)"
    device = torch.device(device)
    if product_for(device) is None:
        return f"{said}; {device.type} does not multiply it here, so that it saves memory but no time"
    wide = sum(layer.out_features >= LEAST_OUTPUTS for layer in layers)
    return f"{said}, and the {wide} with {LEAST_OUTPUTS} outputs or more are multiplied in it"
