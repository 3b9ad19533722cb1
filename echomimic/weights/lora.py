"""Low-rank adaptations (LoRA, arXiv 2106.09685): reading their files, merging them, removing them again, writing.

It reads the tensor names of ComfyUI (`diffusion_model.`), kohya (`lora_unet_`), diffusers (`unet.`) and peft
(`base_model.model.`), and writes those that ComfyUI's own loader takes. Tensors of the reference UNet, which ComfyUI's
core does not have, stand under `reference_unet.`.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import WeightsError
from ..files.paths import from_url
from ..files.state_dicts import name_some
from ..files.tensor_writer import write_safetensors
from ..files.tensors import read_state_dict
from ..kernels.float8 import float8_layers
from ..models.networks import Networks
from .lora_alpha import read_alpha

logger = logging.getLogger("echomimic")

# Prefixes of tensor names, and the network that each stands for.
DENOISER, REFERENCE = "denoising_unet", "reference_unet"
PREFIXES = (
    ("base_model.model.", DENOISER),
    ("diffusion_model.", DENOISER),
    ("denoising_unet.", DENOISER),
    ("unet.", DENOISER),
    ("reference_unet.", REFERENCE),
)
KOHYA_PREFIXES = (("lora_reference_unet_", REFERENCE), ("lora_unet_", DENOISER))
# What a tensor is, by the end of its name.
ENDINGS = (
    (r"\.lora_(?:down|A)(?:\.default)?\.weight$", "down"),
    (r"\.lora_(?:up|B)(?:\.default)?\.weight$", "up"),
    (r"\.lora\.down\.weight$", "down"),
    (r"\.lora\.up\.weight$", "up"),
    (r"\.alpha$", "alpha"),
)
# Of a DoRA, which scales each row of the sum: without that it is another adaptation.
MAGNITUDES = re.compile(r"\.dora_scale$|\.lora_magnitude_vector")


@dataclass(frozen=True)
class LowRank:
    """One layer's adaptation.

    Attributes:
        down: `[rank, inputs]`, or a convolution's `[rank, inputs, k, k]`.
        up: `[outputs, rank]`, or `[outputs, rank, 1, 1]`.
        scale: alpha / rank; 1 where nothing gives an alpha.
    """

    down: Tensor
    up: Tensor
    scale: float = 1.0

    def delta(self, shape: torch.Size) -> Tensor:
        """What is added to a weight of this shape at strength 1, float32."""
        product = self.up.float().flatten(1) @ self.down.float().flatten(1)
        return (product * self.scale).reshape(shape)

    def fits(self, shape: torch.Size) -> bool:
        """Whether it belongs to a weight of this shape; a malformed one belongs to none."""
        if self.down.ndim < 2 or self.up.ndim < 2 or self.down.shape[0] == 0:
            return False
        expected_up = (shape[0], self.down.shape[0])
        return self.down.shape[1:].numel() == shape[1:].numel() and self.up.flatten(1).shape == expected_up


@dataclass
class AppliedLora:
    """A merged LoRA, with the original weights so that it can be removed exactly.

    Attributes:
        layers: how many layers were adapted.
        unused: tensors of the file that no network has a place for.
        originals: the weights as they were, by parameter.
    """

    layers: int
    unused: list[str]
    originals: list[tuple[nn.Parameter, Tensor]] = field(default_factory=list)

    def remove(self) -> None:
        """Restore the original tensors."""
        for parameter, original in self.originals:
            parameter.data = original
        self.originals.clear()


def apply_lora(networks: Networks, path: str | os.PathLike[str], strength: float = 1.0) -> AppliedLora:
    """Merge a LoRA file into the networks' weights.

    Args:
        networks: not in float8.
        path: a `.safetensors` (or torch) file.
        strength: factor on what it adds; 0 changes nothing.

    Raises:
        WeightsError: it is not a LoRA for these networks, is of another size, or the networks are in float8.
    """
    if float8_layers(networks.denoiser):
        raise WeightsError(f"{path} cannot be merged into weights kept in float8: load them without float8")
    targets = lora_targets(networks)
    found, unused = read_lora(path, networks)
    applied = AppliedLora(len(found), unused)
    with torch.no_grad():
        for (network, layer), low_rank in found.items():
            weight = targets[network].get_submodule(layer).weight
            assert isinstance(weight, nn.Parameter)
            delta = low_rank.delta(weight.shape).to(weight.device)
            applied.originals.append((weight, weight.data))
            weight.data = (weight.float() + strength * delta).to(weight.dtype)
    return applied


def lora_targets(networks: Networks) -> dict[str, nn.Module]:
    """The networks that a LoRA may change, by their names in a file."""
    return {DENOISER: networks.denoiser, REFERENCE: networks.reference_unet}


def read_lora(path: str | os.PathLike[str], networks: Networks) -> tuple[dict[tuple[str, str], LowRank], list[str]]:
    """A LoRA file's adaptations by network and layer name, and the names of its tensors without a place.

    Raises:
        WeightsError: it is not a LoRA for these networks, is incomplete, or of another size.
    """
    tensors = read_state_dict(path, plain=False)
    found, unused = parse_lora(tensors, lora_targets(networks), str(path))
    if not found:
        raise WeightsError(f"{path} has no LoRA for EchoMimicV2's networks: its tensors are {name_some(unused)}")
    if not any(name.endswith(".alpha") for name in tensors) and (settings := read_alpha(path)) is not None:
        found = {
            (network, layer): replace(one, scale=settings.scale(layer, one.down.shape[0]))
            for (network, layer), one in found.items()
        }
    return found, unused


def parse_lora(
    tensors: Mapping[str, Tensor], networks: Mapping[str, nn.Module], label: str
) -> tuple[dict[tuple[str, str], LowRank], list[str]]:
    """A file's tensors as adaptations by network and layer name, and the names of those without a place.

    Raises:
        WeightsError: one half of a pair is missing, a layer is of another size, or its alpha is not one number; names
            it. Or it is a DoRA.
    """
    magnitudes = next((name for name in tensors if MAGNITUDES.search(name)), None)
    if magnitudes:
        raise WeightsError(f"{label} is a DoRA ({magnitudes}), which is not known here: train or export a plain LoRA")
    layers = {name: _layer_names(module) for name, module in networks.items()}
    parts: dict[tuple[str, str], dict[str, Tensor]] = {}
    unused = []
    for name, tensor in tensors.items():
        place = _place(name, layers)
        if place is None:
            unused.append(name)
        else:
            network, layer, part = place
            parts.setdefault((network, layer), {})[part] = tensor
    found = {}
    for (network, layer), given in parts.items():
        if "down" not in given or "up" not in given:
            lacking = "lora_up" if "down" in given else "lora_down"
            raise WeightsError(f"{label} lacks the tensor {lacking} of {network}.{layer}: the file is incomplete")
        low_rank = LowRank(given["down"], given["up"])
        weight = networks[network].get_submodule(layer).weight
        assert isinstance(weight, Tensor)
        shape = weight.shape
        if not low_rank.fits(shape):
            raise WeightsError(
                f"{label} is for networks of another size: {network}.{layer} is {list(shape)}, the file's "
                f"adaptation {list(low_rank.up.shape)} x {list(low_rank.down.shape)}"
            )
        if "alpha" in given:
            if given["alpha"].numel() != 1:
                raise WeightsError(
                    f"{label} is damaged: alpha of {network}.{layer} has {given['alpha'].numel()} numbers, not one"
                )
            low_rank = replace(low_rank, scale=given["alpha"].item() / low_rank.down.shape[0])
        found[network, layer] = low_rank
    if found and not any(one.up.any() and one.down.any() and one.scale for one in found.values()):
        logger.warning("%s changes nothing: all that it adds is zero, as before training", label)
    return found, unused


def save_lora(path: Path, layers: Mapping[tuple[str, str], LowRank], metadata: Mapping[str, str]) -> None:
    """Write adaptations by network ("denoising_unet", "reference_unet") and layer name, for ComfyUI's loader and ours.

    Raises:
        OutputError: the file cannot be written.
    """
    tensors = {}
    for (network, layer), low_rank in layers.items():
        stem = f"{'diffusion_model' if network == DENOISER else network}.{layer}"
        tensors[f"{stem}.lora_down.weight"] = low_rank.down
        tensors[f"{stem}.lora_up.weight"] = low_rank.up
        tensors[f"{stem}.alpha"] = torch.tensor(low_rank.scale * low_rank.down.shape[0])
    write_safetensors(path, tensors, {"format": "pt", **metadata})


def split_strength(text: str) -> tuple[Path, float]:
    """`FILE` or `FILE:STRENGTH` of the command line; the file may be a `file:` URL.

    Raises:
        WeightsError: the strength is not a finite number.
    """
    head, colon, tail = text.rpartition(":")
    if colon and head and re.fullmatch(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?", tail):
        return Path(from_url(head)), float(tail)
    path = Path(from_url(text))
    if colon and head and not path.exists() and Path(from_url(head)).exists():
        raise WeightsError(f"--lora {text}: after the colon comes a strength such as 0.8, not {tail!r}")
    return path, 1.0


def _layer_names(module: nn.Module) -> dict[str, str]:
    """Names of layers with a weight of two axes and more, by themselves and with underscores as kohya writes them."""
    names = [
        name
        for name, layer in module.named_modules()
        if isinstance(w := getattr(layer, "weight", None), Tensor) and w.ndim > 1
    ]
    return {**{name.replace(".", "_"): name for name in names}, **{name: name for name in names}}


def _place(name: str, layers: Mapping[str, Mapping[str, str]]) -> tuple[str, str, str] | None:
    """A tensor's network, layer and part; None where it has none."""
    matches: Iterable[tuple[str, str]] = ((pattern, part) for pattern, part in ENDINGS if re.search(pattern, name))
    pattern, part = next(iter(matches), ("", ""))
    if not part:
        return None
    stem = re.sub(pattern, "", name)
    for prefix, network in (*PREFIXES, *KOHYA_PREFIXES):
        if stem.startswith(prefix):
            rest = stem.removeprefix(prefix)
            for inner, inner_network in PREFIXES:  # peft puts its prefix before the model's own
                if prefix == "base_model.model." and rest.startswith(inner):
                    network, rest = inner_network, rest.removeprefix(inner)
            layer = layers.get(network, {}).get(rest)
            return None if layer is None else (network, layer, part)
    return None
