"""Reading one weights file: every format met in the wild is read, everything else is refused with a sentence."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from echomimic.errors import EchoMimicError, WeightsError
from echomimic.files.tensors import read_metadata, read_pickle, read_state_dict

STATE = {"conv_in.weight": torch.arange(24.0).view(2, 3, 4), "steps": torch.tensor([1, 2])}


class RunsCode:
    """A pickle of this runs a shell command where it is loaded carelessly."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


def assert_state(path: Path) -> None:
    read = read_state_dict(path)
    assert read.keys() == STATE.keys()
    assert all(torch.equal(read[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".safetensors"])
def test_reads_each_suffix(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    save_file(STATE, path) if suffix == ".safetensors" else torch.save(STATE, path)
    assert_state(path)


def test_format_is_recognised_by_content_not_by_name(tmp_path):
    save_file(STATE, tmp_path / "renamed.pth")
    assert_state(tmp_path / "renamed.pth")


def test_reads_the_old_pickle_format(tmp_path):
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_state(tmp_path / "old.pth")


@pytest.mark.parametrize("nesting", ["state_dict", "model_state_dict"])
def test_unwraps_a_nested_dict(tmp_path, nesting):
    torch.save({nesting: STATE, "epoch": 3}, tmp_path / "nested.pth")
    assert_state(tmp_path / "nested.pth")


def test_takes_off_the_parallel_prefix(tmp_path):
    torch.save({f"module.{name}": tensor for name, tensor in STATE.items()}, tmp_path / "parallel.pth")
    assert_state(tmp_path / "parallel.pth")


def test_keeps_half_precision(tmp_path):
    torch.save({"a": torch.ones(2, dtype=torch.float16), "b": torch.ones(2, dtype=torch.bfloat16)}, tmp_path / "h.pth")
    read = read_state_dict(tmp_path / "h.pth")
    assert (read["a"].dtype, read["b"].dtype) == (torch.float16, torch.bfloat16)


def test_names_entries_that_are_not_tensors(tmp_path, caplog):
    torch.save({**STATE, "global_step": 7}, tmp_path / "mixed.pth")
    assert_state(tmp_path / "mixed.pth")
    assert "global_step" in caplog.text


@pytest.mark.parametrize("writer", [torch.save, save_file])
def test_weights_stay_in_the_file_until_they_are_used(tmp_path, writer):
    size = 200 * 2**20
    writer({"large": torch.zeros(size // 4)}, tmp_path / "large")
    before = resident_private_bytes()
    state = read_state_dict(tmp_path / "large", check_values=False)
    assert resident_private_bytes() - before < size // 4
    assert state["large"].numel() == size // 4


def resident_private_bytes() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("memory is measured by /proc, which this system does not have")
    line = next(line for line in status.read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def test_writing_to_a_weight_leaves_the_file_alone(tmp_path):
    for name, writer in (("a.pth", torch.save), ("a.safetensors", save_file)):
        writer({"a": torch.ones(4)}, tmp_path / name)
        read_state_dict(tmp_path / name)["a"].zero_()
        assert read_state_dict(tmp_path / name)["a"].sum() == 4


# What is refused


def refusal(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        read_state_dict(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_file(tmp_path):
    assert "there is no weights file" in refusal(tmp_path / "none.pth")


def test_folder(tmp_path):
    assert "is a folder" in refusal(tmp_path)


def test_empty_file(tmp_path):
    (tmp_path / "empty.pth").touch()
    assert "is empty" in refusal(tmp_path / "empty.pth")


def test_git_lfs_pointer(tmp_path):
    (tmp_path / "pointer.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3400000000\n")
    assert "git lfs pull" in refusal(tmp_path / "pointer.pth")


def test_web_page(tmp_path):
    (tmp_path / "page.safetensors").write_text("<!DOCTYPE html><html>Not found</html>")
    assert "web page" in refusal(tmp_path / "page.safetensors")


def test_some_other_file(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    assert "holds only the text 'hello', perhaps a server's answer" in refusal(tmp_path / "notes.txt")
    (tmp_path / "notes.txt").write_text("hello " * 20)
    assert "not a weights file" in refusal(tmp_path / "notes.txt")


@pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors"])
def test_truncated_file(tmp_path, name):
    writer = save_file if name.endswith("safetensors") else torch.save
    writer({"a": torch.zeros(1000)}, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 100, 20):
        (tmp_path / name).write_bytes(whole[:length])
        refusal(tmp_path / name)


def test_a_list_is_no_state_dict(tmp_path):
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    assert "holds a list" in refusal(tmp_path / "list.pth")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"state_dict": {}}])
def test_a_dict_without_tensors(tmp_path, content):
    torch.save(content, tmp_path / "none.pth")
    assert "no named tensors" in refusal(tmp_path / "none.pth")


def test_safetensors_without_tensors(tmp_path):
    save_file({}, tmp_path / "none.safetensors")
    assert "holds no tensors" in refusal(tmp_path / "none.safetensors")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_numbers_are_named(tmp_path, dtype, bad):
    values = torch.zeros(100, dtype=dtype)
    values[57] = bad
    save_file({"good": torch.zeros(3), "mid_block.bad": values}, tmp_path / "nan.safetensors")
    message = refusal(tmp_path / "nan.safetensors")
    assert "mid_block.bad" in message and "good" not in message


@pytest.mark.parametrize("how", ["zip", "old", "plain"])
def test_pickle_that_runs_code_is_named_and_not_run(tmp_path, how):
    trace, path = tmp_path / "it_ran", tmp_path / "evil.pth"
    content = {"conv_in.weight": torch.zeros(2), "x": RunsCode(trace)}
    if how == "plain":
        path.write_bytes(pickle.dumps(content["x"]))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
    assert f"{os.system.__module__}.system" in refusal(path)
    assert not trace.exists()


def test_objects_other_than_tensors_are_named(tmp_path):
    torch.save({"a": torch.zeros(2), "args": argparse.Namespace(x=1)}, tmp_path / "args.pth")
    assert "argparse.Namespace" in refusal(tmp_path / "args.pth")


def test_a_whole_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    assert "torch.nn.modules.linear.Linear" in refusal(tmp_path / "module.pth")


def test_tar_archive_that_passes_for_a_pickle(tmp_path):
    # Its first entry's name makes the first byte that of a pickle.
    with tarfile.open(tmp_path / "old.pth", "w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
        archive.addfile(tarfile.TarInfo("\udc80storages"))
    assert (tmp_path / "old.pth").read_bytes()[:1] == b"\x80"
    assert "refused as unsafe" in refusal(tmp_path / "old.pth")


def test_a_number_spread_over_a_huge_tensor(tmp_path):
    torch.save({"a": torch.zeros(1, 1).expand(70_000, 70_000)}, tmp_path / "spread.pth")
    assert "fewer values than the tensors claim in a" in refusal(tmp_path / "spread.pth")


def test_read_metadata_of_each_format(tmp_path):
    save_file(STATE, tmp_path / "a.safetensors", metadata={"variant": "standard"})
    torch.save(STATE, tmp_path / "a.pth")
    assert read_metadata(tmp_path / "a.safetensors") == {"variant": "standard"}
    assert read_metadata(tmp_path / "a.pth") == {}


# Whatever the bytes, nothing but our own errors


def read_or_refuse(path: Path) -> None:
    try:
        state = read_state_dict(path)
    except EchoMimicError as error:
        assert path.name in str(error)
        return
    assert all(torch.is_tensor(tensor) for tensor in state.values())


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def real_files(tmp_path_factory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("real")
    torch.save({"state_dict": STATE}, folder / "zip")
    torch.save(STATE, folder / "old", _use_new_zipfile_serialization=False)
    save_file(STATE, folder / "safetensors", metadata={"variant": "standard"})
    (folder / "plain").write_bytes(pickle.dumps({"a": np.zeros(3)}))
    return [path.read_bytes() for path in sorted(folder.iterdir())]


BEGINNINGS = [b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04", (40).to_bytes(8, "little") + b"{"]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(BEGINNINGS), st.binary(max_size=300))
def test_fuzz_random_bytes(tmp_path_factory, beginning, rest):
    read_or_refuse(written(tmp_path_factory.getbasetemp() / "fuzz_random", beginning + rest))


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_fuzz_mutated_files(tmp_path_factory, real_files, data):
    content = bytearray(data.draw(st.sampled_from(real_files)))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    content = (
        content[: data.draw(st.integers(len(content) // 2, len(content)))] if data.draw(st.booleans()) else content
    )
    read_or_refuse(written(tmp_path_factory.getbasetemp() / "fuzz_mutated", bytes(content)))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_fuzz_pickles_inside_a_good_archive(tmp_path_factory, real_files, content, whole):
    """The archive is sound, so the unpickler sees every byte."""
    path = tmp_path_factory.getbasetemp() / "fuzz_pickle"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content + (b"." if whole else b""))
        archive.writestr("archive/version", "3")
    try:
        read_pickle(path)
    except EchoMimicError as error:
        assert path.name in str(error)


NUMBERS = st.integers(-5, 10**20)
HEADERS = st.dictionaries(
    st.text(max_size=8),
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "F16", "BF16", "F8_E4M3", "F4", "I64", "BOOL", "C64", "X"]),
            "shape": st.lists(NUMBERS, max_size=3) | st.lists(st.integers(0, 3), max_size=3),
            "data_offsets": st.lists(NUMBERS, min_size=2, max_size=2) | st.just([0, 8]) | st.just([0, 4]),
        }
    )
    | st.dictionaries(st.text(max_size=4), st.text(max_size=4)),
    max_size=3,
)


@settings(max_examples=200, deadline=None)
@given(HEADERS, st.sampled_from([0, 4, 8, 64]))
def test_fuzz_safetensors_headers(tmp_path_factory, header, size):
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + bytes(size)
    read_or_refuse(written(tmp_path_factory.getbasetemp() / "fuzz_header", content))
