"""The benchmarks run, count what they say and write it down; what their clocks say is not looked at."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

from benchmarks import networks, render, stages
from tests.published import SMALL_VAE, TINY


@pytest.fixture
def record(monkeypatch, tmp_path) -> Callable[..., dict[str, Any]]:
    """Runs a benchmark's command line on networks as small as they get; what it wrote down."""
    for module in (networks, stages):
        monkeypatch.setattr(module, "CONFIG", TINY)
    monkeypatch.setattr(networks, "VAE", SMALL_VAE)
    monkeypatch.setitem(networks.WHISPER, "d_model", TINY.audio_dim)
    monkeypatch.setitem(networks.WHISPER, "encoder_attention_heads", 2)

    def run(module: ModuleType, *arguments: str) -> dict[str, Any]:
        written = tmp_path / "record.json"
        threads = str(torch.get_num_threads())
        command = [module.__name__, *arguments, "--device", "cpu", "--threads", threads, "--json", str(written)]
        monkeypatch.setattr(sys, "argv", command)
        module.main()
        return json.loads(written.read_text())

    return run


def test_render_counts_the_passes_of_each_mode(record, capsys):
    made = record(render, "--frames", "4", "20", "--size", "64", "--steps", "4", "--guidance", "2")
    rows = {(row["mode"], row["frames"]): row for row in made["rows"]}
    # Over 20 frames go three windows of 12, or two that share less; guidance doubles the passes, in the fastest mode
    # of half the steps.
    assert {key: row["passes"] for key, row in rows.items()} == {
        ("exact", 4): 4 * 4 * 2,
        ("fastest", 4): 4 * (2 * 2 + 2 * 1),
        ("exact", 20): 4 * 36 * 2,
        ("fastest", 20): 24 * (2 * 2 + 2 * 1),
    }
    assert all({"seconds", "encode", "sample", "decode", "peak"} <= row.keys() for row in made["rows"])
    assert made["machine"]["torch"] == torch.__version__
    assert "| fastest | 20 |" in capsys.readouterr().out


def test_memory_is_limited_on_cuda_only(record, capsys):
    with pytest.raises(SystemExit):
        record(render, "--memory", "6")
    assert "--memory is for CUDA devices" in capsys.readouterr().err


def test_stages_are_all_there_with_their_operations(record):
    made = record(stages, "--sizes", "64", "--frames", "3", "--runs", "1", "--dtype", "float32")
    rows = {row["stage"]: row for row in made["rows"]}
    assert list(rows) == list(stages.STAGES)
    assert made["ceiling"] > 0
    # Without guidance the unconditional branch, which reads neither reference nor audio, is left out.
    step, guided = rows["step"]["operations"], rows["step, guided"]["operations"]
    assert step < guided < 2 * step
    # In one batch the first convolution and the time's embedding are computed once.
    assert 0.99 * guided < rows["step, guided in one batch"]["operations"] < guided
