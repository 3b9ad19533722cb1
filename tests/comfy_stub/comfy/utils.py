"""Stand-in for ComfyUI's progress bar; every update is recorded, and raises after an interruption."""

from __future__ import annotations

from typing import Any

from . import model_management

updates: list[tuple[int, int, Any]] = []


class ProgressBar:
    def __init__(self, total: int) -> None:
        self.total = total

    def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
        model_management.throw_exception_if_processing_interrupted()
        updates.append((value, total or self.total, preview))
