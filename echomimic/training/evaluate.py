"""Renders against the truth: videos paired by name, the measures of the paper's table 2, as JSON, table and plot."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EchoMimicError, TrainingError
from ..media.limits import check_room
from ..pose.sources.dwpose import DWPose
from .clip_files import frames_at_rate, resized
from .metrics import (
    METRICS,
    FrameDistance,
    Measures,
    VideoDistance,
    VideoPair,
    hand_measures,
    identity_measure,
    lpips_measure,
    measure_all,
    ratio_measure,
    similarity_measure,
    sync_measure,
)
from .packages import missing_package
from .prepare import VIDEO_ENDINGS
from .run_folder import write_text

FPS = 24.0


def find_pairs(made: Path, truth: Path) -> list[tuple[Path, Path]]:
    """Videos of the same name in both folders.

    Raises:
        TrainingError: a folder is missing, or no name is in both; names what is there.
    """
    for folder in (made, truth):
        if not folder.is_dir():
            raise TrainingError(f"there is no folder {folder}")
    found = [
        {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in VIDEO_ENDINGS} for folder in (made, truth)
    ]
    both = [name for name in found[0] if name in found[1]]
    if not both:
        raise TrainingError(
            f"no video has the same name in {made} ({', '.join(list(found[0])[:3]) or 'no video'}) and {truth} "
            f"({', '.join(list(found[1])[:3]) or 'no video'})"
        )
    return [(found[0][name], found[1][name]) for name in both]


def read_pair(made: Path, truth: Path) -> VideoPair:
    """Both videos at 24 frames a second, cut to the shorter one, the truth brought to the render's size.

    Each is decoded twice: first to count, so that no frame is held beside the array that it goes into.

    Raises:
        PoseError, TrainingError: one cannot be read, or both do not fit in memory.
    """
    ours, height, width = count_frames(made)
    count, true_height, true_width = count_frames(truth, ours)
    if height != width and (true_height, true_width) != (height, width):
        raise TrainingError(
            f"{made.name} is {width}x{height}, its truth {true_width}x{true_height}: one shape is needed"
        )
    shape = (count, height, width, 3)
    what = f"{count:,} frames of {width}x{height} of {made.name} and as many of its truth"
    check_room(2 * math.prod(shape), what, "cut both videos into parts", TrainingError)
    rendered = stacked(frames_at_rate(made, FPS, 0, count), shape)
    true = (resized(picture, width) if height == width else picture for picture in frames_at_rate(truth, FPS, 0, count))
    return VideoPair(made.stem, rendered, stacked(true, shape), made)


def count_frames(path: Path, most: int | None = None) -> tuple[int, int, int]:
    """The number of a video's frames at 24 a second, up to `most`, and their height and width."""
    frames = frames_at_rate(path, FPS, 0, most)
    height, width = next(frames).shape[:2]
    return 1 + sum(1 for _ in frames), height, width


def stacked(frames: Iterable[np.ndarray], shape: tuple[int, int, int, int]) -> np.ndarray:
    """Frames as one array, uint8 `[F, H, W, 3]`.

    Raises:
        TrainingError: one has another size.
    """
    filled = np.empty(shape, np.uint8)
    for number, picture in enumerate(frames):
        if picture.shape != shape[1:]:
            raise TrainingError(
                f"frame {number} is {picture.shape[1]}x{picture.shape[0]}, the first {shape[2]}x{shape[1]}: one size "
                "is needed"
            )
        filled[number] = picture
    return filled


def evaluate(
    made: Path,
    truth: Path,
    *,
    models: Path | None = None,
    syncnet: Path | None = None,
    device: str = "cpu",
    on_video: Callable[[int, int], Any] | None = None,
) -> Measures:
    """Take every measure that can be taken here.

    Args:
        made, truth: folders of videos with the same names.
        models: folder with DWPose's files, for HKC and HKV.
        syncnet: folder with SyncNet's files, for Sync-C and Sync-D.
        device: for the networks that measure.
        on_video: called with videos done and videos in all.

    Raises:
        TrainingError: see `find_pairs`.
        PoseError, TrainingError: no pair can be read; one of several is left out, with its reason in the result.
    """

    def hands() -> Any:
        if models is None:
            raise TrainingError("--models must name the folder with DWPose's two .onnx files")
        # Of GPUs onnxruntime knows its own, which may be none.
        return hand_measures(DWPose(models, "cpu" if device == "cpu" else None))

    readers = {paths[0].stem: partial(read_pair, *paths) for paths in find_pairs(made, truth)}
    return measure_all(
        readers,
        {
            "PSNR": lambda: ratio_measure,
            "SSIM": partial(similarity_measure, device),
            "LPIPS": partial(lpips_measure, device),
            "CSIM": partial(identity_measure, device),
            "Sync-C, Sync-D": partial(sync_measure, syncnet, device),
            "HKC, HKV": hands,
        },
        {"FID": partial(FrameDistance, device), "FVD": partial(VideoDistance, device)},
        on_video,
    )


def as_table(measures: Measures) -> str:
    """The means as a Markdown table in the order of the paper's table 2, then why others are missing."""
    means = measures.means()
    names = [f"{name} {'↑' if better else '↓'}" for name, better in METRICS.items()]
    values = [f"{means[name]:.3f}" if name in means else "-" for name in METRICS]
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}", f"| {' | '.join(values)} |"]
    lines += [f"{name} was left out: {reason}" for name, reason in measures.skipped.items()]
    return "\n".join(lines)


def write_results(measures: Measures, output: Path) -> Path:
    """`NAME.json`: means, each video's measures, and what was left out and why."""
    content = {"mean": measures.means(), "videos": measures.videos, "skipped": measures.skipped}
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, json.dumps(content, indent=1))
    return output


def plot_results(measures: Measures, path: Path) -> Path:
    """Each measure's values over the videos, sorted, as PNG.

    Raises:
        EchoMimicError: there is nothing to draw.
        MissingPackageError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # optional
        from matplotlib.figure import Figure  # optional
        from matplotlib.ticker import MaxNLocator  # optional
    except ImportError as error:
        raise missing_package("matplotlib", "drawing the measures") from error
    present = [name for name in METRICS if any(name in one for one in measures.videos.values())]
    if not present:
        raise EchoMimicError("no measure could be taken, so there is nothing to draw")
    figure = Figure(figsize=(3 * len(present), 3), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(1, len(present), squeeze=False)[0], present):
        values = sorted(one[name] for one in measures.videos.values() if name in one)
        axes.plot(range(1, len(values) + 1), values, "o-", markersize=3)
        axes.axhline(float(np.mean(values)), color="grey", linestyle="--", linewidth=1)
        axes.set_title(f"{name} {'↑' if METRICS[name] else '↓'}: {np.mean(values):.3f}", fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("videos, sorted; dashed: their mean", fontsize=8)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=90)
    return path
