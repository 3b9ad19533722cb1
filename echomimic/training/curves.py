"""The picture of a run's curves."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .run_folder import RunFolder

logger = logging.getLogger("echomimic")

# What is drawn, by its name in the log, with its label.
LOSSES = {
    "total": "loss", "latent": "latent loss", "pose": "pose loss", "detail": "detail loss",
    "low_level": "low-level loss",
}  # fmt: skip
MEASURES = {"psnr": "PSNR, dB", "ssim": "SSIM", "hands_psnr": "PSNR of hands, dB", "mouth": "mouth with voice"}
# With more points than this, they are drawn small behind their running mean.
FEW = 40


def plot_curves(folder: RunFolder) -> Path | None:
    """Draw all curves of the log as `curves.png`; None without matplotlib or lines."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # optional
        from matplotlib.figure import Figure  # optional
    except ImportError:
        logger.info("no picture of the curves: pip install matplotlib")
        return None
    lines = folder.read_log()
    present = [name for name in (*LOSSES, *MEASURES) if any(name in line for line in lines)]
    if not present:
        return None
    figure = Figure(figsize=(10, 1.9 * len(present) + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = figure.subplots(len(present), 1, squeeze=False, sharex=True)[:, 0]
    for axes, name in zip(all_axes, present):
        if name in LOSSES:
            draw_loss(axes, [(line["step"], line[name]) for line in lines if name in line])
        else:
            draw_measure(axes, [line for line in lines if name in line], name)
        axes.set_ylabel((LOSSES | MEASURES)[name])
        axes.grid(alpha=0.3)
    all_axes[-1].set_xlabel("step")
    figure.align_ylabels(all_axes)
    mark_phases(all_axes, [line for line in lines if "phase" in line])
    path = folder.path / "curves.png"
    figure.savefig(path, dpi=90)
    return path


def draw_loss(axes: Any, points: list[tuple[int, float]]) -> None:
    """A loss on a logarithmic scale; many points with their mean over a twentieth of the run."""
    steps, values = (np.array(column) for column in zip(*points))
    if len(values) <= FEW:
        axes.plot(steps, values, "o-", markersize=3)
    else:
        axes.plot(steps, values, ".", alpha=0.3, markersize=2, label="each step")
        reach = len(values) // 20
        smooth = np.convolve(values, np.ones(reach) / reach, mode="valid")
        axes.plot(steps[reach - 1 :], smooth, label="running mean")
        axes.legend(fontsize=8, loc="best")
    axes.set_yscale("log")


def draw_measure(axes: Any, lines: list[dict[str, Any]], name: str) -> None:
    """A measure of the validation's renders, one line a clip."""
    for clip in sorted({line["validation"] for line in lines}):
        own = [line for line in lines if line["validation"] == clip]
        axes.plot(
            [line["step"] for line in own], [line[name] for line in own], "o-", markersize=4, label=f"clip {clip}"
        )
    axes.legend(fontsize=8, loc="best")


def mark_phases(all_axes: Any, lines: list[dict[str, Any]]) -> None:
    """A dashed line where a phase of the curriculum begins, with its name over the uppermost axes."""
    if not lines:
        return
    begins = [lines[0], *(after for before, after in pairwise(lines) if after["phase"] != before["phase"])]
    for line in begins if len(begins) > 1 else ():
        for axes in all_axes:
            axes.axvline(line["step"], color="grey", linestyle="--", linewidth=0.8)
        place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "fontsize": 8}
        all_axes[0].annotate(line["phase"], (line["step"], 1.0), xytext=(2, 3), **place)
