"""Building workflow files: nodes, links and boxes in ComfyUI's UI format 0.4.

The format is that of https://docs.comfy.org/specs/workflow_json_0.4: widgets' values are held by position, links are
told at both ends, and where a box stands and how large it is, is part of the file.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VERSIONS = {"echomimic": "0.1.0", "comfy-core": "0.33.0"}
GROUP_COLOUR = "#3f789e"
NOTE_COLOURS = {"color": "#222", "bgcolor": "#000"}
# Pixels of the canvas. A node's title stands above its position, a group's above its first node's.
TITLE, GAP, MARGIN, GROUP_TITLE, BETWEEN = 30, 26, 20, 44, 60


@dataclass(frozen=True)
class Kind:
    """A node type as saved workflows need to know it.

    Attributes:
        sockets: inputs without a widget, name to type; a type ending in `?` is optional.
        widgets: name to the value unless told otherwise, in the order of the file. Names that begin with `_` are the
            frontend's own (upload buttons).
        outputs: name to type.
        size: width and height of the box as the frontend needs it, in pixels.
    """

    sockets: dict[str, str]
    widgets: dict[str, Any]
    outputs: dict[str, str]
    size: tuple[int, int]
    package: str = "comfy-core"


@dataclass(frozen=True)
class Choice:
    """The value of a dynamic list: what is chosen, and the values of the widgets that belong to it, in their order."""

    key: str
    widgets: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """A file to download: `name` as the list shows it, `directory` as ComfyUI calls the folder."""

    name: str
    url: str
    directory: str


@dataclass
class Node:
    """A box. `node["images"]` is that output, to be given to another node."""

    id: int
    type: str
    kind: Kind
    values: dict[str, Any]
    sources: dict[str, tuple[Node, int]]
    models: list[Model]
    size: tuple[int, int]
    position: tuple[int, int] = (0, 0)

    def __getitem__(self, output: str) -> tuple[Node, int]:
        return self, list(self.kind.outputs).index(output)


@dataclass
class Group:
    """A titled frame around columns of nodes."""

    title: str
    columns: list[list[Node]]

    def place(self, x: int, y: int) -> tuple[int, int]:
        """Put the frame's corner here, the nodes inside; returns its width and height."""
        left, lowest = x + MARGIN, y
        for column in self.columns:
            top = y + GROUP_TITLE
            for node in column:
                node.position = (left, top + TITLE)
                top += TITLE + node.size[1] + GAP
            left += max(node.size[0] for node in column) + BETWEEN
            lowest = max(lowest, top - GAP + MARGIN)
        return left - BETWEEN + MARGIN - x, lowest - y


@dataclass
class Workflow:
    """A graph, filled by `add` and `note`, arranged by `arrange`."""

    name: str
    kinds: dict[str, Kind]
    nodes: list[Node] = field(default_factory=list)
    frames: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self, type: str, models: list[Model] | None = None, size: tuple[int, int] | None = None, **given: Any
    ) -> Node:
        """A node; what is given is a widget's value, or an output of another node.

        Raises:
            ValueError: an input that the type does not have.
        """
        kind = self.kinds[type]
        unknown = given.keys() - kind.sockets.keys() - kind.widgets.keys()
        if unknown:
            raise ValueError(f"{type} has no inputs {sorted(unknown)}")
        sources = {name: value for name, value in given.items() if isinstance(value, tuple)}
        values = {**kind.widgets, **{n: v for n, v in given.items() if n in kind.widgets and n not in sources}}
        node = Node(len(self.nodes) + 1, type, kind, values, sources, models or [], size or kind.size)
        self.nodes.append(node)
        return node

    def note(self, text: str, size: tuple[int, int]) -> Node:
        """A box of text."""
        node = Node(len(self.nodes) + 1, "MarkdownNote", Kind({}, {}, {}, size), {"text": text}, {}, [], size)
        self.nodes.append(node)
        return node

    def arrange(self, note: Node, stacks: list[list[Group]]) -> None:
        """The note left, then the stacks of groups from left to right."""
        note.position = (-note.size[0] - BETWEEN, GROUP_TITLE)
        left = 0
        for stack in stacks:
            top, widest = 0, 0
            for group in stack:
                width, height = group.place(left, top)
                self.frame(group.title, left, top, width, height)
                top, widest = top + height + MARGIN, max(widest, width)
            left += widest + BETWEEN

    def frame(self, title: str, *bounding: int) -> None:
        """A group's frame."""
        entry = {"id": len(self.frames) + 1, "title": title, "bounding": list(bounding), "color": GROUP_COLOUR}
        self.frames.append({**entry, "font_size": 24, "flags": {}})

    def links(self) -> list[list[Any]]:
        """`[id, from node, from slot, to node, to slot, type]`."""
        found: list[list[Any]] = []
        for node in self.nodes:
            for slot, name in enumerate(inputs_of(node)):
                if name in node.sources:
                    source, output = node.sources[name]
                    kind = list(source.kind.outputs.values())[output]
                    found.append([len(found) + 1, source.id, output, node.id, slot, kind])
        return found

    def as_json(self) -> dict[str, Any]:
        """The file's content."""
        links = self.links()
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, self.name)),
            "revision": 0,
            "last_node_id": len(self.nodes),
            "last_link_id": len(links),
            "nodes": [node_json(node, order, links) for order, node in enumerate(self.nodes)],
            "links": links,
            "groups": self.frames,
            "config": {},
            "extra": {"ds": {"scale": 0.6, "offset": [600, 120]}},
            "version": 0.4,
        }

    def write(self, folder: Path) -> None:
        """Write `NAME.json`."""
        text = json.dumps(self.as_json(), indent=1, ensure_ascii=False)
        (folder / f"{self.name}.json").write_text(text + "\n", encoding="utf-8")


def inputs_of(node: Node) -> list[str]:
    """Names of the inputs in the file: all sockets, and the widgets that are linked."""
    return [*node.kind.sockets, *(name for name in node.kind.widgets if name in node.sources)]


def node_json(node: Node, order: int, links: list[list[Any]]) -> dict[str, Any]:
    """A node's entry."""
    told: dict[str, Any] = {
        "id": node.id,
        "type": node.type,
        "pos": list(node.position),
        "size": list(node.size),
        "flags": {},
        "order": order,
        "mode": 0,
        "inputs": [input_json(node, slot, name, links) for slot, name in enumerate(inputs_of(node))],
        "outputs": [
            {"name": name, "type": kind, "links": [link[0] for link in links if link[1:3] == [node.id, slot]]}
            for slot, (name, kind) in enumerate(node.kind.outputs.items())
        ],
        "properties": {},
        "widgets_values": [part for value in node.values.values() for part in in_order(value)],
    }
    if node.type == "MarkdownNote":
        return {**told, **NOTE_COLOURS}
    package = node.kind.package
    told["properties"] = {"Node name for S&R": node.type, "cnr_id": package, "ver": VERSIONS[package]}
    if node.models:
        told["properties"]["models"] = [vars(model) for model in node.models]
    return told


def in_order(value: Any) -> list[Any]:
    """A widget's value, and those of the widgets that it brings along."""
    return [value.key, *value.widgets.values()] if isinstance(value, Choice) else [value]


def input_json(node: Node, slot: int, name: str, links: list[list[Any]]) -> dict[str, Any]:
    """An input's entry."""
    link = next((link for link in links if link[3:5] == [node.id, slot]), None)
    kind = node.kind.sockets.get(name)
    told: dict[str, Any] = {"name": name, "type": kind.rstrip("?") if kind else link and link[5]}
    if kind is None:
        told["widget"] = {"name": name}
    elif kind.endswith("?"):
        told["shape"] = 7
    return {**told, "link": link and link[0]}
