"""What the training scripts share: a run's log and checkpoints in the engine's own folder, and the learning rate."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from echomimic.training.run_folder import RunFolder

logger = logging.getLogger("echomimic")

KEPT = 1  # checkpoint


class TrainingRun:
    """A run and its folder.

    Args:
        config: the settings, a dataclass; its `output` is the folder, made if need be.

    Attributes:
        parts: what a checkpoint holds, by name: modules and optimizers.
        optimizer: of all that is trained.
    """

    config: Any
    optimizer: torch.optim.Optimizer

    def __init__(self, config: Any) -> None:
        output = Path(config.output)
        output.mkdir(parents=True, exist_ok=True)
        self.config, self.folder = config, RunFolder(output)
        self.parts: dict[str, Any] = {}

    def log(self, step: int, **values: Any) -> None:
        """A line of numbers about the steps done so far."""
        line = {"step": step, **{name: round(v, 5) if isinstance(v, float) else v for name, v in values.items()}}
        self.folder.log(line)
        logger.info("%s", line)

    def set_learning_rate(self, step: int, final_share: float) -> None:
        """What `learning_rate` says of this step, by the settings."""
        config = self.config
        rate = learning_rate(config.learning_rate, step, config.steps, config.warmup, final_share)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def save(self, step: int) -> None:
        """Write a checkpoint of the steps done so far."""
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        self.folder.save(step, {"config": asdict(self.config), **parts}, KEPT)

    def resume(self) -> int:
        """Take the newest checkpoint; returns its steps, 0 before the first one. The log forgets what came after it."""
        state = self.folder.load()
        if state is None:
            return 0
        self.folder.cut_log(state["step"] + 1)
        logger.info("resuming after step %d", state["step"])
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        return int(state["step"])


def learning_rate(rate: float, step: int, steps: int, warmup: int, final_share: float) -> float:
    """A linear warm-up of `warmup` steps times a cosine over all steps, down to `final_share` of the rate."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return rate * min(1.0, (step + 1) / warmup) * (final_share + (1 - final_share) * cosine)


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """Move the averaged weights towards the model's after a step; faster in the first ones."""
    decay = min(decay, (step + 1) / (step + 10))
    for own, new in zip(average.parameters(), model.parameters()):
        own.lerp_(new, 1 - decay)
