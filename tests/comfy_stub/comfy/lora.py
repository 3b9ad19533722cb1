"""Stand-in for ComfyUI's reading of LoRA tensors: up, down and alpha of a layer as a patch of its weight."""

from __future__ import annotations

from typing import Any


def load_lora(tensors: dict[str, Any], keys: dict[str, str], log_missing: bool = True) -> dict[str, Any]:
    return {
        key: tuple(tensors[f"{layer}.{part}"] for part in ("lora_up.weight", "lora_down.weight", "alpha"))
        for layer, key in keys.items()
    }
