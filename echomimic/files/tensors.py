"""Reading a weights file of any format, without running code that is in it.

Large files are memory-mapped: the tensors that come back point into the file, and the operating system loads and drops
pages as needed, so reading makes no second copy of the weights.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pickletools
import re
import tarfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Literal

import torch

from ..errors import WeightsError
from .heads import match_head, read_head, recognise
from .safetensors_reader import damaged, read_tensors, read_texts
from .state_dicts import name_some, plain_state

logger = logging.getLogger("echomimic")

FileFormat = Literal["safetensors", "zip", "pickle"]

# Trainers put the state dict under one of these names, beside counters and settings.
NESTING = ("state_dict", "model_state_dict", "model")
MAX_NESTING = 4
# What a pickle of plain tensors names: containers, and torch's dtypes, storages and rebuilding functions.
PLAIN_GLOBALS = re.compile(r"collections\.OrderedDict|torch\.\w+|torch\.(_utils|_tensor|storage|serialization)\.\w+")
# First bytes of files that are often mistaken for weights, and what to do about them.
IMPOSTORS = {
    b"gguf": "is a GGUF file, a quantisation that is not read here: get the .safetensors or .pth files",
    b"\x89hdf": "is a HDF5 file, which is not read here: get the .safetensors or .pth files",
    b"\x93numpy": "is a NumPy array, not a set of named tensors: get the .safetensors or .pth files",
    b"\x89png": "is a picture (PNG), not a set of named tensors: name the weights",
    b"\x08\x07\x12\x07pytorch": "is an ONNX network, which is not read here: get the .safetensors or .pth files",
}


def detect_format(path: str | os.PathLike[str]) -> FileFormat:
    """How a weights file is written, judged by its first bytes and not by its name.

    Raises:
        WeightsError: there is no such file, it is empty, or its first bytes are not those of a weights file.
    """
    path = Path(path)
    head = read_head(path, "weights file", WeightsError)
    if not head:
        raise WeightsError(f"{path} is empty: download it again")
    if os.fspath(path).encode("utf-8", "replace").decode() != os.fspath(path):
        raise WeightsError(f"{path} has a name that is not UTF-8, which safetensors cannot open: rename it")
    reason = impostor(head)
    if reason:
        raise WeightsError(f"{path} {reason}")
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    # A safetensors file opens with the length of its header (8 bytes), which is JSON.
    if len(head) > 8 and head[8:9] == b"{":
        size = path.stat().st_size
        if int.from_bytes(head[:8], "little") + 8 > size:
            raise WeightsError(f"{path} is cut off inside its header ({size} bytes): download it again")
        return "safetensors"
    if head.startswith(b"\x80"):
        return "pickle"
    if head.lstrip()[:1] in (b"{", b"["):
        raise WeightsError(
            f"{path} is a JSON text, perhaps the index of weights in several files: give the file with the weights"
        )
    raise WeightsError(f"{path} is not a weights file: it is neither .safetensors nor a PyTorch file")


def impostor(head: bytes) -> str | None:
    """What a file with these first bytes is when it holds no tensors, and what to do; None where that is not known."""
    return match_head(head.lower(), IMPOSTORS) or recognise(head, "file")


def read_state_dict(
    path: str | os.PathLike[str], *, check_values: bool = True, plain: bool = True
) -> dict[str, torch.Tensor]:
    """The tensors of a `.safetensors`, `.pth`, `.pt`, `.bin` or `.ckpt` file, by name, on the CPU, in their own dtype.

    A state dict nested under any key is unwrapped, wrappers' prefixes are taken off, and float8 weights with scales
    become float16 (`plain_state`). Bytes after the last tensor are ignored with a warning. Pickles are read with
    `weights_only=True`: one that names anything but tensors is refused, and nothing in it runs.

    Args:
        path: the file.
        check_values: look for NaN and infinities; that reads the whole file once.
        plain: take prefixes and scales off; a LoRA file keeps its names as they are.

    Raises:
        WeightsError: the file is missing, cut off, foreign, names code to run, holds no tensors, or holds NaN.
    """
    path = Path(path)
    if detect_format(path) == "safetensors":
        state = read_tensors(path)
        if not state:
            raise WeightsError(f"{path} holds no tensors")
    else:
        state = _tensors_of(read_pickle(path), path)
    if plain:
        state = plain_state(state, path)
        if not state:
            raise WeightsError(f"{path} holds no weights, only a trainer's or quantiser's markers")
    if check_values:
        check_finite(state, path)
    return state


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The text entries in a safetensors header; an empty dict for the other formats, which have none.

    Raises:
        WeightsError: as `read_state_dict`.
    """
    if detect_format(path) != "safetensors":
        return {}
    return read_texts(path)


def read_pickle(path: str | os.PathLike[str]) -> Any:
    """What `torch.save` wrote, restricted to tensors and plain containers.

    Raises:
        WeightsError: the file is cut off, or names code to run; the message says which.
    """
    path = Path(path)
    check_archive(path)
    if tarfile.is_tarfile(path):
        # PyTorch's reader of this format, from before 2016, has run code in spite of weights_only.
        raise WeightsError(f"{path} is an archive of a kind that PyTorch wrote before 2016; it is refused as unsafe")
    try:
        with warnings.catch_warnings():
            # PyTorch warns of pickle protocols it did not write itself; what matters of it becomes an error below.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # damaged bytes make an unpickler raise any exception
        wanted = _foreign_globals(path)
        if wanted:
            raise WeightsError(
                f"{path} was refused: besides tensors it names {name_some(wanted)}, and a file that may run code is "
                "not loaded; get the weights as .safetensors or from the published source"
            ) from error
        raise damaged(path, error) from error


def check_archive(path: Path) -> None:
    """Raises: WeightsError for a zip archive that `torch.save` did not write; says what is in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
    except Exception:  # the old format; or a damaged file, and damaged bytes decide what is raised
        return
    if not any(name.rpartition("/")[2] == "data.pkl" for name in names):
        raise WeightsError(f"{path} is an archive with {name_some(names) or 'nothing'} in it: unpack it first")
    if any(name.partition("/")[2].startswith("code/") for name in names):
        raise WeightsError(f"{path} is a TorchScript program, which is not run: get the .safetensors or .pth files")
    if packed:
        raise WeightsError(
            f"{path} was packed again with compression, which PyTorch takes for other numbers: unpack it and pack its "
            "folder without (`zip -0 -r`), or download it again"
        )


def check_finite(state: Mapping[str, torch.Tensor], path: str | os.PathLike[str]) -> None:
    """Look through the floating point tensors for NaN and infinities.

    Raises:
        WeightsError: names the file and the first tensors that hold some.
    """
    broken = []
    for name, tensor in state.items():
        if not tensor.is_floating_point() or tensor.numel() == 0:
            continue
        # One pass and no mask as large as the tensor; a NaN anywhere comes out of both. Float8 has no kernel for it.
        values = tensor.float() if tensor.element_size() == 1 else tensor
        low, high = torch.aminmax(values)
        if not (low.isfinite() and high.isfinite()):
            broken.append(name)
    if broken:
        raise WeightsError(f"{path} holds values that are not numbers (NaN or infinite) in {name_some(broken)}")


def _tensors_of(content: Any, path: Path) -> dict[str, torch.Tensor]:
    content = unwrap(content)
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a dict of named tensors")
    state = {name: value for name, value in content.items() if isinstance(name, str) and torch.is_tensor(value)}
    if not state:
        raise WeightsError(f"{path} holds no named tensors")
    odd = [name for name, t in state.items() if t.layout != torch.strided or t.is_quantized or t.is_meta or t.is_nested]
    if odd:
        raise WeightsError(
            f"{path} holds sparse, quantised or empty tensors ({name_some(odd)}): save plain ones (`to_dense()`)"
        )
    # A pickle can spread one stored number over a tensor of any size.
    spread = [name for name, t in state.items() if t.numel() * t.element_size() > t.untyped_storage().nbytes()]
    if spread:
        raise WeightsError(f"{path} is damaged: it stores fewer values than the tensors claim in {name_some(spread)}")
    others = [str(name) for name in content if name not in state]
    if others:
        logger.warning("%s: entries that are not tensors are ignored: %s", path, name_some(others))
    return state


def unwrap(content: Any) -> Any:
    """The state dict inside what a trainer saved: under a usual key, or the value that holds the most weights."""
    for _ in range(MAX_NESTING):
        if not isinstance(content, Mapping) or any(torch.is_tensor(value) for value in content.values()):
            return content
        inner = {key: value for key, value in content.items() if isinstance(value, Mapping) and value}
        if not inner:
            return content
        usual = [key for key in NESTING if key in inner]
        taken = usual[0] if usual else max(inner, key=lambda key: count_weights(inner[key]))
        others = [str(key) for key in inner if key != taken and count_weights(inner[key])]
        if others:
            logger.info("the weights under %r are used, not those under %s", taken, name_some(others))
        content = inner[taken]
    return content


def count_weights(content: Mapping[Any, Any]) -> int:
    """Weights by their names; the state of an optimiser has none."""
    return sum(1 for name, value in content.items() if torch.is_tensor(value) and str(name).endswith("weight"))


def _foreign_globals(path: Path) -> list[str]:
    """The classes and functions that a pickle names, without those that plain tensors need; nothing is run."""
    wanted: list[str] = []
    # The bytes are already known to be damaged; what was found before they become unreadable is returned.
    with contextlib.suppress(Exception):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                entry = next(name for name in archive.namelist() if name.endswith("data.pkl"))
                _collect_globals(io.BytesIO(archive.read(entry)), wanted)
        else:
            with path.open("rb") as file:
                for _ in range(4):  # the old format is a row of pickles: magic number, version, system, content
                    _collect_globals(file, wanted)
    return [name for name in dict.fromkeys(wanted) if not PLAIN_GLOBALS.fullmatch(name)]


def _collect_globals(file: IO[bytes], wanted: list[str]) -> None:
    """Add the globals named in one pickle to `wanted`, as far as its bytes can be decoded."""
    texts: list[str] = []
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "GLOBAL":
            wanted.append(str(argument).replace(" ", "."))
        elif opcode.name == "STACK_GLOBAL":  # its module and name are the two texts before it
            wanted.append(".".join(texts[-2:]))
        elif isinstance(argument, str):
            texts.append(argument)
