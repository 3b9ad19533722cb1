"""Stand-in for ComfyUI's wrappers: other nodes' functions around a call; here there are none."""

from __future__ import annotations

from typing import Any


class WrappersMP:
    DIFFUSION_MODEL = "diffusion_model"


def get_all_wrappers(kind: str, options: dict[str, Any]) -> list[Any]:
    return []


class WrapperExecutor:
    def __init__(self, original: Any) -> None:
        self.original = original

    @classmethod
    def new_class_executor(cls, original: Any, owner: Any, wrappers: list[Any]) -> WrapperExecutor:
        return cls(original)

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        return self.original(*args, **kwargs)
