"""Pose nodes: sources, edits, fitting to portraits, previews and files."""

from __future__ import annotations

from comfy_api.latest import io

from .. import host
from . import framing, portrait, results, sources, time

NODES: list[type[io.ComfyNode]] = [
    host.interruptible(node) for node in (*sources.NODES, *time.NODES, *portrait.NODES, *results.NODES, *framing.NODES)
]
