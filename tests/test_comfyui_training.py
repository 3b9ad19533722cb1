"""Training an avatar in a real ComfyUI, between core's nodes; skipped without COMFYUI_PATH."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from echomimic.models import UNetConfig
from echomimic.pose import Canvas, PoseSequence, save_poses
from tests.comfy_host import STANDARD_FILES, ComfyUI, Listener, Run, checkout_or_skip, node, running
from tests.published import write_published
from tests.training_data import DrawnPersonDetector, person_frames, write_person_video
from tests.workflow_files import read, to_prompt

pytestmark = pytest.mark.comfyui

CONFIG = UNetConfig((64, 64, 128), layers_per_block=1, audio_dim=64)
FRAMES, SIZE = 24, 128


def training(steps: int, preview_every: int = 0) -> dict[str, dict[str, Any]]:
    """From a video to a saved LoRA."""
    return {
        "loaded": node("EchoMimicLoadModel", **STANDARD_FILES),
        "encoder": node("EchoMimicLoadAudioEncoder", audio_encoder="audio_processor/tiny.pt"),
        "vae": node("EchoMimicLoadBundle", bundle="vae_only.safetensors"),
        "video": node("LoadVideo", file="person.mp4"),
        "parts": node("GetVideoComponents", video=["video", 0]),
        "speech": node(
            "EchoMimicEncodeAudio", audio=["parts", 1], audio_encoder=["encoder", 0], fps=24, start=0, duration=0,
            normalize_loudness=False,
        ),
        "pose": node("EchoMimicLoadPose", clip="input/person.safetensors", fps=24),
        "clips": node(
            "EchoMimicTrainingClips",
            video=["video", 0], pose=["pose", 0], speech=["speech", 0], vae=["vae", 2], size=SIZE,
        ),
        "train": node(
            "EchoMimicTrainAvatar",
            model=["loaded", 0], clips=["clips", 0], vae=["vae", 2], steps=steps, rank=4, learning_rate=0.01, frames=2,
            preview_every=preview_every, seed=3,
        ),
        "save": node("SaveLoRA", lora=["train", 0], prefix="loras/person", steps=["train", 2]),
    }  # fmt: skip


def sampling(model: list[Any]) -> dict[str, dict[str, Any]]:
    """Our sampler with this model; its latent under `sampled`."""
    return {
        "frame": node("ImageFromBatch", image=["parts", 0], batch_index=0, length=1),
        "reference": node("VAEEncode", pixels=["frame", 0], vae=["vae", 2]),
        "sampler": node(
            "EchoMimicSampler",
            **{
                "model": model,
                "reference": ["reference", 0],
                "audio": ["speech", 0],
                "pose": ["pose", 0],
                "seed": 5,
                "preset": "custom",
                "preset.steps": 2,
                "preset.guidance": 1.0,
                "window_length": 12,
                "overlap": 3,
                "looped": True,
                "frames": 4,
                "pose_strength": 1.0,
                "audio_scale": 1.0,
            },
        ),
        "sampled": node("SaveLatent", samples=["sampler", 0], filename_prefix="sampled"),
    }


def latent(run: Run) -> torch.Tensor:
    assert not run.error
    saved = run.outputs["sampled"]["latents"][0]
    return load_file(run.server.data / saved["type"] / saved["subfolder"] / saved["filename"])["latent_tensor"]


def lora_files(server: ComfyUI) -> list[Path]:
    return sorted((server.data / "output" / "loras").glob("person_*.safetensors"))


def runs(server: ComfyUI) -> list[Path]:
    """The folders of the pack's training runs."""
    return sorted((server.data / "user").rglob("training/run-*"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUI]:
    from echomimic.weights import load_weights, save_bundle

    checkout = checkout_or_skip()
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    packages = ("accelerate", "peft", "diffusers", "kornia", "filelock", "torchmetrics")
    looks = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {packages!r})))"
    if subprocess.run([python, "-c", looks], check=False).returncode:
        pytest.skip(f"ComfyUI's Python lacks one of {', '.join(packages)}")
    with running(checkout, tmp_path_factory.mktemp("comfyui")) as server:
        folder = server.data / "models" / "echomimic"
        write_published(folder, CONFIG, audio=True)
        save_bundle(folder / "vae_only.safetensors", load_weights(folder, "standard"))
        frames, detect = person_frames(FRAMES, SIZE), DrawnPersonDetector()
        write_person_video(server.data / "input" / "person.mp4", frames)
        points = np.stack([detect(frame)[0] for frame in frames])
        points[..., :2] /= SIZE
        canvas = Canvas(SIZE, (0, SIZE), (0, SIZE))
        save_poses(
            PoseSequence(points[..., :2], points[..., 2], canvas=canvas), server.data / "input" / "person.safetensors"
        )
        yield server


@pytest.fixture(scope="module")
def trained(server: ComfyUI) -> Path:
    """A LoRA file that core's Save LoRA wrote, in the folder of core's loaders."""
    run = server.run(training(steps=3))
    assert not run.error
    (made,) = lora_files(server)
    target = server.data / "models" / "loras" / "person.safetensors"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(made.read_bytes())
    return target


def test_a_video_becomes_a_file_of_the_denoising_networks_layers(trained: Path) -> None:
    tensors = load_file(trained)
    assert {name.split(".")[0] for name in tensors} == {"diffusion_model"}
    ups = [tensor for name, tensor in tensors.items() if name.endswith("lora_up.weight")]
    assert len(ups) > 50
    assert all(tensor.isfinite().all() and tensor.any() for tensor in ups)


def test_cores_loader_brings_it_into_our_sampler(server: ComfyUI, trained: Path) -> None:
    patched = {
        **training(steps=3),
        "native": node("EchoMimicToModel", model=["loaded", 0], window_length=12, overlap=3, looped=True),
        "lora": node("LoraLoaderModelOnly", model=["native", 0], lora_name=trained.name, strength_model=1.0),
        "back": node("EchoMimicFromModel", model=["lora", 0]),
    }
    plain = latent(server.run({**training(steps=3), **sampling(["loaded", 0])}))
    changed = latent(server.run({**patched, **sampling(["back", 0])}))
    assert (changed - plain).abs().mean() > 0.01 * plain.abs().mean()
    # Core's Load LoRA Model takes the socket itself, without a file.
    direct = {**patched, "lora": node("LoraModelLoader", model=["native", 0], lora=["train", 0], strength_model=1.0,
                                      bypass=False)}  # fmt: skip
    assert torch.allclose(latent(server.run({**direct, **sampling(["back", 0])})), changed, atol=1e-5)
    # The files of the log hold no word of a key that was not loaded.
    assert "lora key not loaded" not in server.log()


def test_a_lora_of_cores_loader_leaves_no_trace(server: ComfyUI, trained: Path) -> None:
    """The model stays loaded between the runs; at strength 0 the loader hands it on as it is."""

    def run_with(strength: float | None) -> torch.Tensor:
        nodes = {
            **training(steps=3),
            "native": node("EchoMimicToModel", model=["loaded", 0], window_length=12, overlap=3, looped=True),
            "lora": node("LoraLoaderModelOnly", model=["native", 0], lora_name=trained.name, strength_model=strength),
            "back": node("EchoMimicFromModel", model=["lora", 0]),
        }
        if strength is None:
            del nodes["lora"]
            nodes["back"] = node("EchoMimicFromModel", model=["native", 0])
        return latent(server.run({**nodes, **sampling(["back", 0])}))

    before, changed, after = run_with(None), run_with(1.0), run_with(0.0)
    assert not torch.equal(changed, before)
    assert torch.equal(after, before)


def test_progress_and_the_validation_strip_reach_the_frontend(server: ComfyUI, trained: Path) -> None:
    listener = Listener(server)
    try:
        prompt_id = server.queue(training(steps=4, preview_every=2), client=listener.client)
        events, messages = listener.messages(prompt_id)
    finally:
        listener.close()
    assert not server.wait(prompt_id).error
    done = [event["data"]["value"] for event in events if event["type"] == "progress" and event["data"]["max"] == 4]
    assert done == [1, 2, 3, 4]
    assert any(message[:4] == Listener.PREVIEW.to_bytes(4, "big") for message in messages)


def test_a_cancel_keeps_what_was_learnt_and_the_same_graph_goes_on(server: ComfyUI, trained: Path) -> None:
    before = set(runs(server))
    prompt = server.queue(training(steps=12))
    until = time.monotonic() + 300
    while True:
        new = [run for run in set(runs(server)) - before if (run / "losses.jsonl").is_file()]
        if new and len((new[0] / "losses.jsonl").read_text().splitlines()) >= 2:
            break
        assert time.monotonic() < until, server.log()[-2000:]
        time.sleep(0.02)
    server.post("/interrupt", {})
    assert server.wait(prompt).interrupted
    (checkpoint,) = new[0].glob("checkpoint-*.pt")
    assert 2 <= int(checkpoint.stem.split("-")[1]) < 12
    first = (new[0] / "losses.jsonl").read_text().splitlines()
    assert not server.run(training(steps=12)).error
    lines = (new[0] / "losses.jsonl").read_text().splitlines()
    assert lines[: len(first)] == first
    assert [json.loads(line)["step"] for line in lines] == list(range(12))


def test_the_template_runs_from_a_video_to_a_render_with_the_lora(server: ComfyUI) -> None:
    """`echomimic_train_avatar` as it ships, with small files, a few steps, and known poses in the detector's place."""
    prompt = to_prompt(read("echomimic_train_avatar"), server.json("/object_info"))
    small = {
        "VAELoader": node("EchoMimicLoadBundle", bundle="vae_only.safetensors"),
        "EchoMimicExtractPose": node("EchoMimicLoadPose", clip="input/person.safetensors", fps=24),
    }
    (bundle,) = [number for number, entry in prompt.items() if entry["class_type"] == "VAELoader"]
    prompt = {number: small.get(entry["class_type"], entry) for number, entry in prompt.items()}
    settings = {
        "LoadVideo": {"file": "person.mp4"},
        "EchoMimicTrainingClips": {"size": SIZE},
        "EchoMimicTrainAvatar": {"steps": 2, "rank": 4, "frames": 2, "preview_every": 0},
        "EchoMimicFitPortrait": {"width": 64, "height": 64},
        "EchoMimicEncodeAudio": {"duration": 0.5},
        "SaveLoRA": {"prefix": "loras/template"},
    }
    for entry in prompt.values():
        entry["inputs"] |= settings.get(entry["class_type"], {})
        entry["inputs"] |= {name: [bundle, 2] for name, value in entry["inputs"].items() if value == [bundle, 0]}
    run = server.run(prompt)
    assert not run.error
    (video,) = [number for number, entry in prompt.items() if entry["class_type"] == "SaveVideo"]
    with av.open(run.file(video)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (64, 64)
        assert len(list(container.decode(stream))) >= 10
    (lora,) = (server.data / "output" / "loras").glob("template_*.safetensors")
    assert any(tensor.any() for name, tensor in load_file(lora).items() if name.endswith("lora_up.weight"))
