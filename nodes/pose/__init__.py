"""Pose nodes: sources, edits, fitting to portraits, previews and files."""

from __future__ import annotations

from comfy_api.latest import io

from .. import host
from . import framing, marks, results, retarget, sources, time

NODES: list[type[io.ComfyNode]] = [
    host.interruptible(node) for topic in (sources, time, marks, retarget, framing, results) for node in topic.NODES
]
