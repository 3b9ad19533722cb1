"""What the training scripts share: a run's log and checkpoints in the engine's own folder, and the learning rate."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from echomimic.training.run_folder import RunFolder

logger = logging.getLogger("echomimic")


class TrainingRun:
    """A run and its folder.

    Args:
        output: the folder, made if need be.
    """

    def __init__(self, output: Path) -> None:
        output.mkdir(parents=True, exist_ok=True)
        self.folder = RunFolder(output)

    def log(self, step: int, **values: Any) -> None:
        """A line of numbers about the steps done so far."""
        line = {"step": step, **{name: round(v, 5) if isinstance(v, float) else v for name, v in values.items()}}
        self.folder.log(line)
        logger.info("%s", line)

    def load(self) -> dict[str, Any] | None:
        """The newest checkpoint, None before the first one; the log forgets what came after it."""
        state = self.folder.load()
        if state is not None:
            self.folder.cut_log(state["step"] + 1)
            logger.info("resuming after step %d", state["step"])
        return state


def learning_rate(rate: float, step: int, steps: int, warmup: int, final_share: float) -> float:
    """A linear warm-up of `warmup` steps times a cosine over all steps, down to `final_share` of the rate."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return rate * min(1.0, (step + 1) / warmup) * (final_share + (1 - final_share) * cosine)
