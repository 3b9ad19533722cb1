"""The pack in a real ComfyUI on a CPU, over HTTP; skipped unless COMFYUI_PATH names a checkout."""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.comfy_host import ComfyUI, checkout_or_skip, running
from tests.published import TINY, write_published
from tests.test_nodes_schema import GOLDEN, IDS, contract

pytestmark = pytest.mark.comfyui

# The small bundle that ships, on the portrait, voice and clip that ship.
DEMO: dict[str, Any] = {
    "bundle": {"class_type": "EchoMimicLoadBundle", "inputs": {"bundle": "demo_bundle.safetensors"}},
    "image": {"class_type": "LoadImage", "inputs": {"image": "echomimic_portrait.png"}},
    "scaled": {
        "class_type": "ImageScale",
        "inputs": {"image": ["image", 0], "upscale_method": "area", "width": 64, "height": 64, "crop": "center"},
    },
    "reference": {"class_type": "VAEEncode", "inputs": {"pixels": ["scaled", 0], "vae": ["bundle", 2]}},
    "sound": {"class_type": "LoadAudio", "inputs": {"audio": "echomimic_speech.wav"}},
    "speech": {
        "class_type": "EchoMimicEncodeAudio",
        "inputs": {
            "audio": ["sound", 0],
            "audio_encoder": ["bundle", 1],
            "fps": 24,
            "start": 0,
            "duration": 0.5,
            "normalize_loudness": False,
        },
    },
    "clip": {"class_type": "EchoMimicLoadPose", "inputs": {"clip": "explaining", "fps": 24}},
    "pose": {
        "class_type": "EchoMimicFitPose",
        "inputs": {"pose": ["clip", 0], "audio": ["speech", 0], "mode": "loop", "blend_seconds": 0.5},
    },
    "latent": {
        "class_type": "EchoMimicSampler",
        "inputs": {
            "model": ["bundle", 0],
            "reference": ["reference", 0],
            "audio": ["speech", 0],
            "pose": ["pose", 0],
            "seed": 1,
            "preset": "custom",
            "preset.steps": 2,
            "preset.guidance": 1.0,
            "window_length": 12,
            "overlap": 3,
            "looped": True,
            "frames": 0,
            "pose_strength": 1.0,
            "audio_scale": 1.0,
        },
    },
    "video": {
        "class_type": "EchoMimicSaveVideo",
        "inputs": {
            "latent": ["latent", 0],
            "vae": ["bundle", 2],
            "audio": ["speech", 2],
            "fps": ["speech", 3],
            "filename_prefix": "video/demo",
            "crf": 18,
        },
    },
}


def changed(changes: dict[str, Any], base: dict[str, Any] = DEMO) -> dict[str, Any]:
    """The demo with other inputs: `{"latent.seed": 2}`; a dict adds or replaces a node."""
    prompt = copy.deepcopy(base)
    for name, value in changes.items():
        if isinstance(value, dict):
            prompt[name] = value
        else:
            node, key = name.split(".", 1)
            prompt[node]["inputs"][key] = value
    return prompt


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[ComfyUI]:
    with running(checkout_or_skip(), tmp_path_factory.mktemp("comfyui")) as server:
        yield server


@pytest.fixture(scope="module")
def published(server) -> Path:
    """Recipe weights as the published files; ComfyUI's own VAE comes from the demo bundle."""
    folder = server.data / "models" / "echomimic"
    return write_published(folder, TINY, audio=True)


def frames_of(path: Path) -> np.ndarray:
    import av

    with av.open(path) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_the_pack_is_imported_without_complaint(server):
    log = server.log()
    assert "custom_nodes/echomimic" in log
    # (ComfyUI's own nodes may miss something on this machine.)
    assert not [line for line in log.splitlines() if "IMPORT FAILED" in line and "echomimic" in line]
    assert not [line for line in log.splitlines() if "echomimic" in line.lower() and "warning" in line.lower()]


def test_all_nodes_are_registered_as_in_the_golden_copy(server):
    object_info = server.json("/object_info")
    golden = json.loads(GOLDEN.read_text())
    assert {node: contract(object_info[node]) for node in IDS} == golden


@pytest.mark.parametrize("language", ["en", "zh"])
def test_help_pages_and_translations_are_served(server, language):
    for node in IDS:
        page = f"{node}.md" if language == "en" else f"{node}/{language}.md"
        assert server.get(f"/extensions/echomimic/docs/{page}").decode().startswith("# EchoMimic")
    assert set(server.json("/i18n")[language]["nodeDefs"]) >= set(IDS)


def test_demo_runs_to_a_video_of_the_right_length_rate_and_sound(server):
    import av

    run = server.run(DEMO)
    assert not run.error
    with av.open(run.file("video")) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height, video.average_rate) == (64, 64, 24)
        frames = len(list(container.decode(video)))
        assert abs(float(audio.duration * audio.time_base) - frames / 24) < 0.1
    assert abs(frames - 12) <= 2


def decoded_frames(server: ComfyUI, seed: int) -> np.ndarray:
    """The demo's frames before they are a video `[F, H, W, 3]`: of such small pictures x264 writes another file each
    time."""
    saved = {
        "decoded": {"class_type": "EchoMimicDecode", "inputs": {"latent": ["latent", 0], "vae": ["bundle", 2]}},
        "saved": {"class_type": "SaveImage", "inputs": {"images": ["decoded", 0], "filename_prefix": f"seed{seed}"}},
    }
    run = server.run(changed({"latent.seed": seed, **saved}))
    assert not run.error
    from PIL import Image

    files = [server.data / "output" / entry["filename"] for entry in run.outputs["saved"]["images"]]
    return np.stack([np.asarray(Image.open(file), dtype=float) for file in files])


def test_same_prompt_same_frames_other_seed_other_frames(server):
    first = decoded_frames(server, 1)
    server.forget()
    again, other = decoded_frames(server, 1), decoded_frames(server, 2)
    # How much is computed at once follows the memory that is free just then, which changes the last digits.
    assert np.abs(first - again).mean() < 0.1
    assert np.abs(first - other).mean() > 1


def test_saved_video_holds_prompt_and_workflow(server):
    import av

    workflow = {"nodes": [], "links": [], "version": 0.4, "extra": {"message": "你好"}}
    run = server.run(changed({"video.filename_prefix": "video/held"}), workflow)
    with av.open(run.file("video")) as container:
        assert json.loads(container.metadata["workflow"]) == workflow
        held = json.loads(container.metadata["prompt"])
    assert held["latent"]["inputs"]["seed"] == 1


def test_comfyuis_own_nodes_take_the_latents_and_the_encoder(server):
    prompt = changed(
        {
            "ours": {"class_type": "EchoMimicDecode", "inputs": {"latent": ["latent", 0], "vae": ["bundle", 2]}},
            "theirs": {"class_type": "VAEDecode", "inputs": {"samples": ["latent", 0], "vae": ["bundle", 2]}},
            "difference": {
                "class_type": "ImageBlend",
                "inputs": {
                    "image1": ["ours", 0],
                    "image2": ["theirs", 0],
                    "blend_factor": 1,
                    "blend_mode": "difference",
                },
            },
            "save": {
                "class_type": "SaveImage",
                "inputs": {"images": ["difference", 0], "filename_prefix": "difference"},
            },
            "heard": {
                "class_type": "AudioEncoderEncode",
                "inputs": {"audio_encoder": ["bundle", 1], "audio": ["sound", 0]},
            },
            "look": {"class_type": "PreviewAny", "inputs": {"source": ["heard", 0]}},
        }
    )
    run = server.run(prompt)
    assert not run.error
    from PIL import Image

    files = [server.data / "output" / saved["filename"] for saved in run.outputs["save"]["images"]]
    assert len(files) >= 10
    assert all(np.asarray(Image.open(file)).max() <= 1 for file in files)


def test_cancel_stops_soon_and_the_next_run_works(server):
    long = changed({"latent.preset.steps": 200, "latent.seed": 99})
    prompt_id = server.queue(long)
    started = time.monotonic()
    while not server.json("/queue")["queue_running"] or time.monotonic() - started < 3:
        time.sleep(0.1)
    server.post("/interrupt", {})
    run = server.wait(prompt_id)
    assert run.interrupted
    assert not server.run(changed({"latent.seed": 100})).error


def test_published_files_run_to_a_video(server, published):
    prompt = changed(
        {
            "model": {
                "class_type": "EchoMimicLoadModel",
                "inputs": {
                    "denoising_unet": "denoising_unet_acc.pth",
                    "motion_module": "motion_module_acc.pth",
                    "reference_unet": "reference_unet.pth",
                    "pose_encoder": "pose_encoder.pth",
                    "variant": "auto",
                },
            },
            "ears": {
                "class_type": "EchoMimicLoadAudioEncoder",
                "inputs": {"audio_encoder": "audio_processor/tiny.pt"},
            },
            "latent.model": ["model", 0],
            "latent.preset": "from model",
            "speech.audio_encoder": ["ears", 0],
        }
    )
    run = server.run(prompt)
    assert not run.error
    assert len(frames_of(run.file("video"))) >= 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speech.start": 100.0}, "EchoMimicEncodeAudio: start is 100 s, but the recording lasts"),
        ({"latent.frames": 500}, "EchoMimicSampler: 500 frames were requested, but the audio lasts"),
        ({"latent.pose": ["clip", 0], "speech.fps": 30}, "EchoMimicSampler: the poses have 24 frames a second"),
        ({"latent.overlap": 12}, "EchoMimicSampler: the overlap must be at least 0 and below the window length"),
    ],
)
def test_mistakes_are_shown_at_the_node(server, changes, message):
    run = server.run(changed(changes))
    assert message in run.error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent.window_length": 33}, "33 bigger than max of 32"),
        ({"clip.clip": "nobody"}, "nobody"),
    ],
)
def test_mistakes_that_show_before_the_run_are_refused(server, changes, message):
    assert message in server.refusal(changed(changes))


def test_mixed_variants_are_refused(server, published):
    model = {
        "class_type": "EchoMimicLoadModel",
        "inputs": {
            "denoising_unet": "denoising_unet.pth",
            "motion_module": "motion_module_acc.pth",
            "reference_unet": "reference_unet.pth",
            "pose_encoder": "pose_encoder.pth",
            "variant": "auto",
        },
    }
    run = server.run(changed({"model": model, "latent.model": ["model", 0]}))
    assert "Both must be standard, or both accelerated" in run.error


def test_missing_files_are_one_message(server):
    model = {
        role: f"{role}_other.pth" for role in ("denoising_unet", "motion_module", "reference_unet", "pose_encoder")
    }
    loader = {"class_type": "EchoMimicLoadModel", "inputs": {**model, "variant": "auto"}}
    ears = {"class_type": "EchoMimicLoadAudioEncoder", "inputs": {"audio_encoder": "other.pt"}}
    refused = json.loads(
        server.refusal(
            changed({"model": loader, "latent.model": ["model", 0], "ears": ears, "speech.audio_encoder": ["ears", 0]})
        )
    )
    (reason,) = [reason for node in refused["node_errors"].values() for reason in node["errors"]]
    assert "model files are missing: download denoising_unet_other.pth" in reason["details"]


def test_errors_are_shown_without_class_and_module(server):
    run = server.run(changed({"speech.start": 100.0}))
    shown = run.messages["execution_error"]
    assert shown["exception_type"] == "EchoMimic"
    assert shown["exception_message"].startswith("start is 100 s, but the recording lasts")


def test_save_video_fills_in_names_and_its_video_is_saved_by_core(server):
    again = {
        "class_type": "SaveVideo",
        "inputs": {
            "video": ["video", 0],
            "filename_prefix": "video/again_by_core",
            "format": "auto",
            "format.codec": "auto",
        },
    }
    prefix = "video/%date:yyyy%_%EchoMimicSampler.seed%"
    run = server.run(changed({"video.filename_prefix": prefix, "again": again}))
    assert not run.error
    assert re.fullmatch(r"20\d\d_1_00001_\.mp4", run.file("video").name)
    assert len(frames_of(run.file("again"))) == len(frames_of(run.file("video")))
