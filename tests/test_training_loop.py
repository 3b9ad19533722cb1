"""The training loop on small networks: which parameters learn, runs that are killed or divided, and bad input."""

from __future__ import annotations

import json
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from echomimic.cli.main import main
from echomimic.cli.train import TrainingBar
from echomimic.errors import Cancelled, OutputError, TrainingError
from echomimic.files.tensors import read_state_dict
from echomimic.models import DenoisingUNet, Networks, UNetConfig, scaled_dot_product_attention
from echomimic.training.accelerator import make_accelerator
from echomimic.training.config import OptimizerConfig, TrainingConfig, WeightsConfig, config_from, config_to_dict
from echomimic.training.networks import (
    TrainedNetworks,
    WithoutMotion,
    add_lora,
    attention_for_training,
    mark_trained,
    start_networks,
    weights_digests,
)
from echomimic.training.objective import student_timesteps
from echomimic.training.run_folder import RunFolder, locked
from echomimic.training.train import StepReport, Trainer, learning_rate, train
from tests.conftest import ROOT
from tests.published import whisper_checkpoint, write_published, write_vae
from tests.training_data import edit_metadata, write_data

NETWORKS = {"block_out_channels": [32, 64], "layers_per_block": 1, "attention_heads": 4, "norm_num_groups": 8}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data with cached features, a VAE and an audio encoder."""
    from echomimic.audio import load_audio_encoder
    from echomimic.training.latent_cache import cache_latents
    from echomimic.vae import load_vae

    folder = tmp_path_factory.mktemp("home")
    torch.manual_seed(0)
    write_vae(folder / "vae", {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1})
    torch.save(whisper_checkpoint(384, layers=4), folder / "tiny.pt")
    write_data(folder / "data", clips=2, frames=6, size=64)
    cache_latents(folder / "data", load_vae(folder / "vae"), load_audio_encoder(folder / "tiny.pt"))
    return folder


def configuration(home: Path, output: Path, **changes: Any) -> TrainingConfig:
    content = {
        "stage": "stage2",
        "data": str(home / "data"),
        "output": str(output),
        "weights": {"start": "random", "vae": str(home / "vae"), **NETWORKS},
        "size": 64,
        "frames": 3,
        "steps": 4,
        "batch_size": 2,
        "precision": "float32",
        "checkpoint_every": 2,
        "optimizer": {"learning_rate": 1e-3, "warmup_steps": 1},
        "loss": {"low_level": "encoder", "crop": 32},
        "validation": {"every": 0},
    }
    return config_from({**content, **changes}, home)


def losses(output: Path) -> list[float]:
    lines = [json.loads(line) for line in (output / "losses.jsonl").read_text().splitlines()]
    return [line["total"] for line in lines if "total" in line]


@pytest.fixture(scope="module")
def networks(home: Path) -> Networks:
    return start_networks(configuration(home, home / "unused"), torch.float32)


class TestTrainedParameters:
    @pytest.mark.parametrize("stage", ["stage1", "stage2", "distill"])
    def test_gradients_reach_exactly_the_named_parameters(self, networks, stage: str) -> None:

        model = TrainedNetworks(networks)
        named = mark_trained(model, stage)
        motion = WithoutMotion(networks.denoiser)
        if stage == "stage1":
            motion.take_out()
        try:
            reached = reached_by_gradients(model, frames=1 if stage == "stage1" else 3)
        finally:
            motion.put_back()
        assert reached == set(named)
        assert all(p.requires_grad == (name in reached) for name, p in model.named_parameters())

    def test_stages_train_what_they_should(self, networks) -> None:
        model = TrainedNetworks(networks)
        everything = {name for name, _ in model.named_parameters()}
        stage1, stage2 = set(mark_trained(model, "stage1")), set(mark_trained(model, "stage2"))
        motion = {name for name in everything if ".motion_modules." in name}
        assert not stage1 & motion
        assert motion <= stage2
        assert {name for name in stage2 - motion if ".attn2." not in name and ".norm2." not in name} == set()
        left = everything - stage1 - motion
        assert left
        assert all(name.startswith("reference_unet.up_blocks.1.attentions.1.") for name in left)

    def test_lora_layers_learn_and_nothing_else_does(self, home: Path) -> None:
        config = configuration(home, home / "unused", stage="lora", lora={"rank": 2, "alpha": 4})
        networks = start_networks(config, torch.bfloat16)
        add_lora(networks, config)
        model = TrainedNetworks(networks)
        named = mark_trained(model, "lora")
        assert all(".lora_A." in name or ".lora_B." in name for name in named)
        trained = {name for name, p in model.named_parameters() if p.requires_grad}
        assert trained == set(named)
        kinds = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in named}
        assert kinds == {"to_q", "to_k", "to_v", "0"}
        assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
        assert reached_by_gradients(model.float(), frames=3) == set(named)


def reached_by_gradients(model: TrainedNetworks, frames: int) -> set[str]:
    """Names of the parameters that get a gradient from one conditioned and one null row."""
    starts_at_zero = ("proj_out.weight", "pose_encoder.conv_out.weight", ".lora_B.default.weight")
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    with torch.no_grad():  # it would keep gradients from what lies before it
        for name, parameter in model.named_parameters():
            if name.endswith(starts_at_zero):
                parameter.add_(0.01)
    velocity = model(
        randn(2, 4, frames, 8, 8), torch.tensor([100, 900]),
        reference=randn(2, 4, 8, 8), audio=randn(2, frames, 50, 384), pose=randn(2, 3, frames, 64, 64).abs(),
        audio_mask=torch.ones(2, frames, 8, 8), conditioned=[True, False], posed=[True, False],
        dtype=torch.float32,
    )  # fmt: skip
    velocity.square().sum().backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    model.zero_grad(set_to_none=True)
    return reached


class TestRuns:
    def test_a_stopped_run_resumes_bitwise(self, home: Path, tmp_path: Path) -> None:
        whole = train(configuration(home, tmp_path / "whole", steps=5), device="cpu")

        def stop(report: StepReport) -> bool:
            return report.step != 2

        config = configuration(home, tmp_path / "stopped", steps=5)
        with pytest.raises(Cancelled, match="after step 3 of 5"):
            train(config, stop, device="cpu")
        again = train(config, device="cpu")
        assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")
        ours, other = read_state_dict(whole), read_state_dict(again)
        assert all(torch.equal(ours[name], other[name]) for name in ours)

    def test_the_loss_is_the_same_whatever_the_accumulation(self, home: Path, tmp_path: Path) -> None:
        together = train(configuration(home, tmp_path / "a", steps=2), device="cpu")
        parts = train(configuration(home, tmp_path / "b", steps=2, batch_size=1, accumulation=2), device="cpu")
        assert losses(tmp_path / "a") == pytest.approx(losses(tmp_path / "b"), rel=1e-5)
        ours, other = read_state_dict(together), read_state_dict(parts)
        assert all(torch.allclose(ours[name], other[name], atol=2e-4) for name in ours)

    def test_each_stage_runs_and_writes_its_result(self, home: Path, tmp_path: Path) -> None:
        from echomimic.weights import load_bundle, read_bundle_info

        first = train(configuration(home, tmp_path / "1", stage="stage1", steps=1), device="cpu")
        weights = {"path": str(first)}
        second = train(configuration(home, tmp_path / "2", stage="stage2", steps=1, weights=weights), device="cpu")
        student = train(configuration(home, tmp_path / "3", stage="distill", steps=1, weights=weights), device="cpu")
        info = read_bundle_info(student)
        assert (info.variant, info.settings.steps, info.settings.guidance) == ("accelerated", 6, 1.0)
        before, after = load_bundle(first), load_bundle(second)
        same = before.reference_unet.state_dict()
        assert all(torch.equal(same[name], t) for name, t in after.reference_unet.state_dict().items())

    def test_what_a_distillation_does_not_train_is_stored_as_it_came(self, home: Path, tmp_path: Path) -> None:
        config = configuration(home, tmp_path, stage="distill", precision="bfloat16", steps=1)
        start = TrainedNetworks(start_networks(config, torch.float32)).state_dict()
        stored = read_state_dict(train(config, device="cpu"), plain=False)
        names = [name for name in start if name.startswith(("reference_unet.", "pose_encoder."))]
        assert names
        assert all(torch.equal(start[name], stored[name]) for name in names)

    def test_the_tracker_is_closed(self, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        closed = []

        class Writer:
            def __enter__(self) -> Writer:
                return self

            def __exit__(self, *_: object) -> None:
                closed.append(True)

            def add_scalar(self, *_: object) -> None: ...

        monkeypatch.setattr(Trainer, "tracker", lambda trainer: Writer())
        train(configuration(home, tmp_path / "a", steps=1), device="cpu")
        with pytest.raises(Cancelled):
            train(configuration(home, tmp_path / "b"), lambda report: False, device="cpu")
        assert closed == [True, True]

    def test_validation_writes_video_strip_and_curves(self, home: Path, tmp_path: Path) -> None:
        strips = []
        config = configuration(
            home,
            tmp_path / "run",
            steps=2,
            validation={"every": 2, "clips": 1, "frames": 4, "steps": 1, "guidance": 1.0},
        )
        train(config, lambda report: strips.append(report.strip), device="cpu")
        assert strips[0] is None
        assert strips[1] is not None
        assert strips[1].is_file()
        assert strips[1].with_suffix(".mp4").is_file()
        assert (tmp_path / "run" / "curves.png").is_file()
        (line,) = [line for line in RunFolder(tmp_path / "run").read_log() if "validation" in line]
        assert {"psnr", "ssim", "hands_psnr"} <= line.keys()

    def test_a_clip_whose_sound_ends_before_its_pictures_is_validated_as_far(self, home: Path, tmp_path: Path) -> None:
        shutil.copytree(home / "data", tmp_path / "data")
        for path in (tmp_path / "data" / "clips").glob("*.latents.safetensors"):
            tensors = load_file(path)
            save_file({**tensors, "steps": tensors["steps"][:4].clone()}, path)
        settings = {"every": 1, "clips": 1, "frames": 6, "steps": 1, "guidance": 1.0}
        config = configuration(home, tmp_path / "run", data=str(tmp_path / "data"), steps=1, validation=settings)
        train(config, device="cpu")
        (line,) = [line for line in RunFolder(tmp_path / "run").read_log() if "validation" in line]
        assert "psnr" in line

    def test_curves_of_any_log_are_drawn(self, tmp_path: Path) -> None:
        from PIL import Image

        from echomimic.training.curves import plot_curves

        folder = RunFolder(tmp_path)
        assert plot_curves(folder) is None
        for step in range(60):
            folder.log({"step": step, "total": 1 / (1 + step), "phase": "a" if step < 30 else "b"})
        assert plot_curves(folder) == tmp_path / "curves.png"
        one = Image.open(tmp_path / "curves.png").height
        folder.log({"step": 59, "validation": 0, "psnr": 20.0})
        plot_curves(folder)
        assert Image.open(tmp_path / "curves.png").height > one

    def test_the_velocity_loss_on_accelerated_weights_is_warned_of(
        self, home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        config = configuration(home, tmp_path / "run", steps=1)
        networks = start_networks(config, torch.float32)
        train(config, device="cpu", networks=replace(networks, variant="accelerated"))
        assert "better start from the standard ones" in caplog.text

    def test_bfloat16_keeps_float32_master_weights(self, home: Path, tmp_path: Path) -> None:
        path = train(configuration(home, tmp_path / "run", steps=1, precision="bfloat16"), device="cpu")
        assert {t.dtype for n, t in read_state_dict(path).items() if "denoising" in n} == {torch.float32}
        assert losses(tmp_path / "run")[0] < 100

    def test_averaged_weights_are_those_of_the_formula(self, home: Path, tmp_path: Path) -> None:
        config = configuration(home, tmp_path / "run", steps=1)
        train(config, device="cpu")
        state = RunFolder(tmp_path / "run").load()
        assert state is not None
        start = start_networks(config, torch.float32)
        names = list(state["weights"])
        model = dict(TrainedNetworks(start).named_parameters())
        decay = min(0.999, (1 + 0) / (10 + 0))  # diffusers' warm-up of the average
        for name, shadow in zip(names, state["ema"]["shadow_params"]):
            before, now = model[name].detach(), state["weights"][name]
            assert torch.allclose(shadow, before + (1 - decay) * (now - before), atol=1e-6) or torch.allclose(
                shadow, now
            )

    def test_learning_rate(self, home: Path) -> None:
        config = configuration(
            home, home / "unused", steps=100,
            optimizer={"learning_rate": 1.0, "warmup_steps": 10, "final_share": 0.1},
        )  # fmt: skip
        assert [learning_rate(config, step) for step in (0, 4, 9, 10)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
        assert learning_rate(config, 55) == pytest.approx(0.55)
        assert learning_rate(config, 100) == pytest.approx(0.1)

    def test_the_students_timesteps_are_the_samplers(self) -> None:
        from echomimic.sampling.schedule import TRAINING_STEPS

        assert student_timesteps(6).tolist() == [999, 832, 666, 499, 332, 166]
        assert student_timesteps(1).tolist() == [TRAINING_STEPS - 1]

    @pytest.mark.parametrize("steps", [6, 30, 48, 121])  # at 48 and 121 halves decide which way to round
    def test_the_students_timesteps_are_the_originals(self, steps: int) -> None:
        from diffusers import DDIMScheduler

        original = DDIMScheduler(timestep_spacing="trailing", clip_sample=False)
        original.set_timesteps(steps)
        # diffusers adds a timestep -1 at some counts, 121 for one.
        assert student_timesteps(steps).tolist() == original.timesteps.tolist()[:steps]


def test_attention_in_float32_is_attention() -> None:
    query, key, value = (torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(n)) for n in range(3))
    exact = scaled_dot_product_attention(query, key, value, 2)
    half = attention_for_training(query.bfloat16(), key.bfloat16(), value.bfloat16(), 2)
    assert half.dtype == torch.bfloat16
    assert torch.equal(attention_for_training(query, key, value, 2), exact)
    assert torch.allclose(half.float(), exact, atol=2e-2)


class TestCommand:
    def test_ctrl_c_writes_a_checkpoint_and_the_same_command_resumes(
        self, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A suite that a shell started in the background inherits that SIGINT is ignored.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        config = configuration(home, tmp_path / "run", steps=3, checkpoint_every=100, precision="float32")
        path = tmp_path / "config.json"  # JSON is YAML
        path.write_text(json.dumps(config_to_dict(config)), encoding="utf-8")
        command = ["train", str(path), "--device", "cpu", "--quiet"]
        after_step = Trainer.after_step

        def interrupted(trainer: Trainer, step: int, *rest: Any) -> Any:
            if step == 1:
                signal.raise_signal(signal.SIGINT)
            return after_step(trainer, step, *rest)

        try:
            with monkeypatch.context() as patch:
                patch.setattr(Trainer, "after_step", interrupted)
                assert main(command) == 130
            assert [one.name for one in RunFolder(tmp_path / "run").checkpoints()] == ["checkpoint-00000002.pt"]
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            assert main(command) == 0
            assert len(losses(tmp_path / "run")) == 3
            with pytest.raises(KeyboardInterrupt), TrainingBar(quiet=True) as bar:  # the second one stops at once
                bar(StepReport(0, 9, {}))
                signal.raise_signal(signal.SIGINT)
                assert not bar(StepReport(1, 9, {}))
                signal.raise_signal(signal.SIGINT)
        finally:
            signal.signal(signal.SIGINT, before)


class TestDrawnAtRandom:
    def test_the_denoiser_reads_the_width_of_its_audio_encoder(self, home: Path, tmp_path: Path) -> None:
        torch.save(whisper_checkpoint(64, layers=2), tmp_path / "small.pt")
        config = configuration(home, tmp_path / "run")
        config = replace(config, weights=replace(config.weights, audio_encoder=str(tmp_path / "small.pt")))
        assert start_networks(config, torch.float32).config.audio_dim == 64

    def test_a_run_can_change_the_audio_context(self, home: Path, tmp_path: Path) -> None:
        config = configuration(home, tmp_path / "run")
        config = replace(config, weights=replace(config.weights, audio_context=0))
        trainer = Trainer(config, make_accelerator("cpu"), RunFolder(tmp_path / "run"))
        assert trainer.networks.config.audio_context == trainer.networks.denoiser.config.audio_context == 0
        layers = trainer.clips.clip(0).speech.steps.shape[1]
        assert trainer.clips.clip(0).speech.tokens([1]).shape[1] == 2 * layers

    def test_cached_clips_need_no_audio_encoder(self, home: Path, tmp_path: Path) -> None:
        size = UNetConfig((32, 64), layers_per_block=1, attention_heads=8, norm_num_groups=32)
        write_published(tmp_path / "weights", size, variants=("",), audio=False, vae=None)
        changes = {"stage": "lora", "lora": {"rank": 2}, "steps": 1}
        changes["weights"] = {"path": str(tmp_path / "weights"), "vae": str(home / "vae")}
        assert train(configuration(home, tmp_path / "a", **changes), device="cpu").is_file()
        plain = write_data(tmp_path / "plain", frames=6)
        with pytest.raises(TrainingError, match="needs an audio encoder, and the weights have none: give weights"):
            train(configuration(home, tmp_path / "b", **changes, data=str(plain)), device="cpu")

    def test_cached_clips_are_not_decoded_without_a_loss_on_pictures(self, home: Path, tmp_path: Path) -> None:
        data = tmp_path / "data"
        shutil.copytree(home / "data", data)
        for video in data.glob("*.mp4"):
            video.unlink()
        plain = {"phases": {"pose": 0.0, "detail": 0.0, "low_level": 0.0}}
        changes = {"data": str(data), "loss": plain, "steps": 1, "validation": {"every": 0}}
        assert train(configuration(home, tmp_path / "run", **changes), device="cpu").is_file()


class TestBadInput:
    def test_two_trainings_into_one_folder_are_refused(self, home: Path, tmp_path: Path) -> None:
        with locked(tmp_path), pytest.raises(TrainingError, match="another training runs in"):
            train(configuration(home, tmp_path), device="cpu")

    def test_another_configuration_in_the_same_folder_is_refused(self, home: Path, tmp_path: Path) -> None:
        train(configuration(home, tmp_path, steps=2), device="cpu")
        with pytest.raises(TrainingError, match=r"holds a run with another seed \(0, now 1\)"):
            train(configuration(home, tmp_path, steps=2, seed=1), device="cpu")

    def test_other_clips_than_the_run_began_with_are_refused(self, home: Path, tmp_path: Path) -> None:
        data, run = tmp_path / "data", tmp_path / "run"
        shutil.copytree(home / "data", data)
        train(configuration(home, run, data=str(data), steps=1), device="cpu")
        assert train(configuration(home, run, steps=1), device="cpu").is_file()  # the same clips at another place
        lines = (data / "metadata.jsonl").read_text().splitlines(keepends=True)
        (data / "metadata.jsonl").write_text(lines[1])
        with pytest.raises(TrainingError, match=r"run holds a run that began with other clips \(2, now 1\): to train"):
            train(configuration(home, run, data=str(data), steps=1), device="cpu")
        (run / "clips.json").unlink()  # of an earlier version
        assert train(configuration(home, run, data=str(data), steps=1), device="cpu").is_file()

    def test_weights_may_move_and_others_are_refused(self, home: Path, tmp_path: Path, monkeypatch) -> None:
        def config(vae: Path) -> TrainingConfig:
            weights = {"start": "random", "vae": str(vae), **NETWORKS}
            return configuration(home, tmp_path / "run", steps=1, weights=weights)

        shutil.copytree(home / "vae", tmp_path / "moved")
        write_vae(tmp_path / "other", {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1}, "another")
        train(config(home / "vae"), device="cpu")
        assert train(config(tmp_path / "moved"), device="cpu").is_file()
        with pytest.raises(TrainingError, match=r"run holds a run that began with other weights \(VAE\): to resume it"):
            train(config(tmp_path / "other"), device="cpu")
        stored = json.loads((tmp_path / "run" / "config.json").read_text())
        assert stored["weights"]["vae"] == str(tmp_path / "moved"), "a run that was refused leaves no trace"

        folder = RunFolder(tmp_path / "run")
        (folder.path / "weights.json").unlink()  # of an earlier version
        with pytest.raises(TrainingError, match=r"another weights\.vae \("):
            folder.check_config(config(home / "vae"))
        monkeypatch.chdir(tmp_path)
        relative = config(home)
        folder.check_config(replace(relative, weights=replace(relative.weights, vae="moved")))

    def test_a_run_goes_on_without_an_audio_encoder_and_keeps_its_digest(self, tmp_path: Path) -> None:
        folder = RunFolder(tmp_path)
        folder.check_weights({"VAE": "a", "audio encoder": "b"})
        folder.save(1, {}, keep=1)
        folder.check_weights({"VAE": "a"})
        with pytest.raises(TrainingError, match=r"\(audio encoder\)"):
            folder.check_weights({"VAE": "a", "audio encoder": "c"})
        (tmp_path / "weights.json").write_text("[]")
        with pytest.raises(TrainingError, match="does not say which weights the run began with: remove it"):
            folder.check_weights({"VAE": "a"})

    def test_every_network_has_its_digest(self, networks: Networks) -> None:
        before = weights_digests(networks)
        assert len(before) == 4
        for name, module in (
            ("denoising UNet", networks.denoiser),
            ("reference UNet", networks.reference_unet),
            ("pose encoder", networks.pose_encoder),
            ("VAE", networks.vae),
        ):
            weight = next(module.parameters()).data
            stored = weight.clone()
            weight += 1
            after = weights_digests(networks)
            weight.copy_(stored)
            assert [part for part in before if before[part] != after[part]] == [name]

    def test_a_result_does_not_replace_the_weights_it_started_from(self, home: Path, tmp_path: Path) -> None:
        weights = {"path": str(tmp_path / "bundle.safetensors")}
        with pytest.raises(TrainingError, match="would be replaced by the result"):
            train(configuration(home, tmp_path, stage="stage1", weights=weights), device="cpu")

    def test_what_changed_within_settings_is_named(self, tmp_path: Path) -> None:
        def config(**changes: Any) -> TrainingConfig:
            return TrainingConfig("lora", "data", str(tmp_path), WeightsConfig(path="models/echomimic/"), **changes)

        folder = RunFolder(tmp_path)
        folder.keep_config(config())
        folder.save(1, {}, keep=1)
        folder.check_config(config())  # the same path, in the same words
        words = r"another optimizer\.learning_rate \(1e-05, now 2e-05\), seed \(0, now 1\): give"
        with pytest.raises(TrainingError, match=words):
            folder.check_config(config(optimizer=OptimizerConfig(learning_rate=2e-5), seed=1))

    def test_a_lock_blames_the_folder_for_its_own_errors_only(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="gone"), locked(tmp_path / "run"):
            raise FileNotFoundError(2, "No such file", "gone.safetensors")
        with locked(tmp_path / "run"):
            pass
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(OutputError, match="file cannot be written"), locked(tmp_path / "file"):
            pass

    def test_a_run_of_a_version_without_a_setting_goes_on(self, home: Path, tmp_path: Path) -> None:
        train(configuration(home, tmp_path, steps=2), device="cpu")
        stored = json.loads((tmp_path / "config.json").read_text())
        del stored["loss"]["pose"], stored["weights"]["dwpose"]
        (tmp_path / "config.json").write_text(json.dumps(stored))
        RunFolder(tmp_path).check_config(configuration(home, tmp_path, steps=2))

    def test_a_full_disk_keeps_the_last_good_checkpoint(
        self, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = RunFolder(tmp_path)
        folder.save(1, {"weights": {"a": torch.ones(2)}}, keep=2)

        def full(state: Any, file: Any) -> None:
            file.write(b"half of it")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(torch, "save", full)
        with pytest.raises(OutputError, match=r"No space left.*the last good one is checkpoint-00000001\.pt"):
            folder.save(2, {"weights": {"a": torch.zeros(2)}}, keep=2)
        state = folder.load()
        assert state is not None
        assert state["step"] == 1
        assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-00000001.pt"]

    def test_a_loss_that_is_no_number_names_the_sample(self, home: Path, tmp_path: Path) -> None:
        optimizer = {"learning_rate": 1e30, "warmup_steps": 1}
        words = r"the (loss|gradient) of step 1 is nan.*clips/person-\d\.mp4 from frame.*no checkpoint yet"
        with pytest.raises(TrainingError, match=words):
            train(configuration(home, tmp_path / "run", optimizer=optimizer), device="cpu")

    def test_latents_that_are_no_numbers_name_their_file(self, home: Path, tmp_path: Path) -> None:
        shutil.copytree(home / "data", tmp_path / "data")
        for path in (tmp_path / "data" / "clips").glob("*.latents.safetensors"):
            tensors = load_file(path)
            tensors["latents"][:] = float("nan")
            save_file(tensors, path)
        with pytest.raises(TrainingError, match=r"the clip clips/person-\d\.mp4 cannot be used.*NaN"):
            train(configuration(home, tmp_path / "run", data=str(tmp_path / "data")), device="cpu")

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"frames": 99}, "has 6 frames, but clips/person-0.mp4 has 99"),
            ({"poses": "clips/nothing.safetensors"}, "names clips/nothing.safetensors, which is not there"),
            ({"frames": 5}, "has 6 frames, but clips/person-0.mp4 has 5"),
            ({"frames": -1}, "must be above 0"),
            ({"size": 128}, "latents of 128x128, but training runs at 64x64"),
        ],
    )
    def test_data_edited_by_hand(self, home: Path, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
        shutil.copytree(home / "data", tmp_path / "data")
        edit_metadata(tmp_path / "data", **changes)
        with pytest.raises(TrainingError, match=words):
            train(configuration(home, tmp_path / "run", data=str(tmp_path / "data"), steps=20), device="cpu")

    @pytest.mark.parametrize(
        ("name", "tensor", "words"),
        [
            (
                "latents",
                torch.zeros(4, 4, 8, 8),
                r"latents of shape \[4, 4, 8, 8\], but clips/person-\d.mp4 needs \[6, 4",
            ),
            ("latents", torch.zeros(6, 4, 16, 16), r"latents of shape \[6, 4, 16, 16\]"),
            (
                "steps",
                torch.zeros(13, 5, 64),
                r"are 64 wide, but the denoising network takes 384: use the audio encoder",
            ),
        ],
    )
    def test_cached_tensors_of_another_size(
        self, home: Path, tmp_path: Path, name: str, tensor: torch.Tensor, words: str
    ) -> None:
        shutil.copytree(home / "data", tmp_path / "data")
        for path in (tmp_path / "data" / "clips").glob("*.latents.safetensors"):
            save_file({**load_file(path), name: tensor}, path)
        with pytest.raises(TrainingError, match=words):
            train(configuration(home, tmp_path / "run", data=str(tmp_path / "data")), device="cpu")

    def test_nan_keypoints_are_absent_points(self, home: Path, tmp_path: Path) -> None:
        shutil.copytree(home / "data", tmp_path / "data")
        for path in (tmp_path / "data" / "clips").glob("*.poses.safetensors"):
            with safe_open(path, "pt") as file:
                metadata = file.metadata()
            tensors = load_file(path)
            tensors["keypoints"][:] = float("nan")
            save_file(tensors, path, metadata)
        train(configuration(home, tmp_path / "run", data=str(tmp_path / "data"), steps=1), device="cpu")
        assert losses(tmp_path / "run")[0] < 100

    @pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED"])
    def test_divided_weights_are_refused(self, home: Path, tmp_path: Path, kind: str, monkeypatch: Any) -> None:
        import accelerate

        class Divided(accelerate.Accelerator):
            @property
            def distributed_type(self) -> Any:
                return accelerate.DistributedType(kind)

        monkeypatch.setattr(accelerate, "Accelerator", Divided)
        with pytest.raises(TrainingError, match=f"configured for {kind}.*use `accelerate launch --multi_gpu`"):
            train(configuration(home, tmp_path), device="cpu")

    def test_no_data(self, home: Path, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match="make it with `python -m echomimic prepare"):
            train(configuration(home, tmp_path / "run", data=str(tmp_path)), device="cpu")

    def test_checkpoints_of_other_networks_are_refused(self, home: Path, tmp_path: Path) -> None:
        train(configuration(home, tmp_path, steps=2), device="cpu")
        for note in ("config.json", "weights.json"):
            (tmp_path / note).unlink()
        weights = {"start": "random", "vae": str(home / "vae"), **NETWORKS, "block_out_channels": [64, 64]}
        with pytest.raises(TrainingError, match="are of other networks"):
            train(configuration(home, tmp_path, steps=2, weights=weights), device="cpu")


class TestConfiguration:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"stepz": 3}, r"stepz is not a setting; did you mean steps\? Known here: .*batch_size"),
            ({"optimizer": {"lr": 1}}, "optimizer.lr is not a setting.*Known here: learning_rate"),
            ({"stage": "stage3"}, "stage is one of stage1, stage2, lora, distill, not 'stage3'"),
            ({"steps": "many"}, "steps must be a number, not 'many'"),
            ({"steps": 1.5}, "steps must be a whole number, not 1.5"),
            ({"size": 100}, "size must be a multiple of 8"),
            ({"frames": 33}, "frames must be 1 to 32"),
            ({"precision": "float16"}, "bfloat16 or float32"),
            ({"weights": {"start": "sd15"}}, "needs weights.sd15_unet and weights.motion_module"),
            ({"lora": {"rank": 0}}, "must be above 0"),
            ({"optimizer": {"ema_decay": 1}}, "ema_decay from 0 to below 1"),
            ({"loss": {"pose": "openpose"}}, "loss.pose is dwpose, gaussians or auto, not 'openpose'"),
            ({"phases": [{"name": "x", "share": 1, "parts": ["feet"]}]}, "shows 'feet'"),
            ({"gradient_checkpointing": "yes"}, "must be true or false"),
            ({"loss": []}, "loss must hold settings"),
            ({"seed": -1}, "seed must be 0 to 9223372036854775807, not -1"),
            ({"seed": 2**64}, "seed must be 0 to 9223372036854775807"),
            ({"noise_offset": -0.1}, "noise_offset must be at least 0"),
            ({"validation": {"every": -1}}, "validation.every must be at least 0"),
            ({"validation": {"clips": 0}}, "validation.clips must be at least 1, not 0"),
            ({"validation": {"frames": 0}}, "validation.frames must be at least 1"),
            ({"validation": {"steps": 2000}}, "validation.steps must be 0 to 1000, not 2000"),
            ({"validation": {"guidance": -1}}, "validation.guidance must be 0 to 1000"),
            ({"validation": {"seed": -1}}, "validation.seed must be 0 to"),
            ({"optimizer": {"betas": [0.9, 1.0]}}, r"optimizer.betas must be from 0 to below 1, not \[0.9, 1.0\]"),
            ({"optimizer": {"weight_decay": -1}}, "optimizer.weight_decay must be at least 0"),
            ({"optimizer": {"warmup_steps": -1}}, "optimizer.warmup_steps must be at least 0"),
            ({"optimizer": {"final_share": 2}}, "optimizer.final_share must be 0 to 1"),
            ({"loss": {"crop": 8}}, "loss.crop must be at least 32, not 8"),
            ({"loss": {"snr_gamma": -1}}, "loss.snr_gamma must be at least 0"),
            ({"loss": {"low_level": "ssim"}}, "loss.low_level is lpips, encoder or auto, not 'ssim'"),
            ({"loss": {"phases": {"pose": -1}}}, "loss.phases.pose must be at least 0"),
            ({"distill": {"guidance": -1}}, "distill.guidance must be 0 to 1000"),
            ({"weights": {"path": "x", "variant": "fast"}}, "weights.variant is standard or accelerated"),
            ({"weights": {"path": "x", "audio_context": 11}}, "weights.audio_context must be -1 to 10"),
            ({"weights": {"start": "random", "layers_per_block": 0}}, "weights.layers_per_block must be at least 1"),
            ({"weights": {"start": "random", "norm_num_groups": 0}}, "weights.norm_num_groups must be at least 1"),
            ({"weights": {"start": "random", "block_out_channels": [64]}}, "must be two levels or more"),
            ({"weights": {"start": "random", "block_out_channels": [48, 64]}}, r"multiples of 32 .*not \[48, 64\]"),
        ],
    )
    def test_mistakes_are_named(self, home: Path, changes: dict[str, Any], words: str) -> None:
        with pytest.raises(TrainingError, match=words):
            configuration(home, home / "unused", **changes)

    def test_a_setting_that_is_needed_is_named(self, home: Path) -> None:
        with pytest.raises(TrainingError, match="output is missing from the configuration"):
            config_from({"stage": "lora", "data": "x", "weights": {"path": "y"}}, home)

    def test_yaml(self, tmp_path: Path) -> None:
        from echomimic.training.config import read_config

        path = tmp_path / "lora.yaml"
        path.write_text(
            "stage: lora\ndata: clips\noutput: run\nweights: {path: models}\noptimizer: {learning_rate: 1e-4}\n"
            "phases:\n  - {name: all, share: 1, parts: [hands], audio: face}\n"
        )
        config = read_config(path)
        assert (config.data, config.weights.path) == (str(tmp_path / "clips"), str(tmp_path / "models"))
        assert config.optimizer.learning_rate == 1e-4
        assert config.curriculum[0].audio == "face"
        path.write_text("- a list")
        with pytest.raises(TrainingError, match="must be a list of settings"):
            read_config(path)
        path.write_text("stage: [")
        with pytest.raises(TrainingError, match="cannot be read"):
            read_config(path)

    def test_the_configurations_of_the_guide_are_read(self, tmp_path: Path) -> None:
        from echomimic.training.config import read_config

        guide = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
        blocks = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
        shortest = blocks[0]
        path = tmp_path / "config.yaml"
        stages = []
        for block in blocks:
            path.write_text(block if "stage: " in block else shortest + block, encoding="utf-8")
            stages.append(read_config(path).stage)
        assert stages == ["lora", "lora", "stage1", "stage2", "distill"]


class TestLora:
    def test_the_saved_file_is_the_trained_layers(self, home: Path, tmp_path: Path) -> None:
        from echomimic.training.networks import lora_layers
        from echomimic.weights.lora import apply_lora, save_lora

        config = configuration(home, tmp_path / "run", stage="lora", lora={"rank": 2, "alpha": 6})
        adapted, plain = (start_networks(config, torch.float32) for _ in range(2))
        add_lora(adapted, config)
        model = TrainedNetworks(adapted)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name in mark_trained(model, "lora"):
                parameter = model.get_parameter(name)
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
        save_lora(tmp_path / "lora.safetensors", lora_layers(model, 6 / 2), {})
        untouched = velocity_of(TrainedNetworks(plain))
        applied = apply_lora(plain, tmp_path / "lora.safetensors")
        assert applied.unused == []
        with_file = velocity_of(TrainedNetworks(plain))
        assert torch.allclose(with_file, velocity_of(model), atol=1e-4)
        assert not torch.allclose(with_file, untouched, atol=1e-2)
        applied.remove()
        assert torch.equal(velocity_of(TrainedNetworks(plain)), untouched)

    def test_a_run_writes_a_file_of_every_attention_layer(self, home: Path, tmp_path: Path) -> None:
        path = train(configuration(home, tmp_path / "run", stage="lora", steps=1, lora={"rank": 2}), device="cpu")
        names = read_state_dict(path, plain=False)
        assert {name.split(".")[0] for name in names} == {"diffusion_model", "reference_unet"}
        assert "diffusion_model.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_down.weight" in names
        with safe_open(path, "pt") as file:
            assert str(tmp_path) not in json.dumps(file.metadata())
        motion = "motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.1.to_out.0.lora_up.weight"
        assert f"diffusion_model.mid_block.{motion}" in names


@torch.no_grad()
def velocity_of(model: TrainedNetworks) -> torch.Tensor:
    """The output for fixed inputs."""
    generator = torch.Generator().manual_seed(3)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return model(
        randn(1, 4, 2, 8, 8), torch.tensor([500]), reference=randn(1, 4, 8, 8), audio=randn(1, 2, 50, 384),
        pose=randn(1, 3, 2, 64, 64).abs(), audio_mask=None, conditioned=[True], posed=[True], dtype=torch.float32,
    )  # fmt: skip


class TestStartWeights:
    """Stable Diffusion 1.5's UNet and AnimateDiff's motion module, as far as names and shapes make them."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> tuple[Path, Path]:
        torch.manual_seed(7)
        state = DenoisingUNet(UNetConfig((64, 128), layers_per_block=1, audio_dim=768)).state_dict()
        motion = {f"module.{name}": tensor for name, tensor in state.items() if ".motion_modules." in name}
        spatial = {name: tensor for name, tensor in state.items() if ".motion_modules." not in name}
        torch.save({"state_dict": motion}, tmp_path / "mm_sd_v15_v2.ckpt")
        save_file({name: tensor.contiguous() for name, tensor in spatial.items()}, tmp_path / "unet.safetensors")
        return tmp_path / "unet.safetensors", tmp_path / "mm_sd_v15_v2.ckpt"

    def start(self, home: Path, unet: Path, motion: Path) -> Networks:
        weights = {"start": "sd15", "sd15_unet": str(unet), "motion_module": str(motion), "vae": str(home / "vae")}
        return start_networks(configuration(home, home / "unused", weights=weights), torch.float32)

    def test_both_unets_take_what_they_have_a_place_for(self, home: Path, files: tuple[Path, Path]) -> None:
        networks = self.start(home, *files)
        given = read_state_dict(files[0])
        assert networks.config.block_out_channels == (64, 128)
        assert networks.config.audio_dim == 384
        for network in (networks.denoiser, networks.reference_unet):
            own = network.state_dict()
            assert torch.equal(own["conv_in.weight"], given["conv_in.weight"])
            name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"
            assert torch.equal(own[name], given[name])
        drawn = networks.denoiser.state_dict()["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"]
        assert drawn.shape == (128, 384)
        motion = read_state_dict(files[1])
        name = next(name for name in motion if name.endswith("attention_blocks.0.to_q.weight"))
        assert torch.equal(networks.denoiser.state_dict()[name.removeprefix("module.")], motion[name])
        assert not networks.pose_encoder.conv_out.weight.any()

    def test_a_file_that_is_no_motion_module(self, home: Path, files: tuple[Path, Path]) -> None:
        with pytest.raises(TrainingError, match="holds no weights of a motion module: give AnimateDiff's"):
            self.start(home, files[0], files[0])

    @pytest.mark.parametrize("kind", ["unet", "motion"])
    def test_weights_of_another_size_are_named(self, home: Path, files: tuple[Path, Path], kind: str) -> None:
        name = "down_blocks.0.resnets.0.conv1.weight"
        if kind == "unet":
            state = load_file(files[0])
            save_file({**state, name: torch.zeros(64, 32, 3, 3)}, files[0])
        else:
            state = torch.load(files[1], weights_only=True)["state_dict"]
            name = next(n for n in state if n.endswith("attention_blocks.0.to_q.weight")).removeprefix("module.")
            torch.save({"state_dict": {**state, f"module.{name}": torch.zeros(8, 8)}}, files[1])
        with pytest.raises(TrainingError, match=f"1 tensors are missing or misshaped: {re.escape(name)}"):
            self.start(home, *files)

    @pytest.mark.parametrize(
        ("variants", "asked", "expected"),
        [
            (("", "_acc"), "", "standard"),
            (("", "_acc"), "accelerated", "accelerated"),
            (("_acc",), "", "accelerated"),
        ],
    )
    def test_the_standard_weights_are_preferred(
        self, home: Path, tmp_path: Path, variants: tuple[str, ...], asked: str, expected: str
    ) -> None:
        config = UNetConfig((32, 64), layers_per_block=1, attention_heads=8, norm_num_groups=32, audio_dim=64)
        write_published(tmp_path / "weights", config, variants=variants)
        weights = {"path": str(tmp_path / "weights"), "variant": asked}
        networks = start_networks(configuration(home, home / "unused", weights=weights), torch.float32)
        assert networks.variant == expected

    def test_a_bundle_of_the_other_variant_is_refused(self, home: Path, small_bundle: Path) -> None:
        weights = {"path": str(small_bundle), "variant": "standard"}
        with pytest.raises(TrainingError, match=r"variant is standard, but the bundle .* is accelerated"):
            start_networks(configuration(home, home / "unused", weights=weights), torch.float32)
