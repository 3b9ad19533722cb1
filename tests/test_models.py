"""The networks give what the original's give, for weights drawn by the golden recipe."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

from echomimic.errors import EchoMimicError, WeightsError
from echomimic.models import DenoisingUNet, PoseEncoder, ReferenceUNet, UNetConfig, scaled_dot_product_attention
from tests.golden_cases import GoldenCase, published_shapes, relative_error
from tests.recipe import fill

FULL_SIZE = [pytest.mark.slow, pytest.mark.xdist_group("full size")]
CASES = ["unet_tiny", "unet_oblong", pytest.param("unet_full", marks=FULL_SIZE)]
SMALL = UNetConfig((32, 64), layers_per_block=1, attention_heads=8, norm_num_groups=16, audio_dim=24)


@pytest.mark.parametrize("kernels", [False, True], ids=["plain", "kernels"])
@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_golden_window(name, kernels):
    case = GoldenCase.read(name)
    golden, meta = case.tensors, case.meta

    bank = case.network("reference_unet", kernels)(golden["reference_latents"])
    stored = {key.removeprefix("bank."): value for key, value in golden.items() if key.startswith("bank.")}
    assert bank.keys() == stored.keys()
    for block, value in stored.items():
        seen = bank[block] if meta["full_bank"] else bank[block][:, ::7, ::5]
        assert relative_error(seen, value) <= 1e-4, block
    gc.collect()

    features = case.network("pose_encoder", kernels)(case.pictures)
    assert relative_error(features, golden["pose_features"]) <= 1e-4

    denoiser = case.network("denoising_unet", kernels)
    latents, timestep = golden["latents"], meta["timestep"]
    velocity = denoiser(latents, timestep, audio=golden["audio"], pose=features, reference=bank)
    assert relative_error(velocity, golden["velocity_cond"]) <= 1e-4
    assert relative_error(denoiser(latents, timestep), golden["velocity_uncond"]) <= 1e-4


@pytest.mark.parametrize("name", ["unet_tiny", "unet_oblong"])
@torch.no_grad()
def test_golden_window_with_both_branches_in_one_batch(name):
    case = GoldenCase.read(name)
    golden, both = case.tensors, case.tensors["latents"].repeat(2, 1, 1, 1, 1)
    denoiser, pose = case.network("denoising_unet"), case.network("pose_encoder")(case.pictures)
    reference = case.network("reference_unet")(golden["reference_latents"])
    unconditional, conditional = denoiser.predict(
        both, case.meta["timestep"], golden["audio"], pose, reference, conditioned=[False, True]
    ).chunk(2)
    assert relative_error(conditional, golden["velocity_cond"]) <= 1e-4
    assert relative_error(unconditional, golden["velocity_uncond"]) <= 1e-4


@pytest.mark.parametrize(
    ("name", "network"),
    [("denoising_unet", DenoisingUNet), ("reference_unet", ReferenceUNet), ("pose_encoder", None)],
)
def test_published_names_and_shapes(name, network):
    module = network(UNetConfig(), device="meta") if network else PoseEncoder(320, device="meta")
    assert {key: list(value.shape) for key, value in module.state_dict().items()} == published_shapes(name)


@pytest.fixture(scope="module")
def small() -> tuple[DenoisingUNet, ReferenceUNet]:
    return fill(DenoisingUNet(SMALL), "small."), fill(ReferenceUNet(SMALL), "small.")


def window(batch=1, frames=3, height=5, width=7, seed=0):
    torch.manual_seed(seed)
    audio = torch.randn(batch, frames, 50, SMALL.audio_dim)
    return torch.randn(batch, 4, frames, height, width), audio, torch.randn(batch, 32, frames, height, width)


@torch.no_grad()
def test_zero_tokens_equal_no_tokens(small):
    latents, audio, pose = window()
    denoiser, _ = small
    zeros = denoiser(latents, 500, audio=torch.zeros_like(audio), pose=torch.zeros_like(pose))
    torch.testing.assert_close(denoiser(latents, 500), zeros, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_projected_conditions_give_the_same(small):
    latents, audio, pose = window()
    denoiser, reference = small
    bank = reference(torch.randn(1, 4, 5, 7))
    direct = denoiser(latents, 500, audio=audio, pose=pose, reference=bank)
    projected = denoiser(
        latents,
        500,
        audio=denoiser.project_audio(audio),
        pose=pose,
        reference=denoiser.project_reference(bank),
    )
    torch.testing.assert_close(projected, direct, atol=0, rtol=0)


@torch.no_grad()
def test_batch_entries_do_not_mix(small):
    denoiser, reference = small
    latents, audio, pose = window(batch=2)
    banks = [reference(torch.randn(1, 4, 5, 7)) for _ in range(2)]
    both = {name: torch.cat([bank[name] for bank in banks]) for name in banks[0]}
    together = denoiser(latents, torch.tensor([100, 700]), audio=audio, pose=pose, reference=both)
    for i, (bank, timestep) in enumerate(zip(banks, [100, 700])):
        part = slice(i, i + 1)
        alone = denoiser(latents[part], timestep, audio=audio[part], pose=pose[part], reference=bank)
        torch.testing.assert_close(together[part], alone, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_conditions_matter(small):
    latents, audio, pose = window()
    denoiser, reference = small
    bank = reference(torch.randn(1, 4, 5, 7))
    full = denoiser(latents, 500, audio=audio, pose=pose, reference=bank)
    without = {
        "audio": denoiser(latents, 500, pose=pose, reference=bank),
        "pose": denoiser(latents, 500, audio=audio, reference=bank),
        "reference": denoiser(latents, 500, audio=audio, pose=pose),
    }
    for name, velocity in without.items():
        assert relative_error(velocity, full) > 1e-3, name


def test_layer_classes_and_attention_are_handed_in():
    class Operations:
        class Linear(nn.Linear):
            pass

        class Conv2d(nn.Conv2d):
            pass

        class GroupNorm(nn.GroupNorm):
            pass

        class LayerNorm(nn.LayerNorm):
            pass

    calls = []

    def attention(query, key, value, heads):
        calls.append(heads)
        return scaled_dot_product_attention(query, key, value, heads)

    denoiser = DenoisingUNet(SMALL, operations=Operations, attention=attention)
    with torch.no_grad():
        denoiser(window()[0], 500)
    layers = [module for module in denoiser.modules() if next(module.parameters(recurse=False), None) is not None]
    assert layers
    assert all(type(layer).__qualname__.startswith("test_layer_classes") for layer in layers)
    assert calls and set(calls) == {8}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_stays_close(small, dtype):
    denoiser, reference = small
    latents, audio, pose = window()
    bank = reference(torch.randn(1, 4, 5, 7))
    exact = denoiser(latents, 500, audio=audio, pose=pose, reference=bank)
    half = DenoisingUNet(SMALL, dtype=dtype)
    half.load_state_dict(denoiser.state_dict())
    reduced = {name: tokens.to(dtype) for name, tokens in bank.items()}
    velocity = half(latents.to(dtype), 500, audio=audio.to(dtype), pose=pose.to(dtype), reference=reduced)
    assert velocity.dtype == dtype
    assert relative_error(velocity.float(), exact) < (0.05 if dtype == torch.bfloat16 else 0.01)


def test_window_longer_than_the_position_table_is_refused(small):
    with pytest.raises(EchoMimicError, match="at most 32 frames, got 33"):
        small[0](torch.zeros(1, 4, 33, 4, 4), 0)


def test_reference_of_another_size_is_refused(small):
    with pytest.raises(EchoMimicError, match="lacks 4 blocks"):
        small[0].project_reference({})


def test_config_that_cannot_be_split_is_refused():
    with pytest.raises(WeightsError, match="36 channels cannot be split into 8 attention heads"):
        UNetConfig((36, 64))
