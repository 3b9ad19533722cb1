"""`train`: the paper's stages, LoRA and distillation, from a configuration."""

from __future__ import annotations

import argparse
import logging
from typing import Any

from tqdm import tqdm

from ..training.config import read_config
from ..training.train import StepReport, train
from .options import file_path

logger = logging.getLogger("echomimic")

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
    """A tqdm bar with the latest losses; a callback for `train`."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.bar: Any = None

    def __call__(self, report: StepReport) -> None:
        if self.bar is None:
            self.bar = tqdm(total=report.steps, initial=report.step, unit=" step", disable=self.quiet)
        self.bar.set_postfix({name: f"{value:.4f}" for name, value in report.losses.items()})
        self.bar.update(report.step + 1 - self.bar.n)

    def __enter__(self) -> TrainingBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
