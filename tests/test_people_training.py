"""The demo model's own training: its configurations, and the VAE's loop."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from assets.scripts.people import train_audio, train_decoder, train_vae
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
    add_start,
    config_file,
    encode_within_a_talk,
    main,
)
from assets.scripts.people.train_vae import Run, VaeTraining, decode, encode, make_vae, opponent, unit_variance
from assets.scripts.people.voices import Speech
from echomimic.audio import encode_speech
from echomimic.training.config import config_from
from echomimic.training.latent_cache import cache_latents
from echomimic.vae import load_vae
from echomimic.weights import load_bundle, load_bundle_audio_encoder, load_bundle_vae
from tests.small_bundle import write_small_bundle
from tests.training_data import write_data

SMALL = VaeTraining(
    output="", widths=(8, 8, 8, 8), norm_groups=4, sizes=(64,), crop=64, crops=3, steps=4, encoder_steps=2, warmup=1,
    edges_after=1, checkpoint_every=2, sheet_every=100, people=1,
)  # fmt: skip


def train_to_the_first_save(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train, interrupted as soon as a checkpoint is written."""
    save = run.save

    def save_and_stop(step: int) -> None:
        save(step)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        run.train()


class TestConfigurations:
    def test_the_scripts_own(self) -> None:
        read_config(CONFIGS / "vae.yaml", VaeTraining)
        read_config(CONFIGS / "audio.yaml", train_audio.AudioTraining)
        read_config(CONFIGS / "data.yaml", DataSettings)
        for name in ("decoder.yaml", "again/decoder.yaml"):
            read_config(CONFIGS / name, train_decoder.DecoderTraining)
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
        known = load_bundle_audio_encoder(SHIPPED)
        size = {"layers": known.config.encoder_layers, "feed_forward": known.config.encoder_ffn_dim, "offsets": ()}
        config = read_config(CONFIGS / "again/audio.yaml", train_audio.AudioTraining, tmp_path)
        run = train_audio.Run(replace(config, start=str(SHIPPED), recordings=0, **size))
        for name, value in known.state_dict().items():
            assert torch.equal(run.encoder.state_dict()[name], value), name

    def test_an_audio_encoder_of_another_size_is_drawn_anew(self, tmp_path: Path) -> None:
        run = train_audio.Run(
            train_audio.AudioTraining(output=str(tmp_path), start=str(SHIPPED), layers=1, recordings=0)
        )
        assert len(run.encoder.layers) == 1

    def test_its_settings_stand_apart(self, tmp_path: Path) -> None:
        assert config_file(tmp_path, "vae") == CONFIGS / "vae.yaml"
        (tmp_path / START).touch()
        assert config_file(tmp_path, "vae") == CONFIGS / "again/vae.yaml"
        # People that the bundle has not learned from.
        first, again = (
            read_config(path, DataSettings) for path in (CONFIGS / "data.yaml", config_file(tmp_path, "data"))
        )
        assert first.size == again.size and first.seed != again.seed
        assert config_file(tmp_path, "finish") == CONFIGS / "finish.yaml"
        assert read_config(config_file(tmp_path, "bundle"), ShippingSettings).stage in STAGES_AGAIN
        assert set(STAGES_AGAIN) <= STAGES.keys()

    def test_what_ships_lies_between_its_networks_and_the_stages(self) -> None:
        networks, start = load_bundle(SHIPPED), load_bundle(SHIPPED)
        kept = {
            name: {key: value.clone() for key, value in getattr(networks, name).state_dict().items()}
            for name in ("denoiser", "reference_unet", "pose_encoder", "vae", "audio_encoder")
        }
        with torch.no_grad():
            for name in kept:
                for value in getattr(start, name).parameters():
                    value.add_(1)
        add_start(networks, start, 0.25)
        for name, before in kept.items():
            moved = 0.0 if name in ("vae", "audio_encoder") else 0.25
            for key, value in getattr(networks, name).named_parameters():
                torch.testing.assert_close(value, before[key] + moved, rtol=0, atol=2e-3)  # half precision

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
        monkeypatch.setattr(sys, "argv", ["train_demo", str(tmp_path), "--start", str(SHIPPED), "vae"])
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

    def run(self, folder: Path, **settings: Any) -> train_audio.Run:
        return train_audio.Run(train_audio.AudioTraining(output=str(folder), layers=1, recordings=0, **settings))

    @pytest.mark.parametrize(("weight", "counts"), [(0.0, False), (3.0, True)])
    def test_the_openings_weight(self, weight: float, counts: bool, tmp_path: Path) -> None:
        run = self.run(tmp_path, opening_weight=weight)
        mels, values, counted = torch.zeros(1, 80, 400), torch.zeros(1, 200, 3), torch.ones(1, 200)
        opened = values.clone()
        opened[..., 0] = 1
        with torch.no_grad():
            closed_loss, open_loss = (float(run.loss(mels, true, counted, [0])[0]) for true in (values, opened))
        assert (closed_loss != open_loss) == counts

    def test_the_last_layers_weight(self, tmp_path: Path) -> None:
        mels = torch.randn(1, 80, 400, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            found, (first, last, first_window, last_window) = self.run(tmp_path, last_weight=3.0).loss(
                mels, torch.zeros(1, 200, 3), torch.ones(1, 200), [7]
            )
        assert float(found) == pytest.approx((first + 3 * last + first_window + 3 * last_window) / 8, abs=1e-4)

    def test_states_of_a_whole_recording_are_the_encoders_own(self, tmp_path: Path) -> None:
        encoder = self.run(tmp_path).encoder.eval()
        mels = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            own, ours = (
                encoder(mels, output_hidden_states=True).hidden_states,
                train_audio.states_at(encoder, mels, [0]),
            )
        assert len(own) == len(ours) == 2
        for mine, yours in zip(ours, own):
            torch.testing.assert_close(mine, yours)

    def test_heads_look_at_neighbours(self) -> None:
        torch.manual_seed(0)
        offsets = (-1, 1, 3, -5)
        encoder = train_audio.make_encoder(
            train_audio.AudioTraining(output="", width=128, layers=2, feed_forward=128, offsets=offsets)
        ).eval()
        with torch.no_grad():
            states = train_audio.states_at(encoder, torch.randn(1, 80, 400), [600])
            for number, offset in enumerate(offsets):
                layer, head = encoder.layers[number // 2], slice(number % 2 * 64, number % 2 * 64 + 64)
                sound = layer.self_attn_layer_norm(states[number // 2])[0]
                query, key = (part(sound)[:, head] for part in (layer.self_attn.q_proj, layer.self_attn.k_proj))
                looks = (query @ key.T / 8).softmax(dim=-1)
                assert looks.diagonal(offset).mean() > 0.6

    def test_as_many_offsets_as_heads(self) -> None:
        with pytest.raises(ValueError, match="3 offsets for 1 layers of 2 heads"):
            train_audio.make_encoder(train_audio.AudioTraining(output="", width=128, layers=1, offsets=(1, 2, 3)))

    def test_a_piece_keeps_sound_and_mouth_together(self) -> None:
        # At each step the sound and the mouth both say which step it is.
        steps = 300
        samples, track = np.repeat(np.arange(steps), 320), np.repeat(np.arange(steps), 4)[:, None].repeat(3, axis=1)
        begins = set()
        for seed in range(5):
            piece = train_audio.piece_of(Speech(samples, [], track), 50, np.random.default_rng(seed))
            assert len(piece.samples) == 50 * 320
            assert torch.equal(train_audio.targets(piece)[:, 0], torch.from_numpy(piece.samples[::320]).float())
            begins.add(int(piece.samples[0]))
        assert len(begins) > 1
        short = train_audio.piece_of(Speech(samples, [], track), 400, np.random.default_rng(0))
        assert len(short.samples) == len(samples)

    def test_every_eighth_step_takes_whole_recordings(self, tmp_path: Path) -> None:
        run = self.run(tmp_path, whole_every=8)
        run.speeches = [Speech(np.ones(16000 * 12, np.float32), [], np.zeros((12 * 200, 3)))]
        mels, _, counted, places = run.batch(0)
        assert mels.shape == (2, 80, 3000) and places == [0, 0] and counted.sum(dim=1).tolist() == [600, 600]
        mels, _, counted, places = run.batch(1)
        assert mels.shape == (8, 80, 400) and counted.all() and len(set(places)) > 4 and max(places) <= 1300
        assert torch.equal(mels, run.batch(1)[0])


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
        train_to_the_first_save(part, monkeypatch)
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


@pytest.fixture(scope="module")
def sampled_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder: a bundle to sample with, its VAE, and four clips with this one's latents."""
    run = tmp_path_factory.mktemp("run")
    write_small_bundle(run / START)
    vae = load_bundle_vae(run / START)
    vae.save_pretrained(run / VAE)
    write_data(run / "data", clips=4, frames=4)  # the first one and the last one look alike
    cache_latents(run / "data", vae, load_bundle_audio_encoder(run / START))
    return run


class TestDecoder:
    SETTINGS = train_decoder.DecoderTraining(
        output="", weights=str(START), clips=4, frames=2, sampling_steps=1, measured=1, batch=1, encoded=1, steps=4,
        warmup=1, checkpoint_every=2,
    )  # fmt: skip

    def run(self, base: Path, output: Path, **changes: Any) -> train_decoder.Run:
        return train_decoder.Run(replace(self.SETTINGS, output=str(output), **changes), base)

    def test_it_learns_to_draw_what_is_sampled(self, sampled_run: Path, tmp_path: Path) -> None:
        run = self.run(sampled_run, tmp_path, steps=40, learning_rate=1e-2)
        run.train()
        first, last = (line for line in run.folder.read_log() if "sampled_psnr" in line)
        assert last["sampled_psnr"] > first["sampled_psnr"] + 1
        before, after = (load_vae(folder).state_dict() for folder in (sampled_run / VAE, tmp_path))
        changed = {name.split(".")[0] for name, value in before.items() if not torch.equal(after[name], value)}
        assert changed == {"decoder", "post_quant_conv"}

    def test_its_latents_are_the_networks_own_and_the_encoders(self, sampled_run: Path, tmp_path: Path) -> None:
        run = self.run(sampled_run, tmp_path)
        run.make_samples()
        latents, pictures = run.batch(0)
        assert latents.shape == (2, 4, 8, 8) and pictures.shape == (2, 3, 64, 64)
        encoded = encode(run.vae, ((pictures + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
        far, near = ((latents - encoded).square().mean(dim=(1, 2, 3)) / encoded.square().mean()).tolist()
        assert near < 0.1 < far

    def test_a_run_that_was_stopped_goes_on_bitwise(
        self, sampled_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = self.run(sampled_run, tmp_path / "whole")
        whole.train()
        part = self.run(sampled_run, tmp_path / "parts")
        train_to_the_first_save(part, monkeypatch)
        rest = self.run(sampled_run, tmp_path / "parts")
        rest.train()
        for name, value in whole.average.state_dict().items():
            assert torch.equal(rest.average.state_dict()[name], value), name
