"""Stand-in for ComfyUI's description of a model."""

from __future__ import annotations

from typing import Any


class BASE:
    def __init__(self, unet_config: dict[str, Any]) -> None:
        self.unet_config = dict(unet_config)
        self.manual_cast_dtype: Any = None

    def set_inference_dtype(self, dtype: Any, manual_cast_dtype: Any) -> None:
        self.unet_config["dtype"] = dtype
        self.manual_cast_dtype = manual_cast_dtype
