"""Building diffusers' AutoencoderKL from the file formats in which its weights are published."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import WeightsError
from ..files.tensors import read_state_dict
from ..files.text import read_json

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

WEIGHT_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")

LATENT_CHANNELS = 4

# The single file's names (the latent diffusion code's) to diffusers', in this order. Levels are renumbered apart: the
# single file counts the decoder's from the coarsest.
RENAMED = (
    (r"\.down\.(\d+)\.block\.(\d+)\.", r".down_blocks.\1.resnets.\2."),
    (r"\.up\.(\d+)\.block\.(\d+)\.", r".up_blocks.\1.resnets.\2."),
    (r"\.down\.(\d+)\.downsample\.", r".down_blocks.\1.downsamplers.0."),
    (r"\.up\.(\d+)\.upsample\.", r".up_blocks.\1.upsamplers.0."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.norm\.", ".mid_block.attentions.0.group_norm."),
    (r"\.mid\.attn_1\.([qkv])\.", r".mid_block.attentions.0.to_\1."),
    (r"\.mid\.attn_1\.proj_out\.", ".mid_block.attentions.0.to_out.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.norm_out\.", ".conv_norm_out."),
    # Names that diffusers itself used when the published files were made.
    (r"\.attentions\.0\.query\.", ".attentions.0.to_q."),
    (r"\.attentions\.0\.key\.", ".attentions.0.to_k."),
    (r"\.attentions\.0\.value\.", ".attentions.0.to_v."),
    (r"\.attentions\.0\.proj_attn\.", ".attentions.0.to_out.0."),
)


def load_vae(
    path: str | os.PathLike[str], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> AutoencoderKL:
    """Load the VAE.

    Args:
        path: a diffusers folder (`sd-vae-ft-mse`) or a single file (`vae-ft-mse-840000-ema-pruned.safetensors`), also
            one whose tensors lie under `first_stage_model.`.
        device, dtype: where it goes and in which precision.

    Raises:
        WeightsError: no VAE there, or tensors of it missing, misshaped or not finite.
    """
    path = Path(path)
    if not path.is_dir():
        return vae_from_state_dict(read_state_dict(path), label=str(path), device=device, dtype=dtype)
    file = next((path / name for name in WEIGHT_FILES if (path / name).is_file()), None)
    if file is None:
        raise WeightsError(f"the VAE folder {path} holds neither {' nor '.join(WEIGHT_FILES)}")
    return vae_from_state_dict(read_state_dict(file), read_config(path), str(file), device, dtype)


def read_config(folder: Path) -> dict[str, Any] | None:
    """The folder's `config.json`; None without one.

    Raises:
        WeightsError: it is not a JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        return None
    config = read_json(path, WeightsError)
    if not isinstance(config, dict):
        raise WeightsError(f"{path} holds no settings of a VAE")
    return config


def vae_from_state_dict(
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any] | None = None,
    label: str = "the VAE's state dict",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> AutoencoderKL:
    """Build the VAE that these tensors belong to.

    Args:
        tensors: under diffusers' names (new or old) or the single file's; others are ignored.
        config: `norm_num_groups` is taken from it (32 unless given); sizes are taken from the tensors.
        label: what messages call the tensors.
        device, dtype: where it goes and in which precision.

    Raises:
        WeightsError: no VAE, or tensors of it missing, misshaped or not finite.
    """
    from diffusers import AutoencoderKL  # heavy

    state = diffusers_names(tensors)
    if "encoder.conv_in.weight" not in state or "decoder.conv_in.weight" not in state:
        raise WeightsError(f"{label} holds no VAE: its tensors are {', '.join(sorted(tensors)[:3])}, ...")
    groups = (config or {}).get("norm_num_groups", 32)
    with torch.device("meta"):  # its own random weights would take a second and twice the memory
        vae = AutoencoderKL(**sizes(state, groups, label), norm_num_groups=groups)
    wanted = vae.state_dict()
    missing = [name for name in wanted if name not in state]
    if missing:
        raise WeightsError(f"{label} lacks {len(missing)} tensors of the VAE: {', '.join(missing[:3])}")
    loaded = {}
    for name, empty in wanted.items():
        tensor = state[name]
        # Attention layers were 1x1 convolutions once.
        tensor = tensor.flatten(1) if tensor.ndim == 4 and empty.ndim == 2 else tensor
        if tensor.shape != empty.shape:
            raise WeightsError(f"{label}: {name} is {list(tensor.shape)} instead of {list(empty.shape)}")
        if not tensor.isfinite().all():
            raise WeightsError(f"{label}: {name} holds NaN or infinite values; the file is damaged, download it again")
        loaded[name] = tensor.to(dtype)
    vae.load_state_dict(loaded, assign=True)
    return vae.requires_grad_(False).eval().to(device)


def diffusers_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under diffusers' present names."""
    prefix = "first_stage_model." if any(name.startswith("first_stage_model.") for name in tensors) else ""
    levels = 1 + max((int(m[1]) for name in tensors if (m := re.search(r"decoder\.up\.(\d+)\.", name))), default=-1)
    state = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            short = name.removeprefix(prefix)
            short = re.sub(r"\.up\.(\d+)\.", lambda m: f".up.{levels - 1 - int(m[1])}.", short)
            for pattern, replacement in RENAMED:
                short = re.sub(pattern, replacement, short)
            state[short] = tensor
    return state


def sizes(state: Mapping[str, Tensor], groups: Any, label: str) -> dict[str, Any]:
    """diffusers' settings for tensors of these shapes.

    Raises:
        WeightsError: no such VAE can be built, or it is not of Stable Diffusion 1's kind.
    """

    def shape(name: str) -> torch.Size:
        if name not in state:
            raise WeightsError(f"{label} lacks a tensor of the VAE: {name}")
        if state[name].ndim != 4:
            raise WeightsError(f"{label}: {name} is {list(state[name].shape)} instead of a convolution's")
        return state[name].shape

    found = (re.match(r"encoder\.down_blocks\.(\d+)\.", name) for name in state)
    levels = 1 + max((int(match[1]) for match in found if match), default=0)
    widths = tuple(shape(f"encoder.down_blocks.{level}.resnets.0.conv1.weight")[0] for level in range(levels))
    layers = 1
    while f"encoder.down_blocks.0.resnets.{layers}.conv1.weight" in state:
        layers += 1
    channels = shape("decoder.conv_in.weight")[1]
    if channels != LATENT_CHANNELS:
        raise WeightsError(
            f"{label} is a VAE of {channels} latent channels, but the model has {LATENT_CHANNELS}: it needs the VAE of "
            "Stable Diffusion 1.5 (sd-vae-ft-mse)"
        )
    if not isinstance(groups, int) or groups < 1 or any(width == 0 or width % groups for width in widths):
        raise WeightsError(f"{label}: widths of {list(widths)} cannot be normalised in {groups} groups")
    return {
        "block_out_channels": widths,
        "layers_per_block": layers,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "latent_channels": channels,
        "sample_size": 256,
    }
