"""What comes through a node's sockets, checked before the node runs.

ComfyUI looks at the types of sockets, not at values: a switch of another pack passes anything, a checkpoint without a
VAE gives None, and a number that comes through a link is neither converted nor held to the widget's limits.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Mapping
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
SWITCH, TEXTS, CHOICES = "BOOLEAN", ("STRING", "COMBO"), "COMBO of several"
DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
# Texts that other nodes give for yes and no.
YES_OR_NO = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def with_checked_inputs(node: Any) -> Any:
    """The node class, its `execute` called with numbers, switches and texts in every form as Python's own.

    It raises EchoMimicError for anything else where one of these belongs, for a choice that a list does not have, and
    for other kinds of values in sockets of `PARTS`.
    """
    execute = node.execute.__func__

    @functools.wraps(execute)
    def execute_checked(cls: Any, *arguments: Any, **inputs: Any) -> Any:
        return execute(cls, *arguments, **check_inputs(input_kinds(node), inputs))

    node.execute = classmethod(execute_checked)
    return node


@functools.cache
def input_kinds(node: Any) -> dict[str, Any]:
    """The socket types by input; of a list that is the same everywhere its choices, of a dynamic list a dict of such
    dicts by choice. Optional inputs end in `?`."""
    kinds: dict[str, Any] = {}
    for entry in node.define_schema().inputs:
        several = entry.io_type == "COMBO" and entry.as_dict().get("multiselect")
        kind = CHOICES if several else entry.io_type
        kinds[entry.id] = f"{kind}?" if entry.optional else kind
        # Lists of files have no default; what they name is looked for on the disk.
        if kind == "COMBO" and "default" in entry.as_dict():
            kinds[entry.id] = tuple(entry.as_dict()["options"])
        if entry.io_type == DYNAMIC:
            kinds[entry.id] = {
                option["key"]: {
                    name: described[0] for group in option["inputs"].values() for name, described in group.items()
                }
                for option in entry.as_dict()["options"]
            }
    return kinds


def check_inputs(kinds: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs with numbers, switches and texts as Python's own.

    Raises:
        EchoMimicError: see `with_checked_inputs`.
    """
    checked = dict(inputs)
    for name, value in inputs.items():
        kind = kinds.get(name)
        if isinstance(kind, dict):
            if isinstance(value, Mapping):
                choice = to_choice(value.get(name), kind, name)
                checked[name] = {**check_inputs(kind[choice], value), name: choice}
            elif value is not None:
                raise EchoMimicError(
                    f"{name} must be one of {', '.join(kind)} with its settings, got {describe(value)}"
                )
            continue
        if isinstance(kind, tuple):
            checked[name] = to_choice(value, kind, name)
            continue
        if kind is None or (kind.endswith("?") and value is None):
            continue
        kind = kind.removesuffix("?")
        if kind in NUMBERS:
            checked[name] = to_plain_number(value, kind, name)
        elif kind == SWITCH:
            checked[name] = to_switch(value, name)
        elif kind in TEXTS:
            checked[name] = to_plain_text(value, name)
        elif kind == CHOICES:
            texts = value if isinstance(value, (list, tuple)) else () if value is None else (value,)
            checked[name] = [to_plain_text(text, name) for text in texts]
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


def to_switch(value: Any, name: str) -> bool:
    """Python's True or False.

    Raises:
        EchoMimicError: it is neither, nor 1 or 0, nor such a text.
    """
    number = YES_OR_NO.get(value.strip().lower()) if isinstance(value, str) else None
    number = to_number(value) if number is None else number
    if number not in (0, 1):
        raise EchoMimicError(f"{name} must be true or false, got {describe(value)}")
    return bool(number)


def to_plain_text(value: Any, name: str) -> str:
    """Python's text; of a number its digits.

    Raises:
        EchoMimicError: it is something else.
    """
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return str(value)
    raise EchoMimicError(f"{name} must be a text, got {describe(value)}")


def to_choice(value: Any, choices: Collection[str], name: str) -> str:
    """One of the choices of a list.

    Raises:
        EchoMimicError: it is something else.
    """
    if not isinstance(value, str) or value not in choices:
        raise EchoMimicError(f"{name} must be one of {', '.join(choices)}, got {describe(value)}")
    return str(value)


def check_parts(value: Any, kind: str, name: str) -> None:
    """Raises: EchoMimicError for a value that is not of the socket's kind."""
    parts, wanted = PARTS[kind]
    if not all(any(hasattr(value, name) for name in part.split("|")) for part in parts):
        raise EchoMimicError(f"{name} is {describe(value)}, but must be {wanted}")
