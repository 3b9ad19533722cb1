"""`train`: the paper's stages, LoRA and distillation, from a configuration."""

from __future__ import annotations

import argparse
import logging
import signal
from typing import Any

from tqdm import tqdm

from ..training.config import read_config
from ..training.train import StepReport, train
from .distributed import started_by_torchrun
from .options import file_path

logger = logging.getLogger("echomimic")

INTERRUPT = signal.default_int_handler

EXAMPLE = """\
examples:
  python -m echomimic train lora.yaml
  accelerate launch -m echomimic train stage2.yaml

The same command resumes an interrupted run, with the same result. docs/training.md explains the settings
and has a configuration for each stage; the shortest is

  stage: lora
  data: data
  output: runs/me
  weights: {path: models/echomimic}
  optimizer: {learning_rate: 1e-4}
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train a LoRA or the networks themselves",
        description="Train: a LoRA for one person, or the paper's stages 1 and 2, or an accelerated student.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=file_path, help="the configuration (.yaml)")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto", help="auto takes a GPU where there is one")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no log messages")
    parser.set_defaults(run=run, resumes=True)


def run(options: argparse.Namespace) -> int:
    config = read_config(options.config)
    with TrainingBar(options.quiet) as bar:
        path = train(config, bar, options.device)
    logger.info("%s", path)
    return 0


class TrainingBar:
    """A tqdm bar with the latest losses; a callback for `train`. Ctrl-C stops after the step, with a checkpoint."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.bar: Any = None
        self.stopped = False

    def __call__(self, report: StepReport) -> bool:
        if self.bar is None:
            self.bar = tqdm(total=report.steps, initial=report.step, unit=" step", disable=self.quiet)
            # Several processes would stop after different steps and wait for each other. A process in the background
            # of a shell ignores the signal, and is to go on ignoring it.
            if not started_by_torchrun() and signal.getsignal(signal.SIGINT) is INTERRUPT:
                signal.signal(signal.SIGINT, self.stop)
        self.bar.set_postfix({name: f"{value:.4f}" for name, value in report.losses.items()})
        self.bar.update(report.step + 1 - self.bar.n)
        if report.step + 1 == report.steps:
            self.release()
        return not self.stopped

    def stop(self, *_: object) -> None:
        """Handles the first Ctrl-C; the second one raises `KeyboardInterrupt`."""
        self.stopped = True
        self.release()
        logger.warning("stopping after this step; Ctrl-C again stops at once and loses what no checkpoint has")

    def release(self) -> None:
        """Leave Ctrl-C to Python again."""
        if signal.getsignal(signal.SIGINT) == self.stop:
            signal.signal(signal.SIGINT, INTERRUPT)

    def __enter__(self) -> TrainingBar:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        if self.bar is not None:
            self.bar.close()
