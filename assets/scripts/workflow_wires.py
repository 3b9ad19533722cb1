"""Wires around boxes: a link that would run behind a node, its own ones too, is led through the gaps between them.

Reroutes, as ComfyUI's frontend has them, hold the bends: along a column of nodes, through a lane above all groups where
columns lie between both ends, or through the row above the target where both ends are in one column.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from workflow_nodes import TITLE, Node, inputs_of

Point = tuple[float, float]

# Of the frontend: a slot's place in its node, and how far a wire leaves its ends straight, as a share of its length.
FIRST_SLOT, SLOT, WIDGET, STRAIGHT = 14, 20, 24, 0.25
# Lanes above the groups, and wires side by side in a gap between columns.
LANE, LANES_ABOVE, WIRES = 8, 20, 5
# How high above a node, below a group's title, the first wire, the second one and so on run: wires sag, and one that
# touches the node would run behind it.
ROWS = 7, 5, 10, 12
SAMPLES = 60


@dataclass
class Wires:
    """The reroutes of a graph, filled by `lead`.

    Attributes:
        nodes: all boxes, placed.
    """

    nodes: list[Node]
    reroutes: list[dict[str, Any]] = field(default_factory=list)
    parents: list[dict[str, int]] = field(default_factory=list)
    shared: dict[tuple[int, int, Point], int] = field(default_factory=dict)
    lanes: dict[tuple[int, int], float] = field(default_factory=dict)
    used: dict[int, dict[tuple[int, int], int]] = field(default_factory=dict)
    rows: dict[int, dict[tuple[int, int], int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.by_id = {node.id: node for node in self.nodes}
        self.lefts = sorted({node.position[0] for node in self.nodes})
        self.rights = [
            max(node.position[0] + node.size[0] for node in self.nodes if node.position[0] == left)
            for left in self.lefts
        ]

    def column(self, node: Node) -> int:
        return self.lefts.index(node.position[0])

    def lead(self, link: list[Any]) -> None:
        """Lead a link `[id, from node, slot, to node, slot, type]` around the boxes that it would run behind."""
        number, source, output, target, entry, _ = link
        begin, end = self.by_id[source], self.by_id[target]
        first = (begin.position[0] + begin.size[0], begin.position[1] + FIRST_SLOT + SLOT * output)
        last = (end.position[0], entry_height(end, entry))
        if not any(self.behind(point) for point in spline(first, last)):
            return
        leaving, entering = self.column(begin), self.column(end)
        wire = (source, output)
        out = self.gap(leaving, wire)
        if entering == leaving + 1:
            self.add(number, wire, [(out, first[1]), (out, last[1])])
            return
        into = self.gap(entering - 1, wire)
        if entering == leaving:
            row = self.row(end, wire)
        elif entering > leaving:
            row = self.lanes.setdefault(wire, -LANES_ABOVE - LANE * len(self.lanes))
        else:
            return
        self.add(number, wire, [(out, first[1]), (out, row), (into, row), (into, last[1])])

    def row(self, node: Node, wire: tuple[int, int]) -> float:
        """Where this output's wire runs in the row above a node."""
        wires = self.rows.setdefault(node.id, {})
        place = wires.setdefault(wire, len(wires)) % len(ROWS)
        return node.position[1] - TITLE - ROWS[place]

    def gap(self, after: int, wire: tuple[int, int]) -> float:
        """Where this output's wire runs in the gap to the right of a column; -1 is left of the first."""
        left = self.rights[after] if after >= 0 else self.lefts[0] - 60
        right = self.lefts[after + 1] if after + 1 < len(self.lefts) else left + 60
        wires = self.used.setdefault(after, {})
        place = wires.setdefault(wire, len(wires)) % WIRES
        return left + (right - left) * (place + 1.5) / (WIRES + 2)

    def add(self, number: int, wire: tuple[int, int], points: list[Point]) -> None:
        """Reroutes at these points; what two links of one output have in common is one."""
        parent: int | None = None
        for point in points:
            key = (*wire, (round(point[0]), round(point[1])))
            if key not in self.shared:
                self.shared[key] = len(self.reroutes) + 1
                entry = {"id": self.shared[key], "pos": list(key[2]), "linkIds": []}
                self.reroutes.append(entry if parent is None else {**entry, "parentId": parent})
            parent = self.shared[key]
            self.reroutes[parent - 1]["linkIds"].append(number)
        assert parent is not None
        self.parents.append({"id": number, "parentId": parent})

    def behind(self, point: Point) -> bool:
        """Whether a point lies behind a node."""
        x, y = point
        return any(
            node.position[0] < x < node.position[0] + node.size[0]
            and node.position[1] - TITLE < y < node.position[1] + node.size[1]
            for node in self.nodes
        )

    def extra(self) -> dict[str, Any]:
        """What a file's `extra` holds of it."""
        return {"reroutes": self.reroutes, "linkExtensions": self.parents} if self.reroutes else {}


def entry_height(node: Node, slot: int) -> float:
    """Where an input is; those of widgets stand below the sockets."""
    sockets = len(node.kind.sockets)
    if slot < sockets:
        return node.position[1] + FIRST_SLOT + SLOT * slot
    row = list(node.kind.widgets).index(inputs_of(node)[slot])
    return node.position[1] + FIRST_SLOT + SLOT * max(sockets, len(node.kind.outputs)) + WIDGET * row


def spline(first: Point, last: Point) -> Iterator[Point]:
    """The frontend's curve between an output and an input."""
    reach = STRAIGHT * math.dist(first, last)
    for step in range(SAMPLES + 1):
        t = step / SAMPLES
        s = 1 - t
        weights = s**3, 3 * s * s * t, 3 * s * t * t, t**3
        x = (
            weights[0] * first[0]
            + weights[1] * (first[0] + reach)
            + weights[2] * (last[0] - reach)
            + weights[3] * last[0]
        )
        yield x, (weights[0] + weights[1]) * first[1] + (weights[2] + weights[3]) * last[1]
