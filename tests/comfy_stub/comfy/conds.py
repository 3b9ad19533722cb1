"""Stand-in for ComfyUI's conditions."""

from __future__ import annotations

from typing import Any


class CONDRegular:
    def __init__(self, cond: Any) -> None:
        self.cond = cond
