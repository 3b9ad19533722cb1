"""Bundles: all networks of one variant in one `.safetensors` file whose header describes it.

Tensors stand under a prefix for each network. The header's metadata holds, as text: `bundle` (always "echomimic"),
`bundle_version`, `variant`, `config` and `settings` (JSON), `vae_config` (JSON, where there is a VAE), `source`.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..audio import load_audio_encoder
from ..audio.whisper import is_computed
from ..errors import WeightsError
from ..files.safetensors_reader import read_shapes, read_tensors
from ..files.state_dicts import name_some
from ..files.tensor_writer import write_safetensors
from ..files.tensors import check_finite, read_metadata
from ..kernels.float8 import float8_layers
from ..models import AttentionFunction, DenoisingUNet, UNetConfig, scaled_dot_product_attention
from ..models.networks import VARIANTS, Networks, RecommendedSettings, Variant
from ..vae import vae_from_state_dict
from .build import Placement, TensorSource, assemble, with_audio
from .identify import infer_config

logger = logging.getLogger("echomimic")

BUNDLE_MARK = "echomimic"
BUNDLE_VERSION = 1
NETWORK_PARTS = ("denoising_unet", "reference_unet", "pose_encoder")
AUDIO_PART, VAE_PART = "audio_encoder", "vae"
PARTS = (*NETWORK_PARTS, AUDIO_PART, VAE_PART)
# What diffusers' AutoencoderKL is built from, without what only newer versions of the library know.
VAE_SETTINGS = {
    "in_channels",
    "out_channels",
    "down_block_types",
    "up_block_types",
    "block_out_channels",
    "layers_per_block",
    "act_fn",
    "latent_channels",
    "norm_num_groups",
    "sample_size",
    "scaling_factor",
}


@dataclass(frozen=True)
class BundleInfo:
    """The contents of a bundle's header.

    Attributes:
        config: size of the networks.
        variant: standard or accelerated.
        settings: recommended for these weights.
        parts: which networks are in it, of `PARTS`.
        vae_config: the VAE's settings, as diffusers' AutoencoderKL takes them.
        source: where the weights came from, in words.
    """

    config: UNetConfig
    variant: Variant
    settings: RecommendedSettings
    parts: tuple[str, ...]
    vae_config: dict[str, Any] | None
    source: str


def save_bundle(
    path: str | os.PathLike[str],
    networks: Networks,
    *,
    dtype: torch.dtype | None = None,
    source: str = "",
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write networks as one bundle, tensor by tensor, so that memory holds one cast tensor at most.

    Args:
        path: the `.safetensors` file; its folder is made if it is not there, an older file is replaced at the end.
        networks: as `load_weights` gives them; an audio encoder or VAE that is None is left out.
        dtype: precision to store floating point tensors in; None keeps theirs.
        source: where the weights came from, in words, for the header.
        on_progress: called with bytes written and bytes in all.

    Raises:
        OutputError: the file cannot be written, or the disk is too full; nothing is left behind.
        WeightsError: a value does not fit into `dtype`, or the networks are kept in float8.
    """
    if float8_layers(networks.denoiser):
        raise WeightsError(
            "networks kept in float8 have lost digits that a bundle should have: load them without float8"
        )
    modules = {
        "denoising_unet": networks.denoiser,
        "reference_unet": networks.reference_unet,
        "pose_encoder": networks.pose_encoder,
        AUDIO_PART: networks.audio_encoder,
        VAE_PART: networks.vae,
    }
    tensors = {
        f"{part}.{name}": tensor
        for part, module in modules.items()
        if module is not None
        for name, tensor in module.state_dict().items()
        if not (part == AUDIO_PART and is_computed(name, tensor))
    }
    metadata = {
        "format": "pt",
        "bundle": BUNDLE_MARK,
        "bundle_version": str(BUNDLE_VERSION),
        "variant": networks.variant,
        "config": json.dumps(networks.config.to_dict()),
        "settings": json.dumps(asdict(networks.settings)),
        "source": source,
    }
    if networks.vae is not None:
        kept = {key: value for key, value in dict(networks.vae.config).items() if key in VAE_SETTINGS}
        metadata["vae_config"] = json.dumps(kept)
    write_safetensors(path, tensors, metadata, dtype=dtype, on_progress=on_progress)


def read_bundle_info(path: str | os.PathLike[str]) -> BundleInfo:
    """Read a bundle's header; no tensor is touched.

    Raises:
        WeightsError: the file is missing or damaged, not a bundle, of a newer version, or its header is invalid.
    """
    metadata = read_metadata(path)
    if metadata.get("bundle") != BUNDLE_MARK:
        raise WeightsError(f"{path} is not a bundle of EchoMimicV2: make one with `python -m echomimic bundle`")
    try:
        version = int(metadata["bundle_version"])
        if version > BUNDLE_VERSION:
            raise WeightsError(f"its version is {version}, this program reads {BUNDLE_VERSION}: update the program")
        variant = metadata["variant"]
        if variant not in VARIANTS:
            raise WeightsError(f"its variant {variant!r} is unknown; there are {' and '.join(VARIANTS)}")
        config = UNetConfig(**json.loads(metadata["config"]))
        settings = RecommendedSettings(**json.loads(metadata["settings"]))
        vae_config = json.loads(metadata["vae_config"]) if "vae_config" in metadata else None
        counts = [config.layers_per_block, config.attention_heads, config.norm_num_groups, config.audio_dim]
        if vae_config is not None:
            counts.append(vae_config["norm_num_groups"])
        if not all(type(count) is int and count > 0 for count in counts):
            raise WeightsError(f"its sizes must be whole numbers above 0, not {counts}")
    except WeightsError as error:
        raise WeightsError(f"the bundle {path}: {error}") from error
    except Exception as error:  # the header may hold anything that JSON can
        raise WeightsError(f"the header of the bundle {path} is invalid: {type(error).__name__}: {error}") from error
    shapes = read_shapes(path)
    parts = tuple(part for part in PARTS if any(name.startswith(f"{part}.") for name in shapes))
    lacking = [part for part in NETWORK_PARTS if part not in parts]
    if lacking:
        raise WeightsError(f"the bundle {path} lacks {name_some(lacking)}")
    prefix = "denoising_unet."
    seen = infer_config({n[len(prefix) :]: s for n, s in shapes.items() if n.startswith(prefix)}, str(path))
    # What leaves no trace in the tensors' shapes.
    stated = {name: getattr(config, name) for name in ("attention_heads", "norm_num_groups", "audio_context")}
    if config != replace(seen, **stated):
        raise WeightsError(f"the header of the bundle {path} says {config}, but its tensors are those of {seen}")
    source = metadata.get("source", "")
    return BundleInfo(
        config, "standard" if variant == "standard" else "accelerated", settings, parts, vae_config, source
    )


def read_bundle_part(path: str | os.PathLike[str], part: str) -> dict[str, Tensor]:
    """One network's tensors, without the prefix, memory-mapped; the rest of the file is not read.

    Args:
        path: the bundle.
        part: of `PARTS`.

    Raises:
        WeightsError: the file is damaged, lacks this part, or the part holds NaN.
    """
    prefix = f"{part}."
    state = {name.removeprefix(prefix): tensor for name, tensor in read_tensors(path, prefix).items()}
    if not state:
        raise WeightsError(f"the bundle {path} has no {part}: it was made without")
    check_finite(state, f"{path} ({part})")
    return state


def load_bundle(
    path: str | os.PathLike[str],
    *,
    with_audio_encoder: bool = True,
    with_vae: bool = True,
    operations: ModuleType | Any | None = None,
    attention: AttentionFunction = scaled_dot_product_attention,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    float8: bool = False,
    kernels: bool | None = None,
    denoiser_class: type[DenoisingUNet] = DenoisingUNet,
) -> Networks:
    """Build the networks of a bundle; its header decides their size, variant and settings.

    Args:
        path: the bundle.
        with_audio_encoder, with_vae: whether to load these too, where the bundle has them; else they are None.
        operations, attention, device, dtype, float8, kernels, denoiser_class: as in `load_weights`.

    Raises:
        WeightsError: the file is missing, damaged or not a bundle; tensors are missing, misshaped or not finite.
    """
    info = read_bundle_info(path)

    def source(part: str) -> list[TensorSource]:
        return [TensorSource(f"{path} ({part})", read_bundle_part(path, part))]

    networks = assemble(
        info.config,
        info.variant,
        info.settings,
        denoising=source("denoising_unet"),
        reference=source("reference_unet"),
        pose=source("pose_encoder"),
        placement=Placement(operations, attention, device, dtype, float8, kernels, denoiser_class),
    )
    if with_audio_encoder and AUDIO_PART in info.parts:
        networks = with_audio(networks, load_bundle_audio_encoder(path), f"in {path}")
    if with_vae and VAE_PART in info.parts:
        networks = replace(networks, vae=load_bundle_vae(path))
    return networks


def load_bundle_audio_encoder(path: str | os.PathLike[str]) -> Any:
    """The audio encoder of a bundle alone.

    Raises:
        WeightsError: the bundle is damaged or has none.
    """
    return load_audio_encoder(read_bundle_part(path, AUDIO_PART))


def load_bundle_vae(path: str | os.PathLike[str]) -> Any:
    """The VAE of a bundle alone.

    Raises:
        WeightsError: the bundle is damaged or has none.
    """
    state, config = read_bundle_part(path, VAE_PART), read_bundle_info(path).vae_config
    return vae_from_state_dict(state, config, label=f"{path} ({VAE_PART})")
