"""The kernel for attention along time: it computes what the plain path does, and steps aside where it has to."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from types import ModuleType

import pytest
import torch

from echomimic.kernels import temporal_kernel
from echomimic.models import scaled_dot_product_attention
from echomimic.models.layers import LayerFactory
from echomimic.models.motion import TemporalAttention, along_time
from tests.conftest import ROOT
from tests.recipe import fill

FRAMES = 5
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


@pytest.fixture
def tokens():
    return torch.randn(2 * FRAMES, 6, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def layer():
    return fill(TemporalAttention(LayerFactory(), 64, 8), "t.")


@pytest.fixture
def kernel(monkeypatch):
    """A stand-in for the kernel that a test equips with a `launch`, on a CPU that counts as supported."""
    stand_in = ModuleType("echomimic.kernels.temporal_triton")
    stand_in.launches = []
    stand_in.fault = None

    def launch(query, key, value, mixed, heads):
        stand_in.launches.append(tuple(query.shape))
        if stand_in.fault is not None:
            raise stand_in.fault
        attended = scaled_dot_product_attention(*(along_time(x) for x in (query, key, value)), heads)
        mixed.copy_(attended.unflatten(0, (len(query), -1)).transpose(1, 2))

    stand_in.launch = launch
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    monkeypatch.setattr(temporal_kernel, "supports", lambda device: True)
    monkeypatch.setattr(temporal_kernel, "has_triton", lambda: True)
    monkeypatch.setattr(temporal_kernel, "failed", False)
    monkeypatch.delenv(temporal_kernel.SWITCH, raising=False)
    return stand_in


@pytest.fixture
def plain(layer, tokens):
    """What the layer gives on a CPU, where the kernel has no place."""
    with torch.no_grad():
        return layer(tokens, FRAMES)


@torch.no_grad()
def test_layer_asks_the_kernel(plain, kernel, layer, tokens):
    torch.testing.assert_close(layer(tokens, FRAMES), plain)
    assert kernel.launches == [(2, FRAMES, 6, 64)]


@torch.no_grad()
def test_a_hosts_attention_stays_the_hosts(plain, kernel, tokens):
    calls = []

    def attention(query, key, value, heads):
        calls.append(tuple(query.shape))
        return scaled_dot_product_attention(query, key, value, heads)

    hosted = fill(TemporalAttention(LayerFactory(attention=attention), 64, 8), "t.")
    assert torch.equal(hosted(tokens, FRAMES), plain)
    assert calls == [(12, FRAMES, 64)] and not kernel.launches


@torch.no_grad()
@pytest.mark.parametrize("reason", ["no triton", "switched off", "another device"])
def test_plain_path_where_the_kernel_has_no_place(plain, kernel, layer, tokens, monkeypatch, caplog, reason):
    if reason == "no triton":
        monkeypatch.setattr(temporal_kernel, "has_triton", lambda: False)
    elif reason == "switched off":
        monkeypatch.setenv("ECHOMIMIC_TRITON", "0")
    else:
        monkeypatch.undo()  # of the kernel's own look at the device
    assert torch.equal(layer(tokens, FRAMES), plain)
    assert not kernel.launches and not caplog.records


def test_gradients_are_followed_on_the_plain_path(kernel, layer, tokens):
    layer(tokens, FRAMES).sum().backward()
    assert layer.to_v.weight.grad.abs().sum() > 0
    assert not kernel.launches
    layer.requires_grad_(False)
    layer(tokens, FRAMES)
    assert kernel.launches


def test_compiler_sees_the_plain_path(plain, kernel, layer, tokens):
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(tokens, FRAMES), plain)
    assert not kernel.launches
    torch._dynamo.reset()


@torch.no_grad()
@pytest.mark.parametrize(
    ("shape", "dtype", "heads"),
    [((1, 33, 2, 16), torch.float32, 2), ((1, 4, 2, 514), torch.float32, 2), ((1, 4, 2, 16), torch.float64, 2)],
    ids=["33 frames", "heads of 257", "float64"],
)
def test_what_the_kernel_does_not_compute(kernel, shape, dtype, heads):
    assert temporal_kernel.available(*torch.zeros(3, 1, 32, 2, 512).unbind(0), heads)
    assert not temporal_kernel.available(*torch.zeros(3, *shape, dtype=dtype).unbind(0), heads)


@torch.no_grad()
def test_failure_is_said_once_and_the_plain_path_goes_on(plain, kernel, layer, tokens, caplog):
    kernel.fault = RuntimeError("no C compiler was found\nlook for gcc")
    for _ in range(3):
        assert torch.equal(layer(tokens, FRAMES), plain)
    assert len(kernel.launches) == 1
    said = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 1 and "does not work here (no C compiler was found)" in said[0]


@torch.no_grad()
def test_a_full_device_is_no_failure_of_the_kernel(kernel, layer, tokens, caplog):
    kernel.fault = RuntimeError("Triton Error [CUDA]: out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        layer(tokens, FRAMES)
    assert not temporal_kernel.failed and "going on without" not in caplog.text


@torch.no_grad()
def test_triton_that_cannot_be_imported_is_a_failure(plain, kernel, layer, tokens, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, kernel.__name__, None)
    assert torch.equal(layer(tokens, FRAMES), plain)
    assert caplog.text.count("going on without") == 1


@needs_triton
def test_kernel_equals_the_plain_path():
    """The interpreter needs its variable set before triton is imported, which another test may have done here."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/interpreted_temporal_kernel.py"]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " skipped" not in done.stdout


@needs_triton
@pytest.mark.parametrize("architecture", [80, 90])
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_kernel_compiles_without_a_gpu(dtype, architecture, tmp_path, monkeypatch):
    """The interpreter runs Python; the compiler takes less."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from echomimic.kernels import temporal_triton

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    block = temporal_triton.blocks(frames=12, size=40)
    constants = {"heads": 8, "size": 40, **block}
    function = temporal_triton.mix_along_time
    kinds = dict.fromkeys(function.arg_names, "i32") | {"scale": "fp32"} | dict.fromkeys(constants, "constexpr")
    kinds |= dict.fromkeys(("query", "key", "value", "mixed"), f"*{dtype}")
    source = ASTSource(function, kinds, {(function.arg_names.index(name),): n for name, n in constants.items()})
    warps = temporal_triton.warps(block, 4 if dtype == "fp32" else 2)
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options={"num_warps": warps})
    assert compiled.asm["cubin"]
    assert ("mma.sync" in compiled.asm["ptx"]) == (dtype != "fp32")
