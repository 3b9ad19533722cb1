"""Training's losses against hand-computed values, other implementations and finite differences."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

from echomimic.errors import MissingPackageError
from echomimic.training.losses import (
    EncoderDistance,
    FrameTargets,
    NoiseSchedule,
    PhaseLoss,
    PhaseWeights,
    decode_with_gradient,
    detail_distance,
    distillation_target,
    edge_map,
    gaussian_map,
    latent_loss,
    low_level_distance,
    pose_distance,
)
from tests.original_schedule import make_scheduler


@pytest.fixture(scope="module")
def schedule() -> NoiseSchedule:
    return NoiseSchedule()


@pytest.fixture(scope="module")
def vae():
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    return vae.requires_grad_(False).eval()


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class TestSchedule:
    def test_it_is_the_samplers(self, schedule: NoiseSchedule) -> None:
        assert torch.allclose(schedule.alphas, make_scheduler(10).alphas_cumprod, atol=1e-7)
        assert schedule.alphas[-1] == 0

    def test_velocity_is_diffusers(self, schedule: NoiseSchedule) -> None:
        clean, noise, t = randn(3, 4, 2, 5, 5), randn(3, 4, 2, 5, 5, seed=1), torch.tensor([0, 500, 999])
        scheduler = make_scheduler(10)
        assert torch.allclose(schedule.velocity(clean, noise, t), scheduler.get_velocity(clean, noise, t), atol=1e-6)
        assert torch.allclose(schedule.add_noise(clean, noise, t), scheduler.add_noise(clean, noise, t), atol=1e-6)

    def test_the_true_velocity_gives_the_clean_latents_back_at_any_time(self, schedule: NoiseSchedule) -> None:
        clean, noise, t = randn(4, 4, 2, 5, 5), randn(4, 4, 2, 5, 5, seed=1), torch.tensor([0, 300, 998, 999])
        noisy, velocity = schedule.add_noise(clean, noise, t), schedule.velocity(clean, noise, t)
        assert torch.allclose(schedule.estimate_clean(noisy, velocity, t), clean, atol=1e-5)
        assert torch.equal(noisy[3], noise[3])
        assert torch.equal(schedule.estimate_clean(noisy, velocity, t)[3], -velocity[3])

    def test_a_ddim_step_is_diffusers(self, schedule: NoiseSchedule) -> None:
        scheduler = make_scheduler(10)  # steps of 100 timesteps
        noisy, velocity = randn(1, 4, 2, 5, 5), randn(1, 4, 2, 5, 5, seed=1)
        ours = schedule.ddim_step(noisy, velocity, torch.tensor([599]), torch.tensor([499]))
        assert torch.allclose(ours, scheduler.step(velocity, 599, noisy).prev_sample, atol=1e-5)

    def test_min_snr_weight(self, schedule: NoiseSchedule) -> None:
        weight = schedule.min_snr_weight(torch.tensor([0, 999]), 5.0)
        snr = float(schedule.alphas[0] / (1 - schedule.alphas[0]))
        assert weight[0] == pytest.approx(5 / (snr + 1), rel=1e-3)
        assert weight[1] == 1


class TestLatentLoss:
    def test_by_hand(self) -> None:
        predicted, target = torch.zeros(2, 4, 1, 1, 2), torch.zeros(2, 4, 1, 1, 2)
        target[0, :, 0, 0] = torch.tensor([1.0, 3.0])
        assert latent_loss(predicted, target).tolist() == [5.0, 0.0]
        assert latent_loss(predicted, target, weight=torch.tensor([0.5, 1.0])).tolist() == [2.5, 0.0]
        mask = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 0.0]]]])
        assert latent_loss(predicted, target, mask=mask).tolist() == [1.0, 0.0]

    def test_a_mask_weighs(self) -> None:
        predicted = torch.tensor([1.0, 3.0]).view(1, 1, 1, 1, 2).expand(1, 4, 1, 1, 2)
        mask = torch.tensor([[[[3.0, 1.0]]]])
        # (3 * 1 + 1 * 9) / (3 + 1)
        assert latent_loss(predicted, torch.zeros(1, 4, 1, 1, 2), mask=mask).tolist() == [3.0]

    def test_a_full_mask_is_no_mask(self) -> None:
        predicted, target = randn(2, 4, 3, 5, 5), randn(2, 4, 3, 5, 5, seed=1)
        assert torch.allclose(
            latent_loss(predicted, target, mask=torch.ones(2, 3, 5, 5)), latent_loss(predicted, target)
        )

    def test_nothing_outside_the_mask_is_learnt_from(self) -> None:
        predicted = randn(1, 4, 1, 4, 4).requires_grad_()
        mask = torch.zeros(1, 1, 4, 4)
        mask[..., :2] = 1
        latent_loss(predicted, torch.zeros(1, 4, 1, 4, 4), mask=mask).sum().backward()
        assert predicted.grad is not None
        assert predicted.grad[..., :2].all()
        assert not predicted.grad[..., 2:].any()


class TestPhases:
    def test_each_term_has_its_share_of_time(self) -> None:
        phases = [PhaseWeights().phase_of(t) for t in range(1000)]
        assert {name: phases.count(name) for name in ("pose", "detail", "low_level")} == {
            "pose": 100,
            "detail": 600,
            "low_level": 300,
        }
        assert (phases[999], phases[899], phases[299]) == ("pose", "detail", "low_level")

    def test_rows_get_the_term_of_their_timestep_and_its_weight(self, vae) -> None:
        loss = PhaseLoss(vae, EncoderDistance(vae), PhaseWeights(pose=1.0, detail=2.0, low_level=0.0))
        clean = randn(4, 4, 2, 4, 4).requires_grad_()
        targets = make_targets(4)
        values, log = loss(clean, torch.tensor([950, 500, 100, 950]), targets)
        assert {name: len(found) for name, found in log.items()} == {"pose": 1, "detail": 1}
        assert values.tolist() == pytest.approx([log["pose"][0], 2 * log["detail"][0], 0.0, 0.0])
        values.sum().backward()
        assert clean.grad is not None
        reached = clean.grad.abs().amax(dim=(1, 3, 4))
        # [B, F]: only the chosen frame of the rows that have a term.
        assert (reached > 0).tolist() == [[True, False], [False, True], [False, False], [False, False]]

    def test_a_crop_is_the_same_part_of_estimate_and_target(self, vae) -> None:
        latents = randn(1, 4, 1, 8, 8)
        with torch.no_grad():
            pictures = decode_with_gradient(vae, latents[:, :, 0, 2:6, 3:7])
        whole = torch.full((1, 3, 64, 64), 9.0)
        whole[..., 16:48, 24:56] = pictures
        targets = FrameTargets(
            torch.tensor([0]), whole, torch.zeros(1, 1, 2), torch.zeros(1, 1), torch.tensor([True]), torch.zeros(1, 2)
        )
        places = []

        loss = PhaseLoss(vae, lambda a, b: (a - b).abs().flatten(1).amax(dim=1), PhaseWeights(low_level=1.0), crop=4)
        for place in ((0.4, 0.6), (0.0, 0.0), (1.0, 1.0)):  # of the rows 0..4 and columns 0..4, (2, 3) first
            targets = replace(targets, crop_place=torch.tensor([place]))
            places.append(float(loss(latents, torch.tensor([10]), targets)[0]))
        assert places[0] < 1e-5
        assert min(places[1:]) > 1


def make_targets(rows: int) -> FrameTargets:
    frame = torch.tensor([0, 1, 0, 1])[:rows]
    valid = torch.tensor([True, True, True, False])[:rows]
    points = torch.full((rows, 3, 2), 16.0)
    return FrameTargets(
        frame, randn(rows, 3, 32, 32, seed=2).clamp(-1, 1), points, torch.ones(rows, 3), valid, torch.rand(rows, 2)
    )


class TestTerms:
    def test_gaussians_by_hand(self) -> None:
        heat = gaussian_map(torch.tensor([[[2.5, 1.5], [0.5, 0.5]]]), torch.tensor([[1.0, 0.0]]), 4, 6, sigma=1.0)
        assert heat[0, 1, 2] == 1
        assert heat[0, 1, 3] == pytest.approx(torch.tensor(-0.5).exp().item())
        assert heat[0, 2, 3] == pytest.approx(torch.tensor(-1.0).exp().item())

    def test_the_pose_term_counts_errors_on_points_only(self) -> None:
        pictures, targets = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
        points, weights = torch.tensor([[[8.0, 8.0]]]), torch.ones(1, 1)
        pictures[..., 24:, 24:] = 1
        assert pose_distance(pictures, targets, points, weights, 1.0) == pytest.approx(0, abs=1e-6)
        pictures[..., 4:12, 4:12] = 1
        assert pose_distance(pictures, targets, points, weights, 1.0) == pytest.approx(1, abs=1e-3)
        assert pose_distance(pictures, targets, points, torch.zeros(1, 1), 1.0) == 0

    def test_edges_are_where_the_picture_changes(self) -> None:
        picture = torch.full((1, 3, 24, 24), -1.0)
        picture[..., 12:] = 1
        edges = edge_map(picture)[0, 0]
        assert edges[12, 11:13].max() > 0.9
        assert edges[12, [4, 20]].max() < 0.2

    def test_detail_is_zero_for_equal_pictures_and_not_for_shifted_ones(self) -> None:
        picture = torch.full((1, 3, 24, 24), -1.0)
        picture[..., 12:] = 1
        assert detail_distance(picture, picture) == 0
        assert detail_distance(picture.roll(3, -1), picture) > 0.01

    def test_the_encoders_distance_grows_with_noise(self, vae) -> None:
        picture, noise = randn(1, 3, 32, 32).clamp(-1, 1), randn(1, 3, 32, 32, seed=1)
        distance = EncoderDistance(vae)
        values = [float(distance(picture + strength * noise, picture)) for strength in (0, 0.05, 0.2, 0.8)]
        assert values[0] == 0
        assert values == sorted(set(values))

    @pytest.mark.parametrize("timestep", [950, 500, 100])
    def test_gradients_through_the_vae_are_those_of_finite_differences(self, vae, timestep: int) -> None:
        vae = vae.double()
        try:
            loss = PhaseLoss(vae, EncoderDistance(vae), PhaseWeights(1.0, 1.0, 1.0))
            clean = randn(1, 4, 1, 4, 4).double()
            clean.requires_grad_()
            targets = make_targets(1)

            def value(latents: torch.Tensor) -> torch.Tensor:
                return loss(latents, torch.tensor([timestep]), targets)[0].sum()

            value(clean).backward()
            assert clean.grad is not None
            direction = randn(1, 4, 1, 4, 4, seed=5).double()
            step = 1e-2 if timestep != 500 else 2e-3  # decoded pictures are float32
            with torch.no_grad():
                difference = (value(clean + step * direction) - value(clean - step * direction)) / (2 * step)
            assert float((clean.grad * direction).sum()) == pytest.approx(float(difference), rel=0.05)
        finally:
            vae.float()

    def test_the_vae_itself_gets_no_gradient(self, vae) -> None:
        clean = randn(1, 4, 1, 4, 4).requires_grad_()
        values, _ = PhaseLoss(vae, EncoderDistance(vae))(clean, torch.tensor([10]), make_targets(1))
        values.sum().backward()
        assert all(parameter.grad is None for parameter in vae.parameters())

    def test_without_lpips_the_encoder_takes_its_place(self, vae, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "lpips", None)
        assert isinstance(low_level_distance(vae, "auto"), EncoderDistance)
        with pytest.raises(MissingPackageError, match="pip install lpips torchvision"):
            low_level_distance(vae, "lpips")

    def test_without_kornia_a_sentence_names_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "kornia.filters", None)
        with pytest.raises(MissingPackageError, match="pip install kornia"):
            edge_map(torch.zeros(1, 3, 8, 8))


class TestDistillation:
    @pytest.mark.parametrize(("t", "s"), [(999, 799), (499, 299), (199, -1)])
    def test_one_step_with_the_target_lands_where_the_teacher_did(
        self, schedule: NoiseSchedule, t: int, s: int
    ) -> None:
        noisy, reached = randn(1, 4, 2, 5, 5), randn(1, 4, 2, 5, 5, seed=1)
        begin, end = torch.tensor([t]), torch.tensor([s])
        velocity = distillation_target(schedule, noisy, reached, begin, end)
        assert torch.allclose(schedule.ddim_step(noisy, velocity, begin, end), reached, atol=1e-5)
