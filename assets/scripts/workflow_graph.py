"""Building workflow files: nodes, links and boxes in ComfyUI's UI format 0.4.

The format is that of https://docs.comfy.org/specs/workflow_json_0.4: widgets' values are held by position, links are
given at both ends, and where a box stands and how large it is, is part of the file.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflow_nodes import TITLE, Choice, Kind, Model, Node, drawn_heights, inputs_of, note_box
from workflow_view import around, box, room_below_message, whole_view
from workflow_wires import Wires

VERSIONS = {"echomimic": "0.1.0", "comfy-core": "0.33.0"}
GROUP_COLOUR = "#3f789e"
NOTE_COLOURS = {"color": "#222", "bgcolor": "#000"}
# Pixels of the canvas. A group's title stands above its first node's.
GAP, MARGIN, GROUP_TITLE, BETWEEN = 20, 14, 40, 40
ERROR_LINE = 26
# The format's number of a node that passes on what it gets.
BYPASS = 4


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
                top += TITLE + node.room + GAP
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
    first_id: int = 1
    definitions: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        type: str,
        models: list[Model] | None = None,
        size: tuple[int, int] | None = None,
        title: str | None = None,
        **given: Any,
    ) -> Node:
        """A node; what is given is a widget's value, or an output of another node.

        Raises:
            ValueError: an input that the type does not have.
        """
        kind = self.kinds[type]
        unknown = given.keys() - kind.sockets.keys() - kind.widgets.keys()
        if unknown:
            raise ValueError(f"{type} has no inputs {sorted(unknown)}")
        given = {name: value for name, value in given.items() if value is not None}
        sources = {name: value for name, value in given.items() if isinstance(value, tuple)}
        values = {**kind.widgets, **{n: v for n, v in given.items() if n in kind.widgets and n not in sources}}
        width, height = size or kind.size
        shut, tallest = drawn_heights(type, values)
        size = width, max(height, shut)
        # Nodes 2.0 writes "Error" below a loader whose file is missing.
        room = max(size[1], tallest) + (ERROR_LINE if models else 0)
        node = Node(self.next_id(), type, kind, values, sources, models or [], size, room, title=title)
        self.nodes.append(node)
        return node

    def next_id(self) -> int:
        return self.first_id + len(self.nodes)

    def note(self, text: str, size: tuple[int, int]) -> Node:
        """A box of text."""
        self.nodes.append(note_box(self.next_id(), text, size))
        return self.nodes[-1]

    def add_subgraph(self, subgraph: Any, **given: Any) -> Node:
        """A node that shows a `workflow_subgraph.Subgraph`; its definition goes into the file."""
        if subgraph.id not in self.kinds:
            self.kinds = {**self.kinds, subgraph.id: subgraph.kind}
            self.definitions.append(subgraph.definition())
        node = self.add(subgraph.id, **given)
        node.title = subgraph.name
        return node

    def arrange(self, note: Node, stacks: list[list[Group]]) -> None:
        """The note above the first stack of groups, which may be empty; the others to its right, the last one below the
        frontend's message where there is room."""
        note.position = (MARGIN, TITLE)
        self.arrange_groups(stacks, note.size[0] + 2 * MARGIN, TITLE + note.room + GAP)
        last = [node for group in stacks[-1] for column in group.columns for node in column]
        # With the group's title where that has room, too.
        down = room_below_message(self.nodes, last, GROUP_TITLE) or room_below_message(self.nodes, last)
        for node in last:
            node.position = (node.position[0], node.position[1] + down)
        for frame in self.frames[-len(stacks[-1]) :]:
            frame["bounding"][1] += down

    def arrange_groups(self, stacks: list[list[Group]], first_width: int = 0, first_top: int = 0) -> None:
        """The stacks of groups from left to right; the first one begins at `first_top`."""
        left = 0
        for number, stack in enumerate(stacks):
            top, widest = (0, 0) if number else (first_top, first_width)
            for group in stack:
                width, height = group.place(left, top)
                self.frame(group.title, left, top, width, height)
                top, widest = top + height + MARGIN, max(widest, width)
            left += widest + BETWEEN

    def view(self, highest: float) -> dict[str, Any]:
        """Zoom and offset at which a window of 1600 x 1000 shows all of it, for those who open the file itself: what
        is opened as a template, the frontend fits into the window. `highest` is the top of the wires."""
        boxes = [box(node) for node in self.nodes]
        boxes += [(x, y, x + width, y + height) for x, y, width, height in (f["bounding"] for f in self.frames)]
        left, top, right, bottom = around(boxes)
        scale, offset = whole_view(self.nodes, (left, min(top, highest), right, bottom))
        return {"scale": scale, "offset": list(offset)}

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
        wires = Wires(self.nodes)
        for link in links:
            wires.lead(link)
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, self.name)),
            "revision": 0,
            "last_node_id": max(node.id for node in self.nodes),
            "last_link_id": len(links),
            "nodes": [node_json(node, order, links) for order, node in enumerate(self.nodes)],
            "links": links,
            "groups": self.frames,
            **({"definitions": {"subgraphs": self.definitions}} if self.definitions else {}),
            "config": {},
            "extra": {"ds": self.view(min(wires.lanes.values(), default=0)), **wires.extra()},
            "version": 0.4,
        }

    def write(self, folder: Path) -> None:
        """Write `NAME.json`."""
        text = json.dumps(self.as_json(), indent=1, ensure_ascii=False)
        (folder / f"{self.name}.json").write_text(text + "\n", encoding="utf-8")


def node_json(node: Node, order: int, links: list[list[Any]]) -> dict[str, Any]:
    """A node's entry."""
    entry: dict[str, Any] = {
        "id": node.id,
        "type": node.type,
        "pos": list(node.position),
        "size": list(node.size),
        "flags": {},
        "order": order,
        "mode": BYPASS if node.bypassed else 0,
        "inputs": [input_json(node, slot, name, links) for slot, name in enumerate(inputs_of(node))],
        "outputs": [
            {"name": name, "type": kind, "links": [link[0] for link in links if link[1:3] == [node.id, slot]]}
            for slot, (name, kind) in enumerate(node.kind.outputs.items())
        ],
        "properties": {},
        "widgets_values": [part for value in node.values.values() for part in in_order(value)],
    }
    if node.type == "MarkdownNote":
        return {**entry, **NOTE_COLOURS}
    if node.title:
        entry["title"] = node.title
    package = node.kind.package
    entry["properties"] = {"Node name for S&R": node.type, "cnr_id": package, "ver": VERSIONS[package]}
    if node.models:
        entry["properties"]["models"] = [vars(model) for model in node.models]
    return entry


def link_json(link: list[Any]) -> dict[str, Any]:
    """A link as subgraphs have it."""
    return dict(zip(("id", "origin_id", "origin_slot", "target_id", "target_slot", "type"), link))


def in_order(value: Any) -> list[Any]:
    """A widget's value, and those of the widgets that it brings along."""
    return [value.key, *value.widgets.values()] if isinstance(value, Choice) else [value]


def input_json(node: Node, slot: int, name: str, links: list[list[Any]]) -> dict[str, Any]:
    """An input's entry."""
    link = next((link for link in links if link[3:5] == [node.id, slot]), None)
    kind = node.kind.sockets.get(name)
    entry: dict[str, Any] = {"name": name, "type": kind.rstrip("?") if kind else link and link[5]}
    if kind is None:
        entry["widget"] = {"name": name}
    elif kind.endswith("?"):
        entry["shape"] = 7
    return {**entry, "link": link and link[0]}
