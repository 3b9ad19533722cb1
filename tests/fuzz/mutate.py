"""Strategies that damage files: their bytes, their JSON, or the header of a safetensors file."""

from __future__ import annotations

import json
import struct
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

# Numbers that sit at the edges of formats' fields.
EDGES = [0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63, 2**64 - 1]
# Values that turn up in JSON where another kind is meant.
ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    0.5,
    1e308,
    -1e30,
    2**70,
    float("nan"),
    float("inf"),
    "",
    "768",
    "a",
    "\ud800",
    [],
    [[]],
    [None],
    [[0, 0, 1]] * 3,
    {},
    {"people": []},
    {"a": {"b": 1}},
]

Edit = tuple[str, int, int, int]
edits = st.lists(
    st.tuples(
        st.sampled_from(["flip", "zeros", "ones", "cut", "end", "repeat", "insert", "number", "swap", "text"]),
        st.integers(0, 2**16 - 1),  # where, in shares of the file
        st.integers(0, 2**16 - 1),  # how far
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=6,
)


def edit_bytes(content: bytes, wanted: list[Edit], near_start: bool = False) -> bytes:
    """The content with edits made one after another; `near_start`: in its first kilobyte, where headers are."""
    data = bytearray(content)
    for kind, where, far, value in wanted:
        span = min(len(data), 1024) if near_start else len(data)
        place = where * span >> 16
        length = 1 + (far % 64 if far & 1 else far * max(1, len(data) // 4) >> 16)
        end = min(len(data), place + length)
        if kind == "flip" and data:
            data[min(place, len(data) - 1)] ^= value or 1
        elif kind == "zeros":
            data[place:end] = bytes(end - place)
        elif kind == "ones":
            data[place:end] = b"\xff" * (end - place)
        elif kind == "cut":
            del data[place:end]
        elif kind == "end":
            del data[place:]
        elif kind == "repeat":
            data[place:place] = data[place:end]
        elif kind == "insert":
            data[place:place] = bytes((value + i * far) & 255 for i in range(length % 300))
        elif kind == "number":
            number = EDGES[far % len(EDGES)]
            width = (1, 2, 4, 8)[value % 4]
            order = "big" if value & 4 else "little"
            data[place : place + width] = (number % 256**width).to_bytes(width, order)  # type: ignore[arg-type]
        elif kind == "swap":
            data[place:end], data[:0] = data[:0], data[place:end]
        elif kind == "text":
            words = (b"\xef\xbb\xbf", b"\xff\xfe", b"nan", b"1e999", b'"', b";", b"\t", b"\r\n\r\n", b"\0", b"{", b"]")
            data[place:place] = words[far % len(words)]
    return bytes(data)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in a JSON tree; long lists by their first and last few."""
    found = [path]
    if isinstance(tree, dict):
        for key, value in tree.items():
            found += places(value, (*path, key))
    elif isinstance(tree, list):
        for index in sorted({*range(min(4, len(tree))), *range(max(0, len(tree) - 2), len(tree))}):
            found += places(tree[index], (*path, index))
    return found


json_edits = st.lists(
    st.tuples(
        st.sampled_from(["odd", "drop", "wrap", "double", "text", "shorten"]),
        st.integers(0, 2**16 - 1),
        st.integers(0, 2**16 - 1),
    ),
    min_size=1,
    max_size=4,
)


def edit_json(tree: Any, wanted: list[tuple[str, int, int]]) -> Any:
    """The tree with values replaced, dropped, wrapped, doubled, turned into text, or shortened."""
    tree = json.loads(json.dumps(tree))
    for kind, where, which in wanted:
        known = places(tree)
        path = known[where * len(known) >> 16]
        if not path:
            tree = {"odd": deepcopy(ODD[which % len(ODD)]), "wrap": [tree], "text": json.dumps(tree)}.get(kind, tree)
            continue
        parent = tree
        for step in path[:-1]:
            parent = parent[step]
        key, value = path[-1], parent[path[-1]]
        if kind == "odd":
            parent[key] = deepcopy(ODD[which % len(ODD)])
        elif kind == "drop":
            del parent[key]
        elif kind == "wrap":
            parent[key] = [value] if which & 1 else {"data": value}
        elif kind == "double":
            parent[key] = [value, value]
        elif kind == "text":
            parent[key] = json.dumps(value)
        elif kind == "shorten" and isinstance(value, (list, str)):
            parent[key] = value[: which % (len(value) + 1)]
    return tree


def dump_json(tree: Any) -> bytes:
    return json.dumps(tree).encode("utf-8", "surrogatepass")


def edit_header(content: bytes, wanted: list[tuple[str, int, int]], keep_texts: bool = True) -> bytes:
    """A safetensors file with its JSON header edited; the tensors' bytes stay. The texts in its metadata that are JSON
    themselves are edited inside, too."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    texts = header.get("__metadata__", {})
    opened = {}
    for name, text in texts.items():
        try:
            opened[name] = json.loads(text)
        except ValueError:
            opened[name] = text
    # Half of the edits go into what the metadata says, which is a small part of the header.
    inner = [edit for index, edit in enumerate(wanted) if index % 2 == 0]
    outer = wanted[1::2]
    changed = edit_json(opened, inner) if opened and inner else opened
    if keep_texts and isinstance(changed, dict):
        changed = {str(name): value if isinstance(value, str) else json.dumps(value) for name, value in changed.items()}
    header = edit_json({**header, "__metadata__": changed}, outer) if outer else {**header, "__metadata__": changed}
    text = dump_json(header)
    return struct.pack("<Q", len(text)) + text + content[8 + length :]
