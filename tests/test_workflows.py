"""The workflows that ship: their files fit the format, the nodes and each other."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from echomimic.pose.fitting.framing import frame_portrait
from echomimic.pose.fitting.linear import portrait_from_points
from tests.workflow_files import FOLDER, NAMES, NOTES, ROOT, graphs, read, subgraphs, widget_values, worded

sys.path.insert(0, str(ROOT / "assets" / "scripts"))
from measure_nodes import note_key

TITLE = 30

every = pytest.mark.parametrize("name", NAMES)


def schemas_by_id(pack) -> dict[str, dict[str, Any]]:
    return {node_id: node.GET_SCHEMA().info() for node_id, node in pack.nodes.items()}


def box(node: dict[str, Any]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom with the title, which stands above the position."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


HEIGHTS: dict[str, list[int]] = json.loads((ROOT / "assets" / "scripts" / "node_heights.json").read_text())


# Which of a node's heights: as it opens, with its advanced inputs open, once it has shown what a run gave.
SHUT, ADVANCED, RAN = 0, 1, 2


def drawn_box(node: dict[str, Any], state: int = SHUT) -> tuple[float, float, float, float]:
    """`box`, but as tall as the node is drawn in the larger of both renderers."""
    left, top, right, bottom = box(node)
    values = [value for value in node.get("widgets_values", []) if isinstance(value, str)]
    # A note is known by its first line.
    keys = [node["type"], *(f"{node['type']}:{value.partition(chr(10))[0]}" for value in values)]
    drawn = max((HEIGHTS[key][state] for key in keys if key in HEIGHTS), default=0)
    return left, top, right, max(bottom, top + TITLE + drawn)


def test_the_height_of_every_node_has_been_measured():
    assert {node["type"] for name in NAMES for node in worded(read(name)).values()} <= HEIGHTS.keys()


def note_of(name: str) -> dict[str, Any]:
    (note,) = [node for node in read(name)["nodes"] if node["type"] in NOTES]
    return note


@every
def test_a_note_is_as_tall_as_its_text(name):
    note = note_of(name)
    drawn = HEIGHTS[note_key(note["widgets_values"][0])]
    assert note["size"][1] >= max(drawn)


# Pixels: a note's heading of the second order in Nodes 2.0, where it is smaller than in classic nodes; the frontend's
# own names of inputs are as small as that.
HEADING, SMALL_PRINT = 18 / 14 * 10, 7.5


@every
def test_a_notes_sentences_can_be_read_as_a_template_opens(name):
    """All but the list of files are headings, since a note's plain text is six pixels high then."""
    assert HEADING * opening_scale(name) > SMALL_PRINT
    for paragraph in note_of(name)["widgets_values"][0].strip().split("\n\n"):
        assert paragraph.startswith(("# ", "## ", "**Into ComfyUI/models/")), paragraph


def test_these_ship_and_nothing_else():
    assert {path.stem for path in FOLDER.glob("*.json")} == set(NAMES)
    assert {path.stem for path in FOLDER.glob("*.jpg")} == set(NAMES)


def test_files_are_as_the_script_makes_them():
    import make_workflows

    made = {flow.name: flow.as_json() for flow in (make() for make in make_workflows.WORKFLOWS)}
    assert made == {name: read(name) for name in NAMES}


def test_the_blueprints_are_as_the_script_makes_them_and_as_workflows_have_them():
    import make_workflows

    shown = {number: entry for name in NAMES for number, entry in subgraphs(read(name)).items()}
    for whole in (make() for make in make_workflows.BLUEPRINTS):
        blueprint = json.loads((ROOT / "subgraphs" / f"{whole.name}.json").read_text(encoding="utf-8"))
        definition = whole.definition()
        assert list(subgraphs(blueprint).values()) == [definition]
        assert [node["type"] for node in blueprint["nodes"]] == [definition["id"]]
        assert shown[definition["id"]] == definition
    assert len(list((ROOT / "subgraphs").glob("*.json"))) == len(make_workflows.BLUEPRINTS)


def test_a_first_result_needs_a_handful_of_nodes():
    nodes = [node for node in read("echomimic_accelerated")["nodes"] if node["type"] not in NOTES]
    assert len(nodes) <= 6


# The frontend fits a template into three quarters of its window, and draws no text smaller than 8 pixels: classic nodes
# and notes are empty boxes then.
WINDOW, FITTED, BESIDE = (1600, 1000), 0.75, 20
READABLE = 8 / 14
# Half a bend's width.
BEND = 10


def opening_scale(name: str) -> float:
    """Of a template as it opens."""
    boxes = [drawn_box(node) for node in read(name)["nodes"]]
    width = max(right for _, _, right, _ in boxes) - min(left for left, *_ in boxes)
    height = max(bottom for *_, bottom in boxes) - min(top for _, top, *_ in boxes)
    return FITTED * min(WINDOW[0] / (width + BESIDE), WINDOW[1] / (height + BESIDE))


@every
def test_as_a_template_it_opens_whole_and_readable(name):
    assert opening_scale(name) > READABLE


@every
def test_zoomed_to_fit_it_is_readable(name):
    """*Zoom to fit* counts groups and the bends of wires, too."""
    workflow = read(name)
    boxes = [drawn_box(node) for node in workflow["nodes"]]
    boxes += [(left, top, left + w, top + h) for left, top, w, h in (g["bounding"] for g in workflow["groups"])]
    bends = [bend["pos"] for bend in workflow["extra"].get("reroutes", [])]
    boxes += [(x - BEND, y - BEND, x + BEND, y + BEND) for x, y in bends]
    width = max(right for _, _, right, _ in boxes) - min(left for left, *_ in boxes)
    height = max(bottom for *_, bottom in boxes) - min(top for _, top, *_ in boxes)
    assert FITTED * min(WINDOW[0] / (width + BESIDE), WINDOW[1] / (height + BESIDE)) > READABLE


@every
def test_as_a_file_it_opens_whole_and_readable(name):
    """Beside the frontend's own bars."""
    workflow = read(name)
    scale, (x, y) = (workflow["extra"]["ds"][key] for key in ("scale", "offset"))
    boxes = [*map(box, workflow["nodes"])]
    boxes += [(left, top, left + w, top + h) for left, top, w, h in (g["bounding"] for g in workflow["groups"])]
    assert scale > READABLE
    assert min((left + x) * scale for left, *_ in boxes) == pytest.approx(80, abs=2)
    assert 108 <= min((top + y) * scale for _, top, *_ in boxes) <= 250  # wires may lead above the groups
    assert max((right + x) * scale for *_, right, _ in boxes) <= 1590
    assert max((bottom + y) * scale for *_, bottom in boxes) <= 990


# What floats over the graph, in pixels of the window: the map, and the message that model files are missing.
MAP, MESSAGE = (1343, 742, 1596, 942), (1228, 94, 1596, 215)
SAVERS = ("SaveVideo", "EchoMimicSaveVideo")


def covered(control: tuple[float, ...], part: tuple[float, ...], scale: float, x: float, y: float) -> bool:
    """Whether a control covers any of a box at this zoom and offset."""
    left, top, right, bottom = (
        (part[0] + x) * scale,
        (part[1] + y) * scale,
        (part[2] + x) * scale,
        (part[3] + y) * scale,
    )
    return control[0] < right and left < control[2] and control[1] < bottom and top < control[3]


@every
def test_as_a_template_no_control_covers_what_is_to_be_seen(name):
    """The map covers no node, the message no video."""
    nodes = read(name)["nodes"]
    boxes = [drawn_box(node) for node in nodes]
    left, right = min(left for left, *_ in boxes), max(right for _, _, right, _ in boxes)
    top, bottom = min(top for _, top, *_ in boxes), max(bottom for *_, bottom in boxes)
    scale = FITTED * min(WINDOW[0] / (right - left + BESIDE), WINDOW[1] / (bottom - top + BESIDE))
    x, y = WINDOW[0] / 2 / scale - (left + right) / 2, WINDOW[1] / 2 / scale - (top + bottom) / 2
    for node, part in zip(nodes, boxes, strict=True):
        for state in (SHUT, RAN):
            assert not covered(MAP, drawn_box(node, state), scale, x, y), node["type"]
        assert node["type"] not in SAVERS or not covered(MESSAGE, part, scale, x, y)


@every
def test_as_a_file_the_map_covers_no_node(name):
    workflow = read(name)
    scale, (x, y) = (workflow["extra"]["ds"][key] for key in ("scale", "offset"))
    for node in workflow["nodes"]:
        assert not covered(MAP, drawn_box(node), scale, x, y), node["type"]


# Classic nodes show a video as wide as they are, and grow where it has no room: what stands above it, and beside it.
ABOVE_VIDEO, BESIDE_VIDEO = {"SaveVideo": 118, "EchoMimicSaveVideo": 158}, 20
SHAPES = {"echomimic_full_body": 1216 / 832, "echomimic_two_people": 640 / 1280}


@every
def test_the_finished_video_has_room(name):
    for node in read(name)["nodes"]:
        if node["type"] in SAVERS:
            width, height = node["size"]
            video = (width - BESIDE_VIDEO) * SHAPES.get(name, 1.0)
            assert height >= ABOVE_VIDEO[node["type"]] + video


# Pixels of Nodes 2.0: rows of sockets, of widgets, and the line of the time that is left with what is below it.
SOCKET_ROW, WIDGET_ROW, BELOW_WIDGETS = 20, 28, 102


@every
def test_a_node_with_a_sampler_inside_has_room_for_the_time_that_is_left(name):
    workflow = read(name)
    sampling = {
        number: graph
        for number, graph in subgraphs(workflow).items()
        if "EchoMimicSampler" in [node["type"] for node in graph["nodes"]]
    }
    for node in workflow["nodes"]:
        if node["type"] in sampling:
            widgets = len(node["widgets_values"])
            sockets = max(len(sampling[node["type"]]["inputs"]) - widgets, len(node["outputs"]))
            assert node["size"][1] >= SOCKET_ROW * sockets + WIDGET_ROW * widgets + BELOW_WIDGETS, node["title"]


# The frontend's bars at the top and at the left, in pixels of the screen.
BARS = (58, 90)


@every
def test_a_subgraph_opens_whole_and_readable(name):
    """Its wires and the names of its slots, too, which the frontend does not count as it fits the nodes."""
    for graph in graphs(read(name))[1:]:
        boxes = [drawn_box(node) for node in graph["nodes"]]
        left, top = min(left for left, *_ in boxes), min(top for _, top, *_ in boxes)
        right, bottom = max(right for _, _, right, _ in boxes), max(bottom for *_, bottom in boxes)
        scale = FITTED * min(WINDOW[0] / (right - left + BESIDE), WINDOW[1] / (bottom - top + BESIDE))
        assert scale > READABLE

        def on_screen(x, y, middle=((left + right) / 2, (top + bottom) / 2), scale=scale):
            return WINDOW[0] / 2 + (x - middle[0]) * scale, WINDOW[1] / 2 + (y - middle[1]) * scale

        assert on_screen(graph["inputNode"]["bounding"][0], top)[0] >= BARS[0], graph["name"]
        x, _, width, _ = graph["outputNode"]["bounding"]
        assert on_screen(x + width, top)[0] <= WINDOW[0], graph["name"]
        highest = min([top, *(entry["pos"][1] for entry in graph["reroutes"])])
        assert on_screen(left, highest)[1] >= BARS[1], graph["name"]


@every
def test_the_file_is_of_format_0_4(name):
    workflow = read(name)
    nodes = [node["id"] for node in workflow["nodes"]]
    everywhere = [node["id"] for graph in graphs(workflow) for node in graph["nodes"]]
    assert len(set(everywhere)) == len(everywhere)
    links = [link[0] for link in workflow["links"]]
    assert workflow["version"] == 0.4
    assert len(set(nodes)) == len(nodes) and workflow["last_node_id"] >= max(nodes)
    assert len(set(links)) == len(links) and workflow["last_link_id"] >= max(links)
    assert {"groups", "config", "extra"} <= workflow.keys()
    for node in workflow["nodes"]:
        assert {"id", "type", "pos", "size", "flags", "order", "mode", "properties"} <= node.keys()


@every
def test_links_agree_at_both_ends(name):
    for graph in graphs(read(name)):
        given = {
            (node["id"], slot): (out["type"], out["links"])
            for node in graph["nodes"]
            for slot, out in enumerate(node["outputs"])
        }
        taken = {
            (node["id"], slot): (entry["type"], [entry["link"]])
            for node in graph["nodes"]
            for slot, entry in enumerate(node["inputs"])
        }
        if "inputNode" in graph:
            given |= {
                (graph["inputNode"]["id"], slot): (entry["type"], entry["linkIds"])
                for slot, entry in enumerate(graph["inputs"])
            }
            taken |= {
                (graph["outputNode"]["id"], slot): (entry["type"], entry["linkIds"])
                for slot, entry in enumerate(graph["outputs"])
            }
        for link, source, output, target, entry, kind in graph["links"]:
            assert given[source, output][0] == kind and link in given[source, output][1]
            assert link in taken[target, entry][1]
            assert kind in taken[target, entry][0].split(",") or taken[target, entry][0] in ("*", kind)
        links = sorted(link[0] for link in graph["links"])
        assert sorted(link for _, held in given.values() for link in held) == links
        assert sorted(link for _, held in taken.values() for link in held if link is not None) == links


@every
def test_nodes_come_after_what_they_need(name):
    for graph in graphs(read(name)):
        order = {node["id"]: node["order"] for node in graph["nodes"]}
        assert graph["links"]
        inside = [link for link in graph["links"] if link[1] in order and link[3] in order]
        assert all(order[link[1]] < order[link[3]] for link in inside)


@every
def test_sockets_are_those_of_the_nodes(pack, name):
    infos = schemas_by_id(pack)
    for node in worded(read(name)).values():
        if node["type"] not in infos:
            continue
        info = infos[node["type"]]
        known = {**info["input"]["required"], **info["input"].get("optional", {})}
        for entry in node["inputs"]:
            # A subgraph's input that leads to a widget of file names is a list's, as the widget is.
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
@pytest.mark.parametrize("state", [SHUT, ADVANCED, RAN])
def test_no_box_lies_on_another_in_either_renderer(name, state):
    """Heights as ComfyUI's frontend draws them, the larger of classic nodes and Nodes 2.0: `measure_nodes.js`."""
    for graph in graphs(read(name)):
        for one, other in itertools.combinations(graph["nodes"], 2):
            a, b = drawn_box(one, state), drawn_box(other, state)
            apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
            assert apart, (one["type"], other["type"])


def ends(graph: dict[str, Any], link: list[Any]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where a link leaves and where it arrives; a subgraph's own slots tell where they are."""
    nodes = {node["id"]: node for node in graph["nodes"]}
    if link[1] in nodes:
        source = nodes[link[1]]
        begin = source["pos"][0] + source["size"][0], source["pos"][1] + 14 + 20 * link[2]
    else:
        begin = tuple(graph["inputs"][link[2]]["pos"])
    if link[3] in nodes:
        return begin, (nodes[link[3]]["pos"][0], nodes[link[3]]["pos"][1] + 14 + 20 * link[4])
    return begin, tuple(graph["outputs"][link[4]]["pos"])


def bends(graph: dict[str, Any], link: list[Any]) -> list[tuple[float, float]]:
    """A link's bends from its output to its input."""
    places = {entry["id"]: entry for entry in graph["extra"].get("reroutes", [])}
    parent = {entry["id"]: entry["parentId"] for entry in graph["extra"].get("linkExtensions", [])}.get(link[0])
    between = []
    while parent is not None:
        assert link[0] in places[parent]["linkIds"]
        between.append(tuple(places[parent]["pos"]))
        parent = places[parent].get("parentId")
    return between[::-1]


def between(first: tuple[float, float], last: tuple[float, float]) -> list[tuple[float, float]]:
    """Points of a straight line."""
    return [tuple(a + (b - a) * step / 40 for a, b in zip(first, last, strict=True)) for step in range(1, 40)]


# How far a wire hangs below the straight line between two bends, drawn from right to left.
SAG = 5


@every
def test_no_wire_runs_behind_a_node(name):
    """Neither behind another nor behind one of its own, as if it came out of it elsewhere."""
    from workflow_wires import spline

    for graph in graphs(read(name)):
        boxes = [box(node) for node in graph["nodes"]]
        for link in graph["links"]:
            begin, end = ends(graph, link)
            bent = bends(graph, link)
            pairs = itertools.pairwise([begin, *bent])
            points = [point for pair in pairs for point in between(*pair)] if bent else list(spline(begin, end))
            for x, y in points:
                hidden = [b for b in boxes if b[0] < x < b[2] and b[1] < y < b[3]]
                assert not hidden, (graph.get("name"), link)
            for x, y in [point for pair in itertools.pairwise(bent) for point in between(*pair)]:
                touched = [b for b in boxes if b[0] < x < b[2] and b[1] - SAG < y < b[3]]
                assert not touched, (graph.get("name"), link)


@every
def test_groups_are_numbered_steps_that_hold_every_node(name):
    workflow = read(name)
    groups = workflow["groups"]
    assert [group["title"].split(" - ")[0] for group in groups] == [f"Step {n + 1}" for n in range(len(groups))]
    assert {group["color"] for group in groups} == {"#3f789e"}
    for node in workflow["nodes"]:
        if node["type"] in NOTES:
            continue
        for state in (SHUT, ADVANCED, RAN):
            left, top, right, bottom = drawn_box(node, state)
            holding = [
                group
                for group in groups
                for x, y, width, height in [group["bounding"]]
                if x < left and y < top and right < x + width and bottom < y + height
            ]
            assert len(holding) == 1, node["type"]


# Pixels: a letter of a group's title, and the badge with the pack's name at the right end above a classic node.
LETTER, BADGE = 9.8, 75


@every
def test_no_badge_covers_a_groups_title(name, pack):
    workflow = read(name)
    for group in workflow["groups"]:
        x, y, *_ = group["bounding"]
        for node in workflow["nodes"]:
            left, top, right, _ = box(node)
            if node["type"] in pack.nodes and top - y < 50 and x < left < x + group["bounding"][2] and top > y:
                assert x + LETTER * len(group["title"]) < right - BADGE, group["title"]


@every
def test_the_thumbnail_is_a_picture(name):
    with Image.open(FOLDER / f"{name}.jpg") as picture:
        assert picture.format == "JPEG"
        assert min(picture.size) >= 256


def test_every_node_is_shown_in_some_workflow(pack):
    shown = {node["type"] for name in NAMES for node in worded(read(name)).values()}
    assert set(pack.nodes) <= shown


def test_every_picture_is_fitted_and_every_fit_is_judged():
    for name in NAMES:
        types = [node["type"] for node in worded(read(name)).values()]
        assert "ImageScale" not in types, name
        assert {"EchoMimicFitPortrait", "EchoMimicAlignPortrait"} & set(types), name
        assert "EchoMimicRetargetPose" in types, name


def test_all_pictures_voices_and_videos_are_samples_that_ship(pack):
    offered = {path.name for path in (pack.folder / "input").iterdir()}
    for name in NAMES:
        for node in worded(read(name)).values():
            if node["type"] in ("LoadImage", "LoadAudio", "LoadVideo"):
                assert node["widgets_values"][0] in offered, name


@pytest.mark.parametrize("name", ["echomimic_retarget", "echomimic_train_avatar"])
def test_the_note_names_the_detectors_files(name):
    """No list of a node names them."""
    workflow = read(name)
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


def test_the_demo_shows_anybody_as_its_small_model_knows_people():
    """Within a larger picture, the sample portrait is framed as it is alone: all of it."""
    nodes = {node["type"]: node for node in worded(read("echomimic_demo")).values()}
    framing, fill, scale, right, down = nodes["EchoMimicFitPortrait"]["widgets_values"][2:7]
    shares = nodes["EchoMimicMarkPortrait"]["widgets_values"][:10]
    for around in ((0, 0, 0, 0), (100, 300, 132, 148)):  # left, above, right, below
        left, above, *_ = around
        size = 768 + left + around[2], 768 + above + around[3]
        points = [(left + 7.68 * x, above + 7.68 * y) for x, y in zip(shares[::2], shares[1::2], strict=True)]
        framed = frame_portrait(
            np.zeros((size[1], size[0], 3), np.uint8),
            192,
            192,
            portrait_from_points(size, *points),
            framing,
            fill,
            scale,
            (right, down),
        )
        shown = framed.box.left - left, framed.box.top - above, framed.box.width, framed.box.height
        np.testing.assert_allclose(shown, (0, 0, 768, 768), atol=5)
