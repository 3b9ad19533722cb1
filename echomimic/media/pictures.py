"""Reading the portrait: any picture file becomes upright 8-bit RGB of the video's size."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from ..errors import ImageError
from ..files.heads import read_head, recognise
from .containers import HEIC_BRANDS, PICTURE_BRANDS
from .limits import check_room
from .picture_pixels import upright_rgb

logger = logging.getLogger("echomimic")

# Below this no face can be seen; above it the file is a mistake or an attack (8-bit RGB of that size takes 540 MB).
MIN_SIDE = 32
MAX_PIXELS = 180_000_000
# Nobody is that tall or wide from head to waist.
MAX_ASPECT = 8
# What Pillow takes for a pixel by its mode, four bytes in all others; its reader of WebP holds three more copies.
PILLOW_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}
WEBP_BYTES = 12
# Text and colour profiles of one file may take this many bytes: ComfyUI stores whole workflows in its PNG files.
MAX_TEXT_BYTES = 256 * 2**20

# Formats whose pictures are of different sizes, and how many of them are looked at.
# Classic and big, each in both byte orders.
TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PAGED_FORMATS, MAX_PAGES = ("TIFF", "MPO"), 100
# Tags of TIFF, DNG's among them; cameras' raw files are TIFFs with a preview on their first page.
KIND_OF_PAGE, REDUCED, RAW_PICTURES, RAW_VERSION = 254, 1, 330, 50706

# First bytes of files that are often mistaken for pictures (offset, bytes), and what to do about them.
NOT_PICTURES = (
    (0, b"%PDF", "is a PDF document: export the page as PNG or JPEG"),
    (0, b"<svg", "is a vector drawing (SVG): export it as PNG"),
    (0, b"%!PS", "is a PostScript drawing (EPS): export it as PNG"),
    (0, b"\xc5\xd0\xd3\xc6", "is a PostScript drawing (EPS): export it as PNG"),
    (0, b"<?xml", "is an XML file, perhaps a vector drawing (SVG): export it as PNG"),
    (0, b"\x1a\x45\xdf\xa3", "is a video (Matroska or WebM): save one frame of it as PNG"),
    (0, b"\x00\x00\x00\x0cJXL ", "is a JPEG XL picture, which cannot be read here: save it as PNG or JPEG"),
    (0, b"\xff\x0a", "is a JPEG XL picture, which cannot be read here: save it as PNG or JPEG"),
    (4, b"ftypcrx", "is a camera's raw picture (CR3): develop it to PNG or JPEG"),
    (8, b"AVI ", "is a video (AVI): save one frame of it as PNG"),
    (8, b"WAVE", "is a sound (WAV): give a picture"),
    (0, b"ID3", "is a sound (MP3): give a picture"),
    (0, b"8BPS", "is a Photoshop document that cannot be read here: save it as PNG or JPEG"),
    (0, b"PK\x03\x04", "is an archive or an office document: take the picture out of it"),
)


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a picture file.

    It is turned upright by its EXIF orientation, its colour profile is converted to sRGB, transparency is laid on white
    (cut-out portraits are made for white pages), grey becomes RGB, 16 bits become 8, of an animation the first picture
    is taken, of several pages the largest. HEIC is read where the package pillow-heif is installed.

    Returns:
        uint8 RGB `[height, width, 3]`.

    Raises:
        ImageError: the file is missing, is not a picture, is damaged, or of an impossible size or shape.
    """
    path = Path(path)
    head = read_head(path, "image file", ImageError)
    check_kind(path, head)
    try:
        with text_limit(), Image.open(path) as image:
            choose_page(image, path)
            check_size(path, *image.size)
            check_memory(path, image)
            picture = upright_rgb(image, path)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:  # PIL's own limit, which a program may have set lower
        raise ImageError(f"{path} has too many pixels to be a portrait: scale it down ({error})") from error
    except Exception as error:  # what a damaged picture makes a decoder raise is not documented
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            is_tiff = head.startswith(TIFF_HEADS)
            reason = "a TIFF with pixels of a kind that is not read here" if is_tiff else "its format is not known"
        if "truncated" in reason:
            raise ImageError(f"{path} is cut off ({reason}): download or save it again") from error
        raise ImageError(f"{path} cannot be read as a picture ({reason}): save it as PNG or JPEG") from error
    return picture


def is_animation(path: str | os.PathLike[str]) -> bool:
    """Whether a picture file moves: an animated WebP, PNG or AVIF. (FFmpeg reads GIF as a video.)"""
    try:
        with text_limit(), Image.open(path) as image:
            return image.format in ("WEBP", "PNG", "AVIF") and bool(getattr(image, "is_animated", False))
    except Exception:  # reading it says why
        return False


def check_kind(path: Path, head: bytes) -> None:
    """Raises: ImageError with advice when the first bytes are those of something else than a picture, or of HEIC
    without its reader."""
    if not head:
        raise ImageError(f"{path} cannot be read as a picture: it is empty, save or download it again")
    for offset, beginning, advice in NOT_PICTURES:
        if head.lower()[offset:].startswith(beginning.lower()):
            raise ImageError(f"{path} cannot be read as a picture: it {advice}")
    foreign = recognise(head, "picture")
    if foreign:
        raise ImageError(f"{path} cannot be read as a picture: it {foreign}")
    if head[4:8] == b"ftyp" and head[8:12] not in PICTURE_BRANDS:
        raise ImageError(f"{path} cannot be read as a picture: it is a video: save one frame of it as PNG")
    if head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS and not heif_reader():
        raise ImageError(
            f"{path} is a HEIC picture, as phones make them: save it as JPEG or PNG, or install its reader with "
            "`pip install pillow-heif`"
        )


def heif_reader() -> bool:
    """Whether Pillow reads HEIC; registers the package pillow-heif where it is installed."""
    try:
        from pillow_heif import register_heif_opener  # optional
    except ImportError:
        return False
    register_heif_opener()
    return True


def choose_page(image: Image.Image, path: Path) -> None:
    """Go to the picture that is meant in a file of several: the largest page, as the first may be a thumbnail; in an
    animation the first.

    Raises:
        ImageError: all that can be read is the preview of a camera's raw picture.
    """
    if image.format in PAGED_FORMATS:
        sizes = []
        with suppress(Exception):  # a damaged page ends the list, as its decoder decides what it raises
            for number in range(MAX_PAGES):
                image.seek(number)
                sizes.append(image.width * image.height)
        largest = sizes.index(max(sizes))
        image.seek(largest)
        if len(sizes) > 1:
            size = f"{image.width}x{image.height}"
            logger.warning("%s holds %d pictures: number %d, %s, is used", path, len(sizes), largest + 1, size)
        tags = getattr(image, "tag_v2", {})
        if RAW_VERSION in tags or (RAW_PICTURES in tags and tags.get(KIND_OF_PAGE, 0) & REDUCED):
            raise ImageError(
                f"{path} is a camera's raw picture, of which only a preview of {image.width}x{image.height} can be "
                "read: develop it to PNG or JPEG"
            )
    elif getattr(image, "is_animated", False):
        logger.warning("%s is an animation: its first picture is used", path)


def check_size(path: Path, width: int, height: int) -> None:
    """Raises: ImageError for a picture that is far too small, too large, or of a shape no portrait has."""
    if width * height > MAX_PIXELS:
        raise ImageError(f"{path} is {width}x{height} pixels, more than {MAX_PIXELS // 10**6} million: scale it down")
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"{path} is {width}x{height} pixels, too small for a portrait: both sides need {MIN_SIDE} at least"
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(
            f"{path} is {width}x{height} pixels: a portrait from head to waist has no such shape, cut the person out"
        )


def check_memory(path: Path, image: Image.Image) -> None:
    """Raises: ImageError for a picture that memory has no room for, before it is decoded."""
    width, height = image.size
    pixel = PILLOW_BYTES.get(image.mode, 4) + (WEBP_BYTES if image.format == "WEBP" else 0) + 3
    check_room(pixel * width * height, f"{path}: {width}x{height} pixels", "scale it down", ImageError)


@contextmanager
def text_limit() -> Iterator[None]:
    """While the block runs, a PNG's text and profile may be larger than Pillow allows: ComfyUI's hold workflows."""
    before = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT_BYTES
    try:
        yield
    finally:
        PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = before


def frame_strip(frames: np.ndarray, count: int) -> np.ndarray:
    """`count` frames at even distances in time side by side; uint8 `[F, H, W, 3]` -> `[H, min(count, F) * W, 3]`."""
    chosen = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    return np.concatenate(list(frames[chosen]), axis=1)


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
