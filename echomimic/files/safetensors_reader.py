"""Reading safetensors files: the library's reader, and what it refuses although nothing is wrong with the tensors."""

from __future__ import annotations

import functools
import json
import logging
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load as load_bytes

from ..errors import WeightsError

logger = logging.getLogger("echomimic")


def read_tensors(path: str | os.PathLike[str], prefix: str = "") -> dict[str, torch.Tensor]:
    """The tensors whose names begin with `prefix`, by their whole names, memory-mapped.

    Of a file with bytes after its last tensor they are copied into memory, which is logged.

    Raises:
        WeightsError: the file is damaged.
    """
    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 - not a dict
            return {name: file.get_tensor(name) for name in names}
    except Exception as error:  # the header's text decides what safetensors raises
        return padded_file(Path(path), error).tensors(prefix)


def read_texts(path: str | os.PathLike[str]) -> dict[str, str]:
    """The text entries of the header.

    Raises:
        WeightsError: the file is damaged.
    """
    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            return dict(file.metadata() or {})
    except Exception as error:  # the header's text decides what safetensors raises
        return padded_file(Path(path), error).texts


def read_shapes(path: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """The tensors' shapes, by name, from the header alone.

    Raises:
        WeightsError: the file is damaged.
    """
    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - not a dict
    except Exception as error:  # the header's text decides what safetensors raises
        return padded_file(Path(path), error).shapes


@dataclass(frozen=True)
class PaddedFile:
    """A file with bytes after its last tensor.

    Attributes:
        path: the file.
        start: where the tensors' bytes begin.
        entries: the header's entries of tensors, in the order of their bytes.
        shapes: the tensors' shapes, by name.
        texts: the header's text entries.
    """

    path: Path
    start: int
    entries: dict[str, dict[str, Any]]
    shapes: dict[str, tuple[int, ...]]
    texts: dict[str, str]

    def tensors(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors whose names begin with `prefix`, each read as the file of one tensor that it could be."""
        state: dict[str, torch.Tensor] = {}
        try:
            with self.path.open("rb") as file:
                for name, entry in self.entries.items():
                    if name.startswith(prefix):
                        begin, end = entry["data_offsets"]
                        header = json.dumps({name: {**entry, "data_offsets": [0, end - begin]}}).encode()
                        file.seek(self.start + begin)
                        state |= load_bytes(len(header).to_bytes(8, "little") + header + file.read(end - begin))
        except Exception as error:  # a shape or type that does not fit the bytes
            raise damaged(self.path, error) from error
        return state


def padded_file(path: Path, error: Exception) -> PaddedFile:
    """The file that the library refused with `error`, where nothing but bytes after its last tensor is wrong.

    Raises:
        WeightsError: it is damaged.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= size else {}
        texts = {str(name): str(value) for name, value in header.pop("__metadata__", {}).items()}
        entries = dict(sorted(header.items(), key=lambda item: item[1]["data_offsets"]))
        shapes = {name: tuple(map(int, entry["shape"])) for name, entry in entries.items()}
        spans = [(0, 0), *((int(begin), int(end)) for begin, end in (e["data_offsets"] for e in entries.values()))]
        extra = size - 8 - length - spans[-1][1]
        whole = all(end == begin for (_, end), (begin, _) in pairwise(spans)) and all(b <= e for b, e in spans)
    except Exception:  # damaged bytes decide what the parser raises, and a header may hold anything that JSON can
        raise damaged(path, error) from error
    if not whole or extra <= 0 or not entries:
        raise damaged(path, error) from error
    note_extra_bytes(path, extra)
    return PaddedFile(path, 8 + length, entries, shapes, texts)


@functools.cache  # a bundle is opened once for each of its networks
def note_extra_bytes(path: Path, extra: int) -> None:
    logger.warning("%s: %d bytes after the last tensor are ignored", path, extra)


def damaged(path: str | os.PathLike[str], error: BaseException) -> WeightsError:
    """The error about a file that a library cannot read."""
    lines = str(error).strip().splitlines()
    return WeightsError(f"{path} is damaged or cut off: {lines[0].split('. ')[0] if lines else type(error).__name__}")
