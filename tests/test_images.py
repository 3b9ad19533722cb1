"""Every kind of picture file becomes upright RGB, and what is no portrait is refused with its size."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from echomimic.errors import ImageError
from echomimic.media.pictures import fit_image, read_image


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


def test_dark_sixteen_bits_stay_dark(tmp_path):
    Image.fromarray(np.full((64, 64), 200, np.uint16)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 1).all()


@pytest.mark.parametrize("white", [1, 255])
def test_pictures_of_fractions_keep_their_shades(tmp_path, white):
    ramp = np.linspace(0, white, 64 * 64, dtype=np.float32).reshape(64, 64)
    Image.fromarray(ramp).save(tmp_path / "a.tif")
    assert np.array_equal(read_image(tmp_path / "a.tif")[..., 0], np.round(ramp * (255 / white)).astype(np.uint8))


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


def test_first_picture_of_an_animation(tmp_path, gradient):
    first, second = Image.fromarray(gradient), Image.fromarray(255 - gradient)
    first.save(tmp_path / "a.webp", save_all=True, append_images=[second], lossless=True)
    assert np.array_equal(read_image(tmp_path / "a.webp"), gradient)


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
    with pytest.raises(ImageError, match="cannot be read as a picture"):
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
