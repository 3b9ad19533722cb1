"""Stand-in for ComfyUI's table of noise levels."""

from __future__ import annotations

import torch


class ModelSamplingDiscrete(torch.nn.Module):
    def __init__(self, model_config=None) -> None:
        super().__init__()
        self.sigmas = torch.linspace(0.03, 4500, 1000)
