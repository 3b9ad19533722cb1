"""AUDIO and IMAGE as other packs hand them over: their meaning is taken where it is certain, else a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.allocations import PeakCounter
from tests.pack import Pack

RATE = 22050
SOUND = torch.sin(torch.arange(RATE) * 0.05) * 0.5


@pytest.fixture
def values(pack: Pack) -> Any:
    return pack.part("nodes.values")


@pytest.mark.parametrize(
    "waveform",
    [
        SOUND[None, None],
        SOUND[None],
        SOUND,
        [SOUND[None]],
        (SOUND[None, None],),
        SOUND[None, None].numpy(),
        SOUND.tolist(),
        SOUND[None, None].double(),
        SOUND[None, None].repeat(3, 1, 1),
    ],
)
@pytest.mark.parametrize("rate", [RATE, str(RATE), float(RATE), torch.tensor(RATE), np.int64(RATE), [RATE][0]])
def test_the_same_sound_in_every_form(values, waveform, rate):
    found, found_rate = values.to_waveform({"waveform": waveform, "sample_rate": rate})
    torch.testing.assert_close(found.float(), SOUND[None])
    assert found_rate == RATE


def test_two_rows_are_two_channels_never_two_clips(values):
    found, _ = values.to_waveform({"waveform": torch.stack([SOUND, -SOUND]), "sample_rate": RATE})
    assert found.shape == (2, RATE)


def test_of_a_batch_the_first_clip_counts_which_is_noted(values, caplog):
    found, _ = values.to_waveform({"waveform": torch.stack([SOUND[None], -SOUND[None]]), "sample_rate": RATE})
    torch.testing.assert_close(found, SOUND[None])
    assert "batch of 2 clips" in caplog.text


@pytest.mark.parametrize(
    ("audio", "words"),
    [
        (None, "no sound track"),
        ("voice.wav", "the text 'voice.wav'"),
        ({"samples": SOUND}, "a dict with samples"),
        (b"sound", "the audio is 5 bytes, but must be ComfyUI's AUDIO"),
        ({"waveform": SOUND, "sample_rate": None}, "sample rate must be a number of Hz"),
        ({"waveform": SOUND, "sample_rate": "fast"}, "got the text 'fast'"),
        ({"waveform": SOUND, "sample_rate": -1}, "sample rate"),
        ({"waveform": torch.zeros(1, 1, 0), "sample_rate": RATE}, "empty"),
        ({"waveform": torch.zeros(1, 1, 1, 4), "sample_rate": RATE}, r"got \[1, 1, 1, 4\]"),
        ({"waveform": "sound", "sample_rate": RATE}, "must be"),
        ({"waveform": [], "sample_rate": RATE}, "empty"),
    ],
)
def test_what_is_not_certain_is_a_sentence(values, pack, audio, words):
    with pytest.raises(pack.part("echomimic.errors").EchoMimicError, match=words):
        values.to_waveform(audio)


PICTURE = torch.rand(8, 12, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "images",
    [
        PICTURE[None],
        PICTURE,
        PICTURE.numpy(),
        [PICTURE],
        [PICTURE[None]],
        PICTURE[None].half(),
        (PICTURE[None] * 255).round().to(torch.uint8),
        torch.cat([PICTURE, torch.ones(8, 12, 1)], dim=-1)[None],
    ],
)
def test_the_same_picture_in_every_form(values, images):
    found = values.to_picture(images)
    assert found.shape == (8, 12, 3) and found.dtype == np.uint8
    assert np.abs(found / 255 - PICTURE.numpy()).max() < 0.005


@pytest.mark.parametrize(
    "grey", [torch.rand(1, 8, 12, 1), torch.rand(8, 12, 1), torch.rand(2, 8, 12), torch.rand(8, 12)]
)
def test_grey_pictures_have_three_equal_channels(values, grey):
    found = values.to_picture(grey)
    assert found.shape == (8, 12, 3)
    assert (found[..., 0] == found[..., 2]).all()


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (None, "no image"),
        ([], "empty list"),
        (torch.zeros(0, 8, 8, 3), r"empty, \[0, 8, 8, 3\]"),
        (torch.zeros(1, 8, 8, 7), r"got \[1, 8, 8, 7\]"),
        (torch.zeros(3), r"got \[3\]"),
        ([torch.zeros(8, 8, 3), torch.zeros(9, 8, 3)], "different sizes"),
        ("portrait.png", "must be numbers"),
    ],
)
def test_what_is_no_picture_is_a_sentence(values, pack, images, words):
    with pytest.raises(pack.part("echomimic.errors").EchoMimicError, match=words):
        values.to_picture(images)


def test_pictures_become_floats_in_one_copy(values):
    """A minute of 512 x 512 takes 4.5 GB as floats: a second copy of that is one too many."""
    pictures = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    with PeakCounter() as counter:
        images = values.to_images(pictures)
    assert counter.peak <= images.nbytes
    torch.testing.assert_close(images, torch.from_numpy(pictures) / 255)
