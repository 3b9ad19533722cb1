"""Every kind of picture file becomes upright RGB, and what is no portrait is refused with its size."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

from echomimic.errors import ImageError
from echomimic.media import limits
from echomimic.media.pictures import fit_image, is_animation, read_image


@pytest.fixture
def gradient() -> np.ndarray:
    """A 60x40 picture whose corners all differ."""
    y, x = np.mgrid[0:40, 0:60]
    return np.stack([x * 4, y * 6, np.full_like(x, 90)], axis=-1).astype(np.uint8)


def test_png_is_read_as_it_is(tmp_path, gradient):
    Image.fromarray(gradient).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), gradient)


def test_transparency_is_laid_on_white(tmp_path, gradient):
    alpha = np.zeros((40, 60, 1), np.uint8)
    alpha[:, 30:] = 255
    Image.fromarray(np.concatenate([gradient, alpha], axis=2)).save(tmp_path / "a.png")
    seen = read_image(tmp_path / "a.png")
    assert (seen[:, :30] == 255).all()
    assert np.array_equal(seen[:, 30:], gradient[:, 30:])


def test_grey_becomes_three_equal_channels(tmp_path, gradient):
    Image.fromarray(gradient[..., 0]).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), np.repeat(gradient[..., :1], 3, axis=2))


def test_sixteen_bits_keep_their_shades(tmp_path):
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    seen = read_image(tmp_path / "a.png")[..., 0]
    assert np.array_equal(seen, np.round(ramp / 257).astype(np.uint8))


def test_dark_sixteen_bits_stay_dark(tmp_path, caplog):
    Image.fromarray(np.full((64, 64), 5140, np.uint16)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 20).all()
    assert not caplog.text


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("white", [255, 4095, 65535])
def test_fewer_bits_that_are_stored_as_sixteen_keep_their_brightness(tmp_path, caplog, white, channels, ending):
    """Cameras and scanners of 12 bits; programs that store 8 bits as 16."""
    picture = np.random.default_rng(0).integers(0, white, (48, 64, channels), endpoint=True).astype(np.uint16)
    picture[0, 0] = white
    picture[..., 3:] = white
    cv2.imwrite(str(tmp_path / f"a.{ending}"), picture if channels > 1 else picture[..., 0])
    found = read_image(tmp_path / f"a.{ending}").astype(int)
    colours = picture[..., [2, 1, 0]] if channels > 1 else np.repeat(picture, 3, 2)
    # Of 16 bits Pillow keeps the upper eight.
    assert np.abs(found - colours * (255 / white)).max() <= (1 if white == 65535 else 0.51)
    assert ("it is taken as 0.." in caplog.text) == (white < 65535)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(tmp_path, gradient, orientation):
    exif = Image.new("RGB", (1, 1)).getexif()
    exif[0x0112] = orientation
    Image.fromarray(gradient).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(read_image(tmp_path / "a.png"), np.asarray(ImageOps.exif_transpose(image)))


MEASURE = """
import resource, sys
from echomimic.media.pictures import read_image
import cv2
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
picture = read_image(sys.argv[1])
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(grown * (1 if sys.platform == "darwin" else 1024) / (picture.size / 3))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the module resource")
@pytest.mark.parametrize(("mode", "name", "stored"), [("P", "a.gif", 1), ("RGBA", "a.png", 4), ("I;16", "b.png", 2)])
def test_a_large_picture_takes_little_more_than_its_pixels(tmp_path, mode, name, stored):
    picture = Image.new(mode, (6000, 4000), 200 if mode != "RGBA" else (200, 100, 50, 128))
    picture.save(tmp_path / name)
    command = [sys.executable, "-c", MEASURE, str(tmp_path / name)]
    measured = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert float(measured.stdout) < stored + 3 + 2.5  # what is stored, the result, and a band of rows


def test_a_picture_that_memory_has_no_room_for_is_refused_before_it_is_decoded(tmp_path, gradient, monkeypatch):
    Image.fromarray(gradient).save(tmp_path / "a.webp")
    monkeypatch.setattr(limits, "available_bytes", lambda: 20_000)
    with pytest.raises(ImageError, match=r"60x40 pixels take .* and memory has room for .*: scale it down"):
        read_image(tmp_path / "a.webp")


RAMP = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)


def with_values(picture: np.ndarray, *values: float) -> np.ndarray:
    """The picture with these values in its last row."""
    changed = picture.copy()
    changed[-1, : len(values)] = values
    return changed


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (RAMP, ""),
        (RAMP * 255, "reaches 255: it is taken as 0..255"),
        (with_values(RAMP * 255, 290), "reaches 290: it is taken as 0..255"),  # resized
        (RAMP * 4095, "it is taken as 0..4095"),
        (RAMP * 65535, "it is taken as 0..65535"),
        (RAMP * 2 - 1, "reaches down to -1: it is taken as -1..1"),
        (with_values(RAMP, np.nan, np.inf, -np.inf), "holds NaN or infinite values, 3, which become black"),
        (with_values(RAMP, 500, 1e6), "reaches from 0 to 1e+06: 0.049 % of it is cut off at 0 and 1"),  # lights
        (with_values(RAMP, 1.2, -0.2), ""),
        (with_values(RAMP, -0.9), ""),
    ],
)
def test_pictures_of_fractions_keep_their_shades(tmp_path, caplog, picture, words):
    Image.fromarray(picture).save(tmp_path / "a.tif")
    found = read_image(tmp_path / "a.tif")[..., 0]
    assert np.abs(found[:-1].astype(int) - np.round(RAMP * 255)[:-1]).max() == 0
    assert words in caplog.text and bool(words) == bool(caplog.text)


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (RAMP * np.nan, "NaN or infinite values, 4,096 of 4,096"),
        (with_values(RAMP, *[np.inf] * 5), "NaN or infinite values, 5 of 4,096"),
        (RAMP * 1e6, r"reaches from 0 to 1e\+06, but its values must lie in 0..1, 0..255, 0..65535 or -1..1"),
        ((RAMP - 0.485) / 0.229, "reaches from -2.1179 to 2.24891"),  # standardised for a network
        (RAMP * 600 - 300, "reaches from -300 to 300"),
        ((RAMP * 2e9).astype(np.int32), "reaches from 0 to 2000000000"),
        ((RAMP * 1000 - 500).astype(np.int32), "reaches from -500 to 500"),
    ],
)
def test_values_that_are_on_no_scale_of_pictures_are_named(tmp_path, picture, words):
    Image.fromarray(picture).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=words):
        read_image(tmp_path / "a.tif")


def test_sideways_exif_is_turned_upright(tmp_path, gradient):
    turned = Image.fromarray(np.rot90(gradient).copy())
    exif = turned.getexif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    turned.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), gradient)


@pytest.mark.parametrize("mode", ["P", "CMYK", "L", "LA", "1"])
def test_any_mode_gives_rgb(tmp_path, gradient, mode):
    name = "a.tif" if mode == "CMYK" else "a.png"
    Image.fromarray(gradient).convert(mode).save(tmp_path / name)
    seen = read_image(tmp_path / name)
    assert seen.shape == (40, 60, 3) and seen.dtype == np.uint8


@pytest.mark.parametrize("ending", ["webp", "png", "gif", "avif"])
def test_first_picture_of_an_animation(tmp_path, gradient, caplog, ending):
    first, second = Image.fromarray(gradient), Image.fromarray(255 - gradient)
    first.save(tmp_path / f"a.{ending}", save_all=True, append_images=[second], lossless=True, quality=100)
    assert np.abs(read_image(tmp_path / f"a.{ending}").astype(int) - gradient).mean() < 4
    assert "is an animation: its first picture is used" in caplog.text


def test_the_largest_page_is_meant(tmp_path, gradient, caplog):
    """Scanners and cameras put a thumbnail first, pyramids last."""
    thumbnail, whole = Image.fromarray(255 - gradient[:36, :48]), Image.fromarray(np.rot90(gradient).copy())
    for name, pages in {"first.tif": [thumbnail, whole, thumbnail], "last.tif": [whole, thumbnail]}.items():
        with TiffImagePlugin.AppendingTiffWriter(tmp_path / name, new=True) as file:
            for page in pages:
                page.save(file, format="TIFF", tiffinfo={0x0112: 6 if page is whole else 1})
                file.newFrame()
        assert np.array_equal(read_image(tmp_path / name), gradient), name
    assert "holds 3 pictures: number 2, " in caplog.text
    thumbnail.save(tmp_path / "a.mpo", save_all=True, append_images=[Image.fromarray(gradient)], quality=95)
    assert np.abs(read_image(tmp_path / "a.mpo").astype(int) - gradient).mean() < 4
    content = (tmp_path / "last.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(content[:-200])  # a page that nobody needs
    assert np.array_equal(read_image(tmp_path / "cut.tif"), gradient)


def test_the_largest_page_keeps_all_its_bits(tmp_path, gradient):
    pages = [gradient[:36, :48].astype(np.uint16) * 16, gradient.astype(np.uint16) * 16]
    cv2.imwritemulti(str(tmp_path / "a.tif"), [page[..., ::-1] for page in pages])
    assert np.abs(read_image(tmp_path / "a.tif").astype(int) - gradient * (16 * 255 / 4095)).max() < 1


@pytest.mark.parametrize("tags", [{50706: b"\1\4\0\0"}, {254: 1, 330: 8}])
def test_the_preview_in_a_cameras_raw_picture_is_not_the_picture(tmp_path, gradient, tags):
    Image.fromarray(gradient).save(tmp_path / "a.dng", format="TIFF", tiffinfo=tags)
    with pytest.raises(ImageError, match="is a camera's raw picture, of which only a preview of 60x40 can be read"):
        read_image(tmp_path / "a.dng")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"there is no image file .*gone\.png"):
        read_image(tmp_path / "gone.png")


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_file_that_is_no_picture_is_named(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.png cannot be read as a picture"):
        read_image(tmp_path / "a.png")


def test_damaged_picture_is_refused(tmp_path, gradient):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match="is cut off"):
        read_image(tmp_path / "a.png")


def test_tiny_picture_is_refused_with_its_size(tmp_path):
    Image.new("RGB", (31, 400)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="is 31x400 pixels, too small"):
        read_image(tmp_path / "a.png")


def test_huge_picture_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (30_000, 10_000)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"30000x10000 pixels|too many pixels .* \(Image size \(300000000 pixels\)"):
        read_image(tmp_path / "a.png")


def test_fitting_crops_the_middle_and_keeps_proportions(gradient):
    image = np.zeros((100, 300, 3), np.uint8)
    image[:, 100:200] = 200
    fitted = fit_image(image, 64, 64)
    assert fitted.shape == (64, 64, 3)
    assert (fitted[:, 2:-2] == 200).all()


def test_fitting_to_its_own_size_changes_nothing(gradient):
    assert np.array_equal(fit_image(gradient, 60, 40), gradient)


def test_width_and_height_keep_their_places_when_a_picture_is_fitted():
    picture = np.zeros((100, 300, 3), np.uint8)
    picture[:, 150:] = 255
    fitted = fit_image(picture, 96, 32)
    assert fitted.shape == (32, 96, 3)
    assert fitted[:, :40].max() == 0 and fitted[:, 56:].min() == 255


# Primaries by the white D50 of ICC profiles (columns: red, green, blue), and the exponents of their curves.
TO_XYZ = {
    "Adobe RGB": (
        np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]),
        2.2,
    ),
    "Display P3": (
        np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]),
        2.2,
    ),
}
SRGB_TO_XYZ = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def icc_profile(matrix: np.ndarray, exponent: float, padding: int = 0) -> bytes:
    """An ICC profile (version 2, a display's) of three primaries and one curve, followed by unused bytes."""

    def fixed(number: float) -> bytes:
        return struct.pack(">i", round(number * 65536))

    def xyz(column: np.ndarray) -> bytes:
        return b"XYZ " + bytes(4) + b"".join(map(fixed, column))

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(exponent * 256)) + bytes(2)
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(79)
    tags = {
        b"desc": text,
        b"wtpt": xyz(np.array([0.96420, 1.0, 0.82491])),
        b"rXYZ": xyz(matrix[:, 0]),
        b"gXYZ": xyz(matrix[:, 1]),
        b"bXYZ": xyz(matrix[:, 2]),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
        b"zzzz": b"data" + bytes(4) + np.random.default_rng(0).bytes(padding),
    }
    table, body, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", offset + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", offset + len(body), b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + b"".join(map(fixed, (0.96420, 1.0, 0.82491)))
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + body


def as_srgb(colour: tuple[int, int, int], matrix: np.ndarray, exponent: float) -> np.ndarray:
    """What a colour of a profile is in sRGB, by the profiles' definitions."""
    linear = np.linalg.solve(SRGB_TO_XYZ, matrix @ (np.array(colour) / 255) ** exponent).clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("colour", [(140, 190, 90), (200, 150, 130), (60, 60, 60), (128, 200, 200)])
@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
@pytest.mark.parametrize("profile", TO_XYZ)
def test_colours_of_a_profile_become_those_of_srgb(tmp_path, profile, ending, colour):
    settings = {"lossless": True} if ending == "webp" else {}
    picture = Image.new("RGB", (40, 40), colour)
    picture.save(tmp_path / f"a.{ending}", icc_profile=icc_profile(*TO_XYZ[profile]), **settings)
    seen = read_image(tmp_path / f"a.{ending}")
    np.testing.assert_allclose(seen[20, 20], as_srgb(colour, *TO_XYZ[profile]), atol=2)
    if len(set(colour)) > 1:
        assert np.abs(seen[20, 20].astype(int) - colour).max() > 4, "the profile has been ignored"


def test_transparency_is_kept_beside_a_profile(tmp_path):
    picture = Image.new("RGBA", (40, 40), (140, 190, 90, 255))
    picture.putpixel((0, 0), (0, 0, 0, 0))
    picture.save(tmp_path / "a.png", icc_profile=icc_profile(*TO_XYZ["Adobe RGB"]))
    seen = read_image(tmp_path / "a.png")
    assert (seen[0, 0] == 255).all()
    np.testing.assert_allclose(seen[20, 20], as_srgb((140, 190, 90), *TO_XYZ["Adobe RGB"]), atol=2)


def test_a_profile_that_is_none_is_ignored_with_a_note(tmp_path, gradient, caplog):
    Image.fromarray(gradient).save(tmp_path / "a.png", icc_profile=b"no profile")
    assert np.array_equal(read_image(tmp_path / "a.png"), gradient)
    assert "its colour profile cannot be used" in caplog.text


@pytest.mark.parametrize("kind", ["text", "compressed text", "profile"])
def test_a_png_with_megabytes_beside_its_pixels_is_read(tmp_path, gradient, kind):
    """ComfyUI writes whole workflows into its pictures, and scanners profiles of megabytes."""
    large = "x" * 3_000_000
    notes, profile = PngInfo(), None
    if kind == "profile":
        profile = icc_profile(SRGB_TO_XYZ, 2.2, padding=3_000_000)
    else:
        for name in ("workflow", "prompt"):
            notes.add_text(name, large, zip=kind == "compressed text")
    Image.fromarray(gradient).save(tmp_path / "a.png", pnginfo=notes, icc_profile=profile)
    seen = read_image(tmp_path / "a.png").astype(int)
    assert np.abs(seen - gradient).max() <= (12 if kind == "profile" else 0)  # a curve of 2.2 is not quite sRGB's


HEIC = struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(200)


def test_heic_without_its_reader_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for name in ("phone.heic", "named.jpg"):
        (tmp_path / name).write_bytes(HEIC)
        with pytest.raises(ImageError, match=r"is a HEIC picture.*save it as JPEG or PNG.*pip install pillow-heif"):
            read_image(tmp_path / name)


def test_heic_is_read_where_its_reader_is_installed(tmp_path, monkeypatch, gradient):
    class Picture(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self):
            self._size, self._mode, self.tile = (60, 40), "RGB", []
            self.im = Image.fromarray(gradient).im

        def load(self):
            return None

    def register_heif_opener():
        Image.register_open("HEIF", Picture, lambda head: head[4:12] == b"ftypheic")

    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register_heif_opener))
    Image.init()  # else the formats go into the copies alone, and are gone for the tests after this one
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    (tmp_path / "a.heic").write_bytes(HEIC)
    assert np.array_equal(read_image(tmp_path / "a.heic"), gradient)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"%PDF-1.7", "is a PDF document: export the page"),
        (b"<!DOCTYPE html>", "is a web page"),
        (b"<svg xmlns=''/>", "SVG"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"PK\x03\x04", "is an archive"),
        (b"\x00\x00\x00\x20ftypisom", "is a video: save one frame"),
        (b"\x1a\x45\xdf\xa3", "is a video"),
        (b"\x00\x00\x00\x18ftypcrx ", "raw picture"),
        (b"\xff\x0a", "JPEG XL"),
        (b"8BPS\x00\x01", "Photoshop"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"\x00\x00\x00\x20ftypM4V ", "is a video: save one frame"),
        (b"RIFF\0\0\0\0AVI LIST", "is a video"),
        (b"RIFF\0\0\0\0WAVEfmt ", "is a sound"),
        (b"\xef\xbb\xbf\r\n<!DOCTYPE html>", "is a web page"),
        (b"\x1f\x8b\x08\x00", "is compressed"),
        (b"data:image/png;base64,iVBORw0KGgo", "holds a picture as text"),
        (b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAf", "holds a picture as text"),
        (b"\x89PNG\r\r\n\x1a\r\n", "was copied as text"),
        (b"\xef\xbf\xbdPNG\r\n", "was copied as text"),
        (b"\xff\xfe\x30\x20P\0N\0G\0", "is text in UTF-16, as PowerShell's"),
        (b'{"status": "failed", "url": null}', "is JSON, perhaps a service's answer with the picture"),
        (b"", "it is empty"),
    ],
)
def test_what_people_take_for_pictures_is_named(tmp_path, content, words):
    (tmp_path / "a.jpg").write_bytes(content + bytes(40) * bool(content))
    with pytest.raises(ImageError, match=words):
        read_image(tmp_path / "a.jpg")


def test_what_stands_where_a_picture_should_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.png").symlink_to("gone/blob")
    (tmp_path / "loop.png").symlink_to("loop.png")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "answer.png").write_bytes(b"Access Denied")
    (tmp_path / "drawing.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n" + bytes(range(200)))
    for name, words in (
        ("folder", "it is a folder"),
        ("link.png", "it is a link to gone/blob, which is not there"),
        ("loop.png", "Too many levels of symbolic links"),
        ("pipe", "it is a pipe or a device"),
        ("drawing.eps", "is a PostScript drawing"),
        ("answer.png", "holds only the text 'Access Denied'"),
    ):
        with pytest.raises(ImageError, match=words) as raised:
            read_image(tmp_path / name)
        assert str(raised.value).count("cannot be read") < 2
    with pytest.raises(ImageError, match="is a web address: download the image file first"):
        read_image("https://example.org/a.png")


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((4000, 300), "4000x300 pixels: a portrait from head to waist has no such shape"),
        ((300, 4000), "300x4000 pixels: a portrait from head to waist has no such shape"),
        ((16, 16), "16x16 pixels, too small for a portrait: both sides need 32"),
    ],
)
def test_no_portrait_has_such_a_size(tmp_path, size, words):
    Image.new("RGB", size).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=words):
        read_image(tmp_path / "a.png")


def test_a_photo_of_several_pictures_and_a_palette_with_transparency(tmp_path, gradient):
    first, second = Image.fromarray(gradient), Image.fromarray(255 - gradient)
    first.save(tmp_path / "a.mpo", save_all=True, append_images=[second], quality=95)
    assert np.abs(read_image(tmp_path / "a.mpo").astype(int) - gradient).mean() < 4
    palette = Image.new("P", (40, 40), 1)
    palette.putpalette([0, 0, 0, 200, 30, 30])
    palette.putpixel((5, 5), 0)
    palette.save(tmp_path / "a.png", transparency=0)
    seen = read_image(tmp_path / "a.png")
    assert tuple(seen[5, 5]) == (255, 255, 255) and tuple(seen[20, 20]) == (200, 30, 30)


def test_an_animation_is_told_from_a_picture(tmp_path, gradient):
    first, second = Image.fromarray(gradient), Image.fromarray(gradient[::-1].copy())
    for ending in ("webp", "png"):
        first.save(tmp_path / f"still.{ending}")
        first.save(tmp_path / f"moving.{ending}", save_all=True, append_images=[second])
        assert not is_animation(tmp_path / f"still.{ending}") and is_animation(tmp_path / f"moving.{ending}")
    assert not is_animation(tmp_path / "gone.png")


def test_a_picture_that_was_cut_off_is_to_be_downloaded_again(tmp_path, gradient):
    Image.fromarray(np.tile(gradient, (4, 4, 1))).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=r"is cut off .* download or save it again"):
        read_image(tmp_path / "a.jpg")


P3_TO_CHROMATICITY = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)


def with_chunks(path, picture: np.ndarray, **chunks: bytes):
    """A PNG of uint8 RGB with more chunks behind its header."""
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    content = buffer.getvalue()
    more = b"".join(
        struct.pack(">I", len(data)) + name.encode() + data + struct.pack(">I", zlib.crc32(name.encode() + data))
        for name, data in chunks.items()
    )
    path.write_bytes(content[:33] + more + content[33:])
    return path


def test_a_pngs_own_primaries_and_gamma_are_converted(tmp_path):
    """As browsers show them: screenshots and renderers write these chunks instead of a profile."""
    colours = np.array([[[220, 40, 40], [40, 200, 40], [60, 60, 200], [150, 150, 150]]], np.uint8)
    picture = np.repeat(np.repeat(colours, 40, 0), 10, 1)
    value = picture / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    linear = with_chunks(tmp_path / "l.png", np.round(255 * light).astype(np.uint8), gAMA=struct.pack(">I", 100000))
    assert np.abs(read_image(linear).astype(int) - picture).max() <= 6
    to_p3 = np.array([[0.8224621, 0.177538, 0], [0.0331941, 0.9668058, 0], [0.0170827, 0.0723974, 0.9105199]])
    wide = light @ to_p3.T
    stored = np.round(255 * np.where(wide <= 0.0031308, 12.92 * wide, 1.055 * wide ** (1 / 2.4) - 0.055))
    place = struct.pack(">8I", *P3_TO_CHROMATICITY)
    path = with_chunks(tmp_path / "p.png", stored.astype(np.uint8), gAMA=struct.pack(">I", 45455), cHRM=place)
    assert np.abs(read_image(path).astype(int) - picture).max() <= 2
    named = with_chunks(tmp_path / "s.png", picture, sRGB=b"\0", gAMA=struct.pack(">I", 100000), cHRM=place)
    assert np.array_equal(read_image(named), picture)
    damaged = with_chunks(tmp_path / "d.png", picture, cHRM=bytes(32))
    assert np.array_equal(read_image(damaged), picture)


def test_a_palette_with_a_profile_is_converted_as_the_same_picture_without_one(tmp_path, shared):
    with Image.open(shared / "cases" / "image" / "adobergb.jpg") as image:
        profile = image.info["icc_profile"]
        few = image.convert("RGB").quantize(64)
    few.save(tmp_path / "p.png", icc_profile=profile)
    few.convert("RGB").save(tmp_path / "rgb.png", icc_profile=profile)
    found, expected = read_image(tmp_path / "p.png"), read_image(tmp_path / "rgb.png")
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, np.asarray(few.convert("RGB")))


def test_a_png_of_high_dynamic_range_or_another_gamut_becomes_srgb(tmp_path):
    """Screenshots of HDR displays and exports of P3 name their colours by the chunk cICP alone."""
    grey = np.full((48, 64, 3), 105, np.uint8)  # by PQ 36.5 cd/m2, 18 % of a white page
    hdr = with_chunks(tmp_path / "pq.png", grey, cICP=bytes([9, 16, 0, 1]))
    assert np.abs(read_image(hdr).astype(int) - 118).max() <= 2
    green = np.zeros((48, 64, 3), np.uint8) + np.array([100, 200, 100], np.uint8)
    p3 = with_chunks(tmp_path / "p3.png", green, cICP=bytes([12, 13, 0, 1]))
    assert read_image(p3)[0, 0].tolist() == pytest.approx([45, 203, 86], abs=2)
    srgb = with_chunks(tmp_path / "srgb.png", green, cICP=bytes([1, 13, 0, 1]), gAMA=struct.pack(">I", 100000))
    assert np.array_equal(read_image(srgb), green)
    cut = with_chunks(tmp_path / "cut.png", green, cICP=b"")
    assert np.array_equal(read_image(cut), green)


@pytest.mark.parametrize("alpha", [0, 3])
def test_a_picture_that_is_transparent_everywhere_is_refused(tmp_path, gradient, alpha):
    image = Image.fromarray(gradient).convert("RGBA")
    image.putalpha(alpha)
    image.save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a\.png is transparent everywhere"):
        read_image(tmp_path / "a.png")


def test_a_tiff_of_colours_in_fractions_is_named(tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "a.tif"), np.zeros((8, 8, 3), np.float32))
    with pytest.raises(ImageError, match="a TIFF with pixels of a kind that is not read here"):
        read_image(tmp_path / "a.tif")
