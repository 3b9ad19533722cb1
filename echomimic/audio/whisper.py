"""Whisper's encoder: transformers' module, with OpenAI's or Hugging Face's weights."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..errors import WeightsError
from ..files.tensors import read_state_dict
from .spectrum import MELS, SEGMENT

if TYPE_CHECKING:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

POSITIONS = SEGMENT // 2
# Every size of Whisper has heads of 64.
HEAD_SIZE = 64
POSITIONS_NAME = "embed_positions.weight"

# OpenAI's names to Hugging Face's, in this order.
RENAMED = (
    (r"^positional_embedding$", POSITIONS_NAME),
    (r"^blocks\.", "layers."),
    (r"\.attn_ln\.", ".self_attn_layer_norm."),
    (r"\.attn\.query\.", ".self_attn.q_proj."),
    (r"\.attn\.key\.", ".self_attn.k_proj."),
    (r"\.attn\.value\.", ".self_attn.v_proj."),
    (r"\.attn\.out\.", ".self_attn.out_proj."),
    (r"\.mlp_ln\.", ".final_layer_norm."),
    (r"\.mlp\.0\.", ".fc1."),
    (r"\.mlp\.2\.", ".fc2."),
)


def load_audio_encoder(
    source: str | os.PathLike[str] | Mapping[str, Tensor],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> WhisperEncoder:
    """Build Whisper's encoder in the size of the weights.

    Args:
        source: OpenAI's checkpoint (`tiny.pt`), Hugging Face's `model.safetensors` or the folder that holds it, or a
            state dict with either's names; decoder tensors are ignored.
        device, dtype: where it goes and in which precision.

    Raises:
        WeightsError: no Whisper encoder, or tensors of it missing, misshaped or not finite.
    """
    if isinstance(source, Mapping):
        label, tensors = "the audio encoder's state dict", source
    else:
        path = Path(source)
        path = path / "model.safetensors" if path.is_dir() else path
        label, tensors = str(path), read_state_dict(path)
    state = encoder_state(tensors)
    if "conv1.weight" not in state:
        raise WeightsError(f"{label} holds no Whisper encoder: its tensors are {', '.join(sorted(tensors)[:3])}, ...")

    encoder = empty_encoder(state, label)
    state.setdefault(POSITIONS_NAME, sinusoids(POSITIONS, state["conv1.weight"].shape[0]))
    wanted = encoder.state_dict()
    missing = [name for name in wanted if name not in state]
    if missing:
        raise WeightsError(f"{label} lacks {len(missing)} tensors of Whisper's encoder: {', '.join(missing[:3])}")
    wrong = [name for name in wanted if state[name].shape != wanted[name].shape]
    if wrong:
        name = wrong[0]
        raise WeightsError(
            f"{label}: {len(wrong)} tensors have the wrong shape, the first is {name}: "
            f"{list(state[name].shape)} instead of {list(wanted[name].shape)}"
        )
    for name in wanted:
        if not state[name].isfinite().all():
            raise WeightsError(f"{label}: {name} holds NaN or infinite values; the file is damaged, download it again")
    encoder.load_state_dict({name: state[name].to(dtype) for name in wanted}, assign=True)
    return encoder.requires_grad_(False).eval().to(device)


def is_computed(name: str, tensor: Tensor) -> bool:
    """Whether an encoder's tensor is the positions, to the last bit: a file can do without, as loading adds them."""
    return name == POSITIONS_NAME and torch.equal(tensor.cpu(), sinusoids(*tensor.shape))


def encoder_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's tensors under Hugging Face's names."""
    prefix = next((p for p in ("model.encoder.", "encoder.") if any(name.startswith(p) for name in tensors)), "")
    state = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            short = name.removeprefix(prefix)
            for pattern, replacement in RENAMED:
                short = re.sub(pattern, replacement, short)
            state[short] = tensor
    return state


def empty_encoder(state: Mapping[str, Tensor], label: str) -> WhisperEncoder:
    """transformers' module of the size that the tensors have, itself without any (on the meta device).

    Raises:
        WeightsError: the tensors are not of a Whisper encoder's size.
    """
    from transformers import WhisperConfig  # heavy
    from transformers.models.whisper.modeling_whisper import WhisperEncoder  # heavy

    shape = list(state["conv1.weight"].shape)
    if len(shape) != 3 or shape[0] == 0 or shape[0] % HEAD_SIZE or shape[1] != MELS:
        raise WeightsError(
            f"{label}: conv1.weight is {shape}, but an encoder of Whisper's has [a multiple of {HEAD_SIZE}, {MELS}, 3]"
        )
    width = shape[0]
    layers = 1 + max((int(m[1]) for name in state if (m := re.match(r"layers\.(\d+)\.", name))), default=-1)
    feed_forward = state.get("layers.0.fc1.weight")
    hidden = feed_forward.shape[0] if feed_forward is not None and feed_forward.ndim == 2 else 4 * width
    config = WhisperConfig(
        d_model=width,
        encoder_layers=layers,
        encoder_attention_heads=width // HEAD_SIZE,
        encoder_ffn_dim=hidden,
        num_mel_bins=MELS,
        max_source_positions=POSITIONS,
    )
    with torch.device("meta"):
        encoder = WhisperEncoder(config)
    # The published model takes the last block's output before the final norm; without the norm, transformers' last
    # hidden state is just that (golden cases audio_*).
    encoder.layer_norm = nn.Identity()
    return encoder


def wave_rates(channels: int) -> Tensor:
    """How fast each of the positions' waves turns, in radians a step, from the fastest on, `[channels / 2]`."""
    half = channels // 2
    return torch.exp(torch.arange(half) * (-math.log(10000) / (half - 1)))


def sinusoids(length: int, channels: int) -> Tensor:
    """Whisper's positions `[length, channels]`: sines, then cosines, wavelengths to 10000 * 2 pi."""
    angles = torch.arange(length)[:, None] * wave_rates(channels)
    return torch.cat([angles.sin(), angles.cos()], dim=1)
