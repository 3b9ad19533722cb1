"""Values as other packs hand them over, brought into the engine's form where their meaning is certain."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..echomimic.errors import AudioError, EchoMimicError, ImageError
from ..echomimic.media.picture_pixels import MIN_ALPHA
from ..echomimic.media.pixel_scale import to_unit, whole_scale
from ..echomimic.media.waveform import MAX_CHANNELS
from ..echomimic.vae import to_bytes

logger = logging.getLogger("echomimic")

AUDIO_KEYS = {"waveform", "sample_rate"}
# In Hz; a smaller number is one of kHz, or none at all.
MIN_RATE, MAX_RATE = 1000, 10_000_000


def to_waveform(audio: Any) -> tuple[torch.Tensor, int]:
    """ComfyUI's AUDIO as `[channels, samples]` and its rate in Hz.

    Also accepted: lists and numpy arrays for the tensor, `[channels, samples]` and `[samples]` without the batch
    axis, and rates as text or as a tensor. Of several clips the first is used, which is logged.

    Raises:
        AudioError: there is none (a video without sound gives that), it is empty, or its meaning is not certain.
    """
    if audio is None:
        raise AudioError("there is no audio: the video it should come from has no sound track")
    if not hasattr(audio, "keys") or not hasattr(audio, "__getitem__") or not AUDIO_KEYS.issubset(audio.keys()):
        raise AudioError(
            f"the audio is {describe(audio)}, but must be ComfyUI's AUDIO, a waveform with its sample_rate: use Load "
            "Audio"
        )
    try:  # some packs load the sound only now
        waveform, sample_rate = audio["waveform"], audio["sample_rate"]
    except Exception as error:
        raise AudioError(f"the audio cannot be read by the node that it comes from: {first_line(error)}") from error
    clips = 1
    if isinstance(waveform, (list, tuple)) and any(hasattr(clip, "shape") for clip in waveform):
        rows = [to_tensor(clip, "the audio's waveform", AudioError) for clip in waveform]
        if all(row.ndim == 1 and len(row) == len(rows[0]) for row in rows):
            waveform = torch.stack(rows)  # one row a channel
        else:
            clips, waveform = len(rows), rows[0]
    waveform = to_tensor(waveform, "the audio's waveform", AudioError)
    if waveform.ndim == 3:
        if len(waveform) > MAX_CHANNELS and waveform[0].numel() <= MAX_CHANNELS:
            raise AudioError(f"the audio's waveform must be [batch, channels, samples], got {list(waveform.shape)}")
        clips, waveform = max(clips, len(waveform)), waveform[0] if len(waveform) else waveform.reshape(1, -1)
    elif waveform.ndim == 1:
        waveform = waveform[None]
    if waveform.ndim != 2:
        raise AudioError(f"the audio's waveform must be [batch, channels, samples], got {list(waveform.shape)}")
    if clips > 1:
        logger.warning("the audio is a batch of %d clips; the first one is used", clips)
    if not waveform.numel():
        raise AudioError("the audio is empty: it has no samples")
    return waveform, to_rate(sample_rate)


def to_rate(value: Any) -> int:
    """A sample rate in Hz, from a number, a text, a numpy or tensor number.

    Raises:
        AudioError: it is not a sample rate.
    """
    number = None if isinstance(value, bool) else to_number(value)
    if number is None or not MIN_RATE <= number <= MAX_RATE:
        raise AudioError(f"the audio's sample rate must be a number of Hz such as 44100, got {describe(value)}")
    return round(number)


def to_number(value: Any) -> float | None:
    """A finite number from a number, a text, or a list, array or tensor of one; None for anything else."""
    try:
        while isinstance(value, (list, tuple)) and len(value) == 1:
            value = value[0]
        if isinstance(value, (torch.Tensor, np.ndarray)):
            if math.prod(value.shape) != 1:
                return None
            value = value.reshape(-1)[0].item()
        number = float(value)
    except Exception:  # a foreign value decides what it raises
        return None
    return number if math.isfinite(number) else None


def to_tensor(value: Any, name: str, error: type[EchoMimicError]) -> torch.Tensor:
    """A plain tensor from a tensor of any kind, an array, a PIL picture or nested lists of numbers.

    Raises:
        error: it is something else, or has no numbers yet (a tensor on the meta device).
    """
    try:
        if torch.is_tensor(value):
            if value.is_nested or value.is_meta or value.is_complex():
                raise TypeError("no plain numbers")
            value = value.dequantize() if value.is_quantized else value
            return (value.to_dense() if value.layout != torch.strided else value).detach()
        array = np.asarray(value)
        if array.dtype == object and any(item is None for item in array.flat):
            raise TypeError("no number")  # numpy would make NaN of it
        if array.dtype == object or array.dtype.itemsize > 8:
            array = array.astype(np.float64)
        # torch knows neither the byte order of other machines, nor arrays that run backwards or cannot be written.
        array = np.require(array.astype(array.dtype.newbyteorder("="), copy=False), requirements=("C", "W"))
        return torch.as_tensor(array)
    except Exception as failure:  # a foreign value decides what it raises
        raise error(f"{name} must be numbers, got {describe(value)}") from failure


def to_images(pictures: np.ndarray) -> torch.Tensor:
    """uint8 `[n, H, W, 3]` as ComfyUI's IMAGE, 0..1."""
    # One copy as floats, four times as large as the pictures.
    return torch.from_numpy(pictures.astype(np.float32)).div_(255)


def image_batch(images: Any) -> torch.Tensor:
    """ComfyUI's IMAGE as `[n, H, W, 3]` in 0..1, transparency laid on white as that of picture files.

    Also accepted: one picture without the batch axis, grey and RGBA pictures, numpy arrays, PIL pictures, lists of
    pictures, half precision, whole numbers, 0..255 and -1..1.

    Raises:
        ImageError: no picture in it, NaN, all of it transparent, or its meaning is not certain.
    """
    numbers, alpha = picture_numbers(images)
    pictures = to_unit_scale(numbers, "the image")
    if alpha is None or bool(alpha.amin() >= 1):
        return pictures
    if alpha.amax() * 255 < MIN_ALPHA:
        raise ImageError(
            "the image is transparent everywhere: take its alpha channel off, or invert it if it marks what is cut out"
        )
    return pictures.sub(1).mul_(alpha).add_(1)


def picture_numbers(images: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The numbers of an IMAGE as `[n, H, W, 3]`, on their own scale, and its alpha `[n, H, W, 1]` in 0..1, if it has
    one; raises as `image_batch`."""
    if images is None:
        raise ImageError("there is no image: connect Load Image, or another node that gives an IMAGE")
    if isinstance(images, Sequence) and not isinstance(images, (str, bytes)) and not holds_numbers(images):
        if not images:
            raise ImageError("the image is an empty list: there is no picture in it")
        pictures, alphas = zip(*map(picture_numbers, images))
        if len({picture.shape[1:] for picture in pictures}) > 1:
            sizes = sorted({f"{picture.shape[2]}x{picture.shape[1]}" for picture in pictures})
            raise ImageError(f"the pictures are of different sizes ({', '.join(sizes)}): resize them to one")
        if len({picture.dtype for picture in pictures}) > 1:
            pictures = [to_unit_scale(picture, "the image") for picture in pictures]
        if all(alpha is None for alpha in alphas):
            return torch.cat(pictures), None
        given = zip(pictures, alphas)
        alphas = [
            torch.ones_like(one[..., :1], dtype=torch.float32) if alpha is None else alpha for one, alpha in given
        ]
        return torch.cat(pictures), torch.cat(alphas)
    tensor = to_tensor(images, "the image", ImageError)
    if tensor.ndim == 2:
        tensor = tensor[None, ..., None]
    elif tensor.ndim == 3:
        if tensor.shape[-1] not in (1, 3, 4) and len(tensor) in (3, 4):
            raise ImageError(
                f"an image of {list(tensor.shape)} may be {len(tensor)} masks or one picture of {len(tensor)} "
                "channels: give it as [pictures, height, width, 3]"
            )
        # [H, W, channels], or a MASK-like batch [n, H, W].
        tensor = tensor[None] if tensor.shape[-1] in (1, 3, 4) else tensor[..., None]
    if tensor.ndim != 4 or tensor.shape[-1] not in (1, 2, 3, 4):
        raise ImageError(f"an image must be [pictures, height, width, 3], got {list(tensor.shape)}")
    if not tensor.numel():
        raise ImageError(f"the image is empty, {list(tensor.shape)}: there is no picture in it")
    alpha = (
        to_masks(tensor[..., -1], "the image's alpha").clamp(0, 1)[..., None] if tensor.shape[-1] in (2, 4) else None
    )
    return tensor[..., :3] if tensor.shape[-1] >= 3 else tensor[..., :1].expand(*tensor.shape[:3], 3), alpha


def holds_numbers(values: Any) -> bool:
    """Whether nested lists end in plain numbers, not in arrays or pictures."""
    while isinstance(values, (list, tuple)) and values:
        values = values[0]
    return isinstance(values, (int, float))


def to_unit_scale(values: torch.Tensor, name: str) -> torch.Tensor:
    """Pictures' or masks' values `[n, ...]` as float32 in 0..1, of the scale that `pixel_scale` finds in them.

    Floating point values a little beyond 0..1 stay as they are.

    Raises:
        ImageError: many NaN or infinite values, or no such scale.
    """
    if values.dtype == torch.bool:
        return values.float()
    if values.dtype == torch.uint8:
        return values.float() / 255
    if not values.is_floating_point():
        values = values.long()  # not all types can be compared
        return values.float() / whole_scale(int(values.min()), int(values.max()), name)
    return to_unit(values.float(), name)


def to_masks(mask: Any, name: str = "the mask") -> torch.Tensor:
    """ComfyUI's MASK as float32 `[n, H, W]` in 0..1; also `[H, W]`, `[n, 1, H, W]` and `[n, H, W, 1]`, in every form
    and scale of `image_batch`. As there, floating point values a little beyond 0..1 stay as they are.

    Raises:
        ImageError: no mask in it, NaN, or its meaning is not certain.
    """
    tensor = to_tensor(mask, name, ImageError)
    if tensor.ndim == 4:
        tensor = tensor[:, 0] if tensor.shape[1] == 1 else tensor[..., 0] if tensor.shape[-1] == 1 else tensor
    if tensor.ndim not in (2, 3) or not tensor.numel():
        raise ImageError(f"{name} must be [masks, height, width] and not empty, got {list(tensor.shape)}")
    masks = tensor[None] if tensor.ndim == 2 else tensor
    if not masks.is_floating_point() and masks.long().max() <= 1:
        masks = masks.bool()  # what segmentation gives: 0 and 1, as whole numbers
    return to_unit_scale(masks, name)


def to_latents(latent: Any) -> torch.Tensor:
    """The numbers of ComfyUI's LATENT, in their own shape and floating point.

    Raises:
        EchoMimicError: it is something else, empty, or holds NaN.
    """
    if not isinstance(latent, Mapping) or "samples" not in latent:
        raise EchoMimicError(
            f"the latents are {describe(latent)}, but must be ComfyUI's LATENT: use VAE Encode, or a sampler"
        )
    latents = to_tensor(latent["samples"], "the latents", EchoMimicError)
    if not latents.numel():
        raise EchoMimicError(f"the latents are empty, {list(latents.shape)}: there is no picture in them")
    latents = latents if latents.is_floating_point() else latents.float()
    bad = latents.numel() - int(latents.isfinite().sum())
    if bad:
        raise EchoMimicError(
            f"the latents hold NaN or infinite values, {bad:,} of {latents.numel():,}: encode or sample again, in "
            "bfloat16 or float32"
        )
    return latents


def to_picture(images: Any) -> np.ndarray:
    """The first picture of an IMAGE as uint8 `[H, W, 3]`.

    Raises:
        ImageError: see `image_batch`.
    """
    return to_bytes(image_batch(images)[0])


def pictures_of(images: Any) -> Iterator[np.ndarray]:
    """All pictures of an IMAGE as uint8 `[H, W, 3]`, one at a time."""
    for picture in image_batch(images):
        yield to_bytes(picture)


def describe(value: Any) -> str:
    """A value for a message: its kind and shape, never its contents."""
    if torch.is_tensor(value) and (value.is_meta or value.is_complex()):
        return "complex numbers" if value.is_complex() else "a tensor on the device 'meta', which has no numbers"
    if isinstance(value, np.ndarray) or (torch.is_tensor(value) and not value.is_nested):
        return f"numbers of shape {list(value.shape)}"
    if isinstance(value, (torch.nn.Module, type)):
        return f"a {getattr(value, '__name__', type(value).__name__)}"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, Mapping):
        return f"a dict with {', '.join(map(str, list(value)[:4])) or 'nothing in it'}"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, (bool, int, float)):
        return f"{value}"
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value)} bytes"
    return "nothing" if value is None else f"a {type(value).__name__}"


def first_line(error: BaseException) -> str:
    """A foreign exception for a message."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no reason given'])[0][:200]}"
