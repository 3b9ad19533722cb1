"""Reads the one pickled object of a `.npy` file without running any code that the file names.

The original keeps every frame as a pickled dict. A pickle is a program: `numpy.load(allow_pickle=True)` runs whatever
functions the file names. Here a file may name only numpy's functions for rebuilding arrays, and those are replaced by
classes that merely store their arguments; an array is built by `as_numpy`, after its shape and type have been checked
against the bytes in the file.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import PoseError

MAX_FILE_BYTES = 1 << 20  # a frame of the original takes 4 kB
MAX_HEADER_BYTES = 1024
_PLAIN_DTYPE = re.compile(r"[fiu][1248]|b1")
_MEMO_WRITES = ("PUT", "BINPUT", "LONG_BINPUT")
# Instructions that reserve memory before reading the data, or fetch objects without calling `find_class`.
_REFUSED_INSTRUCTIONS = ("BYTEARRAY8", "EXT1", "EXT2", "EXT4")


def read_pickled_npy(path: Path) -> Any:
    """The object that `numpy.save` pickled into a `.npy` file: plain containers, numbers and stored arrays.

    Use `as_numpy` on the arrays.

    Raises:
        PoseError: the file cannot be read, is not such a file, is damaged, or names anything beyond numpy's arrays.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise PoseError(f"{path}: {size / 2**20:.0f} MB is too large for one frame of poses")
        data = path.read_bytes()
    except OSError as error:
        raise PoseError(f"{path}: cannot be read ({error.strerror or error})") from error
    body = data[_header_end(data, path) :]
    _refuse_dangerous_instructions(body, path)
    try:
        outer = _Unpickler(body, path).load()
    except PoseError:
        raise
    except Exception as error:  # a damaged pickle may raise nearly anything
        raise PoseError(f"{path}: damaged pose file ({type(error).__name__}: {error})") from error
    content = outer.content if isinstance(outer, _StoredArray) else None
    if not (isinstance(content, list) and len(content) == 1):
        raise PoseError(f"{path}: does not hold a single saved object, so it is not a pose frame")
    return content[0]


def as_numpy(stored: Any, name: str, path: Path) -> np.ndarray:
    """The numeric array that was stored under `name`, as float64.

    Raises:
        PoseError: it is not an array, not numeric, or its size disagrees with its data.
    """
    if not isinstance(stored, _StoredArray):
        raise PoseError(f"{path}: '{name}' is a {type(stored).__name__} where a pose has an array")
    return stored.to_numpy(name, path)


def _header_end(data: bytes, path: Path) -> int:
    """Offset of the pickle in a `.npy` file that holds one object; anything else is refused."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = readers[version](stream, max_header_size=MAX_HEADER_BYTES)
    except Exception as error:  # numpy evaluates the header's text: its errors have no common base
        raise PoseError(f"{path}: not a readable .npy file ({type(error).__name__})") from error
    if dtype != np.dtype(object) or shape != ():
        raise PoseError(f"{path}: holds an array {list(shape)} of {dtype}, not a pose of the original's kind")
    return stream.tell()


def _refuse_dangerous_instructions(body: bytes, path: Path) -> None:
    """Walk the pickle as text, running nothing, and refuse what could exhaust the memory."""
    try:
        for instruction, argument, _ in pickletools.genops(body):
            if instruction.name in _REFUSED_INSTRUCTIONS:
                raise PoseError(f"{path}: refused, the file uses the pickle instruction {instruction.name}")
            if instruction.name in _MEMO_WRITES and int(argument or 0) > len(body):
                raise PoseError(f"{path}: refused, the file asks for {argument} memory slots")
    except PoseError:
        raise
    except Exception as error:  # as above: pickletools raises many kinds on damaged input
        raise PoseError(f"{path}: damaged pose file ({type(error).__name__}: {error})") from error


class _StoredDtype:
    """Stands in for `numpy.dtype` while the file is read."""

    def __init__(self, code: Any = None, *_: Any) -> None:
        self.code = code
        self.byte_order = "="

    def __setstate__(self, state: Any) -> None:
        self.byte_order = state[1]


class _StoredScalar:
    """Stands in for a numpy number. Some writers have one as `num`; nothing we read comes as one."""

    def __init__(self, *_: Any) -> None:
        pass


class _StoredArray:
    """Stands in for `numpy.ndarray` while the file is read: shape, type and raw data, not yet checked."""

    def __init__(self, *_: Any) -> None:
        self.shape: Any = None
        self.dtype: Any = None
        self.fortran: Any = False
        self.content: Any = None

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, self.fortran, self.content = state

    def to_numpy(self, name: str, path: Path) -> np.ndarray:
        code = getattr(self.dtype, "code", None)
        order = getattr(self.dtype, "byte_order", None)
        if not (isinstance(code, str) and _PLAIN_DTYPE.fullmatch(code) and order in ("<", ">", "=", "|")):
            raise PoseError(f"{path}: '{name}' is an array of {str(code)[:40]}, not of plain numbers")
        shape = self.shape
        if not (isinstance(shape, tuple) and len(shape) <= 4 and all(type(n) is int and n >= 0 for n in shape)):
            raise PoseError(f"{path}: '{name}' has the impossible shape {type(shape).__name__}")
        dtype = np.dtype(code).newbyteorder(order if order != "|" else "=")
        if not isinstance(self.content, bytes) or math.prod(shape) * dtype.itemsize != len(self.content):
            raise PoseError(f"{path}: the data of '{name}' have another size than its shape {shape} says")
        array = np.frombuffer(self.content, dtype).reshape(shape, order="F" if self.fortran is True else "C")
        with np.errstate(invalid="ignore"):  # NaN of odd kinds; PoseSequence deals with them
            return array.astype(np.float64)


# What the name `numpy.ndarray` gives: an argument of `_reconstruct`, never called.
_NDARRAY = object()
_ADMITTED: dict[tuple[str, str], Any] = {("numpy", "ndarray"): _NDARRAY, ("numpy", "dtype"): _StoredDtype}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):  # numpy 1 and 2
    _ADMITTED[_module, "_reconstruct"] = _StoredArray
    _ADMITTED[_module, "scalar"] = _StoredScalar


class _Unpickler(pickle.Unpickler):
    def __init__(self, body: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(body))
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise PoseError(
                f"{self.path}: refused, the file asks to run '{module}.{name}'. A pose holds only numbers: "
                "do not use this file"
            ) from None
