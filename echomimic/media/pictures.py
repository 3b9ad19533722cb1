"""Reading the portrait: any picture file becomes upright 8-bit RGB of the video's size."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

from ..errors import ImageError
from ..files.heads import read_head, recognise
from .colours import png_colours

logger = logging.getLogger("echomimic")

# Below this no face can be seen; above it the file is a mistake or an attack (8-bit RGB of that size takes 540 MB).
MIN_SIDE = 32
MAX_PIXELS = 180_000_000
# A person from head to waist has no such shape.
MAX_ASPECT = 8
# Of 255: a picture that is nowhere more opaque shows nothing.
MIN_ALPHA = 16
# Text and colour profiles of one file may take this many bytes: ComfyUI stores whole workflows in its PNG files.
MAX_TEXT_BYTES = 256 * 2**20

# First bytes of files that are often mistaken for pictures (offset, bytes), and what to do about them.
NOT_PICTURES = (
    (0, b"%PDF", "is a PDF document: export the page as PNG or JPEG"),
    (0, b"<svg", "is a drawing of lines (SVG): export it as PNG"),
    (0, b"<?xml", "is an XML file, perhaps a drawing of lines (SVG): export it as PNG"),
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
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
# Of the files with an `ftyp` at their beginning, those that hold pictures; the others are videos and sounds.
PICTURE_BRANDS = (*HEIC_BRANDS, b"avif", b"avis", b"jp2 ", b"jpx ", b"crx ")


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a picture file.

    It is turned upright by its EXIF orientation, its colour profile is converted to sRGB, transparency is laid on white
    (cut-out portraits are made for white pages), grey becomes RGB, 16 bits become 8, of an animation the first picture
    is taken. HEIC is read where the package pillow-heif is installed.

    Returns:
        uint8 RGB `[height, width, 3]`.

    Raises:
        ImageError: the file is missing, is no picture, is damaged, or of an impossible size or shape.
    """
    path = Path(path)
    check_kind(path, read_head(path, "image file", ImageError))
    try:
        with text_limit(), Image.open(path) as image:
            check_size(path, *image.size)
            upright = to_srgb(ImageOps.exif_transpose(image), path)
            check_visible(upright, path)
            picture = to_rgb(upright)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:  # PIL's own limit, which a program may have set lower
        raise ImageError(f"{path} has too many pixels to be a portrait: scale it down ({error})") from error
    except Exception as error:  # what a damaged picture makes a decoder raise is not documented
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "its format is not known"
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


@contextmanager
def text_limit() -> Iterator[None]:
    """Pillow's limits on a PNG's text and profile are lifted: they refuse pictures with a workflow inside."""
    before = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT_BYTES
    try:
        yield
    finally:
        PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = before


def to_srgb(image: Image.Image, path: Path) -> Image.Image:
    """The picture with its colours converted from its profile (Adobe RGB, Display P3, a CMYK press) to sRGB.

    A profile that cannot be used is ignored, which is noted.
    """
    profile = image.info.get("icc_profile")
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if not profile and image.mode in ("RGB", "RGBA"):
        return by_chunks(image)
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK", "L", "LA"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        if image.mode in ("RGBA", "LA"):
            alpha = image.getchannel("A")
            base = image.convert("RGB" if image.mode == "RGBA" else "L")
            converted = ImageCms.profileToProfile(base, source, target, outputMode="RGB")
            assert converted is not None
            converted.putalpha(alpha)
        else:
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except Exception as error:  # what a damaged profile makes the library raise is not documented
        logger.warning("%s: its colour profile cannot be used (%s) and is ignored", path, error)
        return image
    return image if converted is None else converted


def by_chunks(image: Image.Image) -> Image.Image:
    """A picture without a profile, its colours converted by a PNG's chunks gAMA and cHRM where they name others."""
    convert = png_colours(image.info)
    if convert is None:
        return image
    converted = Image.fromarray(convert(np.asarray(image.convert("RGB"))))
    if image.mode == "RGBA":
        converted.putalpha(image.getchannel("A"))
    return converted


def check_visible(image: Image.Image, path: Path) -> None:
    """Raises: ImageError for a picture that is transparent everywhere."""
    if image.mode not in ("RGBA", "LA"):
        return
    _, most = image.getchannel("A").getextrema()
    if isinstance(most, (int, float)) and most < MIN_ALPHA:
        raise ImageError(
            f"{path} is transparent everywhere: export it without transparency, or with its layers visible"
        )


def to_rgb(image: Image.Image) -> np.ndarray:
    """Any PIL mode to uint8 RGB `[H, W, 3]`."""
    if image.mode.startswith("I") or image.mode == "F":
        # PIL's own conversion would clip these at 255.
        values = np.asarray(image, dtype=np.float64)
        grey = np.clip(np.round(values * (255 / full_scale(image.mode, values))), 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode == "L" and not image.has_transparency_data:
        return np.repeat(np.asarray(image)[..., None], 3, axis=2)  # Pillow would take another four bytes a pixel
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
