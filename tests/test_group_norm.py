"""Our group norm for channels-last pictures is torch's, as exact as half precision lets it be, and steps aside."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from echomimic.kernels import group_norm
from echomimic.kernels import layers as operations
from tests.golden import relative_error

LAST = torch.channels_last


def pictures(dtype, mean=0.0, deviation=1.0, shape=(3, 64, 7, 10)):
    generator = torch.Generator().manual_seed(4)
    return (torch.randn(shape, generator=generator) * deviation + mean).to(dtype).contiguous(memory_format=LAST)


def affine(dtype):
    generator = torch.Generator().manual_seed(5)
    return (torch.rand(64, generator=generator) + 0.5).to(dtype), torch.randn(64, generator=generator).to(dtype)


@pytest.mark.parametrize("dtype", group_norm.DTYPES)
@pytest.mark.parametrize(
    ("mean", "deviation", "eps"), [(0, 1, 1e-5), (3, 1, 1e-5), (20, 1, 1e-6), (0, 100, 1e-5), (0, 1e-3, 1e-6)]
)
def test_it_is_as_near_to_the_exact_norm_as_torchs(dtype, mean, deviation, eps):
    given, (weight, bias) = pictures(dtype, mean, deviation), affine(dtype)
    exact = F.group_norm(given.double(), 32, weight.double(), bias.double(), eps)
    ours = group_norm.normalise(given, 32, weight, bias, eps)
    theirs = F.group_norm(given, 32, weight, bias, eps)
    assert ours.dtype == dtype and ours.is_contiguous(memory_format=LAST)
    assert relative_error(ours.double(), exact) < 1.05 * relative_error(theirs.double(), exact)


@pytest.mark.parametrize("dtype", group_norm.DTYPES)
def test_numbers_without_variance_stay_finite(dtype):
    """The mean of squares can come out below the square of the mean, by rounding."""
    given = torch.full((1, 64, 5, 5), 3.14159, dtype=dtype).contiguous(memory_format=LAST)
    weight, bias = affine(torch.float32)
    torch.testing.assert_close(
        group_norm.normalise(given, 32, weight, bias, 1e-6).float(),
        bias.view(1, 64, 1, 1).expand(1, 64, 5, 5),
        atol=0.5,  # of numbers that are the same but for rounding, norms are rounding over the root of eps
        rtol=0.01,
    )


def test_weights_may_be_kept_in_another_precision():
    given, (weight, bias) = pictures(torch.bfloat16), affine(torch.float32)
    exact = F.group_norm(given.double(), 16, weight.double(), bias.double(), 1e-5)
    assert relative_error(group_norm.normalise(given, 16, weight, bias, 1e-5).double(), exact) < 3e-3


def stand_in(**changes):
    """What a CUDA tensor says of itself."""
    said = {"device": torch.device("cuda"), "dtype": torch.float16, "ndim": 4, "requires_grad": False}
    said["numel"] = lambda: group_norm.LEAST_NUMBERS
    said |= {"is_contiguous": lambda memory_format: memory_format == LAST}
    return SimpleNamespace(**said | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"device": torch.device("cpu")},
        {"dtype": torch.float32},
        {"ndim": 3},
        {"requires_grad": True},
        {"numel": lambda: group_norm.LEAST_NUMBERS - 1},
        {"is_contiguous": lambda memory_format: False},
    ],
)
def test_it_steps_aside_where_it_is_not_meant(changes):
    assert group_norm.pays(stand_in())
    assert not group_norm.pays(stand_in(**changes))


def test_the_layer_takes_it(monkeypatch):
    layer, given = operations.GroupNorm(32, 64), pictures(torch.bfloat16)
    plain = layer(given)
    monkeypatch.setattr(group_norm, "pays", lambda pictures: True)
    monkeypatch.setattr(group_norm, "normalise", lambda *given: given)
    assert layer(given) == (given, 32, layer.weight, layer.bias, layer.eps)
    assert plain.shape == given.shape
