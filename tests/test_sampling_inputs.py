"""A whole clip's latents: the inputs are checked before the work, and its memory is estimated."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from echomimic.errors import EchoMimicError, PoseError
from echomimic.models import DenoisingUNet, PoseEncoder, ReferenceUNet, UNetConfig
from echomimic.pose import PoseSequence
from echomimic.runtime import memory
from echomimic.runtime.memory import clip_bytes, window_bytes
from echomimic.sampling import check_clip
from tests.recipe import fill

CONFIG = UNetConfig((32, 64), layers_per_block=1, attention_heads=8, norm_num_groups=32, audio_dim=24)


class Speech:
    fps = 24.0

    def __init__(self, frames: int = 7) -> None:
        self.all = torch.randn(frames, 50, CONFIG.audio_dim, generator=torch.Generator().manual_seed(3))

    def __len__(self) -> int:
        return len(self.all)

    def tokens(self, frames):
        return self.all[list(frames)]


@pytest.fixture(scope="module")
def networks():
    return SimpleNamespace(
        config=CONFIG,
        denoiser=fill(DenoisingUNet(CONFIG), "s."),
        reference_unet=fill(ReferenceUNet(CONFIG), "s."),
        pose_encoder=fill(PoseEncoder(32), "s."),
    )


def portrait() -> torch.Tensor:
    return torch.randn(1, 4, 4, 6, generator=torch.Generator().manual_seed(4))


def poses(frames: int = 7, fps: float = 24.0) -> PoseSequence:
    points = np.random.default_rng(0).uniform(0.2, 0.8, (frames, 134, 2))
    return PoseSequence(points, np.ones((frames, 134)), fps)


def test_length_is_the_speechs_unless_given(networks):
    assert check_clip(networks.config, portrait(), Speech(9), None) == 9
    assert check_clip(networks.config, portrait(), Speech(9), poses(5), frames=5) == 5


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"frames": 8}, EchoMimicError, "8 frames were requested, but the audio lasts 7 frames"),
        ({"frames": 0}, EchoMimicError, "0 frames were requested"),
        ({"poses": poses(6)}, PoseError, "the poses have 6 frames, but 7 are needed"),
        ({"poses": poses(7, 25.0)}, PoseError, "the poses have 25 frames a second and the audio 24"),
        ({"portrait": torch.zeros(2, 4, 4, 4)}, EchoMimicError, r"one picture's latents .* got \[2, 4, 4, 4\]"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(networks, change, error, message):
    given = {"portrait": portrait(), "speech": Speech(), "poses": None, **change}
    with pytest.raises(error, match=message):
        check_clip(networks.config, **given)


def test_rates_that_differ_by_rounding_pass(networks):
    assert check_clip(networks.config, portrait(), Speech(), poses(7, 24.000001)) == 7


def test_audio_of_another_encoder_is_refused(networks):
    networks = SimpleNamespace(**{**vars(networks), "config": UNetConfig((32, 64), 1, 8, 32, audio_dim=384)})
    with pytest.raises(EchoMimicError, match="tokens of 24 numbers, but this model takes 384"):
        check_clip(networks.config, portrait(), Speech(), None)


@pytest.mark.parametrize(("frames", "window"), [(7, 4), (3, 12)])
def test_memory_counts_what_is_kept_between_windows(networks, frames, window, monkeypatch):
    with torch.no_grad():
        projected = networks.denoiser.project_reference(networks.reference_unet(portrait()))
        audio = networks.denoiser.project_audio(Speech(frames).all[None])
    kept = sum(k.nbytes + v.nbytes for k, v in projected.blocks.values())
    heard = sum(k.nbytes + v.nbytes for k, v in audio.blocks.values())
    shown = min(frames, window)
    work = window_bytes(CONFIG, shown, 4, 6, 4) + shown * 32 * 4 * 6 * 4 + heard // frames * shown
    assert clip_bytes(CONFIG, frames, window, 4, 6, 4) == work + kept + heard
    monkeypatch.setattr(memory, "AUDIO_CACHE_BYTES", heard - 1)
    assert clip_bytes(CONFIG, frames, window, 4, 6, 4) == work + kept


def test_memory_does_not_grow_with_a_long_clip():
    published = UNetConfig()
    minute, hour = (clip_bytes(published, frames, 12, 96, 96, 2) for frames in (1440, 86400))
    assert hour == minute <= clip_bytes(published, 12, 12, 96, 96, 2) + memory.AUDIO_CACHE_BYTES
