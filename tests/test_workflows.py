"""The workflows that ship: their files fit the format, the nodes and each other."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.workflow_files import FOLDER, NAMES, NOTES, ROOT, read, widget_values, worded

sys.path.insert(0, str(ROOT / "assets" / "scripts"))

TITLE = 30
every = pytest.mark.parametrize("name", NAMES)


def schemas_by_id(pack) -> dict[str, dict[str, Any]]:
    return {node_id: node.GET_SCHEMA().info() for node_id, node in pack.nodes.items()}


def box(node: dict[str, Any]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom with the title, which stands above the position."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def test_all_nine_ship_and_nothing_else():
    assert {path.stem for path in FOLDER.glob("*.json")} == set(NAMES)
    assert {path.stem for path in FOLDER.glob("*.jpg")} == set(NAMES)


def test_files_are_as_the_script_makes_them():
    import make_workflows

    made = {flow.name: flow.as_json() for flow in (make() for make in make_workflows.WORKFLOWS)}
    assert made == {name: read(name) for name in NAMES}


@every
def test_the_file_is_of_format_0_4(name):
    workflow = read(name)
    nodes = [node["id"] for node in workflow["nodes"]]
    links = [link[0] for link in workflow["links"]]
    assert workflow["version"] == 0.4
    assert len(set(nodes)) == len(nodes) and workflow["last_node_id"] >= max(nodes)
    assert len(set(links)) == len(links) and workflow["last_link_id"] >= max(links)
    assert {"groups", "config", "extra"} <= workflow.keys()
    for node in workflow["nodes"]:
        assert {"id", "type", "pos", "size", "flags", "order", "mode", "properties"} <= node.keys()


@every
def test_links_agree_at_both_ends(name):
    workflow = read(name)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for link, source, output, target, entry, kind in workflow["links"]:
        given, taken = nodes[source]["outputs"][output], nodes[target]["inputs"][entry]
        assert link in given["links"]
        assert taken["link"] == link
        assert given["type"] == kind
        assert kind in taken["type"].split(",") or taken["type"] == "*"
    held = [link for node in workflow["nodes"] for output in node["outputs"] for link in output["links"]]
    taken = [entry["link"] for node in workflow["nodes"] for entry in node["inputs"] if entry["link"] is not None]
    assert sorted(held) == sorted(taken) == sorted(link[0] for link in workflow["links"])


@every
def test_nodes_come_after_what_they_need(name):
    workflow = read(name)
    order = {node["id"]: node["order"] for node in workflow["nodes"]}
    assert all(order[link[1]] < order[link[3]] for link in workflow["links"])


@every
def test_sockets_are_those_of_the_nodes(pack, name):
    infos = schemas_by_id(pack)
    for node in worded(read(name)).values():
        if node["type"] not in infos:
            continue
        info = infos[node["type"]]
        known = {**info["input"]["required"], **info["input"].get("optional", {})}
        for entry in node["inputs"]:
            assert known[entry["name"]][0] == entry["type"]
        linked = {entry["name"] for entry in node["inputs"] if entry["link"] is not None}
        sockets = {name for name, (kind, _) in info["input"]["required"].items() if kind.isupper() and "ECHO" in kind}
        assert sockets <= linked
        assert [(output["name"], output["type"]) for output in node["outputs"]] == list(
            zip(info["output_name"], info["output"])
        )


# What the test's empty folders do not list.
FILES = ("denoising_unet", "motion_module", "reference_unet", "pose_encoder", "audio_encoder")


@every
def test_values_are_those_of_the_widgets_and_none_is_left_over(pack, name):
    infos = schemas_by_id(pack)
    for node in worded(read(name)).values():
        if node["type"] not in infos:
            continue
        values = list(node["widgets_values"])
        for widget, value, options in widget_values(infos[node["type"]], values):
            if options["type"] in ("INT", "FLOAT"):
                assert options["min"] <= value <= options["max"], widget
            elif options["type"] == "BOOLEAN":
                assert isinstance(value, bool), widget
            elif options["type"] == "COMBO" and widget not in FILES:
                chosen = value if options.get("multiselect") else [value]
                assert set(chosen) <= set(options["options"]), widget
        assert values == []


@every
def test_nodes_record_their_package_and_version(pack, name):
    for node in worded(read(name)).values():
        properties = node["properties"]
        assert properties["Node name for S&R"] == node["type"]
        assert properties["cnr_id"] == ("echomimic" if node["type"] in pack.nodes else "comfy-core")
        assert properties["ver"].count(".") == 2


LOADERS = ("EchoMimicLoadModel", "EchoMimicLoadAudioEncoder", "VAELoader", "CheckpointLoaderSimple")


@every
def test_loaders_record_where_their_models_are_from_and_where_they_go(name):
    workflow = read(name)
    notes = " ".join(node["widgets_values"][0] for node in workflow["nodes"] if node["type"] in NOTES)
    for node in worded(workflow).values():
        models = node["properties"].get("models", [])
        assert bool(models) == (node["type"] in LOADERS)
        chosen = [
            v
            for v in node["widgets_values"]
            if isinstance(v, str) and Path(v).suffix in (".pth", ".pt", ".safetensors")
        ]
        if models:
            assert [model["name"] for model in models] == chosen
        for model in models:
            assert model["url"].startswith("https://huggingface.co/")
            assert model["url"].endswith(model["name"])
            assert model["directory"] in ("echomimic", "vae", "checkpoints")
            assert f"[{model['name']}]({model['url']})" in notes


@every
def test_a_note_explains(name):
    notes = [node for node in read(name)["nodes"] if node["type"] == "MarkdownNote"]
    assert len(notes) == 1
    assert notes[0]["widgets_values"][0].startswith("# ")


@every
def test_no_box_lies_on_another(name):
    for one, other in itertools.combinations(read(name)["nodes"], 2):
        a, b = box(one), box(other)
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, (one["type"], other["type"])


@every
def test_groups_are_numbered_steps_that_hold_every_node(name):
    workflow = read(name)
    groups = workflow["groups"]
    assert [group["title"].split(" - ")[0] for group in groups] == [f"Step {n + 1}" for n in range(len(groups))]
    assert {group["color"] for group in groups} == {"#3f789e"}
    for node in worded(workflow).values():
        left, top, right, bottom = box(node)
        holding = [
            group
            for group in groups
            for x, y, width, height in [group["bounding"]]
            if x < left and y < top and right < x + width and bottom < y + height
        ]
        assert len(holding) == 1, node["type"]


@every
def test_the_thumbnail_is_a_picture(name):
    with Image.open(FOLDER / f"{name}.jpg") as picture:
        assert picture.format == "JPEG"
        assert min(picture.size) >= 256


def test_every_node_is_shown_in_some_workflow(pack):
    shown = {node["type"] for name in NAMES for node in read(name)["nodes"]}
    # A template with a LoRA would need a file that nobody has.
    assert set(pack.nodes) - {"EchoMimicLoadLora"} <= shown


def test_the_note_names_the_detectors_files():
    """No list of a node names them."""
    workflow = read("echomimic_retarget")
    (note,) = [node["widgets_values"][0] for node in workflow["nodes"] if node["type"] in NOTES]
    for file in ("yolox_l.onnx", "dw-ll_ucoco_384.onnx"):
        assert f"[{file}](https://huggingface.co/yzd-v/DWPose/resolve/main/{file})" in note
    assert "pip install onnxruntime" in note


def test_the_demo_needs_nothing_but_what_ships(pack):
    nodes = {node["type"]: node for node in worded(read("echomimic_demo")).values()}
    offered = {path.name for path in (pack.folder / "input").iterdir()}
    assert nodes["LoadImage"]["widgets_values"][0] in offered
    assert nodes["LoadAudio"]["widgets_values"][0] in offered
    assert nodes["EchoMimicLoadBundle"]["widgets_values"] == ["demo_bundle.safetensors"]
    assert not [node for node in nodes.values() if "models" in node["properties"]]
