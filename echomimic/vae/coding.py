"""Pictures to latents and back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..errors import DeviceMemoryError, EchoMimicError, ImageError, is_out_of_memory

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

logger = logging.getLogger("echomimic")

Pictures = TypeVar("Pictures")

# Of Stable Diffusion 1: times this, latents have about unit variance.
SCALE = 0.18215
DOWNSAMPLING = 8
# Frames decoded together unless memory is short: the decoder's memory grows with them, its speed hardly does.
CHUNK = 4


@torch.no_grad()
def encode_reference(vae: AutoencoderKL, image: np.ndarray) -> Tensor:
    """The portrait as scaled latents: the VAE's mean x 0.18215, as the published model takes it.

    Args:
        vae: from `load_vae`, on the device that computes.
        image: uint8 RGB `[H, W, 3]`, H and W multiples of 8.

    Returns:
        `[1, 4, H/8, W/8]`, float32 on the host.

    Raises:
        ImageError: another shape or type.
        DeviceMemoryError: the picture is too large for the device.
        EchoMimicError: the VAE returns NaN.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f"the portrait must be uint8 RGB [H, W, 3], got {image.dtype} {list(image.shape)}")
    height, width = image.shape[:2]
    if height % DOWNSAMPLING or width % DOWNSAMPLING:
        raise ImageError(f"the portrait must have sides that are multiples of 8, got {width}x{height}")
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].to(vae.device, vae.dtype)
    try:
        latents = vae.encode(pixels / 127.5 - 1).latent_dist.mean * SCALE
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceMemoryError(too_large("encode the portrait", width, height)) from error
    if not latents.isfinite().all():
        raise EchoMimicError(f"the VAE returned NaN or infinite values in {vae.dtype}: use bfloat16 or float32 for it")
    return latents.float().cpu()


@torch.no_grad()
def decode_frames(vae: AutoencoderKL, latents: Tensor, chunk: int = CHUNK) -> Iterator[np.ndarray]:
    """Decode a clip, a few frames on the device at a time; fewer when its memory is full.

    Args:
        vae: from `load_vae`, on the device that computes.
        latents: scaled, `[1, 4, F, h, w]`, on the host.
        chunk: frames to decode together at first.

    Yields:
        uint8 RGB `[n, 8h, 8w, 3]`, in order.

    Raises:
        DeviceMemoryError: not even one frame fits.
        EchoMimicError: latents or frames are not finite.
    """
    yield from decode_chunks(partial(decode_pictures, vae), latents[0].transpose(0, 1), chunk)


def decode_chunks(decode: Callable[[Tensor], Pictures], latents: Tensor, chunk: int = CHUNK) -> Iterator[Pictures]:
    """Decode a few frames at a time by any decoder; fewer when the device's memory is full.

    Args:
        decode: turns latents `[n, 4, h, w]` into n pictures, with a VAE of diffusers' or of a host's.
        latents: `[F, 4, h, w]`, scaled or not as `decode` takes them.
        chunk: frames to decode together at first.

    Yields:
        what `decode` returned, in order.

    Raises:
        DeviceMemoryError: not even one frame fits.
        EchoMimicError: the latents are not finite.
    """
    if not latents.isfinite().all():
        raise EchoMimicError("the latents hold NaN or infinite values: sample again, in bfloat16 or float32")
    begin = 0
    while begin < len(latents):
        part = latents[begin : begin + chunk]
        try:
            pictures = decode(part)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if chunk == 1:
                rows, columns = part.shape[-2:]
                size = columns * DOWNSAMPLING, rows * DOWNSAMPLING
                raise DeviceMemoryError(too_large("decode even one frame", *size)) from error
            chunk = max(1, len(part) // 2)
            logger.info("the device is out of memory: decoding %d frames at a time", chunk)
        else:
            yield pictures
            begin += len(part)
            continue
        # Here the failed attempt's tensors are gone: the exception that held them has been left.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def decode_pictures(vae: AutoencoderKL, latents: Tensor) -> np.ndarray:
    """Scaled latents `[n, 4, h, w]` to uint8 RGB `[n, 8h, 8w, 3]`."""
    decoded = vae.decode(latents.to(vae.device, vae.dtype) / SCALE).sample
    if not decoded.isfinite().all():
        raise EchoMimicError(f"the VAE returned NaN or infinite values in {vae.dtype}: use bfloat16 or float32 for it")
    return to_bytes(decoded.float().permute(0, 2, 3, 1) / 2 + 0.5)


def to_bytes(pictures: Tensor) -> np.ndarray:
    """Pictures `[n, H, W, 3]` in 0..1 (beyond is clamped) as uint8."""
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def too_large(what: str, width: int, height: int) -> str:
    return (
        f"the device has too little memory to {what} of {width}x{height}: "
        "free memory by closing other programs, compute on the CPU, or choose a smaller size"
    )
