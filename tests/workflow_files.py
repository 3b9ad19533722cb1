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
    "echomimic_demo",
)
NOTES = ("MarkdownNote", "Note")
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3")
# Widgets that the frontend adds after a node's own, by the option that asks for them.
UPLOADS = {"image_upload": 1, "video_upload": 1, "audio_upload": 2}


def read(name: str) -> dict[str, Any]:
    """A workflow that ships."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def worded(workflow: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Its nodes by id, without the notes."""
    return {node["id"]: node for node in workflow["nodes"] if node["type"] not in NOTES}


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
    """The prompt in API format; node ids as text."""
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in worded(workflow).values():
        values = list(node["widgets_values"])
        widgets = widget_values(object_info[node["type"]], values)
        # A bare list in a prompt is a link.
        inputs = {name: {"__value__": value} if isinstance(value, list) else value for name, value, _ in widgets}
        inputs.update({entry["name"]: links[entry["link"]] for entry in node["inputs"] if entry["link"]})
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt
