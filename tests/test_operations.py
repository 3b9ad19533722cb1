"""The engine's own layers give what torch's give, and keep weights in another precision than the numbers that flow."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from echomimic.kernels import layers as operations
from echomimic.kernels import patches, winograd
from echomimic.models import DenoisingUNet, UNetConfig, layers, scaled_dot_product_attention
from echomimic.models.layers import FeedForward, LayerFactory, short_attention
from tests.golden import relative_error
from tests.recipe import fill

CONFIG = UNetConfig((64, 128), layers_per_block=1, attention_heads=8, norm_num_groups=32, audio_dim=24)


@pytest.mark.parametrize("shape", [(2, 64, 5, 7), (1, 96, 3, 3), (3, 64, 24, 24), (2, 70, 33, 18)])
@pytest.mark.parametrize("piece_bytes", [2**14, 2**24])
@torch.no_grad()
def test_winograd_equals_the_direct_convolution(shape, piece_bytes, monkeypatch):
    monkeypatch.setattr(winograd, "PIECE_BYTES", piece_bytes)
    monkeypatch.setattr(winograd, "FILTER_BYTES", 16 * piece_bytes)
    torch.manual_seed(0)
    pictures, weight, bias = torch.randn(shape), torch.randn(80, shape[1], 3, 3), torch.randn(80)
    exact = F.conv2d(pictures.double(), weight.double(), bias.double(), padding=1)
    assert relative_error(winograd.convolve(pictures, weight, bias), exact) < 5e-6


@pytest.mark.parametrize("shape", [(2, 64, 5, 7), (1, 96, 3, 3), (3, 64, 8, 8), (2, 70, 1, 4)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_patches_equal_the_direct_convolution(shape, stride, layout):
    torch.manual_seed(0)
    pictures, weight, bias = torch.randn(shape), torch.randn(80, shape[1], 3, 3), torch.randn(80)
    exact = F.conv2d(pictures.double(), weight.double(), bias.double(), padding=1, stride=stride)
    result = patches.convolve(pictures, weight.contiguous(memory_format=layout), bias, stride)
    assert result.shape == exact.shape
    assert relative_error(result, exact) < 1e-6


@torch.no_grad()
def test_convolutions_take_the_way_that_is_meant_for_them(monkeypatch):
    used = []
    for way in (winograd, patches):
        name, convolve = way.__name__.split(".")[-1], way.convolve
        monkeypatch.setattr(way, "convolve", lambda *a, name=name, convolve=convolve: used.append(name) or convolve(*a))
    many, few = torch.randn(4, 64, 16, 16), torch.randn(1, 64, 8, 8)
    layer, strided = operations.Conv2d(64, 64, 3, padding=1), operations.Conv2d(64, 64, 3, padding=1, stride=2)
    layer(many)
    assert used == ["winograd"]
    layer(few)
    strided(many)
    layer.bfloat16()(few.bfloat16())
    assert used == ["winograd", *3 * ["patches"]]
    layer(torch.randn(2, 64, 40, 40).bfloat16())
    operations.Conv2d(64, 64, 1)(few)
    operations.Conv2d(3, 64, 3, padding=1)(few[:, :3])
    operations.Conv2d(64, 64, 3, padding=1).double()(few.double())
    with torch.enable_grad():
        operations.Conv2d(64, 64, 3, padding=1)(few).sum().backward()
    assert len(used) == 4


@torch.no_grad()
def test_arranged_filters_are_the_same_filters():
    layer = operations.Conv2d(64, 80, 3, padding=1)
    before, pictures = layer.weight.clone(), torch.randn(1, 64, 8, 8)
    expected = layer(pictures)
    operations.arrange_filters(nn.ModuleList([layer]))
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(layer.weight, before)
    torch.testing.assert_close(layer(pictures), expected)


@pytest.mark.parametrize(
    ("ours", "torchs", "shape"),
    [
        (operations.Linear(8, 12), nn.Linear(8, 12), (3, 8)),
        (operations.Conv2d(8, 12, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1), (2, 8, 4, 4)),
        (operations.GroupNorm(2, 8), nn.GroupNorm(2, 8), (2, 8, 4, 4)),
        (operations.LayerNorm(8), nn.LayerNorm(8), (3, 8)),
    ],
)
@torch.no_grad()
def test_weights_are_cast_to_the_numbers_that_flow(ours, torchs, shape):
    ours.load_state_dict(torchs.state_dict())
    ours.bfloat16()
    torchs.load_state_dict({name: tensor.float() for name, tensor in ours.state_dict().items()})
    numbers = torch.randn(shape)
    torch.testing.assert_close(ours(numbers), torchs(numbers))


@torch.no_grad()
def test_short_attention_equals_torchs():
    query, key, value = torch.randn(3, 5, 8, 12, 16).unbind(0)
    expected = F.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(short_attention(query, key, value), expected)


@torch.no_grad()
def test_attention_of_many_rows_goes_in_parts(monkeypatch):
    query, key, value = torch.randn(3, 7, 40, 24).unbind(0)
    whole = scaled_dot_product_attention(query, key, value, 3)
    monkeypatch.setattr(layers, "MOST_ROWS", 3)
    torch.testing.assert_close(scaled_dot_product_attention(query, key, value, 3), whole)


def test_attention_chooses_its_kernel_by_length(monkeypatch):
    from echomimic.models import layers

    lengths = []
    monkeypatch.setattr(layers, "short_attention", lambda q, k, v: lengths.append(q.shape[2]) or v)
    for tokens in (12, 32, 33):
        scaled_dot_product_attention(*torch.randn(3, 1, tokens, 16).unbind(0), 2)
    assert lengths == [12, 32]


@torch.no_grad()
def test_feed_forward_in_pieces_equals_the_whole(monkeypatch):
    from echomimic.models import layers

    feed_forward, norm, tokens = FeedForward(LayerFactory(), 16), nn.LayerNorm(16), torch.randn(2, 700, 16)
    whole = feed_forward(tokens, norm)
    monkeypatch.setattr(layers, "PIECE_BYTES", {"cpu": 1})
    torch.testing.assert_close(feed_forward(tokens, norm), whole)


def test_gradients_reach_every_weight():
    denoiser = fill(DenoisingUNet(CONFIG), "g.")
    reference = {block.name: torch.randn(1, 4, block.norm1.normalized_shape[0]) for block in denoiser.blocks()}
    sizes = [(16, 64), (4, 128)]
    reference = {
        name: torch.randn(1, next(n for n, c in sizes if c == tokens.shape[-1]), tokens.shape[-1])
        for name, tokens in reference.items()
    }
    velocity = denoiser(
        torch.randn(1, 4, 3, 4, 4),
        500,
        audio=torch.randn(1, 3, 50, 24),
        pose=torch.randn(1, 64, 3, 4, 4),
        reference=reference,
    )
    velocity.square().mean().backward()
    assert all(parameter.grad is not None for parameter in denoiser.parameters())


@torch.no_grad()
def test_half_precision_weights_compute_in_float32_on_a_cpu_without_half_instructions(monkeypatch):
    monkeypatch.setattr(operations, "NATIVE_HALF", {torch.bfloat16: ()})
    denoiser = fill(DenoisingUNet(CONFIG), "h.").to(torch.bfloat16)
    seen = []
    denoiser.conv_in.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    velocity = denoiser(torch.randn(1, 4, 3, 4, 4, dtype=torch.bfloat16), 500)
    assert seen == [torch.float32] and velocity.dtype == torch.bfloat16
