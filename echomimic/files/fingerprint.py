"""Hashes that tell whether two renders start from the same inputs, and whether a file is the one that is meant."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

# Numbers hashed of every weight, spread evenly over it: enough to distinguish checkpoints, in milliseconds.
NUMBERS_PER_WEIGHT = 256


def hash_text(*parts: object) -> str:
    """SHA-256 of some values' texts."""
    return hashlib.sha256("|".join(map(str, parts)).encode("utf-8", "surrogatepass")).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def hash_tensor(tensor: Tensor) -> str:
    """SHA-256 of shape, dtype and bytes."""
    host = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{tuple(host.shape)}{host.dtype}".encode())
    digest.update(host.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """One hash for named tensors."""
    return hash_text(*(f"{name}={hash_tensor(tensor)}" for name, tensor in sorted(tensors.items())))


def hash_weights(network: nn.Module) -> str:
    """One hash for a network, of some numbers of every weight."""
    return hash_state(network.state_dict())


def hash_state(state: Mapping[str, Tensor]) -> str:
    """`hash_weights` of a network's weights by name."""
    sampled = {}
    for name, weight in state.items():
        flat = weight.detach().reshape(-1)
        index = torch.linspace(0, flat.numel() - 1, min(flat.numel(), NUMBERS_PER_WEIGHT), dtype=torch.float64).long()
        if flat.element_size() == 1:  # older releases of torch cannot index float8
            flat = flat.view(torch.uint8)
        sampled[name] = flat[index.to(flat.device)].float()
    return hash_tensors(sampled)
