"""Nodes that were saved before their list of today existed: what the pack's browser code makes of them as they load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser_code import run_browser_code
from tests.workflow_files import widget_values

# Stands for the frontend: registers the extension, then loads the saved node through a class of its own.
FRONTEND = """
import { readFileSync } from "node:fs";
import { extensions } from "./scripts/app.js";
import "./extensions/echomimic/js/saved_nodes.js";

const { type, saved } = JSON.parse(readFileSync(0, "utf8"));
class Registered {
  configure(data) {
    this.loaded = data;
  }
}
extensions["EchoMimic.SavedNodes"].beforeRegisterNodeDef(Registered, { name: type });
const node = new Registered();
node.configure(saved);
console.log(JSON.stringify(node.loaded));
"""


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """`load(type, saved)`: the saved node as ComfyUI's `configure` receives it."""
    return lambda kind, saved: run_browser_code(tmp_path, FRONTEND, {"type": kind, "saved": saved})


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
