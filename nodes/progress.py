"""The progress of a long run: a bar, the middle frame, the remaining time."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.latent_formats
import comfy.model_management
import comfy.utils
import latent_preview
import torch
from server import PromptServer

from ..echomimic.runtime.context import OnProgress, SamplingProgress
from ..echomimic.runtime.estimate import TimeEstimate, format_duration

logger = logging.getLogger("echomimic")


def progress_callback(device: torch.device, node_id: str | None = None) -> OnProgress:
    """Progress in windows with the middle frame as preview; in the node the time that is left and, at the end, the time
    that it took. Raises when the user has pressed cancel."""
    previewer = latent_preview.get_previewer(device, comfy.latent_formats.SD15())
    estimate, began = TimeEstimate(), time.monotonic()
    bar: Any = None

    def on_progress(progress: SamplingProgress) -> None:
        nonlocal bar
        comfy.model_management.throw_exception_if_processing_interrupted()
        if bar is None:
            bar = comfy.utils.ProgressBar(progress.total)
            left = format_duration(estimate.update(progress))
            logger.info("%d windows to go: about %s, judged by the first", progress.total - progress.done, left)
        else:
            left = format_duration(estimate.update(progress))
        if progress.done < progress.total:
            show_text(f"step {progress.step + 1} of {progress.steps}, about {left} left", node_id)
        else:
            show_text(f"done in {format_duration(time.monotonic() - began)}", node_id)
        preview = None
        if previewer is not None and progress.preview is not None:
            latents = progress.preview[None].to(device)  # [1, 4, h, w]
            preview = previewer.decode_latent_to_preview_image("JPEG", latents)
        bar.update_absolute(progress.done, progress.total, preview)

    return on_progress


@contextmanager
def says_when_stopped(node_id: str | None) -> Iterator[None]:
    """A cancelled run, or one that fails, leaves no time in the node that looks as if it still went on."""
    try:
        yield
    except BaseException:
        show_text("stopped", node_id)
        raise


def show_text(text: str, node_id: str | None) -> None:
    """A line of text in a node that runs, and in the nodes that show the subgraphs around it (`HOST:INNER`): what is
    inside a subgraph is seen only where it is open."""
    if node_id is not None:
        parts = node_id.split(":")
        for depth in range(len(parts)):
            PromptServer.instance.send_progress_text(text, ":".join(parts[: depth + 1]))
