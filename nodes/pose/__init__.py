"""Gestures: where they come from, what is done to them, and a look at them before the long run."""

from __future__ import annotations

from comfy_api.latest import io

from . import framing, portrait, results, sources, time

NODES: list[type[io.ComfyNode]] = [*sources.NODES, *time.NODES, *portrait.NODES, *results.NODES, *framing.NODES]
