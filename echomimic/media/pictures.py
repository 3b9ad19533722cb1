"""Reading the portrait: any picture file becomes upright 8-bit RGB of the video's size."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import ImageError

# Below this no face can be seen; above it the file is a mistake or an attack (8-bit RGB of that size takes 540 MB).
SMALLEST_SIDE = 32
MOST_PIXELS = 180_000_000


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a picture file.

    Sideways EXIF orientation is turned upright, transparency is laid on white (cut-out portraits are made for white
    pages), grey becomes RGB, 16 bits become 8, of an animation the first picture is taken.

    Returns:
        uint8 RGB `[height, width, 3]`.

    Raises:
        ImageError: the file is missing, is no picture, is damaged, or is far too small or large.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError(f"there is no image file {path}")
    try:
        with Image.open(path) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise ImageError(
                    f"{path} is {width}x{height} pixels, more than {MOST_PIXELS // 10**6} million: scale it down"
                )
            upright = ImageOps.exif_transpose(image)
            picture = to_rgb(upright)
    except Image.DecompressionBombError as error:  # PIL's own limit, which a program may have set lower
        raise ImageError(f"{path} has too many pixels to be a portrait: scale it down ({error})") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{path} cannot be read as a picture ({error})") from error
    if min(picture.shape[:2]) < SMALLEST_SIDE:
        height, width = picture.shape[:2]
        raise ImageError(
            f"{path} is {width}x{height} pixels, too small for a portrait: both sides need {SMALLEST_SIDE}"
        )
    return picture


def to_rgb(image: Image.Image) -> np.ndarray:
    """Any PIL mode to uint8 RGB `[H, W, 3]`."""
    if image.mode.startswith("I") or image.mode == "F":
        # PIL's own conversion would clip these at 255.
        values = np.asarray(image, dtype=np.float64)
        grey = np.clip(np.round(values * (255 / full_scale(image.mode, values))), 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        page = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        image = Image.alpha_composite(page, layered)
    return np.asarray(image.convert("RGB"))


def full_scale(mode: str, values: np.ndarray) -> float:
    """What white is in a picture of whole numbers or fractions.

    `I;16` is 16 bits. The wider modes do not say: 1, 255 or 65535, the least that holds the brightest value.
    """
    if mode.startswith("I;16"):
        return 65535.0
    brightest = values.max(initial=0)
    return 1.0 if mode == "F" and brightest <= 1 else 255.0 if brightest <= 255 else 65535.0


def fit_image(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Crop the middle to the aspect of the video and resize to it.

    Args:
        image: uint8 RGB `[H, W, 3]`.
        width, height: pixels wanted.

    Returns:
        uint8 RGB `[height, width, 3]`.
    """
    if image.shape[:2] == (height, width):
        return image
    fitted = ImageOps.fit(Image.fromarray(image), (width, height), method=Image.Resampling.LANCZOS)
    return np.asarray(fitted)
