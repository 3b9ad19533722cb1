"""Linear layers that store their weights in float8, and multiply in float8 on devices that support it.

The format is e4m3 (arXiv 2209.05433): 4 bits of exponent, 3 of mantissa, at most 448. Each row of a weight and each
token has its own scale, which maps its largest number to 448; the device accumulates products in float32.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import WeightsError
from ..models import casting_layers
from ..models.casting_layers import cast

FLOAT8 = torch.float8_e4m3fn
MAX_FLOAT8 = torch.finfo(FLOAT8).max
# Layers with a shorter side are left alone: little memory is saved there.
MIN_SIDE = 320
# Casting a token moves about 23 bytes for each of its numbers, and the time that the product saves grows with the
# outputs. By the bandwidths and rates of an H100 and of an RTX 4060 the two are even at 3700 and 5100 outputs
# (computed, not timed); the wide side of the feed-forwards has as many from the second level on.
MIN_OUTPUTS = 5120
# The device's product needs sides that are multiples of this.
SIDE_STEP = 16
# For fewer tokens (the one of null audio) a cast costs more than it saves; some kernels need full tiles, too.
MIN_TOKENS = 16
# Tokens are cast in chunks of this size in bytes, because they are float32 in between.
CAST_BYTES = 64 * 2**20
# The first NVIDIA generation that multiplies float8 (Ada).
MIN_CAPABILITY = (8, 9)

# (tokens [n, in], their scales [n, 1], weight [out, in], its scales [out, 1]) -> [n, out], bfloat16
Product = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def check_device(device: torch.device | str) -> None:
    """Refuse devices where tensors cannot be float8.

    Raises:
        WeightsError: the device is MPS, for which torch has no float8 tensors.
    """
    if torch.device(device).type == "mps":
        raise WeightsError("float8 cannot be used on MPS, where torch has no float8 tensors: leave --float8 out")


def scale_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """`[n, k]` of any dtype as float8 of the same shape and float32 scales `[n, 1]`: `rows = float8 * scales`."""
    low, high = rows.aminmax(dim=1, keepdim=True)
    scales = torch.maximum(-low, high).float().clamp(min=torch.finfo(torch.float32).tiny * MAX_FLOAT8) / MAX_FLOAT8
    cast_rows = torch.empty_like(rows, dtype=FLOAT8)
    piece = max(1, CAST_BYTES // (4 * rows.shape[1]))
    for begin in range(0, len(rows), piece):
        part = slice(begin, begin + piece)
        # Rounding can push a row's largest number above the maximum of float8, where it would become NaN.
        cast_rows[part] = (rows[part] / scales[part]).clamp(-MAX_FLOAT8, MAX_FLOAT8).to(FLOAT8)
    return cast_rows, scales


def multiply_rows(tokens: Tensor, token_scales: Tensor, weight: Tensor, weight_scales: Tensor) -> Tensor:
    """The product where the device applies a scale for each row."""
    # bfloat16 is the output that every device with row scales supports; it rounds 30 times finer than float8.
    return torch._scaled_mm(tokens, weight.t(), token_scales, weight_scales.t(), out_dtype=torch.bfloat16)


def multiply_plain(tokens: Tensor, token_scales: Tensor, weight: Tensor, weight_scales: Tensor) -> Tensor:
    """The product for devices that take one scale for a tensor: the row scales are applied to its output."""
    one = token_scales.new_ones(())
    plain = torch._scaled_mm(tokens, weight.t(), one, one, out_dtype=torch.bfloat16)
    return plain.mul_(token_scales).mul_(weight_scales.t())


def has_float8(device: torch.device) -> bool:
    """Whether this device is of a kind that multiplies float8 faster than half precision."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(device) >= MIN_CAPABILITY


@functools.cache
def product_for(device: torch.device) -> Product | None:
    """The first float8 product that works on this device; None if there is none."""
    if not has_float8(device):
        return None
    for product in (multiply_rows, multiply_plain):
        eye, scales = torch.eye(MIN_TOKENS, 32, device=device).to(FLOAT8), torch.full((16, 1), 2.0, device=device)
        try:
            if torch.equal(product(eye, scales, eye, scales).float(), 4 * torch.eye(16, device=device)):
                return product
        except (AttributeError, NotImplementedError, RuntimeError):
            continue  # not supported by this torch or this device
    return None


class Float8Linear(nn.Module):
    """A linear layer whose weight is float8 `[out, in]` with a float32 scale for each row, `weight_scale [out, 1]`.

    `product` is the float8 product of the weight's device, for layers that are large enough to gain from it; if None,
    the weight is cast to the activations' dtype when it is used.
    """

    weight_scale: Tensor

    def __init__(self, layer: casting_layers.Linear) -> None:
        super().__init__()
        self.linear = layer.product
        weight, scale = scale_rows(layer.weight.detach())
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = layer.bias
        self.register_buffer("weight_scale", scale)
        self.find_product()

    def find_product(self) -> None:
        self.product = product_for(self.weight.device) if self.out_features >= MIN_OUTPUTS else None

    def forward(self, hidden: Tensor) -> Tensor:
        tokens = hidden.flatten(0, -2)
        if self.product is None or len(tokens) < MIN_TOKENS:
            # Through float32: float16 has too small a range for the scales.
            weight = (self.weight.float() * self.weight_scale).to(hidden.dtype)
            return self.linear(hidden, weight, cast(self.bias, hidden))
        product = self.product(*scale_rows(tokens), self.weight, self.weight_scale).to(hidden.dtype)
        if self.bias is not None:
            product += self.bias.to(hidden.dtype)
        return product.unflatten(0, hidden.shape[:-1])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Float8Linear:
        """Moves where `fn` moves; where `fn` casts (`half()`, `to(dtype)`), weight and scales keep their dtypes."""
        weight, scale = self.weight.detach(), self.weight_scale
        super()._apply(fn, recurse)
        if self.weight.dtype != FLOAT8:
            self.weight = nn.Parameter(weight.to(self.weight.device), requires_grad=False)
        if self.weight_scale.dtype != torch.float32:
            self.weight_scale = scale.to(self.weight_scale.device)
        self.find_product()
        return self

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def should_store(name: str, layer: nn.Module) -> bool:
    """Whether to store this layer in float8: wide, and not of the time embedding, whose errors reach every layer."""
    if not isinstance(layer, casting_layers.Linear) or "time_emb" in name:
        return False
    sides = (layer.in_features, layer.out_features)
    return min(sides) >= MIN_SIDE and all(side % SIDE_STEP == 0 for side in sides)


def to_float8(network: nn.Module) -> int:
    """Replace a network's wide linear layers by float8 layers, and return how many there were.

    Convolutions, norms, the time embedding, narrow layers and a host's layers are left alone.
    """
    chosen = [name for name, layer in network.named_modules() if should_store(name, layer)]
    for name in chosen:
        parent, _, last = name.rpartition(".")
        # In a module list the index is the attribute's name.
        setattr(network.get_submodule(parent), last, Float8Linear(network.get_submodule(name)))  # type: ignore[arg-type]
    return len(chosen)


def float8_layers(network: nn.Module) -> list[Float8Linear]:
    """The layers of a network that are stored in float8."""
    return [layer for layer in network.modules() if isinstance(layer, Float8Linear)]


def describe_float8(network: nn.Module, device: torch.device | str) -> str:
    """One sentence on what float8 does for a network that will compute on this device."""
    layers: list[Any] = float8_layers(network)
    if not layers:
        return f"float8 changes nothing: this network has no linear layer with {MIN_SIDE} or more inputs and outputs"
    size = sum(layer.weight.nbytes for layer in layers)
    half = 2 * sum(layer.weight.numel() for layer in layers)
    sizes = f"{size / 1e6:.1f} MB, {half / 1e6:.1f} in half precision"
    stored = f"{len(layers)} linear layers are stored in float8 ({sizes})"
    device = torch.device(device)
    if product_for(device) is None:
        return f"{stored}; {device.type} does not multiply float8 here, so this saves memory but no time"
    wide = sum(layer.out_features >= MIN_OUTPUTS for layer in layers)
    return f"{stored}, and the {wide} with {MIN_OUTPUTS} outputs or more are multiplied in float8"
