"""Reads the pickled numpy arrays of the original's pose files without running anything in them.

A pickle is a program. This reader knows numpy's way of rebuilding arrays and plain containers, and refuses every other
name before it is looked up. Even numpy's own rebuilding is done here, from checked values, since its C code trusts what
it is given; and the interpreter is the one written in Python, whose memory a hostile file cannot blow up.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from typing import Any

import numpy as np

from ..errors import PoseError

NUMBER_TYPES = re.compile(r"[<>=|]?([fiu][1248]|b1)")
# A frame of 134 points takes about 8 kB; nothing honest comes near this.
MOST_BYTES = 4 * 2**20
CONSTRUCTORS = (
    {(f"numpy{core}.multiarray", "_reconstruct") for core in (".core", "._core")}
    | {("numpy", "ndarray"), ("numpy", "dtype")}
    | {(f"numpy{core}.multiarray", "scalar") for core in (".core", "._core")}
)


class Refused(Exception):
    """The pickle asks for something that pose files do not hold."""


class NumberType:
    """Stands for a numpy dtype."""

    def __init__(self, spec: Any) -> None:
        if not isinstance(spec, str) or not (spec in ("O8", "O4", "O") or NUMBER_TYPES.fullmatch(spec)):
            raise Refused(f"values of type {str(spec)[:20]!r}")
        self.spec = spec

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise Refused(f"byte order {str(order)[:20]!r}")
        self.spec = order + self.spec.lstrip("<>|=")

    @property
    def holds_objects(self) -> bool:
        return self.spec.lstrip("<>|=").startswith("O")

    def values(self, raw: Any) -> np.ndarray:
        if not isinstance(raw, bytes):
            raise Refused("an array whose values are no bytes")
        return np.frombuffer(raw, dtype=np.dtype(self.spec))


class Array:
    """Stands for a numpy array; `value` is the array, or the list of an array of objects."""

    value: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, column_major, raw = state
        if not isinstance(kind, NumberType) or not all(isinstance(side, int) and side >= 0 for side in shape):
            raise Refused("an array without type and shape")
        if kind.holds_objects:
            if not isinstance(raw, list):
                raise Refused("an array of objects without a list")
            self.value = raw
            return
        values = kind.values(raw)
        if values.size != math.prod(shape):
            raise Refused(f"an array of shape {shape} with {values.size} values")
        self.value = values.reshape(shape, order="F" if column_major else "C")


class Constructor:
    """What an allowed name stands for. Made anew for each file, so that a file cannot change it for the next."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Any) -> Any:
        if self.name == "_reconstruct":
            return Array()
        if self.name == "dtype":
            return NumberType(arguments[0])
        if self.name == "scalar" and len(arguments) == 2 and isinstance(arguments[0], NumberType):
            return arguments[0].values(arguments[1])[0].item()
        raise Refused(f"a call of {self.name}")

    def __setstate__(self, state: Any) -> None:
        raise Refused(f"a change of {self.name}")


class ArrayUnpickler(pickle._Unpickler):  # type: ignore[name-defined, misc]
    """The Python-written interpreter, with the names above and no others."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in CONSTRUCTORS:
            raise Refused(f"{module}.{name}")
        return Constructor(name)

    def persistent_load(self, key: Any) -> Any:
        raise Refused("a persistent object")

    def get_extension(self, code: int) -> Any:
        raise Refused("a registered extension")


def load_pickled_array(content: bytes, label: str) -> Any:
    """The object in a `.npy` file that holds one pickled object.

    Args:
        content: the file.
        label: what messages call it.

    Returns:
        plain containers, numbers, texts and numpy arrays of numbers.

    Raises:
        PoseError: no such file, or one that asks for anything else, which is named and not run.
    """
    if len(content) > MOST_BYTES:
        raise PoseError(f"{label} has {len(content) / 2**20:.0f} MB, too large for one frame of a pose")
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
        if shape != () or dtype != np.dtype(object):
            raise PoseError(f"{label} holds a plain array {list(shape)}, not a frame of a pose")
        value = ArrayUnpickler(stream).load()
        return plain(value)[0]
    except PoseError:
        raise
    except Refused as error:
        raise PoseError(f"{label} is refused: it asks for {error}, which no pose file needs; it was not run") from error
    except Exception as error:  # a damaged pickle can fail in any way the interpreter knows
        raise PoseError(f"{label} cannot be read as a frame of a pose ({type(error).__name__}: {error})") from error


def plain(value: Any) -> Any:
    """Stand-ins replaced by what they stand for."""
    if isinstance(value, Array):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, int, float, bool, np.ndarray)):
        return value
    raise Refused(f"a value of type {type(value).__name__}")
