"""The boxes of a graph, and what a file has to know of their types."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HEIGHTS: dict[str, list[int]] = json.loads(Path(__file__).with_name("node_heights.json").read_text())
# A node's title stands above its position, in pixels of the canvas.
TITLE = 30


@dataclass(frozen=True)
class Kind:
    """A node type as saved workflows need to know it.

    Attributes:
        sockets: inputs without a widget, name to type; a type ending in `?` is optional.
        widgets: name to the value unless another is given, in the order of the file. Names that begin with `_` are the
            frontend's own (upload buttons).
        outputs: name to type.
        size: width and height of the box in pixels, where it shall be larger than the frontend draws it.
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
    """A box. `node["images"]` is that output, to be given to another node.

    Attributes:
        size: width and height as saved.
        room: the height that it takes with its advanced inputs open, or after a run, in either renderer.
        exposed: its widgets that are inputs of the subgraph around it.
        title: what stands above it, where that is not the type's name.
        bypassed: whether what comes in goes out as it is, until its user wants it.
    """

    id: int
    type: str
    kind: Kind
    values: dict[str, Any]
    sources: dict[str, tuple[Node, int]]
    models: list[Model]
    size: tuple[int, int]
    room: int
    position: tuple[int, int] = (0, 0)
    exposed: set[str] = field(default_factory=set)
    title: str | None = None
    bypassed: bool = False

    def __getitem__(self, output: str) -> tuple[Node, int]:
        return self, list(self.kind.outputs).index(output)


def note_box(id: int, text: str, size: tuple[int, int], position: tuple[int, int] = (0, 0)) -> Node:
    """A box of text."""
    return Node(id, "MarkdownNote", Kind({}, {}, {}, size), {"text": text}, {}, [], size, size[1], position)


def drawn_heights(type: str, values: dict[str, Any]) -> tuple[int, int]:
    """Heights that either renderer needs for a node: as it opens, and with advanced inputs open or after a run; see
    `measure_nodes.py`."""
    keys = [type, *(f"{type}:{value.key}" for value in values.values() if isinstance(value, Choice))]
    known = [HEIGHTS[key] for key in keys if key in HEIGHTS]
    return max((shut for shut, *_ in known), default=0), max((max(heights) for heights in known), default=0)


def inputs_of(node: Node) -> list[str]:
    """Names of the inputs in the file: all sockets, and the widgets that are linked."""
    return [*node.kind.sockets, *(name for name in node.kind.widgets if name in node.sources or name in node.exposed)]
