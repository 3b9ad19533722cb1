"""Stand-in for ComfyUI's model around a network."""

from __future__ import annotations

from typing import Any

import torch

from .model_sampling import ModelSamplingDiscrete


class ModelType:
    V_PREDICTION = "v_prediction"


class BaseModel(torch.nn.Module):
    def __init__(self, model_config: Any, model_type: Any, device: Any = None) -> None:
        super().__init__()
        self.model_config, self.model_type, self.device = model_config, model_type, device
        self.manual_cast_dtype = model_config.manual_cast_dtype
        self.model_sampling = ModelSamplingDiscrete(model_config)

    def get_dtype_inference(self) -> torch.dtype:
        return self.manual_cast_dtype or self.get_dtype()
