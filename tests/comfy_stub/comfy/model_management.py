"""Stand-in for ComfyUI's memory management: a CPU in float32, and a record of what was loaded."""

from __future__ import annotations

import torch

loads: list[tuple[list, float]] = []
interrupted = False
unloaded = 0


class InterruptProcessingException(BaseException):
    pass


def reset() -> None:
    global interrupted, unloaded
    interrupted, unloaded = False, 0
    loads.clear()


def get_torch_device() -> torch.device:
    return torch.device("cpu")


unet_offload_device = vae_device = vae_offload_device = intermediate_device = get_torch_device
text_encoder_device = text_encoder_offload_device = get_torch_device


def unet_dtype(device=None, model_params=0, supported_dtypes=(), weight_dtype=None) -> torch.dtype:
    return torch.float32


def unet_manual_cast(weight_dtype, inference_device, supported_dtypes=()) -> torch.dtype | None:
    return None


def archive_model_dtypes(model) -> None:
    pass


def load_models_gpu(models, memory_required=0, **_) -> None:
    loads.append((list(models), memory_required))


def unload_all_models() -> None:
    global unloaded
    unloaded += 1


def processing_interrupted() -> bool:
    return interrupted


def throw_exception_if_processing_interrupted() -> None:
    if interrupted:
        raise InterruptProcessingException


def is_oom(error) -> bool:
    return isinstance(error, torch.OutOfMemoryError)


def soft_empty_cache() -> None:
    pass
