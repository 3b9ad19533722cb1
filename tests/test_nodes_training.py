"""The training nodes, over stand-ins for ComfyUI and with tiny networks."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.pack import Pack
from tests.published import TINY, write_published, write_vae
from tests.training_data import DrawnPersonDetector, person_frames

FRAMES = 6
WIDGETS = {"steps": 2, "rank": 2, "learning_rate": 0.01, "frames": 2, "preview_every": 2, "seed": 0}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published(tmp_path_factory.mktemp("published"), TINY, audio=False, vae=None)


@pytest.fixture
def model(pack: Pack, published: Path) -> Any:
    pack.models.rmdir()
    pack.models.symlink_to(published)
    return pack.run("EchoMimicLoadModel")[0]


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """ComfyUI's VAE as far as training uses it."""
    from echomimic.vae import load_vae

    network = load_vae(write_vae(tmp_path_factory.mktemp("vae")))

    class Vae:
        def encode(self, pixels: torch.Tensor) -> torch.Tensor:
            return network.encode(pixels.permute(0, 3, 1, 2) * 2 - 1).latent_dist.mean

        def get_sd(self) -> dict[str, torch.Tensor]:
            return network.state_dict()

    return Vae()


def inputs(pack: Pack) -> dict[str, Any]:
    sequence = pack.part("echomimic.pose").PoseSequence
    features = pack.part("echomimic.audio").SpeechFeatures
    frames, detect = person_frames(FRAMES), DrawnPersonDetector()
    points = np.stack([detect(frame)[0] for frame in frames])
    points[..., :2] /= 128
    canvas = pack.part("echomimic.pose").Canvas(128, (0, 128), (0, 128))
    steps = torch.randn(13, 5, TINY.audio_dim, generator=torch.Generator().manual_seed(0))
    return {
        "video": torch.from_numpy(frames).float() / 255,
        "pose": sequence(points[..., :2], points[..., 2], canvas=canvas),
        "speech": features(steps, 24.0),
        "size": 64,
    }


def test_a_clip_is_cropped_encoded_and_made_once(pack: Pack, vae: Any) -> None:
    from safetensors.torch import load_file

    given = inputs(pack)
    (clips,) = pack.run("EchoMimicTrainingClips", **given, vae=vae)
    (record,) = clips.records
    folder = pack.part("nodes.training").training_folder() / "clips"
    stored = load_file(folder / record.latents)
    assert stored["latents"].shape == (FRAMES, 4, 8, 8)
    assert torch.equal(stored["steps"], given["speech"].steps)
    written = (folder / record.latents).stat().st_mtime_ns
    (again,) = pack.run("EchoMimicTrainingClips", **given, vae=vae, clips=clips)
    assert len(again.records) == 2
    assert (folder / record.latents).stat().st_mtime_ns == written


def test_frames_and_poses_of_other_lengths_are_refused(pack: Pack, vae: Any) -> None:
    given = inputs(pack)
    with pytest.raises(ValueError, match="there are 3 frames, but 6 poses"):
        pack.run("EchoMimicTrainingClips", **{**given, "video": given["video"][:3]}, vae=vae)
    with pytest.raises(ValueError, match="24 frames a second and the voice was encoded for 25"):
        pack.run("EchoMimicTrainingClips", **{**given, "speech": replace(given["speech"], fps=25.0)}, vae=vae)


def test_a_vae_that_returns_nan_makes_no_clip(pack: Pack, vae: Any) -> None:
    broken = SimpleNamespace(encode=lambda pictures: vae.encode(pictures) / 0, get_sd=vae.get_sd)
    with pytest.raises(ValueError, match="the VAE returned NaN or infinite values"):
        pack.run("EchoMimicTrainingClips", **inputs(pack), vae=broken)
    assert not [*(pack.part("nodes.training").training_folder() / "clips").glob("*.safetensors")]


def test_another_vae_makes_another_clip(pack: Pack, vae: Any) -> None:
    from safetensors.torch import load_file

    def brighter() -> dict[str, torch.Tensor]:
        return {name: tensor + 1 for name, tensor in vae.get_sd().items()}

    folder, made = pack.part("nodes.training").training_folder() / "clips", []
    for one in (SimpleNamespace(encode=lambda pictures: vae.encode(pictures) + 1, get_sd=brighter), vae):
        (clips,) = pack.run("EchoMimicTrainingClips", **inputs(pack), vae=one)
        made.append(load_file(folder / clips.records[0].latents)["latents"])
    assert not torch.equal(*made)


def test_another_rate_canvas_or_length_makes_another_clip(pack: Pack, vae: Any) -> None:
    given = inputs(pack)
    canvas = pack.part("echomimic.pose").Canvas(160, (16, 144), (0, 128))
    changes: list[dict[str, Any]] = [
        {},
        {"pose": replace(given["pose"], fps=25.0), "speech": replace(given["speech"], fps=25.0)},
        {"pose": replace(given["pose"], canvas=canvas)},
        {"pose": given["pose"].take(range(FRAMES - 1))},
    ]
    made = [pack.run("EchoMimicTrainingClips", **{**given, **change}, vae=vae)[0].records[0] for change in changes]
    assert len({record.file_name for record in made}) == len(changes)


def test_a_vae_of_another_model_makes_no_clip(pack: Pack, vae: Any) -> None:
    flux = SimpleNamespace(encode=lambda pictures: torch.zeros(len(pictures), 16, 8, 8), get_sd=vae.get_sd)
    words = r"latents of \[16, 8, 8\].*the model's are \[4, 8, 8\]: connect a Stable Diffusion 1.5 VAE"
    with pytest.raises(ValueError, match=words):
        pack.run("EchoMimicTrainingClips", **inputs(pack), vae=flux)
    (clips,) = pack.run("EchoMimicTrainingClips", **inputs(pack), vae=vae)
    assert clips.records[0].frames == FRAMES


def test_a_video_is_read_from_where_it_is_trimmed(pack: Pack, vae: Any, tmp_path: Path) -> None:
    brightness = 20 * np.arange(FRAMES + 3, dtype=np.uint8)
    frames = np.broadcast_to(brightness[:, None, None, None], (FRAMES + 3, 128, 128, 3))
    path = pack.part("echomimic.media.video_writer").write_video(tmp_path / "video.mp4", [frames], 24.0)

    class Video:
        def get_stream_source(self) -> str:
            return str(path)

        def get_active_trim_window(self) -> tuple[float, float]:
            return 2 / 24, FRAMES / 24

    (clips,) = pack.run("EchoMimicTrainingClips", **{**inputs(pack), "video": Video()}, vae=vae)
    made = pack.part("nodes.training").training_folder() / "clips" / clips.records[0].file_name
    cut = pack.part("echomimic.training.clip_files").read_clip_frames(made, range(FRAMES))
    assert np.abs(np.mean(cut, axis=(1, 2, 3)) - brightness[2 : FRAMES + 2]).max() < 5


def test_a_size_that_the_vae_cannot_encode_is_refused(pack: Pack, vae: Any) -> None:
    with pytest.raises(ValueError, match="multiple of 8 pixels, as the VAE works in blocks of 8; it is 100"):
        pack.run("EchoMimicTrainingClips", **{**inputs(pack), "size": 100}, vae=vae)


@pytest.mark.parametrize("network", ["denoiser", "reference_unet", "pose_encoder"])
def test_a_model_with_a_lora_on_it_is_refused(pack: Pack, model: Any, vae: Any, network: str) -> None:
    (clips,) = pack.run("EchoMimicTrainingClips", **inputs(pack), vae=vae)
    patched = getattr(model, network).clone()
    patched.patches["conv_in.weight"] = [()]
    with pytest.raises(ValueError, match="LoRA or other patches on it"):
        pack.run("EchoMimicTrainAvatar", model=replace(model, **{network: patched}), clips=clips, vae=vae, **WIDGETS)


def test_a_lora_that_core_left_on_the_shared_weights_starts_no_other_run(
    pack: Pack, model: Any, vae: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clips,) = pack.run("EchoMimicTrainingClips", **inputs(pack), vae=vae)
    widgets = {**WIDGETS, "steps": 1, "preview_every": 0}
    pack.run("EchoMimicTrainAvatar", model=model, clips=clips, vae=vae, **widgets)
    weight = next(model.networks.denoiser.parameters())
    before = weight.detach().clone()
    with torch.inference_mode():
        weight.add_(1)

    def unload() -> None:
        with torch.inference_mode():
            weight.copy_(before)

    monkeypatch.setattr(pack.memory, "unload_all_models", unload)
    pack.run("EchoMimicTrainAvatar", model=model, clips=clips, vae=vae, **widgets)
    assert len([*pack.part("nodes.training").training_folder().glob("run-*")]) == 1


def test_clips_become_a_lora_that_cores_nodes_take(pack: Pack, model: Any, vae: Any) -> None:
    (clips,) = pack.run("EchoMimicTrainingClips", **inputs(pack), vae=vae)
    before = {name: tensor.clone() for name, tensor in model.networks.denoiser.state_dict().items()}
    lora, losses, steps = pack.run("EchoMimicTrainAvatar", model=model, clips=clips, vae=vae, **WIDGETS)
    assert {name.split(".")[0] for name in lora} == {"diffusion_model"}
    assert {name.rsplit(".", 2)[-2] for name in lora if name.endswith("weight")} == {"lora_down", "lora_up"}
    assert all(tensor.isfinite().all() for tensor in lora.values())
    assert (len(losses["loss"]), steps) == (2, 2)
    # The loaded model is as it was; the bar has shown the last strip.
    assert all(torch.equal(before[name], t) for name, t in model.networks.denoiser.state_dict().items())
    assert pack.memory.unloaded == 1
    assert pack.updates[-1][:2] == (2, 2)
    assert pack.updates[-1][2] is not None


def test_the_node_shows_the_loss(pack: Pack, model: Any, vae: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import server
    from comfy_api.latest import io

    monkeypatch.setattr(pack.nodes["EchoMimicTrainAvatar"], "hidden", io.HiddenHolder(unique_id="7"))
    (clips,) = pack.run("EchoMimicTrainingClips", **inputs(pack), vae=vae)
    _, losses, _ = pack.run("EchoMimicTrainAvatar", model=model, clips=clips, vae=vae, **WIDGETS)
    expected = [(f"step {step} of 2, loss {loss:.4f}", "7") for step, loss in enumerate(losses["loss"], 1)]
    assert server.texts == expected
    # A run that is cancelled says so.
    pack.memory.interrupted = True
    with pytest.raises(pack.memory.InterruptProcessingException):
        pack.run("EchoMimicTrainAvatar", model=model, clips=clips, vae=vae, **{**WIDGETS, "seed": 1})
    assert server.texts[-1] == ("stopped", "7")


def test_a_cancel_keeps_what_was_learnt(pack: Pack, model: Any, vae: Any) -> None:
    (clips,) = pack.run("EchoMimicTrainingClips", **inputs(pack), vae=vae)
    pack.memory.interrupted = True
    with pytest.raises(pack.memory.InterruptProcessingException):
        pack.run("EchoMimicTrainAvatar", model=model, clips=clips, vae=vae, **WIDGETS)
    pack.memory.interrupted = False
    (run,) = pack.part("nodes.training").training_folder().glob("run-*")
    assert [path.name for path in run.glob("checkpoint-*.pt")] == ["checkpoint-00000001.pt"]
    _, losses, _ = pack.run("EchoMimicTrainAvatar", model=model, clips=clips, vae=vae, **WIDGETS)
    assert len(losses["loss"]) == 2


def test_what_a_run_depends_on_starts_another_run(pack: Pack, model: Any, vae: Any) -> None:
    (clips,) = pack.run("EchoMimicTrainingClips", **inputs(pack), vae=vae)
    compute = torch.bfloat16 if model.precision.compute == torch.float32 else torch.float32
    other_vae = SimpleNamespace(
        encode=vae.encode, get_sd=lambda: {name: 1.01 * tensor for name, tensor in vae.get_sd().items()}
    )
    changes: list[dict[str, Any]] = [
        {},
        {"model": replace(model, precision=replace(model.precision, compute=compute))},
        {"vae": other_vae},
    ]
    for network in ("reference_unet", "pose_encoder"):
        other = copy.deepcopy(getattr(model.networks, network))
        with torch.no_grad():
            next(other.parameters()).add_(1)
        changes.append({"model": replace(model, networks=replace(model.networks, **{network: other}))})
    for number, change in enumerate(changes, 1):
        given = {"model": model, "vae": vae, **change}
        pack.run("EchoMimicTrainAvatar", clips=clips, **given, **{**WIDGETS, "steps": 1, "preview_every": 0})
        assert len([*pack.part("nodes.training").training_folder().glob("run-*")]) == number


def test_clips_of_two_sizes_are_refused(pack: Pack, model: Any, vae: Any) -> None:
    (clips,) = pack.run("EchoMimicTrainingClips", **inputs(pack), vae=vae)
    (both,) = pack.run("EchoMimicTrainingClips", **{**inputs(pack), "size": 72}, vae=vae, clips=clips)
    with pytest.raises(ValueError, match=r"pictures of \[64, 72\] pixels"):
        pack.run("EchoMimicTrainAvatar", model=model, clips=both, vae=vae, **WIDGETS)
