"""Both of torch's libraries give the same products, and the processor decides which of them multiplies."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from echomimic.kernels import cpu_matmul
from echomimic.kernels import layers as operations
from echomimic.models import DenoisingUNet, UNetConfig
from tests.golden_cases import relative_error
from tests.recipe import fill

has_onednn = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
pytestmark = pytest.mark.skipif(not has_onednn, reason="this torch has no oneDNN")
CONFIG = UNetConfig((64, 128), layers_per_block=1, attention_heads=8, norm_num_groups=32, audio_dim=24)


@pytest.fixture(params=[True, False], ids=["onednn", "mkl"])
def library(request, monkeypatch):
    monkeypatch.setattr(cpu_matmul, "prefer_onednn", lambda: request.param)


@pytest.fixture
def calls(monkeypatch):
    """The shapes of what oneDNN multiplies, on whatever processor."""
    monkeypatch.setattr(cpu_matmul, "prefer_onednn", lambda: True)
    operation, seen = torch.ops.mkldnn._linear_pointwise, []

    def multiply(hidden, *rest):
        seen.append(hidden.shape)
        return operation(hidden, *rest)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", multiply)
    return seen


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("shape", [(24,), (1, 24), (5, 24), (2, 7, 24), (2, 3, 5, 24), (0, 24)])
@pytest.mark.parametrize("biased", [True, False])
@torch.no_grad()
def test_linear_equals_the_product_in_double_precision(shape, biased):
    torch.manual_seed(0)
    hidden, weight, bias = torch.randn(shape), torch.randn(40, 24), torch.randn(40) if biased else None
    exact = F.linear(hidden.double(), weight.double(), None if bias is None else bias.double())
    torch.testing.assert_close(cpu_matmul.linear(hidden, weight, bias), exact.float())


@pytest.mark.usefixtures("library")
@torch.no_grad()
def test_linear_reads_views_where_they_lie():
    torch.manual_seed(0)
    wide, tall = torch.randn(6, 5, 48), torch.randn(24, 40)
    hidden, weight = wide.transpose(0, 1)[..., 24:], tall.t()
    torch.testing.assert_close(cpu_matmul.linear(hidden, weight), hidden @ tall)


@pytest.mark.usefixtures("library")
@torch.no_grad()
def test_linears_multiply_each_with_its_own():
    torch.manual_seed(0)
    hidden, weights = torch.randn(36, 7, 24), torch.randn(36, 40, 24)
    expected = torch.einsum("nti,noi->nto", hidden, weights)
    for one, other in zip(cpu_matmul.linears(hidden, weights), expected, strict=True):
        torch.testing.assert_close(one, other)


@torch.no_grad()
def test_a_network_gives_the_same_with_both(monkeypatch):
    denoiser = fill(DenoisingUNet(CONFIG, operations=operations), "p.")
    latents, audio = torch.randn(1, 4, 3, 32, 32), torch.randn(1, 3, 50, 24)
    velocities = []
    for chosen in (True, False):
        monkeypatch.setattr(cpu_matmul, "prefer_onednn", lambda chosen=chosen: chosen)
        velocities.append(denoiser(latents, 500, audio=audio))
    assert relative_error(*velocities) < 5e-6


@torch.no_grad()
def test_every_layer_that_multiplies_float32_uses_the_faster_library(calls):
    picture = torch.randn(2, 64, 16, 16)
    operations.Linear(64, 8)(picture.permute(0, 2, 3, 1))
    operations.Conv2d(64, 8, 1)(picture)
    assert calls == [(2, 16, 16, 64), (2, 16, 16, 64)]
    operations.Conv2d(64, 64, 3, padding=1)(picture[:, :, :8, :8])  # patches
    assert calls[2:] == [(128, 576)]
    operations.Conv2d(64, 64, 3, padding=1)(picture.repeat(5, 1, 1, 1))  # Winograd's 36 products
    assert calls[3:] == [(160, 64)] * 36


def test_onednn_is_not_used_for_other_dtypes_gradients_and_the_compiler(calls, monkeypatch):
    layer, numbers = operations.Linear(8, 4), torch.randn(3, 8)
    layer(numbers).sum().backward()
    assert layer.weight.grad is not None
    layer.requires_grad_(False)
    layer(numbers.requires_grad_()).sum().backward()
    with torch.no_grad():
        layer.double()(numbers.double())
        layer.bfloat16()(numbers.bfloat16())
        layer.float()
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        layer(numbers)
    assert not calls


@torch.no_grad()
def test_pointwise_convolutions_are_only_the_plain_ones(calls):
    picture = torch.randn(1, 8, 6, 6)
    for options in ({"stride": 2}, {"padding": 1}, {"groups": 2}):
        layer, same = operations.Conv2d(8, 4, 1, **options), nn.Conv2d(8, 4, 1, **options)
        same.load_state_dict(layer.state_dict())
        torch.testing.assert_close(layer(picture), same(picture))
    assert not calls


@pytest.mark.parametrize(
    ("maker", "instructions", "expected"),
    [
        ("AuthenticAMD", "AVX512", True),
        ("AMD64 Family 26 Model 2 Stepping 1, AuthenticAMD", "AVX512", True),
        ("GenuineIntel", "AVX512", False),
        ("AuthenticAMD", "AVX2", False),
        ("", "DEFAULT", False),
    ],
)
def test_onednn_is_preferred_on_other_makers_processors_with_avx512(maker, instructions, expected, monkeypatch):
    monkeypatch.setattr(cpu_matmul, "processor_vendor", lambda: maker)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    assert cpu_matmul.prefer_onednn.__wrapped__() is expected
