"""The kernel for attention along time in Triton's interpreter: run by `test_temporal_kernel` in a process of its own,
since TRITON_INTERPRET=1 has to be set before triton is first imported. Its name keeps it out of pytest's own search.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

from echomimic.kernels import temporal_kernel, temporal_triton
from echomimic.models import DenoisingUNet, scaled_dot_product_attention
from echomimic.models.layers import LayerFactory
from echomimic.models.motion import MotionModule, TemporalAttention, along_time
from echomimic.models.transformer import FrameContext
from tests.recipe import fill
from tests.tiny import CONFIG

TOLERANCES = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(autouse=True)
def products_of_bfloat16(monkeypatch):
    """The interpreter keeps bfloat16 as its bits and multiplies these as integers: hand it float32."""
    product = InterpreterBuilder.create_dot

    def widen(handle):
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        return TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    monkeypatch.setattr(
        InterpreterBuilder, "create_dot", lambda self, a, b, *rest: product(self, widen(a), widen(b), *rest)
    )


@pytest.fixture
def launches(monkeypatch):
    """Lets the kernel run on the CPU; lists the shapes that it was launched with."""
    shapes, launch = [], temporal_triton.launch

    def listed(query, *rest):
        shapes.append(tuple(query.shape))
        launch(query, *rest)

    monkeypatch.setattr(temporal_triton, "launch", listed)
    monkeypatch.setattr(temporal_kernel, "supports", lambda device: True)
    yield shapes
    assert not temporal_kernel.failed


def draw(*shape, dtype=torch.float32):
    return torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)).to(dtype).unbind(0)


def check(query, key, value, heads, tolerance):
    assert temporal_kernel.available(query, key, value, heads)
    mixed = temporal_kernel.attend(query, key, value, heads)
    exact = scaled_dot_product_attention(*(along_time(x.double()) for x in (query, key, value)), heads)
    exact = exact.unflatten(0, (len(query), -1)).transpose(1, 2)
    assert mixed.dtype == query.dtype and mixed.is_contiguous()
    torch.testing.assert_close(mixed.double(), exact, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("size", [8, 40, 80, 160])
@pytest.mark.parametrize("frames", [1, 2, 11, 12, 24, 32])
def test_equals_the_plain_path(launches, frames, size, dtype):
    check(*draw(1, frames, 7, 3 * size, dtype=dtype), 3, TOLERANCES[dtype])


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 33)], ids=str)
def test_any_number_of_pixels_and_entries(launches, shape):
    batch, pixels = shape
    check(*draw(batch, 12, pixels, 80), 2, 2e-6)


@pytest.mark.parametrize("frames", [12, 20])
def test_strided_input_is_read_where_it_lies(launches, frames):
    # What lies around it must not be read into the result, nor where padding ends.
    around = [torch.full((3, frames + 2, 9, 2 * 40 + 8), float("nan")) for _ in range(3)]
    inside = [x[1:, 1:-1, 2:7, 8:] for x in around]
    for place, numbers in zip(inside, draw(2, frames, 5, 80)):
        place.copy_(numbers)
    check(*inside, 2, 2e-6)
    # Each with strides of its own, one with its channels not last in memory.
    query, key, value = draw(2, frames, 5, 80)
    check(along_view(query), key, value.transpose(2, 3).contiguous().transpose(2, 3), 2, 2e-6)


def along_view(tokens):
    """The same numbers with the frames of a pixel side by side in memory."""
    return tokens.transpose(1, 2).contiguous().transpose(1, 2)


def test_large_scores_do_not_overflow(launches):
    query, key, value = draw(1, 12, 3, 80)
    check(100 * query, 100 * key, value, 2, 1e-3)


@pytest.mark.parametrize("size", [256, 257])
def test_widest_heads(launches, size):
    query, key, value = draw(1, 4, 2, size)
    if size == 256:
        check(query, key, value, 1, 2e-6)
    else:
        assert not temporal_kernel.available(query, key, value, 1)


def test_layer_and_module_are_the_plain_ones(launches, monkeypatch):
    layer = fill(TemporalAttention(LayerFactory(), 64, 8), "t.")
    module = fill(MotionModule(LayerFactory(), 64, 8), "m.")
    tokens, pictures = torch.randn(2 * 5, 6, 64), torch.randn(2 * 5, 64, 3, 2)
    context = FrameContext(5)
    by_kernel = layer(tokens, 5), module(pictures, context)
    assert launches == [(2, 5, 6, 64)] * 3
    monkeypatch.setenv("ECHOMIMIC_TRITON", "0")
    plain = layer(tokens, 5), module(pictures, context)
    assert len(launches) == 3
    torch.testing.assert_close(by_kernel, plain, atol=1e-5, rtol=1e-5)


def test_network_is_the_plain_one(launches, monkeypatch):
    network, latents = fill(DenoisingUNet(CONFIG), "s."), torch.randn(1, 4, 3, 4, 4)
    by_kernel = network(latents, 500)
    assert {shape[1:] for shape in launches} == {(3, 16, 32), (3, 4, 64)}
    monkeypatch.setenv("ECHOMIMIC_TRITON", "0")
    torch.testing.assert_close(by_kernel, network(latents, 500), atol=1e-4, rtol=1e-4)
