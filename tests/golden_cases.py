"""Reads the golden cases in `tests/golden`: outputs of the original, and the networks that must reproduce them."""

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

from echomimic.kernels import layer_classes
from echomimic.models import DenoisingUNet, PoseEncoder, ReferenceUNet, UNetConfig
from tests.recipe import fill

GOLDEN = Path(__file__).parent / "golden"


def relative_error(value: Tensor, golden: Tensor) -> float:
    """||a - b|| / ||b||."""
    return float((value.double() - golden.double()).norm() / golden.double().norm())


def published_shapes(name: str) -> dict[str, list[int]]:
    """Tensor names and shapes of the published `reference_unet`, `denoising_unet` or `pose_encoder`."""
    return json.loads((GOLDEN / f"keys_{name}.json").read_text())


@dataclass(frozen=True)
class GoldenCase:
    """A golden file's tensors and settings."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]

    @classmethod
    def read(cls, name: str) -> GoldenCase:
        with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
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

    def network(self, name: str, kernels: bool = False) -> Any:
        """`reference_unet`, `denoising_unet` or `pose_encoder` with the case's weights, with kernels or without."""
        kinds = {"reference_unet": ReferenceUNet, "denoising_unet": DenoisingUNet, "pose_encoder": PoseEncoder}
        size = self.config.block_out_channels[0] if name == "pose_encoder" else self.config
        module = kinds[name](size, operations=layer_classes(kernels))
        return fill(module, f"{self.meta['salt']}{name}.").eval()

    @property
    def pictures(self) -> Tensor:
        """The pose pictures `[1, 3, F, H, W]`, which the golden file draws instead of storing."""
        seed = zlib.crc32(f"{self.meta['salt']}pose_images".encode())
        shape = (1, 3, self.meta["frames"], 8 * self.meta["latent_height"], 8 * self.meta["latent_width"])
        drawn = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
        return torch.sigmoid(torch.from_numpy(drawn))
