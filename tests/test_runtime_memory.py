"""The estimate of a window's memory against a count of every allocation of a pass."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from echomimic.errors import is_out_of_memory
from echomimic.models import UNetConfig
from echomimic.runtime.device import free_bytes
from echomimic.runtime.memory import smaller_settings, window_bytes
from tests.allocations import WINDOWS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def counted() -> list[int]:
    """The peaks of `WINDOWS` in bytes, and that of all that sampling takes at 768x768."""
    command = [sys.executable, "-m", "tests.allocations"]
    return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("number", range(len(WINDOWS)))
def test_estimate_is_close_to_the_count(counted, number):
    config, frames, height, width = WINDOWS[number]
    estimate = window_bytes(config, frames, height, width, element_size=2)
    assert 0.9 * counted[number] <= estimate <= 1.2 * counted[number]


def test_sampling_at_768_pixels_fits_on_a_card_of_six_gigabytes(counted):
    """With weights, reference, audio and a guided window; a gigabyte is left to the driver and the allocator's gaps."""
    assert 4e9 < counted[-1] < 5e9


def test_advice_fits_into_what_is_free():
    config = UNetConfig()
    message = smaller_settings(config, 12, 96, 96, 2, free=900_000_000)
    length = int(message.split("a window length of ")[1].split()[0])
    assert window_bytes(config, length, 96, 96, 2) <= 900_000_000 < window_bytes(config, length + 1, 96, 96, 2)
    side = int(message.split(" or ")[1].split("x")[0])
    assert window_bytes(config, 12, side // 8, side // 8, 2) <= 900_000_000
    assert "768x768" in message and "900 MB are free" in message


def test_out_of_memory_is_recognised():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert is_out_of_memory(RuntimeError("GET was unable to find an engine to execute this computation"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


@pytest.mark.parametrize(("share", "free"), [(1.0, 9 * 10**9), (0.25, 4 * 10**9)])
def test_a_share_of_the_device_is_all_that_is_free(monkeypatch, share, free):
    """Of 24 GB 8 are nobody's, and of this process's 3 its tensors take 2."""
    message = {
        "mem_get_info": (8 * 10**9, 24 * 10**9),
        "memory_reserved": 3 * 10**9,
        "memory_allocated": 2 * 10**9,
        "get_per_process_memory_fraction": share,
    }
    asked = []
    for name, answer in message.items():
        monkeypatch.setattr(torch.cuda, name, lambda index, answer=answer: asked.append(index) or answer)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert free_bytes("cuda") == free_bytes("cuda:2") == free
    # Some of these take no device without its number.
    assert asked == 4 * [1] + 4 * [2]


def test_a_host_does_not_report_free_memory():
    assert free_bytes("cpu") is None
