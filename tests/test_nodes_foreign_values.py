"""AUDIO, IMAGE, MASK, LATENT, boxes and numbers in every form that packs hand over: the same meaning, or a sentence."""

from __future__ import annotations

from collections import UserDict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from echomimic.media.pictures import read_image
from tests.pack import Pack
from tests.test_nodes_decoding import make_vae

RATE = 16000
SOUND = torch.sin(torch.arange(RATE // 2) * 0.05) * 0.5
WHOLE = SOUND[None, None]
ARRAY = SOUND.numpy()


def part(values: torch.Tensor, place: int, value: float) -> torch.Tensor:
    changed = values.clone()
    changed.reshape(-1)[place] = value
    return changed


# What is the same sound, and how far rounding may move it.
SAME_SOUND: dict[str, tuple[Any, float]] = {
    "batch": (WHOLE, 0),
    "rows": (SOUND[None], 0),
    "samples": (SOUND, 0),
    "double": (WHOLE.double(), 1e-6),
    "half": (WHOLE.half(), 1e-3),
    "bfloat16": (WHOLE.bfloat16(), 4e-3),
    "float8": (WHOLE.to(torch.float8_e4m3fn), 0.04),
    "int8": ((WHOLE * 127).round().to(torch.int8), 0.01),
    "int16": ((WHOLE * 32767).to(torch.int16), 1e-4),
    "int32": ((WHOLE.double() * (2**31 - 1)).to(torch.int32), 1e-6),
    "int32 of 16 bits": ((WHOLE * 32767).to(torch.int32), 1e-4),
    "int64 of 16 bits": ((WHOLE * 32767).to(torch.int64), 1e-4),
    "int64 of 32 bits": ((WHOLE.double() * (2**31 - 1)).to(torch.int64), 1e-6),
    "uint8": (((WHOLE + 1) * 127.5).round().to(torch.uint8), 0.01),
    "uint16": (((WHOLE.double() + 1) * 32767.5).to(torch.int32).to(torch.uint16), 1e-4),
    "int16 of unsigned 8 bits": (((WHOLE + 1) * 127.5).round().to(torch.int16), 0.01),
    "int32 of unsigned 16 bits": (((WHOLE.double() + 1) * 32767.5).round().to(torch.int32), 1e-4),
    "float of unsigned 8 bits": (((WHOLE + 1) * 127.5).round(), 0.01),
    "float of unsigned 16 bits": ((WHOLE + 1) * 32767.5, 1e-4),
    "float of 16 bits": (WHOLE * 32767, 1e-4),
    "float of 24 bits": (WHOLE * (2**23 - 1), 1e-6),
    "a gradient": (WHOLE.clone().requires_grad_(), 0),
    "a parameter": (torch.nn.Parameter(WHOLE.clone()), 0),
    "every other number": (torch.stack([SOUND, SOUND], -1)[:, 0], 0),
    "sparse": (WHOLE.to_sparse(), 0),
    "numpy": (ARRAY, 0),
    "numpy, half": (ARRAY.astype(np.float16), 1e-3),
    "numpy of another machine": (ARRAY.astype(">f4"), 0),
    "numpy, int16 of another machine": ((ARRAY * 32767).astype(">i2"), 1e-4),
    "numpy of objects": (ARRAY.astype(object), 0),
    "numpy, long double": (ARRAY.astype(np.longdouble), 0),
    "numpy backwards": (ARRAY[::-1].copy()[::-1], 0),
    "numpy, not to be written": (np.broadcast_to(ARRAY, (1, 1, len(ARRAY))), 0),
    "numpy, masked": (np.ma.masked_array(ARRAY, mask=False), 0),
    "a list of rows": ([SOUND[None]], 0),
    "a list of arrays": ([ARRAY[None]], 0),
    "a list of samples": ([SOUND], 0),
    "numbers": (SOUND.tolist(), 0),
    "nested numbers": (WHOLE.tolist(), 0),
    "a tuple": ((WHOLE[0],), 0),
}


@pytest.mark.parametrize("name", SAME_SOUND)
def test_the_same_sound_in_every_form(pack: Pack, name: str) -> None:
    waveform, rounding = SAME_SOUND[name]
    found, rate = pack.part("nodes.values").to_waveform({"waveform": waveform, "sample_rate": RATE})
    found = pack.part("echomimic.media.waveform").check_waveform(found, rate)
    assert found.shape == (1, len(SOUND)) and not found.requires_grad
    assert float((found[0] - SOUND).abs().max()) <= rounding + 1e-7


CHANNELS = torch.stack([SOUND * 0, SOUND])


@pytest.mark.parametrize(
    "waveform",
    [
        CHANNELS,
        CHANNELS[None],
        list(CHANNELS),
        tuple(CHANNELS.numpy()),
        CHANNELS.tolist(),
        CHANNELS.T,
        CHANNELS.T[None],
    ],
)
def test_two_rows_are_two_channels_in_every_form(pack: Pack, waveform: Any) -> None:
    found, rate = pack.part("nodes.values").to_waveform({"waveform": waveform, "sample_rate": RATE})
    torch.testing.assert_close(pack.part("echomimic.media.waveform").check_waveform(found, rate), CHANNELS)


class Broken(UserDict[str, Any]):
    """Sound of a pack that loads it only now, and cannot."""

    def __getitem__(self, name: str) -> Any:
        raise RuntimeError("the file is gone")


def sound(waveform: Any, rate: Any = RATE) -> dict[str, Any]:
    return {"waveform": waveform, "sample_rate": rate}


NO_SOUND: dict[str, tuple[Any, str]] = {
    "nothing": (None, "no audio"),
    "a number": (3, "the audio is 3, but must be ComfyUI's AUDIO"),
    "a tensor": (WHOLE, "the audio is numbers of shape"),
    "a pair": ((WHOLE, RATE), "the audio is a list of 2"),
    "another dict": ({"array": ARRAY, "sampling_rate": RATE}, "a dict with array, sampling_rate"),
    "one that cannot be loaded": (Broken({"waveform": 1, "sample_rate": 2}), "RuntimeError: the file is gone"),
    "no waveform": (sound(None), "must be numbers, got nothing"),
    "bytes": (sound(ARRAY.tobytes()), "must be numbers"),
    "ragged": (sound([[0.1, 0.2], [0.3]]), "must be numbers, got a list of 2"),
    "words": (sound(np.array(["a", "b"])), "must be numbers"),
    "fields": (sound(np.zeros(9, dtype=[("a", "f4")])), "must be numbers"),
    "meta": (sound(WHOLE.to("meta")), "must be numbers"),
    "nested tensors": (sound(torch.nested.nested_tensor([SOUND[None]])), "must be numbers, got a Tensor"),
    "complex": (sound(WHOLE.to(torch.complex64)), "must be numbers"),
    "truth values": (sound(WHOLE > 0), "must hold numbers"),
    "one value": (sound(torch.tensor(0.5)), r"must be \[batch, channels, samples\], got \[\]"),
    "five axes": (sound(WHOLE[None, None]), r"got \[1, 1, 1, 1, "),
    "samples as the batch": (sound(SOUND[:, None, None]), r"must be \[batch, channels, samples\], got \[8000, 1, 1\]"),
    "no clip": (sound(WHOLE[:0]), "empty"),
    "no channel": (sound(WHOLE[:, :0]), "empty"),
    "no sample": (sound(WHOLE[..., :0]), "empty"),
    "ten milliseconds": (sound(WHOLE[..., : RATE // 100]), "lasts 10 ms"),
    "NaN": (sound(WHOLE * float("nan")), "8000 samples that are NaN"),
    "infinity": (sound(WHOLE * float("inf")), "NaN or infinite"),
    "huge": (sound(WHOLE * 1e30), "must lie in -1..1"),
    **{
        f"rate {rate!r:.30}": (sound(WHOLE, rate), "sample rate must be a number of Hz")
        for rate in (
            "fast", "", "22 kHz", None, True, 0, -1, 44.1, float("nan"), float("inf"), 1e12, 10**400, {}, [1, 2],
            torch.tensor([]), torch.tensor([RATE, RATE]), torch.tensor(RATE).to("meta"), complex(RATE),
        )
    },
    "rate that is any object": (sound(WHOLE, object()), "sample rate must be a number of Hz"),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_SOUND)
def test_what_is_no_sound_is_a_sentence(pack: Pack, name: str) -> None:
    audio, words = NO_SOUND[name]
    with pytest.raises(pack.part("nodes.plain_errors").NodeError, match=words):
        pack.run("EchoMimicGenerateGestures", audio=audio)


@pytest.mark.parametrize(
    "rate",
    [str(RATE), f" {RATE}.0 ", b"16000", float(RATE), np.int32(RATE), np.float32(RATE), np.array([RATE]), [RATE],
     (RATE,), torch.tensor(RATE), torch.tensor([[float(RATE)]]), Fraction(RATE), np.array(str(RATE))],
)  # fmt: skip
def test_a_rate_in_every_form(pack: Pack, rate: Any) -> None:
    assert pack.part("nodes.values").to_rate(rate) == RATE


PICTURE = torch.rand(1, 32, 48, 3, generator=torch.Generator().manual_seed(0))
PICTURE[0, 0, 0], PICTURE[0, 0, 1] = 0, 1
BYTES = (PICTURE * 255).round().to(torch.uint8)
SAME_PICTURE: dict[str, Any] = {
    "uint8": BYTES,
    "int32": BYTES.to(torch.int32),
    "int64": BYTES.to(torch.int64),
    "uint16": (PICTURE * 65535).to(torch.int32).to(torch.uint16),
    "float up to 255": PICTURE * 255,
    "float up to 65535": PICTURE * 65535,
    "-1..1": PICTURE * 2 - 1,
    "half": PICTURE.half(),
    "bfloat16": PICTURE.bfloat16(),
    "double": PICTURE.double(),
    "a gradient": PICTURE.clone().requires_grad_(),
    "turned twice": PICTURE.permute(0, 2, 1, 3).contiguous().permute(0, 2, 1, 3),
    "sparse": PICTURE.to_sparse(),
    "no batch": PICTURE[0],
    "opaque": torch.cat([PICTURE, torch.ones(1, 32, 48, 1)], dim=-1),
    "numpy": PICTURE.numpy(),
    "numpy of another machine": PICTURE.numpy().astype(">f4"),
    "numpy backwards": PICTURE.numpy()[:, ::-1].copy()[:, ::-1],
    "numpy of objects": PICTURE.numpy().astype(object),
    "PIL": Image.fromarray(BYTES[0].numpy()),
    "a list": [PICTURE[0]],
    "a list of lists": [[PICTURE[0]]],
    "a tuple of PIL": (Image.fromarray(BYTES[0].numpy()),),
    "numbers": PICTURE.tolist(),
    "several": PICTURE.repeat(3, 1, 1, 1),
}


@pytest.mark.parametrize("name", SAME_PICTURE)
def test_the_same_picture_in_every_form(pack: Pack, name: str) -> None:
    found = pack.part("nodes.values").to_picture(SAME_PICTURE[name])
    assert np.abs(found.astype(int) - BYTES[0].numpy()).max() <= 1


@pytest.mark.parametrize("beyond", [1.3, 2.0])
def test_what_an_upscaler_overshoots_is_cut_off_and_no_other_scale(pack: Pack, beyond: float) -> None:
    found = pack.part("nodes.values").to_picture(part(part(PICTURE, 9, beyond), 12, -0.2))
    assert np.abs(found.astype(int) - BYTES[0].numpy()).reshape(-1)[[*range(9), *range(13, 500)]].max() == 0
    assert found.reshape(-1)[9] == 255 and found.reshape(-1)[12] == 0


# A person who was cut out: the left half is opaque, the right half black and transparent.
ALPHA = torch.zeros(1, 32, 48, 1)
ALPHA[:, :, :24] = 1
CUT_OUT = torch.cat([PICTURE * ALPHA, ALPHA], dim=-1)
CUT_OUT_FORMS: dict[str, Any] = {
    "floats": CUT_OUT,
    "bytes": (CUT_OUT * 255).round().to(torch.uint8),
    "whole numbers": (CUT_OUT * 255).round().long(),
    "whole numbers with an alpha of 0 and 1": torch.cat([BYTES * ALPHA, ALPHA], dim=-1).long(),
    "0..255": CUT_OUT * 255,
    "-1..1": torch.cat([CUT_OUT[..., :3] * 2 - 1, ALPHA], dim=-1),
    "PIL": Image.fromarray((CUT_OUT[0] * 255).round().to(torch.uint8).numpy()),
    "a list": [CUT_OUT[0], PICTURE[0]],
    "a list of kinds": [(CUT_OUT[0] * 255).round().to(torch.uint8), PICTURE[0]],
}


@pytest.mark.parametrize("name", CUT_OUT_FORMS)
def test_transparency_is_laid_on_white_as_that_of_files(pack: Pack, tmp_path: Path, name: str) -> None:
    found = pack.part("nodes.values").to_picture(CUT_OUT_FORMS[name])
    Image.fromarray((CUT_OUT[0] * 255).round().to(torch.uint8).numpy()).save(tmp_path / "a.png")
    wanted = read_image(tmp_path / "a.png")
    assert wanted[0, -1].min() == 255
    assert np.abs(found.astype(int) - wanted).max() <= 1


def test_grey_with_alpha_is_laid_on_white(pack: Pack) -> None:
    found = pack.part("nodes.values").image_batch(torch.tensor([0.5, 0.5]).expand(1, 4, 4, 2))
    torch.testing.assert_close(found, torch.full((1, 4, 4, 3), 0.75))


BLACK = PICTURE * 0
# Values by which a picture could be taken for one of another scale.
ODD_VALUES: dict[str, tuple[Any, str]] = {
    "a few NaN": (part(part(PICTURE, 9, float("nan")), 12, float("inf")), "NaN or infinite values, 2, which become"),
    "a light source": (part(PICTURE, 9, 1e6), "is cut off at 0 and 1"),
    "one value far below 0": (part(PICTURE, 9, -0.9), ""),
    "0..255, resized": (part(PICTURE * 255, 9, 280.0), "taken as 0..255"),
    "12 bits": ((PICTURE * 4095).round().to(torch.int32), "taken as 0..4095"),
    "a list with a black one, 0..255": ([PICTURE[0] * 255, BLACK[0] + 2], "taken as 0..255"),
    "a list of kinds": ([PICTURE[0], BYTES[0]], ""),
}


@pytest.mark.parametrize("name", ODD_VALUES)
def test_single_values_do_not_change_the_scale_of_the_rest(
    pack: Pack, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    images, words = ODD_VALUES[name]
    found = pack.part("nodes.values").image_batch(images)
    others = torch.ones(PICTURE.numel(), dtype=torch.bool)
    others[[9, 12]] = False
    difference = (found[0].reshape(-1) - PICTURE.reshape(-1)).abs()[others]
    assert found.isfinite().all() and float(difference.max()) <= 0.003
    assert words in caplog.text and bool(words) == bool(caplog.text)
    if len(found) > 1 and "black" in name:
        assert float(found[1].max()) < 0.01


def test_much_that_is_cut_off_is_logged(pack: Pack, caplog: pytest.LogCaptureFixture) -> None:
    pack.part("nodes.values").to_picture(PICTURE * 3 - 0.4)
    assert "the image reaches from -0.4 to 2.6" in caplog.text and "is cut off at 0 and 1" in caplog.text


def test_truth_values_are_black_and_white(pack: Pack) -> None:
    assert set(np.unique(pack.part("nodes.values").to_picture(PICTURE > 0.5))) == {0, 255}


NO_PICTURE: dict[str, tuple[Any, str]] = {
    "nothing": (None, "no image"),
    "a text": ("a.png", "must be numbers, got the text 'a.png'"),
    "a dict": ({"samples": PICTURE}, "must be numbers, got a dict"),
    "an empty list": ([], "empty list"),
    "a list of nothing": ([None], "no image"),
    "no picture": (PICTURE[:0], "empty"),
    "no width": (PICTURE[:, :, :0], "empty"),
    "five channels": (PICTURE[..., [0, 1, 2, 0, 1]], r"got \[1, 32, 48, 5\]"),
    "channels first": (PICTURE.permute(0, 3, 1, 2), r"got \[1, 3, 32, 48\]"),
    "channels first, no batch": (PICTURE[0].permute(2, 0, 1), "3 masks or one picture of 3 channels"),
    "five axes": (PICTURE[None], r"got \[1, 1, 32, 48, 3\]"),
    "two sizes": ([PICTURE[0], PICTURE[0, :20]], "different sizes"),
    "NaN": (PICTURE * float("nan"), "holds NaN or infinite values, 4,608 of 4,608"),
    "one picture of many that is NaN": (
        torch.cat([PICTURE.repeat(1500, 1, 1, 1), PICTURE[:, :2, :2].repeat(1, 16, 24, 1) / 0]),
        "of 6,916,608",
    ),
    "infinity": (PICTURE / 0, "holds NaN or infinite values"),
    "huge": (PICTURE * 1e30, "must lie in 0..1"),
    "standardised for a network": ((PICTURE - 0.45) / 0.2, "the image reaches from -2.25 to 2.75"),
    "int8": ((PICTURE * 255 - 128).round().to(torch.int8), "the image reaches from -128 to 127"),
    "whole numbers of 32 bits": ((PICTURE.double() * 2e9).to(torch.int32), "the image reaches from"),
    "transparent everywhere": (torch.cat([PICTURE, PICTURE[..., :1] * 0], dim=-1), "transparent everywhere"),
    "meta": (PICTURE.to("meta"), "must be numbers, got a tensor on the device 'meta'"),
    "complex": (PICTURE.to(torch.complex64), "must be numbers, got complex numbers"),
}


@pytest.mark.parametrize("node", ["EchoMimicMarkPortrait", "EchoMimicFitPortrait", "EchoMimicPreviewPose"])
@pytest.mark.parametrize("name", NO_PICTURE)
def test_what_is_no_picture_is_a_sentence_in_every_node(pack: Pack, node: str, name: str) -> None:
    images, words = NO_PICTURE[name]
    inputs: dict[str, Any] = {"image": images}
    if node == "EchoMimicPreviewPose":
        if images is None:
            return  # it may be left out there
        inputs["pose"] = pack.run("EchoMimicLoadPose", clip="waving").args[0].take(range(2))
    with pytest.raises(pack.part("nodes.plain_errors").NodeError, match=words):
        pack.run(node, **inputs)


@pytest.mark.parametrize("name", ["no batch", "a list", "numpy", "PIL", "uint8"])
def test_a_preview_takes_the_size_of_a_picture_in_every_form(pack: Pack, name: str) -> None:
    pose = pack.run("EchoMimicLoadPose", clip="waving").args[0].take(range(2))
    assert pack.run("EchoMimicPreviewPose", pose=pose, image=SAME_PICTURE[name]).args[0].shape == (1, 32, 48, 3)


BOX = {"x": 10, "y": 10, "width": 20, "height": 16}
MASK = torch.ones(1, 32, 48)
MASK[:, :, 20:] = 0


def paste(pack: Pack, **inputs: Any) -> torch.Tensor:
    white, black = torch.ones(1, 8, 10, 3), torch.zeros(1, 32, 48, 3)
    given = {"images": white, "picture": black, "crop_box": BOX, "feather": 0.0, **inputs}
    return pack.run("EchoMimicPasteBack", **given).args[0]


@pytest.mark.parametrize(
    "mask",
    [MASK, MASK[0], MASK[None], MASK[..., None], (MASK * 255).to(torch.uint8), MASK > 0, MASK * 255, MASK.half(),
     MASK.to(torch.uint8), MASK.long(), MASK.to(torch.uint16), MASK[0].numpy().astype(int),
     MASK.numpy(), [MASK[0]], MASK.tolist(), MASK.clone().requires_grad_()],
)  # fmt: skip
def test_the_same_mask_in_every_form(pack: Pack, mask: Any) -> None:
    pasted = paste(pack, mask=mask)
    # (The box's own edge is soft.)
    assert pasted[0, 12:24, 12:20].min() == 1 and pasted[0, :, 20:].max() == 0


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (MASK[:0], "not empty"),
        (MASK[0, 0], r"got \[48\]"),
        (torch.tensor(1.0), r"got \[\]"),
        ("mask", "must be numbers"),
        (MASK * float("nan"), "NaN"),
        (MASK.to("meta"), "must be numbers"),
        (MASK[:, :9], "48x9 pixels, the full picture 48x32"),
    ],
)
def test_what_is_no_mask_is_a_sentence(pack: Pack, mask: Any, words: str) -> None:
    with pytest.raises(pack.part("nodes.plain_errors").NodeError, match=words):
        paste(pack, mask=mask)


@pytest.mark.parametrize(
    "box",
    [
        {name: str(value) for name, value in BOX.items()},
        {name: torch.tensor(value) for name, value in BOX.items()},
        {name: np.float32(value) for name, value in BOX.items()},
        [[BOX]],
        (BOX,),
        UserDict(BOX),
    ],
)
def test_the_same_box_in_every_form(pack: Pack, box: Any) -> None:
    torch.testing.assert_close(paste(pack, crop_box=box), paste(pack))


@pytest.mark.parametrize(
    ("box", "words"),
    [
        (None, "the crop box is nothing"),
        ([], "a list of 0"),
        ((1, 2, 30, 40), "a list of 4"),
        (np.array([1, 2, 30, 40]), r"numbers of shape \[4\]"),
        ({**BOX, "x": float("nan")}, "crop box's x must be a number of pixels, got nan"),
        ({**BOX, "width": float("inf")}, "crop box's width"),
        ({**BOX, "width": 10**9}, "crop box's width"),
        ({**BOX, "y": None}, "crop box's y must be a number of pixels, got nothing"),
        ({**BOX, "width": -3}, "-3x16 pixels"),
        ({1, 2}, "a set"),
    ],
)
def test_what_is_no_box_is_a_sentence(pack: Pack, box: Any, words: str) -> None:
    with pytest.raises(pack.part("nodes.plain_errors").NodeError, match=words):
        paste(pack, crop_box=box)


def test_a_box_far_larger_than_the_picture_takes_no_memory(pack: Pack) -> None:
    """Its edge once was computed for the whole box, in lists of a billion numbers."""
    box = {"x": -499_990, "y": -499_990, "width": 1_000_000, "height": 1_000_000}
    assert paste(pack, crop_box=box).min() == 1


LATENTS = torch.linspace(-4, 4, 2 * 4 * 8 * 8).reshape(2, 4, 8, 8)


@pytest.mark.parametrize(
    "samples",
    [LATENTS.double(), LATENTS.numpy(), LATENTS.tolist(), list(LATENTS), LATENTS.clone().requires_grad_(),
     LATENTS.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2), LATENTS.to_sparse()],
)  # fmt: skip
def test_the_same_latents_in_every_form(pack: Pack, samples: Any) -> None:
    vae = make_vae()
    wanted = pack.run("EchoMimicDecode", latent={"samples": LATENTS}, vae=vae).args[0]
    found = pack.run("EchoMimicDecode", latent={"samples": samples}, vae=vae).args[0]
    torch.testing.assert_close(found.float(), wanted)


NO_LATENTS: dict[str, tuple[Any, str]] = {
    "nothing": (None, "the latents are nothing"),
    "a text": ("latent", "the text 'latent'"),
    "a tensor": (LATENTS, "numbers of shape"),
    "a list of one": ([{"samples": LATENTS}], "a list of 1"),
    "no samples": ({}, "a dict with nothing in it"),
    "none": ({"samples": None}, "must be numbers, got nothing"),
    "no frame": ({"samples": LATENTS[:0]}, "empty"),
    "no width": ({"samples": LATENTS[..., :0]}, "empty"),
    "meta": ({"samples": LATENTS.to("meta")}, "must be numbers"),
    "complex": ({"samples": LATENTS.to(torch.complex64)}, "must be numbers"),
    "NaN": ({"samples": part(LATENTS, 9, float("nan"))}, "NaN or infinite values, 1 of 512: encode or sample again"),
    "nested tensors": ({"samples": torch.nested.nested_tensor([LATENTS[0]])}, "must be numbers"),
}
TAKES_LATENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "EchoMimicDecode": ("latent", {}),
    "EchoMimicSaveVideo": ("latent", {}),
    "EchoMimicClipLatent": ("latent", {}),
    "EchoMimicRetakeFrames": ("latent", {"first": 0, "last": 1}),
}


@pytest.mark.parametrize("node", TAKES_LATENTS)
@pytest.mark.parametrize("name", NO_LATENTS)
def test_what_are_no_latents_is_a_sentence_in_every_node(pack: Pack, node: str, name: str) -> None:
    latent, words = NO_LATENTS[name]
    socket, others = TAKES_LATENTS[node]
    if node in ("EchoMimicDecode", "EchoMimicSaveVideo"):
        others = {"vae": make_vae()}
    with pytest.raises(pack.part("nodes.plain_errors").NodeError, match=words):
        pack.run(node, **{socket: latent}, **others)


@pytest.mark.parametrize(
    ("latents", "words"),
    [
        (LATENTS[:1, :, :1, :1], "of a picture of 8x8 pixels, and both sides need 16"),
        (part(LATENTS[:1], 3, float("nan")), "NaN or infinite"),
        (LATENTS[:1].repeat(1, 4, 1, 1), r"got \[1, 16, 8, 8\]"),
    ],
)
def test_a_reference_that_no_network_can_take_is_a_sentence(pack: Pack, latents: torch.Tensor, words: str) -> None:
    check = pack.part("echomimic.sampling.inputs").check_portrait
    with pytest.raises(pack.part("echomimic.errors").EchoMimicError, match=words):
        check(latents)


@pytest.mark.parametrize("times", [2, 2.0, "2", np.int64(2), np.float64(2), torch.tensor(2), [2], Fraction(2)])
def test_numbers_of_links_count_in_every_form(pack: Pack, times: Any) -> None:
    pose = pack.run("EchoMimicLoadPose", clip="waving").args[0].take(range(5))
    edit = pack.choose("EchoMimicEditPose", "edit", "loop", times=times)
    assert pack.run("EchoMimicEditPose", pose=pose, edit=edit).args[1] == 10


def test_a_seed_keeps_all_its_digits(pack: Pack) -> None:
    check = pack.part("nodes.checked_inputs").to_plain_number
    assert check(2**64 - 1, "INT", "seed") == 2**64 - 1 and check(np.uint64(2**64 - 1), "INT", "seed") == 2**64 - 1


@pytest.mark.parametrize("number", [None, "x", float("nan"), float("inf"), [1, 2], torch.zeros(2), object(), {}])
def test_what_is_no_number_is_a_sentence(pack: Pack, number: Any) -> None:
    pose = pack.run("EchoMimicLoadPose", clip="waving").args[0].take(range(5))
    edit = pack.choose("EchoMimicEditPose", "edit", "hold", after=number)
    with pytest.raises(pack.part("nodes.plain_errors").NodeError, match="after must be a number, got"):
        pack.run("EchoMimicEditPose", pose=pose, edit=edit)


@pytest.mark.parametrize("yes", [True, "true", "True", " yes", 1, 1.0, "1", np.True_, torch.tensor(True), [True]])
@pytest.mark.parametrize("no", [False, "false", "FALSE", "off", 0, "0", np.bool_(0), torch.tensor(0)])
def test_switches_of_links_count_in_every_form(pack: Pack, yes: Any, no: Any) -> None:
    """The text "false" is true in Python."""
    pose = pack.run("EchoMimicLoadPose", clip="waving").args[0].take(range(1))
    pose.scores[:] = 0.9
    for value, score in ((yes, 0.9), (no, 1.0)):
        (frames,) = pack.run("EchoMimicPoseToKeypoints", pose=pose, real_scores=value).args
        assert frames[0]["people"][0]["hand_left_keypoints_2d"][2] == pytest.approx(score)


@pytest.mark.parametrize("value", [None, "perhaps", 2, float("nan"), torch.zeros(2), {}, object()])
def test_what_is_no_switch_is_a_sentence(pack: Pack, value: Any) -> None:
    pose = pack.run("EchoMimicLoadPose", clip="waving").args[0].take(range(1))
    with pytest.raises(pack.part("nodes.plain_errors").NodeError, match="real_scores must be true or false, got"):
        pack.run("EchoMimicPoseToKeypoints", pose=pose, real_scores=value)


def test_texts_of_links(pack: Pack) -> None:
    words = pack.part("nodes.plain_errors").NodeError
    latent = {"latent": {"samples": LATENTS}, "vae": make_vae()}
    pack.run("EchoMimicSaveVideo", **latent, filename_prefix=3)
    assert (pack.folder / "output" / "3_00001_.mp4").is_file()
    for value, got in ((None, "nothing"), (["a"], "a list of 1"), (True, "True")):
        with pytest.raises(words, match=f"filename_prefix must be a text, got {got}"):
            pack.run("EchoMimicSaveVideo", **latent, filename_prefix=value)
    with pytest.raises(words, match="clip must be a text, got nothing"):
        pack.run("EchoMimicLoadPose", clip=None)
    audio = sound(WHOLE)
    one = pack.run("EchoMimicGenerateGestures", audio=audio, clips="waving").args[0]
    np.testing.assert_array_equal(
        one.keypoints, pack.run("EchoMimicGenerateGestures", audio=audio, clips=["waving"]).args[0].keypoints
    )
    assert pack.run("EchoMimicGenerateGestures", audio=audio, clips=None).args[1] == len(one)
    with pytest.raises(words, match="view must be one of frames, contact sheet, hands and voice with its settings"):
        pack.run("EchoMimicPreviewPose", pose=one, view="frames")


def test_choices_that_there_are_not_are_a_sentence(pack: Pack) -> None:
    words = pack.part("nodes.plain_errors").NodeError
    pose = pack.run("EchoMimicLoadPose", clip="waving").args[0].take(range(1))
    with pytest.raises(
        words, match=r"format must be one of clip \(.safetensors\), .* folder \(.npy\), got the text 'json'"
    ):
        pack.run("EchoMimicSavePose", pose=pose, format="json")
    with pytest.raises(words, match="view must be one of frames, contact sheet, hands and voice, got the text 'sheet'"):
        pack.run("EchoMimicPreviewPose", pose=pose, view={"view": "sheet"})
    with pytest.raises(words, match=r"edit must be one of repair, .*, got a list of 1"):
        pack.run("EchoMimicEditPose", pose=pose, edit={"edit": ["trim"]})


def test_every_fixed_list_names_its_choices(pack: Pack) -> None:
    checked, error = pack.part("nodes.checked_inputs"), pack.part("echomimic.errors").EchoMimicError
    fixed = []
    for node in pack.nodes.values():
        for name, kind in checked.input_kinds(node).items():
            if not isinstance(kind, str):
                fixed.append(name)
                given = {name: "no such choice"} if isinstance(kind, dict) else "no such choice"
                with pytest.raises(error, match=f"^{name} must be one of .*, got the text 'no such choice'"):
                    checked.check_inputs({name: kind}, {name: given})
    assert fixed == [
        "variant", "device", "edit", "mode", "method", "framing", "fill", "marks", "view", "format", "preset", "fast",
    ]  # fmt: skip


@pytest.mark.parametrize(("first", "last"), [(-2, 1), (1, 0), (2, 5)])
def test_frames_that_are_not_in_the_clip_are_not_retaken(pack: Pack, first: int, last: int) -> None:
    with pytest.raises(pack.part("nodes.plain_errors").NodeError, match=f"frames {first} to {last} are not in a clip"):
        pack.run("EchoMimicRetakeFrames", latent={"samples": LATENTS}, first=first, last=last)


@pytest.mark.parametrize(
    ("node", "inputs", "words"),
    [
        ("EchoMimicEditPose", {"pose": None}, "pose is nothing, but must be poses of this pack"),
        ("EchoMimicEditPose", {"pose": [1]}, "pose is a list of 1"),
        ("EchoMimicFitPose", {"pose": SOUND, "audio": {"waveform": WHOLE}}, "pose is numbers of shape"),
        ("EchoMimicDecode", {"latent": {"samples": LATENTS}, "vae": None}, "vae is nothing, but must be a VAE"),
        ("EchoMimicToModel", {"model": torch.nn.Linear(1, 1)}, "model is a Linear, but must be a model"),
    ],
)
def test_another_kind_of_value_in_a_socket_is_a_sentence(
    pack: Pack, node: str, inputs: dict[str, Any], words: str
) -> None:
    """A switch of another pack passes anything, and a checkpoint without a VAE gives None."""
    with pytest.raises(pack.part("nodes.plain_errors").NodeError, match=words):
        pack.run(node, **inputs)


@pytest.mark.parametrize("number", [0, -8, 10**9, 10**30])
@pytest.mark.parametrize("side", ["width", "height"])
@pytest.mark.parametrize("node", ["EchoMimicFitPortrait", "EchoMimicAlignPortrait"])
def test_a_size_that_no_video_has_is_a_sentence(pack: Pack, node: str, side: str, number: int) -> None:
    inputs: dict[str, Any] = {"image": PICTURE, "width": 64, "height": 64, side: number}
    if node == "EchoMimicAlignPortrait":
        inputs["portrait"] = pack.run("EchoMimicMarkPortrait", image=PICTURE).args[0]
        inputs["pose"] = pack.run("EchoMimicLoadPose", clip="waving").args[0]
    with pytest.raises(pack.part("nodes.plain_errors").NodeError, match="a video has 8 to 16384 pixels a side"):
        pack.run(node, **inputs)


@pytest.mark.parametrize("where", ["right", "down"])
def test_a_portrait_that_is_moved_out_of_the_picture_is_a_sentence(pack: Pack, where: str) -> None:
    """1.5 is within the widget's limits."""
    with pytest.raises(pack.part("nodes.plain_errors").NodeError, match="would show nothing of the picture"):
        pack.run("EchoMimicFitPortrait", image=PICTURE, width=64, height=64, **{where: 1.5})
    with pytest.raises(pack.part("nodes.plain_errors").NodeError, match="the offset must be"):
        pack.run("EchoMimicFitPortrait", image=PICTURE, width=64, height=64, **{where: 1e300})


@pytest.mark.parametrize(
    ("node", "inputs", "words"),
    [
        ("EchoMimicPreviewPose", {"view": {"width": 4096, "height": 4096, "every": 1}}, "120 pictures of 4096x4096"),
        ("EchoMimicPoseToKeypoints", {}, "the keypoints of 120 frames"),
    ],
)
def test_results_that_would_fill_the_memory_are_refused_before_the_work(
    pack: Pack, monkeypatch: pytest.MonkeyPatch, node: str, inputs: dict[str, Any], words: str
) -> None:
    pose = pack.run("EchoMimicLoadPose", clip="waving").args[0]
    if "view" in inputs:
        inputs = {"view": pack.choose(node, "view", "frames", **inputs["view"])}
    monkeypatch.setattr(pack.part("echomimic.media.limits"), "available_bytes", lambda: 10**6)
    with pytest.raises(pack.part("nodes.plain_errors").NodeError, match=f"{words} take .* memory has room for"):
        pack.run(node, pose=pose, **inputs)


def test_pasting_more_pictures_than_memory_has_room_for_is_refused(pack: Pack, monkeypatch) -> None:
    monkeypatch.setattr(pack.part("echomimic.media.limits"), "available_bytes", lambda: 10**4)
    with pytest.raises(pack.part("nodes.plain_errors").NodeError, match="1 pictures of 48x32 take"):
        paste(pack)


@pytest.mark.parametrize(
    ("node", "inputs", "words"),
    [
        ("EchoMimicPreviewPose", {"every": 0}, "'every' must be 1 or more"),
        ("EchoMimicRetargetPose", {"pictures": -1}, "'pictures' must be 1 or more"),
    ],
)
def test_counts_below_one_are_a_sentence(pack: Pack, node: str, inputs: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {"pose": pack.run("EchoMimicLoadPose", clip="waving").args[0].take(range(3))}
    if node == "EchoMimicPreviewPose":
        given["view"] = pack.choose(node, "view", "frames", **inputs)
    else:
        given |= {"portrait": pack.run("EchoMimicMarkPortrait", image=PICTURE).args[0], **inputs}
    with pytest.raises(pack.part("nodes.plain_errors").NodeError, match=words):
        pack.run(node, **given)
