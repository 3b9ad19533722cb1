"""The gestures that are chosen by click: what the list holds after a load, an exported prompt and a refresh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser_code import run_browser_code

# Stands for the browser and the frontend: elements that keep their children, and a widget whose value is the pack's.
FRONTEND = """
import { readFileSync } from "node:fs";
import { app, extensions } from "./scripts/app.js";

class Shown {
  constructor() { Object.assign(this, { style: {}, dataset: {}, children: [], listeners: {} }); }
  append(...children) { this.children.push(...children); }
  replaceChildren(...children) { this.children = children; }
  addEventListener(name, listener) { this.listeners[name] = listener; }
}
globalThis.document = { createElement: () => new Shown() };
app.canvas = { setDirty() {} };
await import("./extensions/echomimic/js/clips.js");

const node = {
  type: "EchoMimicGenerateGestures",
  addDOMWidget(name, type, box, { getValue, setValue }) {
    this.grid = box.children[1];
    return Object.defineProperty({ name }, "value", { get: getValue, set: setValue });
  },
};
const make = extensions["EchoMimic.Clips"].getCustomWidgets().ECHOMIMIC_CLIP_CHOICE;
const { widget } = make(node, "clips", ["ECHOMIMIC_CLIP_CHOICE", { options: ["waving", "idle"] }]);
for (const [kind, what] of JSON.parse(readFileSync(0, "utf8"))) {
  if (kind === "load") widget.value = what;
  else if (kind === "click") node.grid.children.find((made) => made.dataset.clip === what).listeners.click();
  else
    node.refreshComboInNode({ [node.type]: { input: { required: { clips: ["ECHOMIMIC_CLIP_CHOICE", what] } } } });
}
console.log(JSON.stringify({
  chosen: widget.value,
  shown: node.grid.children.map((made) => made.dataset.clip),
  marked: node.grid.children.filter((made) => made.style.borderColor !== "transparent").map((m) => m.dataset.clip),
}));
"""


@pytest.fixture
def choose(tmp_path: Path) -> Any:
    """`choose(events)`: the clips that are chosen, shown and marked after them."""
    return lambda *events: run_browser_code(tmp_path, FRONTEND, list(events))


def test_clicks_choose_and_unchoose(choose):
    assert choose(["click", "idle"], ["click", "waving"], ["click", "idle"]) == {
        "chosen": ["waving"], "shown": ["waving", "idle"], "marked": ["waving"],
    }  # fmt: skip


def test_a_saved_graph_shows_clips_that_are_not_here(choose):
    assert choose(["load", ["input/mine.json"]]) == {
        "chosen": ["input/mine.json"], "shown": ["waving", "idle", "input/mine.json"], "marked": ["input/mine.json"],
    }  # fmt: skip


def test_an_exported_prompt_keeps_its_choice(choose):
    """It wraps lists, which are links otherwise."""
    assert choose(["load", {"__value__": ["idle"]}])["chosen"] == ["idle"]


@pytest.mark.parametrize("value", [None, "", {"other": 1}, {"__value__": "idle"}])
def test_what_is_no_list_chooses_nothing(choose, value):
    assert choose(["load", value])["chosen"] == []


def test_a_refresh_shows_new_clips_and_keeps_the_choice(choose):
    new = {"options": ["input/new.json", "waving"]}
    assert choose(["click", "idle"], ["refresh", new]) == {
        "chosen": ["idle"], "shown": ["input/new.json", "waving", "idle"], "marked": ["idle"],
    }  # fmt: skip
    assert choose(["refresh", None])["shown"] == ["waving", "idle"]
