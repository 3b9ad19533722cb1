"""Stand-in for `comfy_api.latest`: what the pack uses of it, strict about keywords as the real one is."""

from abc import ABC, abstractmethod

from . import io, ui

__all__ = ["ComfyExtension", "io", "ui"]


class ComfyExtension(ABC):
    async def on_load(self) -> None:
        pass

    @abstractmethod
    async def get_node_list(self) -> list: ...
