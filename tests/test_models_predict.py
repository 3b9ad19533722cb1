"""`DenoisingUNet.predict`: conditioned and unconditioned rows in one batch, the audio mask, and gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from echomimic.errors import EchoMimicError
from echomimic.models import DenoisingUNet, ReferenceUNet, UNetConfig
from echomimic.models.blocks import DenoisingBlock
from tests.golden_cases import relative_error
from tests.recipe import fill

CONFIG = UNetConfig((32, 64), layers_per_block=1, attention_heads=8, norm_num_groups=16, audio_dim=24)
FRAMES, HEIGHT, WIDTH = 3, 5, 7
TIMESTEPS = torch.tensor([100, 700, 400])


@dataclass
class Batch:
    """Three windows, each with conditions of its own."""

    latents: Tensor
    audio: Tensor
    pose: Tensor
    reference: dict[str, Tensor]

    def row(self, index: int) -> Batch:
        return self.rows([index])

    def rows(self, index: list[int]) -> Batch:
        reference = {name: tokens[index] for name, tokens in self.reference.items()}
        return Batch(self.latents[index], self.audio[index], self.pose[index], reference)

    def conditions(self) -> dict:
        return {"audio": self.audio, "pose": self.pose, "reference": self.reference}


@pytest.fixture(scope="module")
def denoiser() -> DenoisingUNet:
    return fill(DenoisingUNet(CONFIG), "small.")


@pytest.fixture(scope="module")
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    reference_unet = fill(ReferenceUNet(CONFIG), "small.")
    with torch.no_grad():
        references = [reference_unet(draw(1, 4, HEIGHT, WIDTH)) for _ in range(3)]
    return Batch(
        draw(3, 4, FRAMES, HEIGHT, WIDTH),
        draw(3, FRAMES, 50, CONFIG.audio_dim),
        draw(3, 32, FRAMES, HEIGHT, WIDTH),
        {name: torch.cat([reference[name] for reference in references]) for name in references[0]},
    )


@pytest.mark.parametrize(
    "conditioned",
    [[True, True, False], [False, True, True], [True, False, True], [False, True, False], [False] * 3, [True] * 3],
)
@torch.no_grad()
def test_rows_are_conditioned_in_any_order(denoiser, batch, conditioned):
    together = denoiser.predict(batch.latents, TIMESTEPS, **batch.conditions(), conditioned=conditioned)
    for index, flag in enumerate(conditioned):
        alone = batch.row(index)
        conditions = alone.conditions() if flag else {}
        expected = denoiser(alone.latents, float(TIMESTEPS[index]), **conditions)
        torch.testing.assert_close(together[[index]], expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_conditions_may_come_for_the_conditioned_rows_only_or_projected(denoiser, batch):
    flags = [True, False, True]
    expected = denoiser.predict(batch.latents, TIMESTEPS, **batch.conditions(), conditioned=flags)
    chosen = batch.rows([0, 2])
    result = denoiser.predict(batch.latents, TIMESTEPS, **chosen.conditions(), conditioned=flags)
    assert torch.equal(result, expected)
    for given in (batch, chosen):
        audio, reference = denoiser.project_audio(given.audio), denoiser.project_reference(given.reference)
        result = denoiser.predict(batch.latents, TIMESTEPS, audio, given.pose, reference, conditioned=flags)
        torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_one_row_of_conditions_serves_all(denoiser, batch):
    one = batch.row(1)
    repeated = batch.rows([1, 1, 1])
    flags = [True, False, True]
    result = denoiser.predict(batch.latents, 500, **one.conditions(), conditioned=flags)
    expected = denoiser.predict(batch.latents, 500, **repeated.conditions(), conditioned=flags)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_mask_of_ones_changes_no_bit(denoiser, batch):
    flags = [True, False, True]
    plain = denoiser.predict(batch.latents, TIMESTEPS, **batch.conditions(), conditioned=flags)
    for rows in (1, 3):
        mask = torch.ones(rows, FRAMES, HEIGHT, WIDTH)
        masked = denoiser.predict(batch.latents, TIMESTEPS, **batch.conditions(), conditioned=flags, audio_mask=mask)
        assert torch.equal(masked, plain)


@torch.no_grad()
def test_a_mask_of_zeros_removes_the_audio_attention(denoiser, batch):
    mask = torch.zeros(3, FRAMES, HEIGHT, WIDTH)
    masked = denoiser.predict(batch.latents, TIMESTEPS, **batch.conditions(), audio_mask=mask)
    other = replace(batch, audio=batch.audio + 1)
    assert torch.equal(denoiser.predict(batch.latents, TIMESTEPS, **other.conditions(), audio_mask=mask), masked)
    # Not even the output layer's bias is left, in conditioned and unconditioned rows.
    silent = fill(DenoisingUNet(CONFIG), "small.")
    for block in silent.blocks():
        block.attn2.to_out[0].weight.zero_()
        block.attn2.to_out[0].bias.zero_()
    torch.testing.assert_close(silent(batch.latents, TIMESTEPS, **batch.conditions()), masked)
    plain = denoiser.predict(batch.latents, TIMESTEPS, audio_mask=mask)
    torch.testing.assert_close(silent(batch.latents, TIMESTEPS), plain)


@torch.no_grad()
def test_masks_belong_to_their_rows_and_frames(denoiser, batch):
    generator = torch.Generator().manual_seed(1)
    mask = torch.rand(3, FRAMES, HEIGHT, WIDTH, generator=generator)
    flags = [False, True, True]
    together = denoiser.predict(batch.latents, TIMESTEPS, **batch.conditions(), conditioned=flags, audio_mask=mask)
    for index, flag in enumerate(flags):
        alone = batch.row(index)
        conditions = alone.conditions() if flag else {}
        expected = denoiser.predict(alone.latents, float(TIMESTEPS[index]), **conditions, audio_mask=mask[[index]])
        torch.testing.assert_close(together[[index]], expected, atol=1e-5, rtol=1e-4)
    swapped = denoiser.predict(
        batch.latents, TIMESTEPS, **batch.conditions(), conditioned=flags, audio_mask=mask.flip(1)
    )
    assert relative_error(swapped, together) > 1e-4


@torch.no_grad()
def test_masks_are_averaged_for_the_lower_levels(denoiser, batch, monkeypatch):
    masks = {}
    plain = DenoisingBlock.add_audio_attention

    def seen(block, hidden, audio, mask):
        masks[hidden.shape[1]] = mask
        return plain(block, hidden, audio, mask)

    monkeypatch.setattr(DenoisingBlock, "add_audio_attention", seen)
    config = replace(CONFIG, block_out_channels=(32, 64, 64))
    mask = torch.zeros(1, FRAMES, HEIGHT, WIDTH)
    mask[0, 1, :2, :2] = 1.0
    mask[0, 1, 0, 6] = 1.0  # the last column has no neighbour to average with
    fill(DenoisingUNet(config), "small.").predict(batch.latents[:1], 500, audio=batch.audio[:1], audio_mask=mask)
    assert torch.equal(masks[35], mask.reshape(FRAMES, 35, 1))
    lower = torch.zeros(FRAMES, 3, 4)
    lower[1, 0, 0], lower[1, 0, 3] = 1.0, 0.5
    assert torch.equal(masks[12], lower.reshape(FRAMES, 12, 1))
    assert masks.keys() >= {35, 12, 4}


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 6), (9, 2)])
@torch.no_grad()
def test_masks_of_any_size(denoiser, height, width):
    latents, audio = torch.randn(1, 4, 2, height, width), torch.randn(1, 2, 50, CONFIG.audio_dim)
    plain = denoiser.predict(latents, 500, audio)
    assert torch.equal(denoiser.predict(latents, 500, audio, audio_mask=torch.ones(1, 2, height, width)), plain)


def test_arguments_that_do_not_fit_are_refused_with_the_numbers(denoiser, batch):
    latents = batch.latents
    with pytest.raises(EchoMimicError, match="a bool for each of the 3 rows, got 2"):
        denoiser.predict(latents, 500, conditioned=[True, False])
    with pytest.raises(EchoMimicError, match=r"must be \[3, 3, 5, 7\].*got \[3, 3, 7, 5\]"):
        denoiser.predict(latents, 500, audio_mask=torch.ones(3, 3, 7, 5))
    with pytest.raises(EchoMimicError, match=r"must be \[3, 3, 5, 7\].*got \[2, 3, 5, 7\]"):
        denoiser.predict(latents, 500, audio_mask=torch.ones(2, 3, 5, 7))
    with pytest.raises(EchoMimicError, match="2 rows for a batch of 3, 1 of them conditioned"):
        denoiser.predict(latents, 500, batch.audio[:2], conditioned=[True, False, False])


@torch.no_grad()
def test_deep_features_are_reused_for_mixed_rows(denoiser, batch):
    from echomimic.models.unet import DeepFeatures

    flags, deep = [False, True, True], DeepFeatures()
    first = denoiser.predict(batch.latents, TIMESTEPS, **batch.conditions(), conditioned=flags, deep=deep)
    again = denoiser.predict(batch.latents, TIMESTEPS, **batch.conditions(), conditioned=flags, deep=deep)
    assert torch.equal(first, again)
