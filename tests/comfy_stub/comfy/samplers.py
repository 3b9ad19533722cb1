"""Stand-in for ComfyUI's sampler: a function and its options."""

from __future__ import annotations

from typing import Any


class KSAMPLER:
    def __init__(self, sampler_function: Any, extra_options: dict[str, Any]) -> None:
        self.sampler_function, self.extra_options = sampler_function, extra_options
