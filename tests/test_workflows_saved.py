"""Workflows that people saved with version 0.1 load with their values.

`saved_nodes_0_1.json` was recorded from this repository's history: every node of the workflow files that 0.1 shipped,
and every node and every choice of its lists with other values than the defaults. A record has `widgets_values` as the
frontend saves them, and the name, type and value that each had by 0.1's own schema.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from tests.test_nodes_schema import FILE_LISTS
from tests.workflow_files import to_prompt, widget_values

RECORDS = json.loads((Path(__file__).parent / "saved_nodes_0_1.json").read_text(encoding="utf-8"))
every = pytest.mark.parametrize("record", RECORDS, ids=[f"{r['source']}-{r['node']}" for r in RECORDS])


def node_info(pack: Any, record: dict[str, Any]) -> dict[str, Any]:
    """Today's schema of the saved node, as ComfyUI gives it to the frontend."""
    return pack.nodes[record["node"]].GET_SCHEMA().info()


def accepts(name: str, options: dict[str, Any], value: Any) -> bool:
    """Whether ComfyUI lets a widget of these options run with the value; lists of files depend on the machine."""
    if options["type"] in ("INT", "FLOAT"):
        return options["min"] <= value <= options["max"]
    if options["type"] == "BOOLEAN":
        return isinstance(value, bool)
    if options["type"] == "COMFY_DYNAMICCOMBO_V3":
        return value in [option["key"] for option in options["options"]]
    return options["type"] != "COMBO" or name in FILE_LISTS or value in options["options"]


@every
def test_every_value_goes_to_the_widget_that_it_was_saved_for(pack, record):
    values = list(record["values"])
    loaded = list(widget_values(node_info(pack, record), values))
    assert {name: [options["type"], value] for name, value, options in loaded} == record["widgets"]
    assert not values, "values are left over"
    assert all(accepts(name, options, value) for name, value, options in loaded)


@every
def test_links_of_saved_nodes_find_their_sockets(pack, record):
    """Inputs are found by name, outputs by place."""
    info = node_info(pack, record)
    names = {
        name: str(entry[0]) for kind in ("required", "optional") for name, entry in info["input"].get(kind, {}).items()
    }
    assert all(names[name] == kind for name, kind in record["inputs"])
    assert [list(pair) for pair in zip(info["output_name"], info["output"])][: len(record["outputs"])] == record[
        "outputs"
    ]


@every
def test_widgets_that_were_converted_to_inputs_are_linked(pack, record):
    """The frontend keeps such a widget's value in its place, and adds an input with the widget's name and type."""
    info = node_info(pack, record)
    for converted, (kind, _) in record["widgets"].items():
        entry = {"name": converted, "type": kind, "widget": {"name": converted}, "link": 1}
        node = {"id": 2, "type": record["node"], "widgets_values": record["values"], "inputs": [entry]}
        value = {"id": 7, "type": "Value", "widgets_values": [], "inputs": []}
        workflow = {"nodes": [value, node], "links": [[1, 7, 0, 2, 0, kind]]}
        prompt = to_prompt(workflow, {record["node"]: info, "Value": {"input": {}}})
        inputs = prompt["2"]["inputs"]
        assert inputs[converted] == ["7", 0]
        assert inputs.keys() == record["widgets"].keys()


@every
def test_missing_values_of_later_widgets_are_the_defaults(pack, record):
    """A workflow that was saved before a widget was added has no value for it: ComfyUI then runs `execute` without."""
    info = node_info(pack, record)
    signature = inspect.signature(pack.nodes[record["node"]].execute).parameters
    for name, entry in info["input"].get("optional", {}).items():
        assert signature[name].default == entry[1].get("default"), name
    required = [name for name in record["widgets"] if name.split(".")[0] in info["input"].get("required", {})]
    seeds = sum(name == "seed" for name in required)
    shortened = record["values"][: len(required) + seeds]
    assert [name for name, _, _ in widget_values(info, list(shortened))] == required
