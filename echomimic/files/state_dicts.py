"""State dicts of trainers, hosts and quantisers, brought to one plain form: names without wrappers' prefixes, and
weights in a precision that layers compute in."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import WeightsError

logger = logging.getLogger("echomimic")

# What may stand before every name and belongs to the network.
NETWORK_PARTS = ("encoder", "decoder")
# What torch.compile, DataParallel and ComfyUI put there, also before names without a dot.
WRAPPERS = ("_orig_mod", "module", "model", "diffusion_model")
# What torch.compile and sharded training put into names where a part of the network is wrapped.
INNER_WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\.")
# Tensors by which ComfyUI marks a kind of model; they are not weights.
MARKERS = ("v_pred", "scaled_fp8", "ztsnr")
SCALES = (".scale_weight", ".weight_scale", ".weight_scale_inv")
INPUT_SCALES = (".scale_input", ".input_scale")
QUANT_METADATA = ".comfy_quant"
# What quantisers put beside a weight, by any name.
COMPANION = re.compile(r"(?P<stem>.+?)(?:\.weight)?[._]\w*(?:scale|absmax|amax|zero|quant)\w*(?:\.\w+)?", re.IGNORECASE)
FLOAT8 = {torch.float8_e4m3fn, torch.float8_e5m2}
# Layers that start as zeros and may stay so in a file: outputs of motion modules and of the pose encoder.
ZERO_ALLOWED = ("proj_out.weight", "conv_out.weight")


def name_some(names: Iterable[str], limit: int = 3) -> str:
    """The first few names and the number of the rest, for a message."""
    listed = list(names)
    rest = len(listed) - limit
    return ", ".join(listed[:limit]) + (f" and {rest} more" if rest > 0 else "")


def plain_state(state: Mapping[str, Tensor], path: Any) -> dict[str, Tensor]:
    """The tensors without wrappers' prefixes and markers, float8 weights with scales as float16.

    Raises:
        WeightsError: the weights are quantised in a way that is not known here; says which.
    """
    found = {name: tensor for name, tensor in state.items() if name not in MARKERS}
    inner = {INNER_WRAPPERS.sub("", name): tensor for name, tensor in found.items()}
    found = inner if len(inner) == len(found) else found
    while prefix := shared_prefix(found):
        found = {name[len(prefix) :]: tensor for name, tensor in found.items()}
    return rescale(found, path)


def shared_prefix(names: Iterable[str]) -> str:
    """What a wrapper or a trainer put before every name: "module.", "_orig_mod.", "model.", "net.", ...; else "".

    A name that belongs to the network stays: "encoder." and "decoder.", a list of numbered layers, and a single layer.
    """
    heads, rests = set(), []
    for name in names:
        head, _, rest = name.partition(".")
        heads.add(head)
        rests.append(rest)
    if len(heads) != 1 or heads & set(NETWORK_PARTS) or not all(rests):
        return ""
    (head,) = heads
    is_part = not all("." in rest for rest in rests) or all(rest[0].isdecimal() for rest in rests)
    return "" if is_part and head not in WRAPPERS else f"{head}."


def rescale(state: dict[str, Tensor], path: Any) -> dict[str, Tensor]:
    """Weights that were divided by a scale to fit into float8, multiplied by it again.

    Raises:
        WeightsError: another quantisation, or a scale of a shape that fits no weight.
    """
    check_quantisation(state, path)
    scaled = {name for name in state if name.endswith(SCALES)}
    if not scaled:
        return {name: tensor for name, tensor in state.items() if not name.endswith((*INPUT_SCALES, QUANT_METADATA))}
    result = {}
    for name, tensor in state.items():
        if name.endswith((*SCALES, *INPUT_SCALES, QUANT_METADATA)):
            continue
        stem = name.removesuffix(".weight")
        scale = next((state[stem + ending] for ending in SCALES if stem + ending in state), None)
        result[name] = tensor if scale is None or stem == name else multiply(tensor, scale, name, path)
    logger.info("%s: %d weights were stored in float8 with scales and are used in float16", path, len(scaled))
    return result


def multiply(weight: Tensor, scale: Tensor, name: str, path: Any) -> Tensor:
    """`weight * scale` in float16; the scale is one number, or one for each row.

    Raises:
        WeightsError: the weight is not float8, or the scale fits neither.
    """
    if weight.dtype not in FLOAT8:
        raise unknown_quantisation(path, name, weight)
    factor = scale.float()
    if factor.numel() == 1:
        factor = factor.reshape(())
    elif factor.numel() == weight.shape[0]:
        factor = factor.reshape(-1, *[1] * (weight.ndim - 1))
    else:
        raise WeightsError(f"{path}: the scale of {name} is {list(scale.shape)}, its weight {list(weight.shape)}")
    return (weight.float() * factor).to(torch.float16)


def unknown_quantisation(path: Any, name: str, weight: Tensor) -> WeightsError:
    return WeightsError(
        f"{path}: {name} is stored as {str(weight.dtype).removeprefix('torch.')}, a quantisation that is not known "
        "here: use the published files, or float8"
    )


def check_quantisation(state: Mapping[str, Tensor], path: Any) -> None:
    """Raises: WeightsError for weights of whole numbers, for float8 with scales of an unknown name, and when ComfyUI's
    metadata names a format other than float8."""
    for name, tensor in state.items():
        if name.endswith(("weight", "bias")) and not (tensor.is_floating_point() or tensor.is_complex()):
            raise unknown_quantisation(path, name, tensor)
        match = None if name.endswith((*SCALES, *INPUT_SCALES, QUANT_METADATA)) else COMPANION.fullmatch(name)
        weight = None if match is None else state.get(f"{match['stem']}.weight")
        if weight is not None and weight.dtype in FLOAT8:
            raise WeightsError(
                f"{path} holds float8 weights with {name} beside them, a scale of a kind that is not known here: use "
                f"the published files, or scales named {' or '.join(SCALES)}"
            )
        if not name.endswith(QUANT_METADATA):
            continue
        try:
            text = bytes(tensor.to(torch.uint8).tolist()).decode()
            form = str(json.loads(text).get("format", "unknown"))
        except Exception:  # the tensor holds any bytes
            form = "unknown"
        if not form.startswith("float8"):
            raise WeightsError(
                f"{path} is quantised in the format {form}, which is not known here: use the published files, or float8"
            )


def check_trained(state: Mapping[str, Tensor], path: Any) -> None:
    """Raises: WeightsError when whole weights are zero, as in a download that reserved its space and was cut off."""
    weights = {name: tensor for name, tensor in state.items() if tensor.ndim >= 2 and tensor.numel() >= 64}
    zero = [
        name
        for name, tensor in weights.items()
        if not name.endswith(ZERO_ALLOWED) and tensor.is_floating_point() and not is_nonzero(tensor)
    ]
    if zero:
        raise WeightsError(
            f"{path} is incomplete: {len(zero)} of {len(weights)} weights are all zero, as in a download that was cut "
            f"off ({name_some(zero)}): download it again"
        )


def is_nonzero(tensor: Tensor) -> bool:
    """Whether any number differs from zero; the first numbers settle it for nearly all weights."""
    flat = tensor.reshape(-1)
    return bool(flat[:64].float().any()) or bool(flat.view(torch.uint8).any() if flat.itemsize == 1 else flat.any())
