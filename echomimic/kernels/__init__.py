"""Faster ways to compute what `echomimic.models` computes. Without them everything works, equal up to rounding.

They plug in through the networks' argument `operations`, see `layer_classes`. `python -m benchmarks.kernels` prints
what each one gains on a device.
"""

from __future__ import annotations

import os
from types import ModuleType

from ..models import casting_layers
from . import layers

SWITCH = "ECHOMIMIC_KERNELS"


def enabled(choice: bool | None = None) -> bool:
    """Whether to use the kernels: the caller's choice, or, if None, unless the environment has ECHOMIMIC_KERNELS=0."""
    return os.environ.get(SWITCH) != "0" if choice is None else choice


def layer_classes(choice: bool | None = None) -> ModuleType:
    """Layer classes for the networks' argument `operations`.

    Args:
        choice: whether to use the kernels, see `enabled`; without them the classes are `echomimic.models`' own.
    """
    return layers if enabled(choice) else casting_layers
