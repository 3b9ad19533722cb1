"""Values as other packs hand them over, brought into the engine's form where their meaning is certain."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..echomimic.errors import AudioError, ImageError
from ..echomimic.vae import to_bytes

logger = logging.getLogger("echomimic")


def to_waveform(audio: Any) -> tuple[torch.Tensor, int]:
    """ComfyUI's AUDIO as `[channels, samples]` and its rate in Hz.

    Also accepted: lists and numpy arrays for the tensor, `[channels, samples]` and `[samples]` without the batch
    axis, and rates as text or as a tensor. Of several clips the first is used, which is logged.

    Raises:
        AudioError: there is none (a video without sound gives that), it is empty, or its meaning is not certain.
    """
    if audio is None:
        raise AudioError("there is no audio: the video it should come from has no sound track")
    if not isinstance(audio, Mapping) and hasattr(audio, "__getitem__") and hasattr(audio, "keys"):
        audio = {name: audio[name] for name in ("waveform", "sample_rate")}  # lazily loaded audio of some packs
    if not isinstance(audio, Mapping) or not {"waveform", "sample_rate"} <= set(audio):
        raise AudioError(
            f"the audio is {describe(audio)}, but must be ComfyUI's AUDIO, a waveform with its sample_rate: use Load "
            "Audio"
        )
    waveform = audio["waveform"]
    clips = 1
    if isinstance(waveform, (list, tuple)) and any(hasattr(clip, "shape") for clip in waveform):
        clips, waveform = len(waveform), waveform[0]
    waveform = to_tensor(waveform, "the audio's waveform", AudioError)
    if waveform.ndim == 3:
        clips, waveform = max(clips, len(waveform)), waveform[0] if len(waveform) else waveform.reshape(1, -1)
    elif waveform.ndim == 1:
        waveform = waveform[None]
    if waveform.ndim != 2:
        raise AudioError(f"the audio's waveform must be [batch, channels, samples], got {list(waveform.shape)}")
    if clips > 1:
        logger.warning("the audio is a batch of %d clips; the first one is used", clips)
    if not waveform.numel():
        raise AudioError("the audio is empty: it has no samples")
    return waveform, to_rate(audio["sample_rate"])


def to_rate(value: Any) -> int:
    """A sample rate in Hz, from a number, a text, a numpy or tensor number.

    Raises:
        AudioError: it is not a sample rate.
    """
    number = None if isinstance(value, bool) else to_number(value)
    if number is None or not 1 <= number <= 10_000_000:
        raise AudioError(f"the audio's sample rate must be a number of Hz such as 44100, got {describe(value)}")
    return round(number)


def to_number(value: Any) -> float | None:
    """A finite number from a number, a text, or an array or tensor of one; None for anything else."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        if math.prod(value.shape) != 1:
            return None
        value = value.reshape(-1)[0].item()
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def to_tensor(value: Any, name: str, error: type[Exception]) -> torch.Tensor:
    """A tensor from a tensor, an array or nested lists of numbers.

    Raises:
        error: it is something else.
    """
    try:
        return torch.as_tensor(np.asarray(value)) if not torch.is_tensor(value) else value
    except (TypeError, ValueError, RuntimeError) as failure:
        raise error(f"{name} must be numbers, got {describe(value)}") from failure


def to_images(pictures: np.ndarray) -> torch.Tensor:
    """uint8 `[n, H, W, 3]` as ComfyUI's IMAGE, 0..1."""
    # One copy as floats, four times as large as the pictures.
    return torch.from_numpy(pictures.astype(np.float32)).div_(255)


def image_batch(images: Any) -> torch.Tensor:
    """ComfyUI's IMAGE as `[n, H, W, 3]` in 0..1.

    Also accepted: one picture without the batch axis, grey and RGBA pictures, numpy arrays, lists of pictures, half
    precision and 0..255.

    Raises:
        ImageError: no picture in it, or its meaning is not certain.
    """
    if images is None:
        raise ImageError("there is no image: connect Load Image, or another node that gives an IMAGE")
    if isinstance(images, Sequence) and not isinstance(images, (str, bytes)):
        if not images:
            raise ImageError("the image is an empty list: there is no picture in it")
        pictures = [image_batch(one) for one in images]
        if len({picture.shape[1:] for picture in pictures}) > 1:
            sizes = sorted({f"{picture.shape[2]}x{picture.shape[1]}" for picture in pictures})
            raise ImageError(f"the pictures are of different sizes ({', '.join(sizes)}): resize them to one")
        return torch.cat(pictures)
    tensor = to_tensor(images, "the image", ImageError)
    if tensor.ndim == 2:
        tensor = tensor[None, ..., None]
    elif tensor.ndim == 3:
        # [H, W, channels], or a MASK-like batch [n, H, W].
        tensor = tensor[None] if tensor.shape[-1] in (1, 3, 4) else tensor[..., None]
    if tensor.ndim != 4 or tensor.shape[-1] not in (1, 2, 3, 4):
        raise ImageError(f"an image must be [pictures, height, width, 3], got {list(tensor.shape)}")
    if not len(tensor) or not tensor.shape[1] or not tensor.shape[2]:
        raise ImageError(f"the image is empty, {list(tensor.shape)}: there is no picture in it")
    tensor = tensor[..., :3] if tensor.shape[-1] >= 3 else tensor[..., :1].expand(*tensor.shape[:3], 3)
    if not tensor.is_floating_point():
        return tensor.float() / 255
    return tensor.float()


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
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return f"numbers of shape {list(value.shape)}"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, Mapping):
        return f"a dict with {', '.join(map(str, list(value)[:4])) or 'nothing in it'}"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, (bool, int, float)):
        return f"{value}"
    return "nothing" if value is None else "another kind of value"
