"""Stand-in for `comfy_api.latest`: what the pack uses of it, strict about keywords as the real one is."""

from abc import ABC, abstractmethod
from types import SimpleNamespace

from . import io, ui

__all__ = ["ComfyExtension", "InputImpl", "io", "ui"]


class VideoFromFile:
    """A video by its path."""

    def __init__(self, path: str) -> None:
        self.path = path

    def get_stream_source(self) -> str:
        return self.path


InputImpl = SimpleNamespace(VideoFromFile=VideoFromFile)


class ComfyExtension(ABC):
    async def on_load(self) -> None:
        pass

    @abstractmethod
    async def get_node_list(self) -> list: ...
