"""Saved workflows as tests look at them: which widget a value belongs to, and the prompt that is queued."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "workflows"
NAMES = (
    "echomimic_accelerated",
    "echomimic_standard",
    "echomimic_voice_only",
    "echomimic_own_gestures",
    "echomimic_retarget",
    "echomimic_from_text",
    "echomimic_long",
    "echomimic_native",
    "echomimic_retake",
    "echomimic_full_body",
    "echomimic_two_people",
    "echomimic_train_avatar",
    "echomimic_demo",
)
NOTES = ("MarkdownNote", "Note")
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3")
# The mode of a node that passes on what it gets, and is not run.
BYPASSED = 4
# Widgets that the frontend adds after a node's own, by the option that asks for them.
UPLOADS = {"image_upload": 1, "video_upload": 1, "audio_upload": 2}


def read(name: str) -> dict[str, Any]:
    """A workflow that ships."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def subgraphs(workflow: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Its subgraphs' definitions by id, which is the type of the nodes that show them."""
    return {entry["id"]: entry for entry in workflow.get("definitions", {}).get("subgraphs", [])}


def graphs(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    """The workflow, and the graphs inside its subgraphs, whose links and bends are written as a workflow's."""
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    found = [workflow]
    for entry in subgraphs(workflow).values():
        parents = [{key: link[key] for key in ("id", "parentId")} for link in entry["links"] if "parentId" in link]
        bends = {"reroutes": entry["reroutes"], "linkExtensions": parents}
        links = [[link[key] for key in keys] for link in entry["links"]]
        found.append({**entry, "links": links, "extra": bends})
    return found


def worded(workflow: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """All its nodes by id, those inside subgraphs too; without the notes and the nodes that show a subgraph."""
    shown = {*NOTES, *subgraphs(workflow)}
    return {node["id"]: node for graph in graphs(workflow) for node in graph["nodes"] if node["type"] not in shown}


def widget_values(info: dict[str, Any], values: list[Any]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Each value with the widget's name and options, by position, as the frontend reads them.

    Args:
        info: the node's entry in `/object_info`.
        values: `widgets_values`, used up from the front.

    Raises:
        IndexError: there are fewer values than widgets.
    """
    yield from _widgets(info["input"], values, "")
    for entry in info["input"].get("required", {}).values():
        for option, count in UPLOADS.items():
            if len(entry) > 1 and entry[1].get(option):
                del values[:count]


def _widgets(inputs: dict[str, Any], values: list[Any], prefix: str) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    optional = inputs.get("optional", {})
    for name, entry in [*inputs.get("required", {}).items(), *optional.items()]:
        if name in optional and not values:  # added after the workflow was saved
            return
        kind, options = entry[0], dict(entry[1]) if len(entry) > 1 else {}
        if isinstance(kind, list):  # a V1 node's list
            kind, options = "COMBO", {**options, "options": kind}
        if kind not in WIDGETS or options.get("forceInput"):
            continue
        value = values.pop(0)
        yield prefix + name, value, {**options, "type": kind}
        if options.get("control_after_generate"):
            values.pop(0)
        if kind == "COMFY_DYNAMICCOMBO_V3":
            chosen = next(option for option in options["options"] if option["key"] == value)
            yield from _widgets(chosen["inputs"], values, f"{prefix}{name}.")


def to_prompt(workflow: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """The prompt in API format; node ids as text. Of subgraphs, what is inside them, as `HOST:INNER`."""
    known = subgraphs(workflow)
    outer, *inner = graphs(workflow)
    prompt: dict[str, Any] = {}

    def below(node: dict[str, Any]) -> dict[str, Any]:
        """The graph that a node shows."""
        return next(graph for graph in inner if graph["id"] == node["type"])

    def source(graph: dict[str, Any], host: dict[str, Any] | None, number: int) -> Any:
        """What feeds a link: `[node id, output]`, the value of a subgraph's widget, or None for nothing."""
        _, origin, slot, *_ = next(link for link in graph["links"] if link[0] == number)
        if host is not None and origin == graph["inputNode"]["id"]:
            name = graph["inputs"][slot]["name"]
            entry = next((entry for entry in host["inputs"] if entry["name"] == name), None)
            if entry is not None:
                return None if entry["link"] is None else source(outer, None, entry["link"])
            widgets = [entry["name"] for entry in graph["inputs"] if is_widget(graph, entry)]
            return host["widgets_values"][widgets.index(name)]
        node = next(node for node in graph["nodes"] if node["id"] == origin)
        if node.get("mode") == BYPASSED:
            kind = node["outputs"][slot]["type"]
            passed = next(entry for entry in node["inputs"] if entry["type"] == kind)
            return source(graph, host, passed["link"])
        if node["type"] in known:
            return source(below(node), node, below(node)["outputs"][slot]["linkIds"][0])
        return [path(host, node), slot]

    def add(graph: dict[str, Any], host: dict[str, Any] | None) -> None:
        for node in graph["nodes"]:
            if node["type"] in known:
                add(below(node), node)
            elif node["type"] not in NOTES and node.get("mode") != BYPASSED:
                values = list(node["widgets_values"])
                widgets = widget_values(object_info[node["type"]], values)
                # A bare list in a prompt is a link.
                inputs = {n: {"__value__": v} if isinstance(v, list) else v for n, v, _ in widgets}
                fed = {entry["name"]: source(graph, host, entry["link"]) for entry in node["inputs"] if entry["link"]}
                inputs.update({name: value for name, value in fed.items() if value is not None})
                prompt[path(host, node)] = {"class_type": node["type"], "inputs": inputs}

    add(outer, None)
    return prompt


def path(host: dict[str, Any] | None, node: dict[str, Any]) -> str:
    """A node's number as prompts have it."""
    return str(node["id"]) if host is None else f"{host['id']}:{node['id']}"


def is_widget(graph: dict[str, Any], entry: dict[str, Any]) -> bool:
    """Whether a subgraph's input leads to a widget."""
    target, slot = next(link[3:5] for link in graph["links"] if link[0] == entry["linkIds"][0])
    node = next(node for node in graph["nodes"] if node["id"] == target)
    return "widget" in node["inputs"][slot]
