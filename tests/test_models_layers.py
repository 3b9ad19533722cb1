"""Layers cast their weights to the activations, and chunked computations equal whole ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from echomimic.models import attention, casting_layers, layers, scaled_dot_product_attention
from echomimic.models.layers import FeedForward, LayerFactory
from echomimic.models.motion import PositionEncoding


@pytest.mark.parametrize(
    ("ours", "torchs", "shape"),
    [
        (casting_layers.Linear(8, 12), nn.Linear(8, 12), (3, 8)),
        (casting_layers.Conv2d(8, 12, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1), (2, 8, 4, 4)),
        (casting_layers.GroupNorm(2, 8), nn.GroupNorm(2, 8), (2, 8, 4, 4)),
        (casting_layers.LayerNorm(8), nn.LayerNorm(8), (3, 8)),
    ],
)
@torch.no_grad()
def test_weights_are_cast_to_the_activations(ours, torchs, shape):
    ours.load_state_dict(torchs.state_dict())
    ours.bfloat16()
    torchs.load_state_dict({name: tensor.float() for name, tensor in ours.state_dict().items()})
    activations = torch.randn(shape)
    torch.testing.assert_close(ours(activations), torchs(activations))


@torch.no_grad()
def test_filters_in_channels_last_are_the_same_filters():
    layer = casting_layers.Conv2d(64, 80, 3, padding=1)
    before, pictures = layer.weight.clone(), torch.randn(1, 64, 8, 8)
    expected = layer(pictures)
    casting_layers.filters_to_channels_last(nn.ModuleList([layer]))
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(layer.weight, before)
    torch.testing.assert_close(layer(pictures), expected)


@torch.no_grad()
def test_attention_of_many_rows_in_chunks_equals_the_whole(monkeypatch):
    query, key, value = torch.randn(3, 7, 40, 24).unbind(0)
    whole = scaled_dot_product_attention(query, key, value, 3)
    monkeypatch.setattr(attention, "MAX_ROWS", 3)
    torch.testing.assert_close(scaled_dot_product_attention(query, key, value, 3), whole)


@torch.no_grad()
def test_feed_forward_in_chunks_equals_the_whole(monkeypatch):
    feed_forward, norm, tokens = FeedForward(LayerFactory(), 16), nn.LayerNorm(16), torch.randn(2, 700, 16)
    whole = feed_forward(tokens, norm)
    monkeypatch.setattr(layers, "CHUNK_BYTES", {"cpu": 1})
    torch.testing.assert_close(feed_forward(tokens, norm), whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_position_tables_stay_float32(dtype):
    exact = PositionEncoding(LayerFactory(), 64).pe
    assert torch.equal(PositionEncoding(LayerFactory(dtype=dtype), 64).pe, exact)
    assert torch.equal(PositionEncoding(LayerFactory(), 64).to(dtype).pe, exact)
    assert PositionEncoding(LayerFactory(), 64).half().to("meta").pe.device.type == "meta"
