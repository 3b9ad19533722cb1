"""The kernels give what torch's layers give, and are used where they are meant to be."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from echomimic import kernels
from echomimic.kernels import cpu_matmul, patches, winograd
from echomimic.kernels import layers as operations
from echomimic.models import DenoisingUNet, UNetConfig, casting_layers
from tests.golden_cases import relative_error
from tests.recipe import fill

CONFIG = UNetConfig((64, 128), layers_per_block=1, attention_heads=8, norm_num_groups=32, audio_dim=24)


@pytest.mark.parametrize("shape", [(2, 64, 5, 7), (1, 96, 3, 3), (3, 64, 24, 24), (2, 70, 33, 18)])
@pytest.mark.parametrize("chunk_bytes", [2**14, 2**24])
@torch.no_grad()
def test_winograd_equals_the_direct_convolution(shape, chunk_bytes, monkeypatch):
    monkeypatch.setattr(winograd, "CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(winograd, "FILTER_BYTES", 16 * chunk_bytes)
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
def test_convolutions_use_the_kernel_for_their_size(monkeypatch):
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
        operations.Conv2d(64, 64, 3, padding=1).requires_grad_(False)(many.requires_grad_()).sum().backward()
    assert len(used) == 4


@torch.no_grad()
def test_a_network_gives_the_same_with_kernels_and_without():
    plain, fast = (
        fill(DenoisingUNet(CONFIG, operations=kernels.layer_classes(choice)), "k.") for choice in (False, True)
    )
    latents, audio = torch.randn(1, 4, 3, 32, 32), torch.randn(1, 3, 50, 24)
    assert relative_error(fast(latents, 500, audio=audio), plain(latents, 500, audio=audio)) < 5e-6


@pytest.mark.parametrize(
    ("variable", "choice", "expected"),
    [(None, None, True), ("0", None, False), ("1", None, True), ("0", True, True), (None, False, False)],
)
def test_kernels_are_switched_by_the_caller_or_the_environment(monkeypatch, variable, choice, expected):
    monkeypatch.delenv("ECHOMIMIC_KERNELS", raising=False)
    if variable is not None:
        monkeypatch.setenv("ECHOMIMIC_KERNELS", variable)
    assert kernels.enabled(choice) == expected
    assert kernels.layer_classes(choice) == (operations if expected else casting_layers)


class HostLinear(nn.Linear):
    """As ComfyUI's: its own way with weights that are patched, torch's else."""

    doubled = False

    def forward(self, hidden):
        if self.doubled:
            return nn.functional.linear(hidden, self.weight * 2, self.bias)
        return super().forward(hidden)


def test_a_hosts_linear_layer_multiplies_by_the_kernel_and_keeps_its_own_way_with_patched_weights(monkeypatch):
    seen = []
    linear = cpu_matmul.linear
    monkeypatch.setattr(cpu_matmul, "linear", lambda *given: seen.append(1) or linear(*given))

    class Host:
        Linear, Conv2d, GroupNorm, LayerNorm = HostLinear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm

    torch.manual_seed(0)
    layer = operations.with_kernels(Host).Linear(8, 4)
    hidden = torch.randn(3, 8)
    with torch.no_grad():
        torch.testing.assert_close(layer(hidden), nn.functional.linear(hidden, layer.weight, layer.bias))
        assert seen == [1]
        layer.doubled = True
        torch.testing.assert_close(layer(hidden), nn.functional.linear(hidden, layer.weight * 2, layer.bias))
    assert seen == [1]


@pytest.mark.parametrize("stride", [1, 2])
def test_a_hosts_convolution_takes_the_faster_ways_and_keeps_its_own_casts(monkeypatch, stride):
    """As ComfyUI's layers do: the weight that is convolved is made of the stored one at each call."""
    seen = []

    class HostConv(nn.Conv2d):
        def forward(self, hidden):
            return self._conv_forward(hidden, self.weight.to(hidden.dtype) * 2, self.bias.to(hidden.dtype))

    class Host:
        Linear, Conv2d, GroupNorm, LayerNorm = HostLinear, HostConv, nn.GroupNorm, nn.LayerNorm

    for kernel in (winograd, patches):
        convolve = kernel.convolve
        monkeypatch.setattr(kernel, "convolve", lambda *given, c=convolve: seen.append(c) or c(*given))
    torch.manual_seed(0)
    layer = operations.with_kernels(Host).Conv2d(64, 64, 3, padding=1, stride=stride).to(torch.bfloat16)
    layer.requires_grad_(False)
    pictures = torch.randn(12, 64, 16, 16).contiguous(memory_format=torch.channels_last)
    plain = nn.Conv2d(64, 64, 3, padding=1, stride=stride)
    with torch.no_grad():
        expected = plain._conv_forward(pictures, layer.weight.float() * 2, layer.bias.float())
        result = layer(pictures)
    assert len(seen) == 1
    assert relative_error(result, expected) < 1e-5
