"""The precision that a device computes in."""

from __future__ import annotations

import pytest
import torch

from echomimic.runtime import device
from echomimic.runtime.device import compute_dtype, vae_dtype


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("native", [True, False])
def test_half_precision_on_a_cpu_needs_native_instructions(monkeypatch, dtype, native):
    monkeypatch.setattr(torch.cpu, "has_it", lambda: native, raising=False)
    monkeypatch.setattr(device, "NATIVE_HALF", {dtype: ("unknown_to_this_torch", "has_it")})
    assert compute_dtype(dtype, "cpu") == (dtype if native else torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_other_devices_compute_in_the_dtype_of_the_weights(monkeypatch, dtype):
    monkeypatch.setattr(device, "NATIVE_HALF", {torch.bfloat16: (), torch.float16: ()})
    assert compute_dtype(dtype, torch.device("cuda", 0)) == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_full_precision_stays_on_a_cpu(dtype):
    assert compute_dtype(dtype, "cpu") == dtype


@pytest.mark.parametrize("native", [True, False])
def test_the_vae_takes_bfloat16_only_beside_half_precision_and_where_it_is_native(monkeypatch, native):
    names = {"_is_avx512_bf16_supported": native, "_is_amx_tile_supported": native, "_is_amx_fp16_supported": True}
    for name, value in names.items():
        monkeypatch.setattr(torch.cpu, name, lambda value=value: value, raising=False)
    half = torch.bfloat16 if native else torch.float32
    assert vae_dtype(torch.float32, "cpu") == torch.float32
    assert vae_dtype(torch.bfloat16, "cpu") == half
    assert vae_dtype(torch.float16, "cpu") == half
    assert vae_dtype(torch.float16, "mps") == torch.float32
