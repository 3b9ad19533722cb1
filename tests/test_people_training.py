"""The demo model's own training: its configurations, and the VAE's loop."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from assets.scripts.people import train_audio, train_vae
from assets.scripts.people.clips import sample_clip
from assets.scripts.people.config import CONFIGS, read_config
from assets.scripts.people.train_demo import (
    AUDIO_ENCODER,
    SHIPPED,
    STAGES,
    STAGES_AGAIN,
    START,
    VAE,
    DataSettings,
    ShippingSettings,
    config_file,
    encode_within_a_talk,
    main,
)
from assets.scripts.people.train_vae import Run, VaeTraining, decode, encode, make_vae, opponent, unit_variance
from echomimic.audio import encode_speech
from echomimic.training.config import config_from
from echomimic.vae import load_vae
from echomimic.weights import load_bundle_audio_encoder, load_bundle_vae

SMALL = VaeTraining(
    output="", widths=(8, 8, 8, 8), norm_groups=4, sizes=(64,), crop=64, crops=3, steps=4, encoder_steps=2, warmup=1,
    edges_after=1, checkpoint_every=2, sheet_every=100, people=1,
)  # fmt: skip


class TestConfigurations:
    def test_the_scripts_own(self) -> None:
        read_config(CONFIGS / "vae.yaml", VaeTraining)
        read_config(CONFIGS / "audio.yaml", train_audio.AudioTraining)
        read_config(CONFIGS / "data.yaml", DataSettings)
        assert read_config(CONFIGS / "bundle.yaml", ShippingSettings).stage in STAGES

    @pytest.mark.parametrize("start", [False, True])
    @pytest.mark.parametrize("stage", ["stage1", "stage2", "distill"])
    def test_the_engines(self, stage: str, start: bool, tmp_path: Path) -> None:
        if start:
            (tmp_path / START).touch()
        content = yaml.safe_load(config_file(tmp_path, stage).read_text(encoding="utf-8"))
        config = config_from(content, tmp_path)
        assert (config.stage, config.data) == (stage, str(tmp_path / "data"))
        assert config.size == read_config(CONFIGS / "data.yaml", DataSettings).size

    def test_an_unknown_key_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text("clipz: 3")
        with pytest.raises(ValueError, match=r"clipz.*known are clips"):
            read_config(tmp_path / "a.yaml", DataSettings)


class TestStart:
    """A run that starts from a bundle, `--start`."""

    def test_its_vae(self) -> None:
        vae_config = replace(read_config(CONFIGS / "again/vae.yaml", VaeTraining), start=str(SHIPPED))
        vae, shipped = make_vae(vae_config).state_dict(), load_bundle_vae(SHIPPED).state_dict()
        assert vae.keys() == shipped.keys()
        assert all(torch.equal(vae[name], value.float()) for name, value in shipped.items())

    def test_its_audio_encoder(self, tmp_path: Path) -> None:
        config = read_config(CONFIGS / "again/audio.yaml", train_audio.AudioTraining, tmp_path)
        run = train_audio.Run(replace(config, start=str(SHIPPED), recordings=0))
        for name, value in load_bundle_audio_encoder(SHIPPED).state_dict().items():
            assert torch.equal(run.encoder.state_dict()[name], value), name

    def test_its_settings_stand_apart(self, tmp_path: Path) -> None:
        assert config_file(tmp_path, "vae") == CONFIGS / "vae.yaml"
        (tmp_path / START).touch()
        assert config_file(tmp_path, "vae") == CONFIGS / "again/vae.yaml"
        # People that the bundle has not learned from.
        first, again = (
            read_config(path, DataSettings) for path in (CONFIGS / "data.yaml", config_file(tmp_path, "data"))
        )
        assert (first.size, first.seconds) == (again.size, again.seconds) and first.seed != again.seed
        assert config_file(tmp_path, "finish") == CONFIGS / "finish.yaml"
        assert read_config(config_file(tmp_path, "bundle"), ShippingSettings).stage in STAGES_AGAIN
        assert set(STAGES_AGAIN) <= STAGES.keys()

    def test_the_stages_take_its_networks(self, tmp_path: Path) -> None:
        (tmp_path / START).touch()
        weights = config_from(yaml.safe_load(config_file(tmp_path, "stage1").read_text("utf-8")), tmp_path).weights
        assert weights.path == str(tmp_path / START)
        # What was trained on before them, and not as the bundle has it.
        assert weights.vae == str(tmp_path / VAE) and weights.audio_encoder == str(tmp_path / AUDIO_ENCODER)

    def test_never_in_the_folder_of_a_run_from_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "vae").mkdir()
        monkeypatch.setattr(sys, "argv", ["train_demo", str(tmp_path), "--start", str(SHIPPED)])
        with pytest.raises(SystemExit):
            main()
        assert "give another folder" in capsys.readouterr().err and not (tmp_path / START).exists()


class Spectrum(torch.nn.Module):
    """In place of the encoder: its states are the spectrum, wherever in the half minute it stands."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, mels: torch.Tensor, output_hidden_states: bool) -> SimpleNamespace:
        pairs = mels.unflatten(2, (-1, 2)).mean(dim=-1)
        return SimpleNamespace(hidden_states=[pairs.transpose(1, 2)])


class TestVoice:
    def test_a_clip_is_encoded_at_its_own_place_of_a_talk(self) -> None:
        rng = torch.Generator().manual_seed(0)
        envelope = torch.rand(50, generator=rng).repeat_interleave(320)
        voice = 0.3 * envelope * torch.randn(16000, generator=rng)
        alone = encode_speech(Spectrum(), voice, 16000, 24.0).steps
        within = encode_within_a_talk(Spectrum(), voice, 16000, 24.0).steps
        # At its ends it has neighbours now.
        assert within.shape == alone.shape and torch.allclose(within[2:-2], alone[2:-2], atol=1e-4)

    def test_its_place_is_its_own(self) -> None:
        encoder = load_bundle_audio_encoder(SHIPPED)
        rng = torch.Generator().manual_seed(0)
        voices = [0.1 * torch.randn(8000, generator=rng) for _ in range(2)]
        first, again = (encode_within_a_talk(encoder, voices[0], 16000, 24.0).steps for _ in range(2))
        assert torch.equal(first, again)
        # The lowest states hold the position's own waves: another clip stands elsewhere, and never always at the start.
        alone = encode_speech(encoder, voices[0], 16000, 24.0).steps
        assert (first - alone)[:, 0].abs().mean() > 0.1
        assert not torch.equal(first, encode_within_a_talk(encoder, voices[1], 16000, 24.0).steps)

    @pytest.mark.parametrize(("weight", "counts"), [(0.0, False), (3.0, True)])
    def test_the_openings_weight(self, weight: float, counts: bool, tmp_path: Path) -> None:
        config = train_audio.AudioTraining(output=str(tmp_path), layers=1, recordings=0, opening_weight=weight)
        run = train_audio.Run(config)
        mels, values, counted = torch.zeros(1, 80, 3000), torch.zeros(1, 1500, 3), torch.ones(1, 1500)
        opened = values.clone()
        opened[..., 0] = 1
        with torch.no_grad():
            closed_loss, open_loss = (float(run.loss(mels, true, counted)[0]) for true in (values, opened))
        assert (closed_loss != open_loss) == counts


class TestVae:
    def test_unit_variance_changes_latents_and_no_picture(self) -> None:
        torch.manual_seed(0)
        vae = make_vae(SMALL).eval().requires_grad_(False)
        pictures = sample_clip(np.random.default_rng(0), 64, 4).frames
        before = decode(vae, encode(vae, pictures))
        unit_variance(vae, encode(vae, pictures))
        latents = encode(vae, pictures) * 0.18215
        assert latents.mean(dim=(0, 2, 3)).abs().max() < 0.05
        assert (latents.std(dim=(0, 2, 3)) - 1).abs().max() < 0.05
        after = decode(vae, encode(vae, pictures))
        assert np.abs(after.astype(int) - before).mean() < 2

    def test_grey_has_no_colour(self) -> None:
        axes = opponent(torch.full((1, 3, 2, 2), 0.5))
        assert torch.allclose(axes[:, 0], torch.tensor(0.5)) and axes[:, 1:].abs().max() < 1e-6

    def test_a_run_that_was_stopped_goes_on_bitwise(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(train_vae, "mouth_readout", lambda *_: 0.0)  # minutes of pictures
        whole = Run(replace(SMALL, output=str(tmp_path / "whole")))
        whole.train()
        part = Run(replace(SMALL, output=str(tmp_path / "parts")))
        save = part.save

        def save_and_stop(step: int) -> None:
            save(step)
            raise KeyboardInterrupt

        monkeypatch.setattr(part, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            part.train()
        rest = Run(replace(SMALL, output=str(tmp_path / "parts")))
        rest.train()
        assert rest.resume() == 4
        for name, value in whole.average.state_dict().items():
            assert torch.equal(rest.average.state_dict()[name], value), name
        assert load_vae(tmp_path / "parts").config["norm_num_groups"] == 4

    def test_the_encoder_stays_when_it_is_done(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(train_vae, "mouth_readout", lambda *_: 0.0)
        run = Run(replace(SMALL, output=str(tmp_path)))
        finish = run.finish_encoder
        kept: dict[str, torch.Tensor] = {}

        def keep() -> None:
            finish()
            kept.update({name: value.clone() for name, value in run.vae.state_dict().items()})

        monkeypatch.setattr(run, "finish_encoder", keep)
        run.train()
        now = run.vae.state_dict()
        changed = {name.split(".")[0] for name, value in kept.items() if not torch.equal(now[name], value)}
        assert changed == {"decoder", "post_quant_conv"}
