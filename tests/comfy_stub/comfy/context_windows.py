"""Stand-in for ComfyUI's context windows: what the pack builds, not what core does with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class ContextSchedule:
    name: str
    func: Any


class ContextFuseMethods:
    FLAT = "flat"


def get_matching_fuse_method(name: str) -> str:
    return name


class IndexListContextHandler:
    def __init__(self, context_schedule, fuse_method, context_length, context_overlap, causal_window_fix) -> None:
        self.context_schedule, self.fuse_method = context_schedule, fuse_method
        self.context_length, self.context_overlap = context_length, context_overlap
        self.dim, self._step = 0, 0


def create_prepare_sampling_wrapper(patcher: Any) -> None:
    patcher.plans_for_a_window = True
