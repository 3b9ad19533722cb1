"""Describes the contents of a weights file without loading its values."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from ..files.tensors import detect_format, read_metadata, read_state_dict
from ..models import DenoisingUNet, PoseEncoder, ReferenceUNet, UNetConfig
from ..models.networks import Variant
from .bundle import BUNDLE_MARK, PARTS, BundleInfo, read_bundle_info
from .identify import COMPUTED_SUFFIX, WIDEST, Kind, identify, infer_config, is_motion
from .published import variant_of_file

FORMAT_NAMES = {"safetensors": "safetensors", "zip": "PyTorch", "pickle": "PyTorch, old format"}


@dataclass(frozen=True)
class Contents:
    """The tensors of one network.

    Attributes:
        kind: which network they belong to; None for other networks.
        tensors: how many.
        parameters: numbers in them.
        bytes: size of their values.
        dtypes: how many tensors have each type.
        config: size of the network, for the UNets.
        missing, unexpected, misshaped: tensor names that the network lacks, has no place for, or wants in another
            shape; None for a network whose names are not known here.
    """

    kind: Kind | None
    tensors: int
    parameters: int
    bytes: int
    dtypes: dict[str, int]
    config: UNetConfig | None = None
    missing: tuple[str, ...] | None = None
    unexpected: tuple[str, ...] | None = None
    misshaped: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Inspection:
    """What is in a weights file.

    Attributes:
        path: the file.
        format: how it is written, in words.
        kind: what it holds as a whole; None for a network that EchoMimicV2 does not have.
        variant: standard or accelerated, where the file declares it.
        contents: by part; one part with an empty name unless the file is a bundle.
        metadata: the text in a safetensors header.
        bundle: a bundle's header.
    """

    path: Path
    format: str
    kind: Kind | None
    variant: Variant | None
    contents: dict[str, Contents]
    metadata: dict[str, str]
    bundle: BundleInfo | None = None


def inspect_file(path: str | os.PathLike[str]) -> Inspection:
    """Inspect a weights file; values are neither read nor checked.

    Raises:
        WeightsError: the file is missing, damaged, not a weights file, or refused because it names code to run.
    """
    path = Path(path)
    written = FORMAT_NAMES[detect_format(path)]
    metadata = read_metadata(path)
    state = read_state_dict(path, check_values=False)
    if metadata.get("bundle") == BUNDLE_MARK:
        info = read_bundle_info(path)
        contents = {}
        for part in PARTS:
            prefix = f"{part}."
            tensors = {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}
            if tensors:
                contents[part] = describe(tensors, str(path), info.config)
        return Inspection(path, written, "bundle", info.variant, contents, metadata, info)
    described = describe(state, str(path))
    has_variant = described.kind in ("denoising UNet", "motion module")
    variant = variant_of_file(path) if has_variant else None
    return Inspection(path, written, described.kind, variant, {"": described}, metadata)


def describe(state: Mapping[str, Tensor], source: str, config: UNetConfig | None = None) -> Contents:
    """Count a network's tensors, and compare their names and shapes with what the network wants.

    Args:
        state: its tensors.
        source: the file's name, for messages.
        config: the network's size if it is known, else it is inferred.

    Raises:
        WeightsError: the tensors look like one of the UNets, but not one that can be built.
    """
    kind = identify(state)
    module: nn.Module | None = None
    if kind in ("denoising UNet", "motion module", "reference UNet"):
        config = config or infer_config({name: tuple(tensor.shape) for name, tensor in state.items()}, source)
        module = (ReferenceUNet if kind == "reference UNet" else DenoisingUNet)(config, device="meta")
    elif kind == "pose encoder":
        config = None
        shape = state["conv_out.weight"].shape
        module = PoseEncoder(shape[0] if len(shape) and shape[0] <= WIDEST else 320, device="meta")
    else:
        config = None
    counted = Contents(
        kind,
        len(state),
        sum(tensor.numel() for tensor in state.values()),
        sum(tensor.numel() * tensor.element_size() for tensor in state.values()),
        dict(Counter(str(tensor.dtype).removeprefix("torch.") for tensor in state.values()).most_common()),
        config,
    )
    return counted if module is None else compare(counted, module, state)


def compare(counted: Contents, module: nn.Module, state: Mapping[str, Tensor]) -> Contents:
    """Add what is missing, unexpected and misshaped, compared with a network built on the meta device."""
    wanted = module.state_dict()
    if counted.kind == "motion module":
        wanted = {name: tensor for name, tensor in wanted.items() if is_motion(name)}
    elif counted.kind == "denoising UNet" and not any(is_motion(name) for name in state):
        # As published: the motion modules are in a file of their own.
        wanted = {name: tensor for name, tensor in wanted.items() if not is_motion(name)}
    return replace(
        counted,
        missing=tuple(name for name in wanted if name not in state and not name.endswith(COMPUTED_SUFFIX)),
        unexpected=tuple(name for name in state if name not in wanted),
        misshaped=tuple(name for name in wanted if name in state and wanted[name].shape != state[name].shape),
    )
