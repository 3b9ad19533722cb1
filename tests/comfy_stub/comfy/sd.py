"""Stand-in for ComfyUI's VAE: eight times nearest neighbour, and the first three channels as colours."""

from __future__ import annotations

from typing import Any

import torch

from comfy.model_patcher import CoreModelPatcher


class VAE:
    """Decodes to half grey for zero latents; `limit` frames at once, more is out of memory."""

    def __init__(self, sd: Any = None, config: Any = None, limit: int | None = None) -> None:
        self.sd, self.config, self.limit = sd, config, limit
        self.batches: list[int] = []
        self.vae_dtype = torch.float32
        self.patcher = CoreModelPatcher(torch.nn.Identity(), torch.device("cpu"), torch.device("cpu"))
        # ComfyUI's norms have 32 groups, whatever the configuration says.
        self.first_stage_model = torch.nn.Sequential(torch.nn.GroupNorm(32, 32))

    def decode(self, samples: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(samples))
        if self.limit is not None and len(samples) > self.limit:
            raise torch.OutOfMemoryError(f"{len(samples)} frames do not fit")
        pixels = samples[:, :3].repeat_interleave(8, 2).repeat_interleave(8, 3)
        return (pixels.movedim(1, -1) * 0.18215 / 2 + 0.5).clamp(0, 1)
