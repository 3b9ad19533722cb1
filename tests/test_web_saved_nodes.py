"""Nodes that were saved before their list of today existed: what the pack's browser code makes of them as they load."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.workflow_files import widget_values

ROOT = Path(__file__).resolve().parents[1]
NODE_JS = shutil.which("node")

# Stands for the frontend: registers the extension, then loads the saved node through a class of its own.
FRONTEND = """
import { readFileSync } from "node:fs";
import { extension } from "./scripts/app.js";
import "./extensions/echomimic/js/saved_nodes.js";

const { type, saved } = JSON.parse(readFileSync(0, "utf8"));
class Registered {
  configure(data) {
    this.loaded = data;
  }
}
extension.beforeRegisterNodeDef(Registered, { name: type });
const node = new Registered();
node.configure(saved);
console.log(JSON.stringify(node.loaded));
"""
APP = "export let extension; export const app = { registerExtension: (given) => { extension = given; } };"


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """`load(type, saved)`: the saved node as ComfyUI's `configure` receives it."""
    if NODE_JS is None:
        pytest.skip("needs Node.js")
    js = tmp_path / "extensions" / "echomimic" / "js"
    js.mkdir(parents=True)
    shutil.copy(ROOT / "web" / "js" / "saved_nodes.js", js)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "app.js").write_text(APP)
    (tmp_path / "frontend.js").write_text(FRONTEND)
    (tmp_path / "package.json").write_text('{"type": "module"}')

    def run(kind: str, saved: dict[str, Any]) -> dict[str, Any]:
        given = json.dumps({"type": kind, "saved": saved})
        done = subprocess.run([NODE_JS, "frontend.js"], cwd=tmp_path, input=given, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_a_preview_from_before_the_views_keeps_its_numbers(pack, load):
    """As 0.1's first day saved it: width, height, every and opacity, and no `view`."""
    loaded = load("EchoMimicPreviewPose", {"id": 4, "widgets_values": [640, 384, 3, 0.25]})
    info = pack.nodes["EchoMimicPreviewPose"].GET_SCHEMA().info()
    values = list(loaded["widgets_values"])
    widgets = {name: value for name, value, _ in widget_values(info, values)}
    assert widgets == {
        "view": "frames",
        "view.width": 640,
        "view.height": 384,
        "view.every": 3,
        "view.opacity": 0.25,
    }
    assert not values


def test_a_number_that_was_linked_stays_linked(pack, load):
    pose = {"name": "pose", "type": "ECHOMIMIC_POSE", "link": 1}
    every = {"name": "every", "type": "INT", "widget": {"name": "every"}, "link": 2}
    saved = {"widgets_values": [512, 512, 6, 1.0], "inputs": [pose, every]}
    loaded = load("EchoMimicPreviewPose", saved)["inputs"]
    assert loaded[0] == pose
    assert loaded[1] == {"name": "view.every", "type": "INT", "widget": {"name": "view.every"}, "link": 2}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("EchoMimicPreviewPose", ["contact sheet", 24, 6, 256]),
        ("EchoMimicPreviewPose", []),
        ("EchoMimicEncodeAudio", [24.0, 0.0, 0.0, False]),
    ],
)
def test_other_nodes_load_as_they_were_saved(load, kind, values):
    saved = {"id": 4, "widgets_values": values, "inputs": [{"name": "image", "type": "IMAGE", "link": None}]}
    assert load(kind, saved) == saved


def test_a_node_without_values_loads(load):
    assert load("EchoMimicPreviewPose", {"id": 4}) == {"id": 4}
