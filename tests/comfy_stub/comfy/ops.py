"""Stand-in for ComfyUI's layer classes: torch's, and they look for an interruption as the real ones do."""

import torch

from . import model_management


def checked(base: type) -> type:
    class Layer(base):
        def forward(self, *args, **kwargs):
            model_management.throw_exception_if_processing_interrupted()
            return super().forward(*args, **kwargs)

    Layer.__name__ = base.__name__
    return Layer


class manual_cast:
    Linear = checked(torch.nn.Linear)
    Conv2d = checked(torch.nn.Conv2d)
    GroupNorm = checked(torch.nn.GroupNorm)
    LayerNorm = checked(torch.nn.LayerNorm)


disable_weight_init = manual_cast


def pick_operations(weight_dtype, compute_dtype, load_device=None) -> type:
    return manual_cast
