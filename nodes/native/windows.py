"""Clips of any length: the model's own windows as core's context windows."""

from __future__ import annotations

from typing import Any

import comfy.context_windows as core

from ...echomimic.sampling.windows import check_windows, windows


class EchoMimicContextHandler(core.IndexListContextHandler):
    """Windows that wrap around the clip and move from step to step, as published, or open ones."""

    def __init__(self, length: int, overlap: int, looped: bool) -> None:
        """Args: length, overlap: in frames; looped: see `echomimic.sampling.SamplingSettings`.

        Raises:
            EchoMimicError: an impossible length or overlap.
        """
        check_windows(length, overlap)
        self.looped = looped
        super().__init__(
            context_schedule=core.ContextSchedule("echomimic", self.schedule),
            fuse_method=core.get_matching_fuse_method(core.ContextFuseMethods.FLAT),
            context_length=length,
            context_overlap=overlap,
            causal_window_fix=False,
        )

    def schedule(self, frames: int, handler: Any, model_options: Any) -> list[list[int]]:
        """The windows of the step at work."""
        return windows(frames, self.context_length, self.context_overlap, self._step, self.looped)

    def should_use_context(self, model: Any, conds: Any, x_in: Any, timestep: Any, model_options: Any) -> bool:
        """A looped clip always uses windows: even a single window is rotated from step to step, as published."""
        self.dim = 2 if x_in.ndim == 5 else 0
        return self.looped or x_in.shape[self.dim] > self.context_length
