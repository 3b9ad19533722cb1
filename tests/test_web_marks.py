"""Marks that are placed by click: what a press, a drag and a release on the picture make of the node's numbers, and
what the line below the picture says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser_code import run_browser_code

# Stands for the browser and the frontend: a picture of 100 x 100 pixels that is shown as large as it is, so that the
# pointer's place is a mark's per cents.
FRONTEND = """
import { readFileSync } from "node:fs";
import { extensions } from "./scripts/app.js";

class Shown {
  constructor() { Object.assign(this, { style: {}, dataset: {}, listeners: {} }); }
  append() {}
  replaceChildren() {}
  setAttribute() {}
  setPointerCapture() {}
  addEventListener(name, listener) { this.listeners[name] = listener; }
  getScreenCTM() { return { inverse: () => null }; }
}
const made = [];
const create = () => (made.push(new Shown()), made.at(-1));
globalThis.document = { createElement: create, createElementNS: create };
globalThis.DOMPoint = class {
  constructor(x, y) { Object.assign(this, { x, y }); }
  matrixTransform() { return this; }
};
globalThis.Image = class {
  set src(address) { Object.assign(this, { naturalWidth: 100, naturalHeight: 100 }); this.onload(); }
};
await import("./extensions/echomimic/js/marks.js");

const { marks, events } = JSON.parse(readFileSync(0, "utf8"));
const widgets = Object.entries(marks).flatMap(([name, at]) =>
  ["x", "y"].map((axis, number) => ({ name: `${name}_${axis}`, value: at[number] })));
// Load Image, linked to the node.
const file = { name: "image", value: "portrait.png" };
const graph = { getLink: () => ({ origin_id: 1 }), getNodeById: () => ({ widgets: [file] }) };
const inputs = [{ name: "image", link: 1 }];
const node = { comfyClass: "EchoMimicMarkPortrait", widgets, inputs, graph, addDOMWidget: () => ({}) };
extensions["EchoMimic.Marks"].nodeCreated(node);
node.onConnectionsChange();
const svg = made.find((element) => element.listeners.pointerdown);
const line = made.find((element) => element.style.font);
const said = [line.textContent];
for (const [kind, x, y, mark] of events) {
  if (kind === "file") Object.assign(file, { value: x }).callback(x);
  else
    svg.listeners[kind]({
      clientX: x, clientY: y, button: 0, pointerId: 1, target: { dataset: { mark } },
      preventDefault() {}, stopPropagation() {},
    });
  if (kind !== "pointerdown") said.push(line.textContent);
}
const after = Object.fromEntries(Object.keys(marks).map((name) =>
  [name, ["x", "y"].map((axis) => widgets.find((widget) => widget.name === `${name}_${axis}`).value)]));
console.log(JSON.stringify({ after, said }));
"""
BEFORE = {
    "nose": [50, 20],
    "neck": [50, 48],
    "right_shoulder": [32, 48],
    "left_shoulder": [68, 48],
    "wrist": [34, 86],
}


@pytest.fixture
def show(tmp_path: Path) -> Any:
    """`show(events)`: the marks `after` them, and what was `said` before, and after each; an event is its kind, the
    pointer's place and the mark below it, or "file" and the picture that was chosen."""
    return lambda *events: run_browser_code(tmp_path, FRONTEND, {"marks": BEFORE, "events": list(events)})


@pytest.fixture
def act(show: Any) -> Any:
    """The marks after events."""
    return lambda *events: show(*events)["after"]


def click(x: float, y: float, mark: str | None = None) -> list[list[Any]]:
    return [["pointerdown", x, y, mark], ["pointerup", x, y, mark]]


def test_clicks_place_one_mark_after_the_other(act):
    assert act(*click(45, 25), *click(46, 50), *click(30, 52)) == {
        **BEFORE,
        "nose": [45, 25],
        "neck": [46, 50],
        "right_shoulder": [30, 52],
    }


def test_a_click_on_a_mark_places_the_next_one_there(act):
    """Most clicks are near marks that are nearly right."""
    placed = act(*click(51, 21, "nose"), *click(51, 47, "neck"), *click(30, 50))
    assert placed == {**BEFORE, "nose": [51, 21], "neck": [51, 47], "right_shoulder": [30, 50]}


def test_a_dragged_mark_moves_and_it_is_still_the_same_ones_turn(act):
    events = [["pointerdown", 34, 86, "wrist"], ["pointermove", 40, 90, "wrist"], ["pointerup", 41, 91, "wrist"]]
    assert act(*events, *click(49, 22)) == {**BEFORE, "wrist": [40, 90], "nose": [49, 22]}


def test_a_hand_that_trembles_still_clicks(act):
    events = [["pointerdown", 51, 21, "nose"], ["pointermove", 52, 22, "nose"], ["pointerup", 52, 22, "nose"]]
    assert act(*events, *click(50, 50)) == {**BEFORE, "nose": [52, 22], "neck": [50, 50]}


def test_a_cancelled_press_changes_nothing(act):
    events = [["pointerdown", 50, 48, "neck"], ["pointercancel", 50, 48, "neck"], ["pointermove", 60, 60, None]]
    assert act(*events) == BEFORE


def test_the_line_below_says_whose_turn_it_is(show):
    said = show(*click(45, 25), *click(46, 50), *click(30, 52), *click(70, 52), *click(33, 80))["said"]
    assert said == [
        "Click: nose, or drag a mark",
        "Click: pit of the throat, or drag a mark",
        "Click: right shoulder (left in the picture), or drag a mark",
        "Click: left shoulder (right in the picture), or drag a mark",
        "Click: a wrist, or drag a mark",
        "All are placed. Drag one to move it.",
    ]


def test_another_picture_wants_its_own_marks_from_the_nose_on(show):
    shown = show(*click(45, 25), ["file", "me.png"], *click(40, 30))
    assert shown["said"][2:] == ["Another picture. Click: nose", "Click: pit of the throat, or drag a mark"]
    assert shown["after"] == {**BEFORE, "nose": [40, 30]}


def test_the_same_picture_again_keeps_the_turn(show):
    said = show(*click(45, 25), ["file", "portrait.png"])["said"]
    assert said[2] == "Click: pit of the throat, or drag a mark"
