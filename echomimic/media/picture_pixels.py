"""A decoded picture of any mode as upright 8-bit RGB in sRGB, a band of rows at a time.

Pillow keeps up to four bytes a pixel, and so does every step that it takes with a whole picture; done by bands, the
result is all that comes on top.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms

from ..errors import ImageError
from .colours import png_colours, video_colours
from .pixel_scale import NARROW_SCALES, fraction_scale, whole_scale

logger = logging.getLogger("echomimic")

BAND_PIXELS = 2**20
# Of 255: a picture that is nowhere more opaque shows nothing.
MIN_ALPHA = 16
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 1000
ORIENTATION = 0x0112  # EXIF's tag

Transform = Callable[[Image.Image], Image.Image]


def upright_rgb(image: Image.Image, path: Path) -> np.ndarray:
    """The picture turned upright by its EXIF orientation, in sRGB, transparency laid on white, uint8 `[H, W, 3]`.

    Args:
        image: as Pillow opened it.
        path: its file, for messages and for a second reader.

    Raises:
        ImageError: it is transparent everywhere, or its values are on no scale of pictures.
        Exception: what Pillow raises for damaged data.
    """
    sixteen_bits = stores_sixteen_bits(image)
    image.load()
    orientation = image.getexif().get(ORIENTATION, 1)
    if sixteen_bits:
        image = widen_colours(image, path)
    width, height = image.size
    result = np.empty((width, height, 3) if orientation in (5, 6, 7, 8) else (height, width, 3), np.uint8)
    stored = as_stored(result, orientation)
    scale = grey_scale(image, path) if is_wide(image) else None
    transform = srgb_transform(image, path)
    opaque = 0
    for top, band in bands(image):
        if scale:
            rgb, alpha = wide_grey(band, scale), 255
        else:
            rgb, alpha = on_white(band, transform)
        stored[top : top + band.height] = rgb
        opaque = max(opaque, alpha)
    if opaque < MIN_ALPHA:
        raise ImageError(
            f"{path} is transparent everywhere: export it without transparency, or with its layers visible"
        )
    return result


def bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The first row of each band, and the band."""
    width, height = image.size
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        yield top, image.crop((0, top, width, min(top + rows, height)))


def as_stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """A view of an upright picture `[H, W, 3]` in which rows and columns lie as in a file of this EXIF orientation."""
    if orientation == 2:
        return upright[:, ::-1]
    if orientation == 3:
        return upright[::-1, ::-1]
    if orientation == 4:
        return upright[::-1]
    if orientation == 5:
        return upright.swapaxes(0, 1)
    if orientation == 6:
        return np.rot90(upright, 1)
    if orientation == 7:
        return upright.swapaxes(0, 1)[::-1, ::-1]
    if orientation == 8:
        return np.rot90(upright, -1)
    return upright


def srgb_transform(image: Image.Image, path: Path) -> Transform | None:
    """How colours come from the picture's profile (Adobe RGB, Display P3, a CMYK press), or from a PNG's chunks cICP
    (high dynamic range), gAMA and cHRM, to sRGB; None where they are there already.

    A profile that cannot be used is ignored, which is logged.
    """
    base = {"P": "RGB", "PA": "RGB", "RGBA": "RGB", "LA": "L"}.get(image.mode, image.mode)
    profile = image.info.get("icc_profile")
    if profile and base in ("RGB", "L", "CMYK"):
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), base, "RGB")
        except Exception as error:  # what a damaged profile makes the library raise is not documented
            logger.warning("%s: its colour profile cannot be used (%s) and is ignored", path, error)
            return None
        return lambda band: transform.apply(band.convert(base))
    if base != "RGB":
        return None
    coded = png_code_points(path)
    wide = video_colours(*coded) if coded else None
    if wide:
        return lambda band: Image.fromarray(wide(np.asarray(band.convert("RGB")).astype(np.uint16) * 257))
    convert = None if coded else png_colours(image.info)
    if convert is None:
        return None
    return lambda band: Image.fromarray(convert(np.asarray(band.convert("RGB"))))


def png_code_points(path: Path) -> tuple[int, int] | None:
    """A PNG's primaries and transfer function as numbers of ITU-T H.273, by its chunk cICP, which Pillow passes over;
    None without one."""
    with path.open("rb") as file:
        if file.read(len(PNG_SIGNATURE)) != PNG_SIGNATURE:
            return None
        for _ in range(MAX_CHUNKS):
            head = file.read(8)
            if len(head) < 8 or head[4:] == b"IDAT":
                return None
            if head[4:] == b"cICP":
                points = file.read(2)
                return (points[0], points[1]) if len(points) == 2 else None
            file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    return None


def on_white(band: Image.Image, transform: Transform | None) -> tuple[np.ndarray, int]:
    """Rows of a picture as RGB, transparency laid on white, and how opaque they are at most, of 255."""
    layered = band.convert("RGBA") if band.has_transparency_data else None
    colours = transform(layered or band) if transform else (layered or band).convert("RGB")
    if layered is None:
        return np.asarray(colours), 255
    alpha = layered.getchannel("A")
    colours.putalpha(alpha)
    page = Image.new("RGBA", colours.size, (255, 255, 255, 255))
    _, opaque = alpha.getextrema()
    return np.asarray(Image.alpha_composite(page, colours).convert("RGB")), int(opaque)  # type: ignore[arg-type]


# ---- more than eight bits ----


def is_wide(image: Image.Image) -> bool:
    """Whether it is grey of 16 or 32 bits, or of fractions; Pillow's own conversion would clip these at 255."""
    return image.mode.startswith("I") or image.mode == "F"


def wide_grey(band: Image.Image, scale: tuple[float, float]) -> np.ndarray:
    """Grey of many bits or fractions, by its black and white, as RGB."""
    black, white = scale
    values = np.nan_to_num(np.asarray(band, dtype=np.float64), nan=black, posinf=black, neginf=black)
    grey = np.clip(np.round((values - black) * (255 / (white - black))), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def grey_scale(image: Image.Image, path: Path) -> tuple[float, float]:
    """What black and white are in a picture of many bits or fractions; raises as `pixel_scale` does."""
    if image.mode == "F":
        return fraction_scale(lambda: (torch.from_numpy(np.array(band)) for _, band in bands(image)), str(path))
    lows, highs = zip(*((int(np.asarray(band).min()), int(np.asarray(band).max())) for _, band in bands(image)))
    return 0.0, whole_scale(min(lows), max(highs), str(path))


def stores_sixteen_bits(image: Image.Image) -> bool:
    """Whether a picture of colours, not loaded yet, has 16 bits a channel, of which Pillow keeps the upper eight."""
    return image.mode in ("RGB", "RGBA") and ";16" in str(getattr(image, "tile", ""))


def widen_colours(image: Image.Image, path: Path) -> Image.Image:
    """Colours of 8 or 12 bits that are stored in 16, on their scale, by OpenCV, which reads all bits.

    Args:
        image: loaded, see `stores_sixteen_bits`.
        path: its file.
    """
    if max(most for _, most in image.getextrema()[:3]) > NARROW_SCALES[-1] // 256:  # type: ignore[misc, operator]
        return image
    pixels = read_page(np.frombuffer(path.read_bytes(), np.uint8), image.tell())
    if pixels is None or pixels.dtype != np.uint16 or pixels.shape != (image.height, image.width, len(image.mode)):
        return image
    colours, alpha = pixels[..., :3], pixels[..., 3:]
    for part, name in ((colours, f"{path}"), (alpha, f"{path}, its transparency,")):
        part[:] = np.round(part * np.float32(255 / whole_scale(0, int(part.max(initial=0)), name)))
    order = [2, 1, 0, 3][: len(image.mode)]  # OpenCV's colours begin with blue
    widened = Image.fromarray(pixels.astype(np.uint8)[..., order])
    widened.info = image.info
    return widened


def read_page(content: np.ndarray, number: int) -> np.ndarray | None:
    """A page of a picture file's bytes with all of its bits, by OpenCV; None where OpenCV cannot."""
    import cv2  # heavy

    if number == 0:
        return cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    _, pages = cv2.imdecodemulti(content, cv2.IMREAD_UNCHANGED)
    return pages[number] if number < len(pages) else None
