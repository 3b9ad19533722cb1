"""A torchvision whose wheel wants the CUDA build of torch, beside a CPU build: `declare` before it is imported."""

from contextlib import suppress

import torch


def declare() -> None:
    """Declare the two operators that torchvision's Python part registers something for as it is imported, where its
    compiled part does not load. Nothing here calls them."""
    for name in ("nms", "qnms"):
        with suppress(RuntimeError):  # the compiled part has declared them
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
