"""EchoMimicV2 nodes for ComfyUI."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .nodes import EchoMimicExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> EchoMimicExtension:
    """ComfyUI calls this once at start-up."""
    from .nodes import EchoMimicExtension

    return EchoMimicExtension()
