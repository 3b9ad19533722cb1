"""The networks of the published size with random weights, which need no files: for benchmarks of time and memory.

Weights are uniform with variance 1 / inputs, so that activations keep their magnitude from layer to layer, in half
precision too. (A GPU's clock rate depends on the data: constant weights would make it look faster than it is.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from echomimic.kernels import layer_classes
from echomimic.models import RECOMMENDED_SETTINGS, DenoisingUNet, Networks, PoseEncoder, ReferenceUNet, UNetConfig
from echomimic.models.casting_layers import filters_to_channels_last
from echomimic.models.layers import LayerFactory
from echomimic.models.motion import PositionEncoding
from tests.published import PUBLISHED_VAE, vae_config

CONFIG = UNetConfig()
# Whisper tiny's encoder; the VAE of Stable Diffusion 1.5.
WHISPER = {"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536}
VAE = PUBLISHED_VAE

Device = torch.device | str


def fill_drawn(module: nn.Module, device: Device, dtype: torch.dtype) -> Any:
    """A module built on the meta device, given drawn weights; on the meta device it stays without."""
    if torch.device(device).type != "meta":
        module = module.to(dtype).to_empty(device=device)
        generator = torch.Generator(device).manual_seed(0)
        for part in module.modules():
            draw(part, generator)
        filters_to_channels_last(module)
    return module.eval().requires_grad_(False)


def draw(part: nn.Module, generator: torch.Generator) -> None:
    """Fill a part's own tensors, not those of its parts."""
    for name, tensor in part.named_parameters(recurse=False):
        if tensor.ndim > 1:
            reach = (3 / tensor[0].numel()) ** 0.5
            tensor.data.uniform_(-reach, reach, generator=generator)
        else:
            tensor.data.fill_(1.0 if name == "weight" else 0.0)
    if isinstance(part, PositionEncoding):
        part.pe.copy_(PositionEncoding(LayerFactory(), part.pe.shape[-1]).pe)


def make_denoiser(device: Device, dtype: torch.dtype) -> DenoisingUNet:
    return fill_drawn(DenoisingUNet(CONFIG, operations=layer_classes(), device="meta"), device, dtype)


def make_reference_unet(device: Device, dtype: torch.dtype) -> ReferenceUNet:
    return fill_drawn(ReferenceUNet(CONFIG, operations=layer_classes(), device="meta"), device, dtype)


def make_pose_encoder(device: Device, dtype: torch.dtype) -> PoseEncoder:
    return fill_drawn(
        PoseEncoder(CONFIG.block_out_channels[0], operations=layer_classes(), device="meta"), device, dtype
    )


def make_audio_encoder(device: Device, dtype: torch.dtype) -> Any:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    with torch.device("meta"):
        encoder = WhisperEncoder(WhisperConfig(**WHISPER))
    return fill_drawn(encoder, device, dtype)


def make_vae(device: Device, dtype: torch.dtype) -> Any:
    import diffusers
    from diffusers import AutoencoderKL

    diffusers.utils.logging.set_verbosity_error()  # it warns of casting modules that should stay float32
    with torch.device("meta"):
        vae = AutoencoderKL(**vae_config(VAE))
    return fill_drawn(vae, device, dtype)


def make_networks(dtype: torch.dtype) -> Networks:
    """All of them on the host, as weights are loaded."""
    return Networks(
        CONFIG,
        "accelerated",
        make_denoiser("cpu", dtype),
        make_reference_unet("cpu", dtype),
        make_pose_encoder("cpu", dtype),
        RECOMMENDED_SETTINGS["accelerated"],
        make_audio_encoder("cpu", dtype),
        make_vae("cpu", dtype),
    )
