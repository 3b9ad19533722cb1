"""A part of a graph as one node: ComfyUI's subgraphs, in workflows and as blueprints.

The definition holds the inner nodes; a node whose type is the definition's id shows it. An input that leads to a widget
inside is a widget outside. The format is that of ComfyUI's own blueprints.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_graph import BETWEEN, Workflow, link_json, node_json
from workflow_nodes import Kind, Node, inputs_of, note_box
from workflow_wires import FIRST_SLOT, Wires

INPUTS, OUTPUTS = -10, -20
SLOT, SLOTS_WIDTH = 20, 160
# The widest graph that the frontend, which fits it into three quarters of a window of 1600 pixels, shows with text.
READABLE_WIDTH = 2040
BANNER_HEIGHT, BANNER_GAP = 88, 40
PACKAGE = "echomimic"


@dataclass(frozen=True)
class Port:
    """An input of the subgraph.

    Attributes:
        name: outside.
        node, input: the inner node's input that it leads to.
        also: further inner inputs, as node and name.
    """

    name: str
    node: Node
    input: str
    also: tuple[tuple[Node, str], ...] = ()

    @property
    def targets(self) -> list[tuple[Node, str]]:
        return [(self.node, self.input), *self.also]

    @property
    def type(self) -> str:
        """The link's type; a widget's is that of its value."""
        socket = self.node.kind.sockets.get(self.input)
        if socket:
            return socket.rstrip("?")
        value = self.value
        return {bool: "BOOLEAN", int: "INT", float: "FLOAT"}.get(type(value), "COMBO")

    @property
    def is_widget(self) -> bool:
        return self.input in self.node.kind.widgets

    @property
    def optional(self) -> bool:
        return self.node.kind.sockets.get(self.input, "").endswith("?")

    @property
    def value(self) -> Any:
        return self.node.values[self.input]


def ports(node: Node, *names: str) -> list[Port]:
    """Inputs that are called outside as they are inside."""
    return [Port(name, node, name) for name in names]


def model_ports(model: Node, whisper: Node, vae: Node) -> list[Port]:
    """Which published files are loaded."""
    return [
        *ports(model, "denoising_unet", "motion_module", "reference_unet", "pose_encoder"),
        *ports(whisper, "audio_encoder"),
        *ports(vae, "vae_name"),
    ]


def setting_ports(fitted: Node, speech: Node, gestures: Node, sampler: Node) -> list[Port]:
    """What both blueprints let their users set: size, length, gestures and seed."""
    return [
        *ports(fitted, "width", "height"),
        *ports(speech, "duration"),
        *ports(gestures, "energy"),
        Port("gestures_seed", gestures, "seed"),
        *ports(sampler, "seed"),
    ]


@dataclass(frozen=True)
class Subgraph:
    """A part of a graph that is used as one node.

    Attributes:
        name: its title.
        description: what the frontend shows of it in its list of nodes.
        inner: its nodes, arranged; their ids differ from those of the graphs that use it.
        ports: inputs; sockets first, then widgets.
        outputs: name to the output of an inner node.
        size: of the node that shows it.
    """

    name: str
    description: str
    inner: Workflow
    ports: list[Port]
    outputs: dict[str, tuple[Node, int]]
    size: tuple[int, int]

    def __post_init__(self) -> None:
        for port in self.ports:
            if port.is_widget:
                for node, name in port.targets:
                    node.exposed.add(name)

    @property
    def id(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, self.inner.name))

    @property
    def kind(self) -> Kind:
        """What a graph that uses it needs to know."""
        sockets = {port.name: port.type + "?" * port.optional for port in self.ports if not port.is_widget}
        widgets = {port.name: port.value for port in self.ports if port.is_widget}
        outputs = {name: list(node.kind.outputs.values())[slot] for name, (node, slot) in self.outputs.items()}
        return Kind(sockets, widgets, outputs, self.size, PACKAGE)

    def links(self) -> tuple[list[list[Any]], list[list[Any]], list[list[Any]]]:
        """Links inside, from the subgraph's inputs, and to its outputs, each as `Workflow.links` has them."""
        inside = self.inner.links()
        targets = [(slot, port.type, *target) for slot, port in enumerate(self.ports) for target in port.targets]
        entering = [
            [number, INPUTS, slot, node.id, inputs_of(node).index(name), kind]
            for number, (slot, kind, node, name) in enumerate(targets, len(inside) + 1)
        ]
        sources = enumerate(self.outputs.items(), len(inside) + len(entering) + 1)
        leaving = [
            [number, node.id, output, OUTPUTS, slot, self.kind.outputs[name]]
            for slot, (number, (name, (node, output))) in enumerate(sources)
        ]
        return inside, entering, leaving

    def definition(self) -> dict[str, Any]:
        """The entry in a file's `definitions`."""
        inside, entering, leaving = self.links()
        links = [*inside, *entering, *leaving]
        left, top, right = self.bounds()
        wires = Wires([*self.inner.nodes, *self.slot_nodes()])
        for link in links:
            wires.lead(link)
        nodes = [*self.inner.nodes, self.banner(min([top, *wires.lanes.values()]))]
        bends = {entry["id"]: {"parentId": entry["parentId"]} for entry in wires.parents}
        return {
            "id": self.id,
            "version": 1,
            "state": {
                "lastGroupId": len(self.inner.frames),
                "lastNodeId": max(node.id for node in nodes),
                "lastLinkId": len(links),
                "lastRerouteId": len(wires.reroutes),
            },
            "revision": 0,
            "config": {},
            "name": self.name,
            "description": self.description,
            "category": "EchoMimic",
            "inputNode": {
                "id": INPUTS,
                "bounding": [left - SLOTS_WIDTH, top, SLOTS_WIDTH, SLOT * (len(self.ports) + 2)],
            },
            "outputNode": {"id": OUTPUTS, "bounding": [right, top, SLOTS_WIDTH, SLOT * (len(self.outputs) + 2)]},
            "inputs": [
                {
                    **self.slot_json("input", slot, port.name, port.type, left - SLOT, links_of(entering, 2, slot)),
                    **({"shape": 7} if port.optional else {}),
                }
                for slot, port in enumerate(self.ports)
            ],
            "outputs": [
                self.slot_json("output", slot, name, self.kind.outputs[name], right + SLOT, links_of(leaving, 4, slot))
                for slot, name in enumerate(self.outputs)
            ],
            "widgets": [],
            "nodes": [node_json(node, order, links) for order, node in enumerate(nodes)],
            "groups": self.inner.frames,
            "links": [{**link_json(link), **bends.get(link[0], {})} for link in links],
            "reroutes": wires.reroutes,
            "extra": {},
        }

    def banner(self, highest: float) -> Node:
        """What it does, above the wires and from the inputs' names to the outputs'. Whoever opens the subgraph sees all
        of it, since the frontend fits nodes into the window, and neither wires nor slots."""
        left, _, right = self.bounds()
        left, right = left - SLOTS_WIDTH, right + SLOTS_WIDTH
        beyond = max(0, right - left - READABLE_WIDTH) / 2
        top = highest - BANNER_GAP - BANNER_HEIGHT
        size = round(right - left - 2 * beyond), BANNER_HEIGHT
        return note_box(self.inner.next_id(), f"## {self.description}", size, (round(left + beyond), round(top)))

    def slot_nodes(self) -> list[Node]:
        """The columns of slots at both ends, where the frontend draws them, as boxes."""
        left, top, right = self.bounds()
        inputs = Kind({}, {}, {port.name: port.type for port in self.ports}, (SLOTS_WIDTH - SLOT // 2, 0))
        outputs = Kind(dict(self.kind.outputs), {}, {}, (SLOTS_WIDTH, 0))
        ends = [(INPUTS, inputs, left - SLOTS_WIDTH), (OUTPUTS, outputs, right + SLOT // 2)]
        return [
            Node(number, "", kind, {}, {}, [], (kind.size[0], SLOT), SLOT, (x, top + SLOT - FIRST_SLOT))
            for number, kind, x in ends
        ]

    def slot_json(self, kind: str, slot: int, name: str, type: str, x: int, links: list[int]) -> dict[str, Any]:
        """An input or an output of the definition."""
        place = [x, self.bounds()[1] + SLOT * (slot + 1)]
        number = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.name}/{kind}/{name}"))
        return {"id": number, "name": name, "type": type, "linkIds": links, "pos": place}

    def bounds(self) -> tuple[int, int, int]:
        """Left, top and right of the inner groups."""
        boxes = [frame["bounding"] for frame in self.inner.frames]
        return (
            min(box[0] for box in boxes) - 2 * BETWEEN,
            min(box[1] for box in boxes),
            max(box[0] + box[2] for box in boxes) + 2 * BETWEEN,
        )

    def write_blueprint(self, folder: Path) -> None:
        """Write it as a blueprint, `NAME.json`: the frontend lists it among the nodes under the file's name."""
        node = Node(1, self.id, self.kind, dict(self.kind.widgets), {}, [], self.size, self.size[1], title=self.name)
        content = {
            "revision": 0,
            "last_node_id": 1,
            "last_link_id": 0,
            "nodes": [node_json(node, 0, [])],
            "links": [],
            "groups": [],
            "config": {},
            "definitions": {"subgraphs": [self.definition()]},
            "extra": {},
            "version": 0.4,
        }
        folder.mkdir(exist_ok=True)
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (folder / f"{self.name}.json").write_text(text + "\n", encoding="utf-8")


def links_of(links: list[list[Any]], end: int, slot: int) -> list[int]:
    """Numbers of the links whose slot at this end (2: origin, 4: target) is this one."""
    return [link[0] for link in links if link[end] == slot]
