"""Placeholders between per cent signs in file names: `%date:yyyy-MM-dd%` and `%Node.widget%`.

ComfyUI's frontend fills these in for core's own save nodes only, so this pack's nodes do it themselves, which also
serves prompts that come without the frontend.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

# Runs of these letters in a date stand for numbers of that width.
DATE_PARTS = {"d": "day", "M": "month", "h": "hour", "m": "minute", "s": "second"}
DATE = re.compile(r"yyyy|yy|dd?|MM?|hh?|mm?|ss?")
# Characters that no file name may hold.
FORBIDDEN = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')


def fill_in(prefix: str, hidden: Any, now: datetime | None = None) -> str:
    """A file name prefix with dates and widgets' values in the place of their names.

    Args:
        prefix: as typed; what is not known stays as it is (`%width%` and the like, which ComfyUI's folders fill in).
        hidden: the node's hidden inputs, with `prompt` and `extra_pnginfo`.
        now: the time; that of the clock unless given.
    """

    def value(match: re.Match[str]) -> str:
        name, dot, widget = match[1].partition(".")
        if match[1].startswith("date:"):
            return FORBIDDEN.sub("_", format_date(match[1].removeprefix("date:"), now or datetime.now()))
        found = widget_value(name, widget, hidden.prompt or {}, hidden.extra_pnginfo or {}) if dot else None
        return match[0] if found is None else FORBIDDEN.sub("_", str(found))

    return re.sub("%([^%]+)%", value, prefix)


def format_date(pattern: str, now: datetime) -> str:
    """A date as the frontend writes it: `yyyy-MM-dd`, `hh.mm.ss`."""

    def part(match: re.Match[str]) -> str:
        letters = match[0]
        if letters[0] == "y":
            return f"{now.year:04}"[-len(letters) :]
        return str(getattr(now, DATE_PARTS[letters[0]])).zfill(len(letters))

    return DATE.sub(part, pattern)


def widget_value(name: str, widget: str, prompt: Mapping[str, Any], extra: Mapping[str, Any]) -> Any:
    """The value of a widget of the first node of this name; None where there is none, or where it is linked.

    A node's name is its property "Node name for S&R", which is its type unless somebody changed it, or its title.
    """
    renamed = dict(search_names(extra.get("workflow") or {}))
    by_name = [node for node_id, node in prompt.items() if renamed.get(node_id, node.get("class_type")) == name]
    by_title = [node for node in prompt.values() if (node.get("_meta") or {}).get("title") == name]
    for node in (*by_name, *by_title):
        value = node.get("inputs", {}).get(widget)
        return None if isinstance(value, (list, dict)) else value
    return None


def search_names(workflow: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The property "Node name for S&R" by the node's id in the prompt: `5`, or `2:5` inside the subgraph node 2."""
    subgraphs = {graph["id"]: graph for graph in workflow.get("definitions", {}).get("subgraphs", [])}

    def walk(nodes: list[dict[str, Any]], path: str) -> Iterator[tuple[str, str]]:
        for node in nodes:
            here = f"{path}{node['id']}"
            name = (node.get("properties") or {}).get("Node name for S&R")
            if name:
                yield here, name
            if node.get("type") in subgraphs:
                yield from walk(subgraphs[node["type"]].get("nodes", []), f"{here}:")

    yield from walk(workflow.get("nodes", []), "")
