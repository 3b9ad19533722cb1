"""The reference UNet: describes the portrait, once per clip."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from .config import UNetConfig
from .layers import AttentionFunction, LayerFactory, scaled_dot_product_attention
from .transformer import ReferenceBlock, SpatialTransformer
from .unet import UNet


class ReferenceUNet(UNet):
    """Stable Diffusion 1.5's UNet without cross-attention and without an output layer."""

    def __init__(
        self,
        config: UNetConfig,
        *,
        operations: ModuleType | Any = nn,
        attention: AttentionFunction = scaled_dot_product_attention,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        make = LayerFactory(operations, attention, device, dtype)

        def transformer(name: str, channels: int) -> nn.Module:
            block = ReferenceBlock(make, f"{name}.transformer_blocks.0", channels, config.attention_heads)
            return SpatialTransformer(make, block, channels, config.norm_num_groups)

        super().__init__(config, make, transformer, motion=None)

    def forward(self, latents: Tensor) -> dict[str, Tensor]:
        """Describe a picture.

        Args:
            latents: `[1, 4, h, w]`, scaled (VAE mean x 0.18215).

        Returns:
            by transformer block name, its normalised tokens `[1, h'*w', C]`.
        """
        bank: dict[str, Tensor] = {}
        picture = self.enter(latents)
        # The published model describes the picture at timestep 0.
        time = self.time_embedding(torch.zeros(1, device=latents.device), picture.dtype)
        self.features(self.conv_in(picture), time, bank)
        return {name: tokens.to(latents.dtype) for name, tokens in bank.items()}
