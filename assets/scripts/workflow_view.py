"""What a window of 1600 x 1000 shows of a workflow as it opens, and which of it the frontend's own controls cover."""

from __future__ import annotations

import math

from workflow_nodes import TITLE, Node

Box = tuple[float, float, float, float]

WINDOW = (1600, 1000)
# A template is fitted into three quarters of the window, with a margin around its nodes.
FITTED, BESIDE = 0.75, 20
# Corner and size of what the frontend's bars leave of the window, for those who open the file itself.
VIEW = ((80, 110), (1500, 870))
# Left, top, right and bottom of the map, and of the message that files are missing.
MAP, MESSAGE = (1343, 742, 1596, 942), (1228, 94, 1596, 215)
BELOW = 6
# In per cent of full size: the frontend draws no text smaller than 8 pixels, which is 57.
SMALLEST = 58


def box(node: Node) -> Box:
    """Left, top, right and bottom, with the title above."""
    (x, y), (width, height) = node.position, node.size
    return x, y - TITLE, x + width, y + height


def around(boxes: list[Box]) -> Box:
    """The box that holds all of them."""
    return (
        min(left for left, *_ in boxes),
        min(top for _, top, *_ in boxes),
        max(right for _, _, right, _ in boxes),
        max(bottom for *_, bottom in boxes),
    )


def on_screen(box: Box, scale: float, offset: tuple[float, float]) -> Box:
    left, top, right, bottom = box
    x, y = offset
    return (left + x) * scale, (top + y) * scale, (right + x) * scale, (bottom + y) * scale


def covers(control: Box, box: Box) -> bool:
    return control[0] < box[2] and box[0] < control[2] and control[1] < box[3] and box[1] < control[3]


def fitted(nodes: list[Node]) -> tuple[float, tuple[float, float]]:
    """Zoom and offset at which a template opens."""
    left, top, right, bottom = around([box(node) for node in nodes])
    scale = FITTED * min(WINDOW[0] / (right - left + BESIDE), WINDOW[1] / (bottom - top + BESIDE))
    return scale, (WINDOW[0] / 2 / scale - (left + right) / 2, WINDOW[1] / 2 / scale - (top + bottom) / 2)


def room_below_message(nodes: list[Node], last: list[Node], above: int = 0) -> int:
    """How much lower the last ones may stand to be clear of the message and of the map; 0 where they need not or cannot
    be clear of both, also once a run has made them as tall as their room. `above` is what stands above them."""
    scale, offset = fitted(nodes)
    lowest = around([box(node) for node in nodes])[3]
    left, top, right, _ = around([box(node) for node in last])
    top, bottom = top - above, max(node.position[1] + node.room for node in last)
    if not covers(MESSAGE, on_screen((left, top, right, bottom), scale, offset)):
        return 0
    down = math.ceil((MESSAGE[3] + BELOW) / scale - offset[1] - top)
    lowered = left, top + down, right, bottom + down
    return 0 if lowered[3] > lowest or covers(MAP, on_screen(lowered, scale, offset)) else down


def whole_view(nodes: list[Node], whole: Box) -> tuple[float, tuple[int, int]]:
    """Zoom and offset at which the file itself opens: all of it in view, no node below the map."""
    left, top, right, bottom = whole
    (x, y), (width, height) = VIEW

    def at(percent: int) -> tuple[float, tuple[int, int]]:
        scale = percent / 100
        return scale, (round(x / scale - left), round(y / scale - top))

    percent = min(100, math.floor(100 * min(width / (right - left), height / (bottom - top))))
    while percent > SMALLEST and any(covers(MAP, on_screen(box(node), *at(percent))) for node in nodes):
        percent -= 1
    return at(percent)
