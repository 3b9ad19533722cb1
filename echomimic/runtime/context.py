"""The run context: what a render runs with, besides its inputs and settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .checkpoint import RenderCheckpoint
from .checkpoint_folder import CheckpointFolder
from .device import compute_dtype
from .distributed import Processes
from .plan import Plan


@dataclass(frozen=True)
class SamplingProgress:
    """Where sampling is, reported after every window.

    Attributes:
        step, steps: the current step, from 0, and their number.
        window, windows: the window just done, from 0, and their number in a step.
        preview: after a step's last window, the middle frame as estimated without noise, scaled latents `[4, h, w]` on
            the host; None after other windows.
    """

    step: int
    steps: int
    window: int
    windows: int
    preview: Tensor | None = None

    @property
    def done(self) -> int:
        """Windows done in all steps together."""
        return self.step * self.windows + self.window + 1

    @property
    def total(self) -> int:
        """Windows in all steps together."""
        return self.steps * self.windows


# Called after each window; raising, or returning False, stops the run.
OnProgress = Callable[[SamplingProgress], bool | None]


@dataclass(frozen=True)
class RunContext:
    """How and where a clip is sampled.

    Attributes:
        device: where windows are computed; None: where the weights are.
        dtype: precision that they are computed in; None: what `compute_dtype` chooses for the weights'.
        plan: what is computed at once; one window and one branch unless given.
        on_progress: called after each window; raises, or returns False, to stop.
        checkpoint: where the render's state is kept, so that it continues after a crash with the same result.
        processes: those that share the work, each with the same inputs; all return the latents.
    """

    device: torch.device | str | None = None
    dtype: torch.dtype | None = None
    plan: Plan = field(default_factory=Plan)
    on_progress: OnProgress | None = None
    checkpoint: RenderCheckpoint | CheckpointFolder | None = None
    processes: Processes | None = None

    def resolve(self, weight: Tensor) -> tuple[torch.device, torch.dtype]:
        """Device and dtype, taken from a weight where they are not given."""
        device = torch.device(self.device or weight.device)
        return device, self.dtype or compute_dtype(weight.dtype, device)
