"""Weights drawn by name, so that a test needs no weight file and two implementations can be given the same ones.

The rule is the golden data's (its README): numpy's frozen legacy generator, seeded with the CRC-32 of salt + name,
draws a standard normal; the name and the shape decide its scale. Draws are float32 whatever the module's dtype.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np
import torch

# Buffers that a module computes for itself.
COMPUTED = ("pos_encoder.pe", "positional_embedding")


def recipe_array(name: str, shape: Sequence[int], salt: str = "") -> np.ndarray:
    """The float32 array that the golden recipe draws for the tensor `name` of this shape."""
    generator = np.random.RandomState(zlib.crc32(f"{salt}{name}".encode()))
    normal = generator.standard_normal(size=tuple(shape)).astype(np.float32)
    if name.endswith("bias"):
        return np.float32(0.02) * normal
    if len(shape) < 2:  # the weight of a norm
        return np.float32(1.0) + np.float32(0.1) * normal
    return normal / np.float32(math.sqrt(math.prod(shape[1:])))


def recipe_state(shapes: dict[str, Sequence[int]], salt: str = "") -> dict[str, torch.Tensor]:
    """A state dict of recipe weights for names and shapes; computed buffers are left out."""
    return {
        name: torch.from_numpy(recipe_array(name, shape, salt))
        for name, shape in shapes.items()
        if not name.endswith(COMPUTED)
    }


def fill(module: torch.nn.Module, salt: str = "") -> torch.nn.Module:
    """Give every floating point tensor of the module its recipe value, in place; returns the module."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point() and not name.endswith(COMPUTED):
                tensor.copy_(torch.from_numpy(recipe_array(name, tuple(tensor.shape), salt)))
    return module
