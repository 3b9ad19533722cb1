"""Recognises which network a file's tensors belong to, and its size, from their names and shapes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from ..errors import WeightsError
from ..models.config import UNetConfig

Kind = Literal[
    "denoising UNet", "motion module", "reference UNet", "pose encoder", "audio encoder", "VAE", "bundle", "pose clip"
]

MOTION_MARK = ".motion_modules."
# The sinusoid of window positions: computed by the network, so a file need not hold it.
COMPUTED_SUFFIX = ".pos_encoder.pe"
# Far above any real network; a damaged header could otherwise describe one of absurd size.
WIDEST = 1 << 16


def is_motion(name: str) -> bool:
    """Whether a tensor of the denoising UNet belongs to its motion modules."""
    return MOTION_MARK in name


def identify(names: Iterable[str]) -> Kind | None:
    """The network that tensors of these names belong to; None for other networks."""
    names = set(names)
    if {"conv_in.weight", "time_embedding.linear_1.weight"} <= names:
        cross_attends = any(".attn2." in name for name in names)
        return "denoising UNet" if "conv_out.weight" in names and cross_attends else "reference UNet"
    if names and all(is_motion(name) for name in names):
        return "motion module"
    if {"denoising_unet.conv_in.weight", "reference_unet.conv_in.weight"} <= names:
        return "bundle"
    if names == {"keypoints", "scores"}:
        return "pose clip"
    if {"conv_in.weight", "blocks.0.weight", "conv_out.weight"} <= names:
        return "pose encoder"
    # OpenAI's names, transformers' names with and without the decoder's half, the encoder alone.
    if names & {"encoder.conv1.weight", "model.encoder.conv1.weight"} or {"conv1.weight", "conv2.weight"} <= names:
        return "audio encoder"
    # diffusers' names, and those of Stable Diffusion's own code, alone or inside a whole checkpoint.
    if any(re.fullmatch(r"(first_stage_model\.)?decoder\.conv_in\.weight", name) for name in names):
        return "VAE"
    return None


def infer_config(shapes: Mapping[str, Sequence[int]], source: str) -> UNetConfig:
    """The size of the UNet that tensors belong to, be it a denoising UNet, a reference UNet or motion modules.

    The numbers of attention heads and norm groups leave no trace in the shapes; the published ones (8 and 32) are
    taken. Without cross-attention the audio width is unknown; the published one (384) is taken.

    Args:
        shapes: by tensor name.
        source: the file's name, for the message.

    Raises:
        WeightsError: the tensors do not describe such a network.
    """

    def size(name: str, axis: int) -> int:
        shape = shapes.get(name, ())
        if len(shape) <= axis:
            raise WeightsError(f"{source} is not a UNet of EchoMimicV2: it has no usable tensor {name}")
        return shape[axis]

    def channels(level: int) -> int:
        """Channels of a level, from its first resnet, or from its first motion module."""
        stem = f"down_blocks.{level}."
        resnet, motion = f"{stem}resnets.0.conv1.weight", f"{stem}motion_modules.0.temporal_transformer.norm.weight"
        return size(motion if motion in shapes and resnet not in shapes else resnet, 0)

    levels = _count(shapes, r"down_blocks\.(\d+)\.")
    widths = tuple(channels(level) for level in range(levels))
    if len(widths) < 2:
        raise WeightsError(f"{source} is not a UNet of EchoMimicV2: it has {levels} levels of down_blocks")
    if not all(0 < width <= WIDEST for width in widths):
        raise WeightsError(f"{source} is not a UNet of EchoMimicV2: its levels have {widths} channels")
    layers = _count(shapes, r"down_blocks\.0\.(?:resnets|motion_modules)\.(\d+)\.")
    audio = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    if audio in shapes:
        return UNetConfig(block_out_channels=widths, layers_per_block=layers, audio_dim=size(audio, 1))
    return UNetConfig(block_out_channels=widths, layers_per_block=layers)


def _count(names: Iterable[str], pattern: str) -> int:
    """How many different numbers the pattern finds at the start of the names."""
    return len({match[1] for name in names if (match := re.match(pattern, name))})
