"""What comes through a node's sockets, checked before the node runs.

ComfyUI looks at the types of sockets, not at values: a switch of another pack passes anything, a checkpoint without a
VAE gives None, and a number that comes through a link is neither converted nor held to the widget's limits.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from typing import Any

from ..echomimic.errors import EchoMimicError
from .values import describe, to_number

# By socket: what a value of it has (| is or), and where it comes from. (An audio encoder's node looks closer.)
PARTS: dict[str, tuple[tuple[str, ...], str]] = {
    "ECHOMIMIC_POSE": (("keypoints", "scores", "fps"), "poses of this pack, as EchoMimic Load Pose gives them"),
    "ECHOMIMIC_AUDIO": (("fps", "__len__"), "speech, as EchoMimic Encode Audio gives it"),
    "ECHOMIMIC_MODEL": (("networks", "precision"), "a model, as EchoMimic Load Model gives it"),
    "ECHOMIMIC_CLIPS": (("records",), "clips, as EchoMimic Training Clips gives them"),
    "VAE": (("decode|encode",), "a VAE of Stable Diffusion 1.5, as Load VAE or EchoMimic Load Bundle gives it"),
}
NUMBERS = ("INT", "FLOAT")
DYNAMIC = "COMFY_DYNAMICCOMBO_V3"


def with_checked_inputs(node: Any) -> Any:
    """The node class, its `execute` called with whole numbers and fractions in every form as Python's own.

    It raises EchoMimicError for anything else where a number belongs, and for other kinds of values in sockets of
    `PARTS`.
    """
    execute = node.execute.__func__

    @functools.wraps(execute)
    def execute_checked(cls: Any, *arguments: Any, **inputs: Any) -> Any:
        return execute(cls, *arguments, **check_inputs(input_kinds(node), inputs))

    node.execute = classmethod(execute_checked)
    return node


@functools.cache
def input_kinds(node: Any) -> dict[str, Any]:
    """The socket types by input; for a dynamic list a dict of such dicts by choice. Optional inputs end in `?`."""
    kinds: dict[str, Any] = {}
    for entry in node.define_schema().inputs:
        kinds[entry.id] = f"{entry.io_type}?" if entry.optional else entry.io_type
        if entry.io_type == DYNAMIC:
            kinds[entry.id] = {
                option["key"]: {
                    name: described[0] for group in option["inputs"].values() for name, described in group.items()
                }
                for option in entry.as_dict()["options"]
            }
    return kinds


def check_inputs(kinds: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs with numbers as Python's own.

    Raises:
        EchoMimicError: see `with_checked_inputs`.
    """
    checked = dict(inputs)
    for name, value in inputs.items():
        kind = kinds.get(name)
        if isinstance(kind, dict):
            if isinstance(value, Mapping):
                checked[name] = check_inputs(kind.get(value.get(name), {}), value)
            continue
        if kind is None or (kind.endswith("?") and value is None):
            continue
        kind = kind.removesuffix("?")
        if kind in NUMBERS:
            checked[name] = to_plain_number(value, kind, name)
        elif kind in PARTS:
            check_parts(value, kind, name)
    return checked


def to_plain_number(value: Any, kind: str, name: str) -> int | float:
    """Python's int or float.

    Raises:
        EchoMimicError: it is not a finite number.
    """
    if kind == "INT":
        try:
            return operator.index(value)  # exact, as seeds are larger than a float's digits
        except Exception:  # a foreign value decides what it raises
            pass
    number = to_number(value)
    if number is None:
        raise EchoMimicError(f"{name} must be a number, got {describe(value)}")
    return round(number) if kind == "INT" else number


def check_parts(value: Any, kind: str, name: str) -> None:
    """Raises: EchoMimicError for a value that is not of the socket's kind."""
    parts, wanted = PARTS[kind]
    if not all(any(hasattr(value, name) for name in part.split("|")) for part in parts):
        raise EchoMimicError(f"{name} is {describe(value)}, but must be {wanted}")
