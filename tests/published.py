"""Writes recipe weights the way the real ones are published, for networks of any size up to the full one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from echomimic.models import DenoisingUNet, PoseEncoder, ReferenceUNet, UNetConfig
from echomimic.models.layers import LayerFactory
from echomimic.models.motion import PositionEncoding
from tests.recipe import recipe_state

# The smallest networks whose width all parts accept; four levels as published.
TINY = UNetConfig((32, 32, 64, 64), layers_per_block=1, audio_dim=64)
SMALL_VAE: dict[str, Any] = {"block_out_channels": (32, 32, 64, 64), "layers_per_block": 1}
PUBLISHED_VAE: dict[str, Any] = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}

State = dict[str, torch.Tensor]


def network_states(
    config: UNetConfig, salt: str = "", variants: tuple[str, ...] = ("",)
) -> Iterator[tuple[str, State]]:
    """The published files' stems and tensors, one after the other so that only one is in memory.

    Args:
        config: size of the networks.
        salt: of the golden recipe; the reference UNet's is `salt + "reference_unet."`, and so on. The accelerated
            denoising UNet's is `salt + "denoising_unet."` too, so either variant gives golden case weights.
        variants: `""` for the standard files, `"_acc"` for the accelerated ones.
    """
    denoising = _shapes(DenoisingUNet(config, device="meta"))
    motion = {name: shape for name, shape in denoising.items() if ".motion_modules." in name}
    spatial = {name: shape for name, shape in denoising.items() if name not in motion}
    for variant in variants:
        yield f"denoising_unet{variant}", recipe_state(spatial, f"{salt}denoising_unet.")
        tables = {name: _positions(shape[-1]) for name, shape in motion.items() if name.endswith(".pe")}
        yield f"motion_module{variant}", {**recipe_state(motion, f"{salt}denoising_unet."), **tables}
    yield "reference_unet", recipe_state(_shapes(ReferenceUNet(config, device="meta")), f"{salt}reference_unet.")
    pose = _shapes(PoseEncoder(config.block_out_channels[0], device="meta"))
    yield "pose_encoder", recipe_state(pose, f"{salt}pose_encoder.")


def whisper_checkpoint(state: int = 384, layers: int = 4, salt: str = "") -> dict[str, Any]:
    """What OpenAI's `tiny.pt` holds, with recipe weights for the encoder and a token of the decoder."""
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.conv1.weight": (state, 80, 3),
        "encoder.conv1.bias": (state,),
        "encoder.conv2.weight": (state, state, 3),
        "encoder.conv2.bias": (state,),
        "encoder.ln_post.weight": (state,),
        "encoder.ln_post.bias": (state,),
        "decoder.ln.weight": (state,),
        "decoder.ln.bias": (state,),
    }
    for block in (f"encoder.blocks.{i}." for i in range(layers)):
        for name in ("query", "key", "value", "out"):
            shapes[f"{block}attn.{name}.weight"] = (state, state)
            if name != "key":
                shapes[f"{block}attn.{name}.bias"] = (state,)
        shapes |= {f"{block}mlp.0.weight": (4 * state, state), f"{block}mlp.0.bias": (4 * state,)}
        shapes |= {f"{block}mlp.2.weight": (state, 4 * state), f"{block}mlp.2.bias": (state,)}
        for norm in ("attn_ln", "mlp_ln"):
            shapes |= {f"{block}{norm}.weight": (state,), f"{block}{norm}.bias": (state,)}
    dims = {"n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": state, "n_audio_layer": layers}
    dims["n_audio_head"] = max(1, state // 64)
    tensors = recipe_state(shapes, salt)
    tensors["encoder.positional_embedding"] = _whisper_positions(1500, state)
    return {"dims": dims, "model_state_dict": tensors}


def write_vae(folder: Path, sizes: dict[str, Any] = SMALL_VAE, salt: str = "") -> Path:
    """A diffusers folder with an AutoencoderKL of recipe weights."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(**vae_config(sizes))
    vae.load_state_dict(recipe_state(_shapes(vae), f"{salt}vae."))
    vae.save_pretrained(folder)
    return folder


def vae_config(sizes: dict[str, Any]) -> dict[str, Any]:
    """Arguments of diffusers' AutoencoderKL, as `sd-vae-ft-mse` has them but for the sizes."""
    levels = len(sizes["block_out_channels"])
    return {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "norm_num_groups": 32,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        **sizes,
    }


def write_published(
    folder: Path,
    config: UNetConfig = TINY,
    salt: str = "",
    *,
    variants: tuple[str, ...] = ("", "_acc"),
    suffix: str = ".pth",
    dtype: torch.dtype = torch.float32,
    vae: dict[str, Any] | None = SMALL_VAE,
    audio: bool = True,
) -> Path:
    """A folder laid out as published. Full size: `write_published(folder, UNetConfig(), vae=PUBLISHED_VAE)`.

    Args:
        folder: made if it is not there.
        config: size of the networks; the audio encoder's width is its `audio_dim`.
        salt: of the golden recipe.
        variants: `""` for the standard files, `"_acc"` for the accelerated ones; both by default.
        suffix: `.pth` or `.safetensors`.
        dtype: of the networks' tensors.
        vae: sizes of the VAE; None writes none.
        audio: whether to write `audio_processor/tiny.pt`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stem, tensors in network_states(config, salt, variants):
        cast = {name: tensor.to(dtype) for name, tensor in tensors.items()}
        write_state(cast, folder / f"{stem}{suffix}")
        del tensors, cast  # at full size the next ones would not fit beside them
    if vae is not None:
        write_vae(folder / "sd-vae-ft-mse", vae, salt)
    if audio:
        (folder / "audio_processor").mkdir(exist_ok=True)
        torch.save(whisper_checkpoint(config.audio_dim, salt=salt), folder / "audio_processor" / "tiny.pt")
    return folder


def write_state(state: State, path: Path) -> Path:
    """A state dict in the format that the path's suffix names."""
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    else:
        torch.save(state, path)
    return path


def _shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _positions(channels: int) -> torch.Tensor:
    return PositionEncoding(LayerFactory(), channels).pe


def _whisper_positions(length: int, channels: int) -> torch.Tensor:
    """Whisper's table: sines, then cosines, wavelengths in a geometric row up to 10000 * 2 pi."""
    half = channels // 2
    scales = torch.exp(-math.log(10000) / max(1, half - 1) * torch.arange(half))
    angles = torch.arange(length)[:, None] * scales[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)
