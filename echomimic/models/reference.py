"""The reference UNet: turns the portrait into the tokens that the denoising UNet attends to, once per clip."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from . import casting_layers
from .attention import AttentionFunction, scaled_dot_product_attention
from .blocks import ReferenceBlock, SpatialTransformer
from .config import UNetConfig
from .layers import LayerFactory, channels_last
from .unet import UNet


class ReferenceUNet(UNet):
    """Stable Diffusion 1.5's UNet without cross-attention and without an output layer."""

    def __init__(
        self,
        config: UNetConfig,
        *,
        operations: ModuleType | Any = casting_layers,
        attention: AttentionFunction = scaled_dot_product_attention,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """See `LayerFactory` for the arguments after `config`."""
        make = LayerFactory(operations, attention, device, dtype)

        def transformer(name: str, channels: int) -> nn.Module:
            block = ReferenceBlock(make, f"{name}.transformer_blocks.0", channels, config.attention_heads)
            return SpatialTransformer(make, block, channels, config.norm_num_groups)

        super().__init__(config, make, transformer, motion=None)

    def forward(self, latents: Tensor) -> dict[str, Tensor]:
        """Encode a portrait.

        Args:
            latents: `[1, 4, h, w]`, scaled (VAE mean x 0.18215); their dtype is computed in.

        Returns:
            by transformer block name, its normalised tokens `[1, h'*w', C]`.
        """
        tokens: dict[str, Tensor] = {}
        # The published model encodes the portrait at timestep 0.
        time = self.time_embedding(torch.zeros(1, device=latents.device), latents.dtype)
        self.features(self.conv_in(channels_last(latents)), time, tokens)
        return tokens
