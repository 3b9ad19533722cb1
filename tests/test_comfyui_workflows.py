"""The workflows that ship, in a real ComfyUI; skipped unless COMFYUI_PATH names a checkout."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.comfy_host import ComfyUI, Run, checkout_or_skip, running
from tests.published import TINY, write_published
from tests.workflow_files import NAMES, ROOT, read, to_prompt, widget_values, worded

pytestmark = pytest.mark.comfyui

# Of one second at 24 frames a second, as the original counts (echomimic/audio/tokens.py).
FRAMES = 26


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[ComfyUI]:
    with running(checkout_or_skip(), tmp_path_factory.mktemp("comfyui")) as server:
        yield server


@pytest.fixture(scope="module")
def prompts(server) -> dict[str, dict[str, Any]]:
    """The workflows in API format, with files of recipe weights for the published ones, empty files for the others."""
    models = server.data / "models"
    write_published(models / "echomimic", TINY, audio=True)
    for name in NAMES:
        for node in worded(read(name)).values():
            for model in node["properties"].get("models", []):
                file = models / model["directory"] / model["name"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
    object_info = server.json("/object_info")
    return {name: to_prompt(read(name), object_info) for name in NAMES}


def only(prompt: dict[str, Any], class_type: str) -> str:
    """The id of the node of this type."""
    (found,) = [node_id for node_id, node in prompt.items() if node["class_type"] == class_type]
    return found


def check_video(path: Path, frames: int, width: int, height: int) -> None:
    import av

    with av.open(path) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height, video.average_rate) == (width, height, 24)
        assert len(list(container.decode(video))) == frames
        assert abs(float(audio.duration * audio.time_base) - frames / 24) < 0.1


def test_comfyui_offers_them_as_templates(server):
    assert set(server.json("/workflow_templates")["echomimic"]) == set(NAMES)
    for name in NAMES:
        assert server.json(f"/api/workflow_templates/echomimic/{name}.json") == read(name)
        assert server.get(f"/api/workflow_templates/echomimic/{name}.jpg")[:2] == b"\xff\xd8"


@pytest.mark.parametrize("name", NAMES)
def test_no_value_is_left_over_for_comfyuis_own_nodes(server, name):
    object_info = server.json("/object_info")
    for node in worded(read(name)).values():
        values = list(node["widgets_values"])
        list(widget_values(object_info[node["type"]], values))
        assert values == [], node["type"]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "echomimic_demo"])
def test_comfyui_accepts_them(server, prompts, name):
    # Accepted means that every node, link and value was checked; it ends where the first empty file is read.
    run = server.wait(server.queue(prompts[name]))
    assert run.status == "error"
    assert run.error.split(":")[0] in (
        "VAELoader",
        "CheckpointLoaderSimple",
        "LoadVideo",
        "GetVideoComponents",
        "EchoMimicExtractPose",
    )


def test_without_a_lora_the_model_goes_on_as_it_is(prompts):
    """The node for a LoRA is in the workflow, bypassed, and takes no part in a run."""
    (waiting,) = [n for n in read("echomimic_native")["nodes"] if n["type"] == "EchoMimicLoadLora"]
    prompt = prompts["echomimic_native"]
    assert str(waiting["id"]) not in prompt
    for user in ("EchoMimicToModel", "EchoMimicConditioning"):
        assert prompt[only(prompt, user)]["inputs"]["model"] == [only(prompt, "EchoMimicLoadModel"), 0]


def test_the_demo_runs_to_a_video(server, prompts):
    prompt = prompts["echomimic_demo"]
    run = server.run(prompt)
    assert not run.error
    # As many as the command line makes of the same recording, `assets/speech.wav`.
    check_video(run.file(only(prompt, "SaveVideo")), 109, 192, 192)


def test_comfyui_offers_the_blueprints(server):
    listed = {
        entry["name"]: number
        for number, entry in server.json("/global_subgraphs").items()
        if entry["info"]["node_pack"] == "custom_nodes.echomimic"
    }
    shipped = {path.stem: path for path in (ROOT / "subgraphs").glob("*.json")}
    assert shipped and listed.keys() == shipped.keys()
    for name, path in shipped.items():
        data = server.json(f"/global_subgraphs/{listed[name]}")["data"]
        assert json.loads(data) == json.loads(path.read_text(encoding="utf-8"))


RENDERED = (
    "echomimic_accelerated",
    "echomimic_voice_only",
    "echomimic_native",
    "echomimic_retake",
    "echomimic_full_body",
    "echomimic_two_people",
)
LARGE = {"echomimic_full_body": (832, 1216), "echomimic_two_people": (1280, 640)}


def small(prompt: dict[str, Any]) -> dict[str, Any]:
    """The prompt with the demo's small VAE, small pictures and a second of sound: the published sizes take hours on a
    CPU."""
    prompt = copy.deepcopy(prompt)
    prompt[only(prompt, "VAELoader")] = {
        "class_type": "EchoMimicLoadBundle",
        "inputs": {"bundle": "demo_bundle.safetensors"},
    }
    bundle = only(prompt, "EchoMimicLoadBundle")
    for node in prompt.values():
        node["inputs"].update({name: [bundle, 2] for name, value in node["inputs"].items() if value == [bundle, 0]})
    for node in prompt.values():
        if node["class_type"] == "EchoMimicFitPortrait":
            node["inputs"].update(width=64, height=64)
        if node["class_type"] == "EchoMimicEncodeAudio":
            node["inputs"]["duration"] = 1.0
        if node["class_type"] == "EchoMimicRetakeFrames":
            node["inputs"].update(first=10, last=15)
    return prompt


@pytest.mark.parametrize("name", RENDERED)
def test_they_run_to_a_video_on_recipe_weights(server, prompts, name):
    prompt = small(prompts[name])
    run = server.run(prompt)
    assert not run.error
    for saved in [node_id for node_id, node in prompt.items() if node["class_type"] == "SaveVideo"]:
        check_video(run.file(saved), FRAMES, *LARGE.get(name, (64, 64)))
    for preview in [node_id for node_id, node in prompt.items() if node["class_type"] == "PreviewImage"]:
        assert run.outputs[preview]["images"]


def edge_steps(image: np.ndarray, box: dict[str, int]) -> np.ndarray:
    """Steps in levels of 0..255 across those edges of a box that lie in the picture, pixel by pixel along them."""
    left, top = max(box["x"], 0), max(box["y"], 0)
    right, bottom = min(box["x"] + box["width"], image.shape[1]), min(box["y"] + box["height"], image.shape[0])
    rows, columns = slice(top, bottom), slice(left, right)
    steps = [image[rows, x] - image[rows, x - 1] for x in (left, right) if 0 < x < image.shape[1]]
    steps += [image[y, columns] - image[y - 1, columns] for y in (top, bottom) if 0 < y < image.shape[0]]
    assert steps
    return np.abs(np.concatenate(steps)).max(axis=-1)


def test_no_seam_is_seen_in_a_rendered_full_body_picture(server, prompts):
    """What the networks make of recipe weights is noise, which differs from the picture as no portrait would. Along the
    edges of the part that is put back, at full size, no step is larger than in the picture by more than two levels;
    without the soft edge a line would be seen."""
    from PIL import Image

    prompt = small(prompts["echomimic_full_body"])
    fitted, pasted = only(prompt, "EchoMimicFitPortrait"), only(prompt, "EchoMimicPasteBack")
    hard = copy.deepcopy(prompt[pasted])
    hard["inputs"]["feather"] = 0.0
    prompt |= {"hard": hard, "box": {"class_type": "PreviewAny", "inputs": {"source": [fitted, 2]}}}
    for name, source in (("soft_file", pasted), ("hard_file", "hard")):
        inputs = {"images": [source, 0], "filename_prefix": f"seam/{name}"}
        prompt[name] = {"class_type": "SaveImage", "inputs": inputs}
    run = server.run(prompt)
    assert not run.error
    box = json.loads(run.outputs["box"]["text"][0])
    full = np.asarray(Image.open(server.data / "input" / "echomimic_full_body.png").convert("RGB"), dtype=float)
    before = edge_steps(full, box)
    for number in range(0, FRAMES, 5):
        soft, hard = (frame(run, name, number) for name in ("soft_file", "hard_file"))
        assert np.abs(soft - full).mean() > 5
        assert (edge_steps(soft, box) - before).max() <= 2
        assert np.median(edge_steps(hard, box) - before) > 10


def frame(run: Run, node: str, number: int) -> np.ndarray:
    """A picture of those that a node saved, `[H, W, 3]` in 0..255."""
    from PIL import Image

    saved = run.outputs[node]["images"][number]
    path = run.server.data / saved["type"] / saved["subfolder"] / saved["filename"]
    return np.asarray(Image.open(path).convert("RGB"), dtype=float)


def test_gestures_are_saved_loaded_edited_and_previewed(server):
    """A clip made from the voice, cut, saved, found again by its name, and shown."""
    clip = "output/poses/host_00001_.safetensors"
    made = {
        "sound": {"class_type": "LoadAudio", "inputs": {"audio": "echomimic_speech.wav"}},
        "gestures": {
            "class_type": "EchoMimicGenerateGestures",
            "inputs": {
                "audio": ["sound", 0],
                "energy": 0.8,
                "expressiveness": 0.5,
                "seed": 7,
                "clips": {"__value__": ["counting", "waving"]},
                "mirrored": True,
                "fps": 24.0,
            },
        },
        "cut": {
            "class_type": "EchoMimicEditPose",
            "inputs": {"pose": ["gestures", 0], "edit": "trim", "edit.start": 0.5, "edit.duration": 1.0},
        },
        "saved": {
            "class_type": "EchoMimicSavePose",
            "inputs": {"pose": ["cut", 0], "filename_prefix": "poses/host", "format": "clip (.safetensors)"},
        },
        "shown": {"class_type": "PreviewAny", "inputs": {"source": ["cut", 1]}},
    }
    run = server.run(made)
    assert not run.error
    assert run.outputs["shown"]["text"] == ["24"]
    assert (server.data / clip).is_file()
    looked = {
        "clip": {"class_type": "EchoMimicLoadPose", "inputs": {"clip": clip, "fps": 24.0}},
        "sheet": {
            "class_type": "EchoMimicPreviewPose",
            "inputs": {
                "pose": ["clip", 0],
                "view": "contact sheet",
                "view.pictures": 6,
                "view.columns": 3,
                "view.side": 96,
            },
        },
        "shown": {"class_type": "PreviewImage", "inputs": {"images": ["sheet", 0]}},
    }
    run = server.run(looked)
    assert not run.error
    assert len(run.outputs["shown"]["images"]) == 1


def test_a_portrait_is_cut_out_and_put_back(server):
    """Without a model between, the full picture comes back."""
    prompt = {
        "image": {"class_type": "LoadImage", "inputs": {"image": "echomimic_portrait.png"}},
        "marks": {
            "class_type": "EchoMimicMarkPortrait",
            "inputs": {
                "image": ["image", 0],
                **dict(zip(("nose_x", "nose_y", "neck_x", "neck_y"), (50.0, 20.5, 50.0, 48.0))),
                **dict(zip(("right_shoulder_x", "right_shoulder_y"), (32.0, 48.0))),
                **dict(zip(("left_shoulder_x", "left_shoulder_y"), (68.0, 48.0))),
                **dict(zip(("wrist_x", "wrist_y"), (34.0, 86.5))),
            },
        },
        "clip": {"class_type": "EchoMimicLoadPose", "inputs": {"clip": "waving", "fps": 24.0}},
        "cut": {
            "class_type": "EchoMimicAlignPortrait",
            "inputs": {
                "image": ["image", 0],
                "portrait": ["marks", 0],
                "pose": ["clip", 0],
                "width": 512,
                "height": 512,
                "scale": 1.3,
                "right": 0.0,
                "down": 0.0,
            },
        },
        "back": {
            "class_type": "EchoMimicPasteBack",
            "inputs": {"images": ["cut", 0], "picture": ["image", 0], "crop_box": ["cut", 2], "feather": 0.06},
        },
        "saved": {"class_type": "SaveImage", "inputs": {"images": ["back", 0], "filename_prefix": "pasted"}},
    }
    run = server.run(prompt)
    assert not run.error
    import numpy as np
    from PIL import Image

    pasted = np.asarray(Image.open(run.file("saved")), dtype=float)
    full = np.asarray(Image.open(server.data / "input" / "echomimic_portrait.png").convert("RGB"), dtype=float)
    assert pasted.shape == full.shape
    assert np.abs(pasted - full).mean() < 2
