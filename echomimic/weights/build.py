"""From state dicts to networks that are ready to run, without ever holding the weights twice."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ..audio import load_audio_encoder
from ..errors import WeightsError
from ..files.state_dicts import check_trained, name_some
from ..files.tensors import read_state_dict
from ..kernels import float8 as float8_kernel
from ..kernels import layer_classes
from ..models import (
    AttentionFunction,
    DenoisingUNet,
    PoseEncoder,
    ReferenceUNet,
    UNetConfig,
    scaled_dot_product_attention,
)
from ..models.casting_layers import filters_to_channels_last
from ..models.layers import LayerFactory
from ..models.motion import PositionEncoding
from ..models.networks import RECOMMENDED_SETTINGS, Networks, RecommendedSettings, Variant
from ..vae import load_vae
from .identify import COMPUTED_SUFFIX, Kind, identify, infer_config, is_motion
from .published import WeightFiles, download_command, find_weights, resolve_variant

logger = logging.getLogger("echomimic")


@dataclass(frozen=True)
class Placement:
    """What the networks are built with; see `load_weights`."""

    operations: ModuleType | Any | None = None
    attention: AttentionFunction = scaled_dot_product_attention
    device: torch.device | str = "cpu"
    dtype: torch.dtype | None = None
    float8: bool = False
    kernels: bool | None = None
    denoiser_class: type[DenoisingUNet] = DenoisingUNet

    def __post_init__(self) -> None:
        if self.float8 and self.operations is not None:
            raise WeightsError(
                "float8 works with this program's own layers only: use the float8 of the host whose layers these are"
            )
        if self.float8:
            float8_kernel.check_device(self.device)
        # A host's layers take precedence over our own.
        object.__setattr__(self, "operations", self.operations or layer_classes(self.kernels))


@dataclass(frozen=True)
class TensorSource:
    """Tensors of one network and where they come from, for messages."""

    label: str
    tensors: Mapping[str, Tensor]


def load_weights(
    source: str | os.PathLike[str] | WeightFiles,
    variant: Variant | None = None,
    *,
    config: UNetConfig | None = None,
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
    """Build the networks from published files.

    The weights are copied into memory: the files may be replaced or deleted while the networks live.

    Args:
        source: a folder (see `find_weights`), or the files themselves.
        variant: standard or accelerated; None takes the one that the files declare (of a folder with both, the
            accelerated one).
        config: size of the networks; None infers it from the shapes, with 8 heads and 32 norm groups.
        with_audio_encoder, with_vae: whether to load these too.
        operations: a host's namespace with Linear, Conv2d, GroupNorm, LayerNorm; None takes this package's own.
        attention: attention function, see `echomimic.models.attention`.
        device: where the UNets and the pose encoder go; audio encoder and VAE stay on the CPU.
        dtype: precision of the UNets and the pose encoder; None keeps that of most of the numbers in the file.
        float8: whether the denoising UNet's wide linear layers are stored in float8: less memory, and less time on
            devices that multiply it; the result changes a little. Needs this package's own layer classes.
        kernels: whether this package's own layers are those of `echomimic.kernels`, faster on a CPU; None means yes
            unless the environment has ECHOMIMIC_KERNELS=0.
        denoiser_class: class of the denoising UNet, for hosts whose samplers call another `forward`.

    Raises:
        WeightsError: a file is missing or foreign, variants are mixed, tensors are missing, misshaped or not finite.
    """
    files = source if isinstance(source, WeightFiles) else find_weights(source, variant)
    settled = resolve_variant(files, variant)
    folder = files.denoising_unet.parent if isinstance(source, WeightFiles) else Path(source)
    command = download_command(folder, settled)
    if with_audio_encoder and files.audio_encoder is None:
        raise WeightsError(f"{folder} has no audio encoder (tiny.pt): {command} gets it")
    if with_vae and files.vae is None:
        raise WeightsError(f"{folder} has no VAE (sd-vae-ft-mse): {command} gets it")

    denoising = [read_source(files.denoising_unet, "denoising UNet")]
    if config is None:
        shapes = {name: tuple(tensor.shape) for name, tensor in denoising[0].tensors.items()}
        config = infer_config(shapes, str(files.denoising_unet))
    if files.motion_module is not None:
        denoising.insert(0, read_source(files.motion_module, "motion module"))
    elif not any(is_motion(name) for name in denoising[0].tensors):
        raise WeightsError(f"{files.denoising_unet} holds no motion modules, and no motion_module file is beside it")
    networks = assemble(
        config,
        settled,
        RECOMMENDED_SETTINGS[settled],
        denoising=denoising,
        reference=[read_source(files.reference_unet, "reference UNet")],
        pose=[read_source(files.pose_encoder, "pose encoder")],
        placement=Placement(operations, attention, device, dtype, float8, kernels, denoiser_class),
    )
    if with_audio_encoder and files.audio_encoder is not None:
        networks = with_audio(networks, load_audio_encoder(files.audio_encoder), str(files.audio_encoder))
    if with_vae and files.vae is not None:
        networks = replace(networks, vae=load_vae(files.vae))
    return networks


def read_source(path: Path, kind: Kind) -> TensorSource:
    """Read a file that should hold this network.

    Raises:
        WeightsError: it cannot be read, or holds another network.
    """
    tensors = read_state_dict(path)
    found = identify(tensors)
    if kind == "motion module":
        # AnimateDiff's files may hold more than the motion modules; those are ignored later.
        if not any(is_motion(name) for name in tensors):
            raise WeightsError(f"{path} is not a motion module: its tensors are {name_some(tensors)}")
    elif found != kind:
        raise WeightsError(f"{path} is {_article(found)}, but a {kind} is needed: its tensors are {name_some(tensors)}")
    check_trained(tensors, path)
    return TensorSource(str(path), tensors)


def assemble(
    config: UNetConfig,
    variant: Variant,
    settings: RecommendedSettings,
    *,
    denoising: Sequence[TensorSource],
    reference: Sequence[TensorSource],
    pose: Sequence[TensorSource],
    placement: Placement,
) -> Networks:
    """Build the three networks of this project and put their weights in.

    Args:
        config: size of the networks.
        variant, settings: stored in the result.
        denoising: the motion module's source first, if there is one, then the denoising UNet's.
        reference, pose: one source each.
        placement: what to build them with.

    Raises:
        WeightsError: tensors are missing or misshaped.
    """
    leftovers: list[str] = []

    def build(make: Callable[..., Any], sources: Sequence[TensorSource], **keywords: Any) -> Any:
        dtype = placement.dtype or common_dtype(sources)
        # The host's layers may hold no tensors before they are given some (ComfyUI's do not under dynamic VRAM), so
        # names and shapes are those of the same network in torch's.
        plan = make(device="meta", dtype=dtype).state_dict()
        module = make(device="meta", dtype=dtype, operations=placement.operations, **keywords)
        leftovers.extend(fill_module(module, plan, sources, placement.device))
        return module

    denoiser = build(partial(placement.denoiser_class, config), denoising, attention=placement.attention)
    if placement.float8:
        float8_kernel.to_float8(denoiser)
    reference_unet = build(partial(ReferenceUNet, config), reference, attention=placement.attention)
    pose_encoder = build(partial(PoseEncoder, config.block_out_channels[0]), pose)
    if leftovers:
        logger.warning("tensors that no network has a place for are ignored: %s", "; ".join(leftovers))
    return Networks(config, variant, denoiser, reference_unet, pose_encoder, settings)


def with_audio(networks: Networks, audio_encoder: Any, source: str) -> Networks:
    """The networks and an audio encoder for them.

    Raises:
        WeightsError: its features are of another width than the denoising UNet reads.
    """
    width = audio_encoder.config.d_model
    if width != networks.config.audio_dim:
        raise WeightsError(
            f"the audio encoder {source} gives features of width {width}, the denoising UNet reads "
            f"{networks.config.audio_dim}: Whisper tiny is needed"
        )
    return replace(networks, audio_encoder=audio_encoder)


def fill_module(
    module: nn.Module,
    plan: Mapping[str, Tensor],
    sources: Sequence[TensorSource],
    device: torch.device | str = "cpu",
) -> list[str]:
    """Give a module built on the meta device its weights, and freeze it.

    Where several sources hold a tensor the last one counts, as in the original, which loads the denoising UNet's file
    after the motion module's.

    Args:
        module: on the meta device.
        plan: the tensors it should have, of any values: their names, shapes and dtypes count.
        sources: where tensors are taken from. Missing motion tensors are reported for the first, others for the last.
        device: where the tensors go.

    Returns:
        for each source with tensors that the module has no place for, its label and their names.

    Raises:
        WeightsError: tensors are missing or misshaped; names the source and the first of them.
    """
    owners = {name: source for source in sources for name in source.tensors if name in plan}
    for name, source in owners.items():
        if len(sources) > 1 and source is not sources[0] and name in sources[0].tensors:
            logger.warning(
                "%s and %s both hold motion tensors; those of the first are used", source.label, sources[0].label
            )
            break

    missing = [name for name in plan if name not in owners and not name.endswith(COMPUTED_SUFFIX)]
    if missing:
        blamed = sources[0] if all(is_motion(name) for name in missing) else sources[-1]
        raise WeightsError(f"{blamed.label} lacks {len(missing)} of {len(plan)} tensors: {name_some(missing)}")
    wrong = [name for name, source in owners.items() if source.tensors[name].shape != plan[name].shape]
    if wrong:
        blamed = owners[wrong[0]]
        described = (
            f"{name} {list(blamed.tensors[name].shape)} instead of {list(plan[name].shape)}"
            for name in wrong
            if owners[name] is blamed
        )
        raise WeightsError(f"{blamed.label} holds tensors of the wrong shape: {name_some(described)}")

    state = {}
    for name, placeholder in plan.items():
        if name in owners:
            tensor = owners[name].tensors[name]
        else:
            tensor = PositionEncoding(LayerFactory(), placeholder.shape[-1]).pe
        # The tensor lies in a memory-mapped file, which would have to stay as it is.
        state[name] = tensor.to(device=device, dtype=placeholder.dtype, copy=True)
    module.load_state_dict(state, assign=True)
    filters_to_channels_last(module)
    module.requires_grad_(False).eval()
    strangers = ((source, [name for name in source.tensors if name not in plan]) for source in sources)
    return [f"{name_some(names)} in {source.label}" for source, names in strangers if names]


def common_dtype(sources: Sequence[TensorSource]) -> torch.dtype:
    """The floating point type that most of the numbers have (position tables often stay float32 in a half file)."""
    counts: Counter[torch.dtype] = Counter()
    for source in sources:
        for tensor in source.tensors.values():
            if tensor.is_floating_point():
                counts[tensor.dtype] += tensor.numel()
    commonest = counts.most_common(1)[0][0] if counts else torch.float32
    # Float8 is for storing; no layer computes in it.
    return commonest if commonest.itemsize > 1 else torch.float32


def _article(kind: Kind | None) -> str:
    if kind is None:
        return "no network of EchoMimicV2"
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
