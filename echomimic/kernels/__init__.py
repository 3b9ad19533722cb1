"""Faster ways to compute what `echomimic.models` computes. Without them everything works, equal up to rounding.

They plug in through the networks' arguments `operations` and `attention`, see `implementation`. `python -m
benchmarks.kernels` prints what each one gains on a device.
"""

from __future__ import annotations

import os
from types import ModuleType

from ..models import AttentionFunction, casting_layers, scaled_dot_product_attention
from . import attention, layers

SWITCH = "ECHOMIMIC_KERNELS"


def enabled(choice: bool | None = None) -> bool:
    """Whether to use the kernels: the caller's choice, or, if None, unless the environment has ECHOMIMIC_KERNELS=0."""
    return os.environ.get(SWITCH) != "0" if choice is None else choice


def implementation(choice: bool | None = None) -> tuple[ModuleType, AttentionFunction]:
    """Layer classes and attention function for the networks' arguments `operations` and `attention`.

    Args:
        choice: whether to use the kernels, see `enabled`; without them they are those of `echomimic.models`.
    """
    if enabled(choice):
        return layers, attention.scaled_dot_product_attention
    return casting_layers, scaled_dot_product_attention
