"""Reading the golden cases: the original's outputs, and the recipe networks that must give the same."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from echomimic.models import DenoisingUNet, PoseEncoder, ReferenceUNet, UNetConfig
from tests.recipe import fill


def relative_error(value: Tensor, golden: Tensor) -> float:
    """||a - b|| / ||b||."""
    return float((value.double() - golden.double()).norm() / golden.double().norm())


@dataclass(frozen=True)
class GoldenCase:
    """A golden file's tensors and settings."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]

    @classmethod
    def read(cls, shared: Path, name: str) -> GoldenCase:
        with safe_open(shared / "golden" / f"{name}.safetensors", "pt") as file:
            return cls({key: file.get_tensor(key) for key in file.keys()}, json.loads(file.metadata()["meta"]))  # noqa: SIM118

    @property
    def config(self) -> UNetConfig:
        meta = self.meta
        return UNetConfig(
            meta["block_out_channels"],
            meta["layers_per_block"],
            meta["attention_heads"],
            meta["norm_num_groups"],
            meta["cross_attention_dim"],
        )

    def network(self, name: str) -> Any:
        """`reference_unet`, `denoising_unet` or `pose_encoder` with the case's weights."""
        kinds = {"reference_unet": ReferenceUNet, "denoising_unet": DenoisingUNet}
        module = kinds[name](self.config) if name in kinds else PoseEncoder(self.config.block_out_channels[0])
        return fill(module, f"{self.meta['salt']}{name}.").eval()

    @property
    def pictures(self) -> Tensor:
        """The pose pictures `[1, 3, F, H, W]`, which the golden file draws instead of storing."""
        seed = zlib.crc32(f"{self.meta['salt']}pose_images".encode())
        shape = (1, 3, self.meta["frames"], 8 * self.meta["latent_height"], 8 * self.meta["latent_width"])
        drawn = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
        return torch.sigmoid(torch.from_numpy(drawn))
