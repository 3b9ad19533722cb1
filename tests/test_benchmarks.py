"""The benchmarks run, and count and write what they promise; the times that they measure are not tested."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

from benchmarks import compare, host, kernels, networks, render, stages
from benchmarks.setup import make_window
from echomimic.kernels import layer_classes
from echomimic.models import DenoisingUNet
from tests.golden_cases import relative_error
from tests.published import SMALL_VAE, TINY
from tests.recipe import fill


@pytest.fixture
def record(monkeypatch, tmp_path) -> Callable[..., dict[str, Any]]:
    """Runs a benchmark's command line on networks as small as they get; what it wrote down."""
    for module in (kernels, networks, stages):
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
    # In one batch only the time embedding is computed once instead of twice.
    assert 0.99 * guided < rows["step, guided in one batch"]["operations"] < guided


def test_kernels_have_a_row_each_with_both_ratios(record, capsys):
    made = record(kernels, "--size", "64", "--frames", "2", "--runs", "1")
    rows = {row["kernel"]: row for row in made["rows"]}
    assert list(rows) == [*(kernel.name for kernel in kernels.KERNELS), "all", "float8, stored only"]
    for name, row in rows.items():
        for timing in (row["step"], *([] if name == "all" else [row["alone"]])):
            assert timing["ratio"] == timing["with"] / timing["without"] > 0
    assert "| Winograd convolution |" in capsys.readouterr().out


def test_a_kernel_that_is_switched_off_is_not_used():
    for kernel in kernels.KERNELS:
        before = getattr(kernel.module, kernel.attribute)
        with kernel.without():
            assert not getattr(kernel.module, kernel.attribute)(torch.zeros(1, 64, 8, 8), torch.zeros(64, 64, 3, 3))
        assert getattr(kernel.module, kernel.attribute) is before


def test_compare_runs_ours_with_kernels_and_without():
    weights = {name: tensor.detach() for name, tensor in fill(DenoisingUNet(TINY), "c.").state_dict().items()}
    # (At 64 pixels the lowest level is one pixel, where group norms of two numbers amplify rounding.)
    window = make_window(TINY, 2, 128, 128)
    runners = compare.make_runners(TINY, weights, window, "cpu", ["float32", "bfloat16"])
    classes = {name: type(network.conv_in) for name, (network, _) in runners.items()}
    assert classes == {
        "float32": layer_classes(True).Conv2d,
        "float32, kernels off": layer_classes(False).Conv2d,
        "bfloat16": layer_classes(True).Conv2d,
        "bfloat16, kernels off": layer_classes(False).Conv2d,
    }
    for kind in ("plain", "guided", "batched"):
        fast, plain = (compare.our_step(*runners[name], kind)["velocity"] for name in list(runners)[:2])
        assert relative_error(fast, plain) < 1e-4


def test_the_hosts_layers_compute_what_the_engine_does(pack, monkeypatch):
    monkeypatch.setattr(host, "CONFIG", TINY)
    built = host.networks(pack.part("nodes.host"), torch.device("cpu"), torch.float32)
    for guided in (False, True):
        rows = host.measure(built, make_window(TINY, 4, 128, 128), guided, runs=1)
        assert [row["layers"] for row in rows] == list(built)
        assert len(built) == 4 and all(row["error"] < 1e-4 and row["seconds"] >= 0 for row in rows)


def test_overfitting_runs_every_stage_and_measures_it(monkeypatch, tmp_path, capsys):
    from benchmarks import train_overfit

    small = {"block_out_channels": [32, 32], "layers_per_block": 1, "attention_heads": 4, "norm_num_groups": 8}
    monkeypatch.setattr(train_overfit, "NETWORKS", small)
    monkeypatch.setattr(train_overfit, "FRAMES", 3)
    monkeypatch.setattr(train_overfit, "VAE_STEPS", 2)
    monkeypatch.setattr(train_overfit, "VAE_WANTED", 0.0)
    monkeypatch.setattr(train_overfit, "STEPS", dict.fromkeys(train_overfit.STEPS, 2))
    monkeypatch.setattr(train_overfit, "RENDER_STEPS", 1)
    monkeypatch.setattr(sys, "argv", ["train_overfit", str(tmp_path)])
    train_overfit.main()
    printed = capsys.readouterr().out
    assert [line.split(":")[0] for line in printed.splitlines() if "latent loss" in line] == list(train_overfit.STEPS)
    assert "what is left once it is taken off: none" in printed
    assert "from what the teacher draws in 12 steps with guidance 2.5: the student in 6 steps" in printed
