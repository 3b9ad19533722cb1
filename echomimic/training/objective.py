"""From a batch to the number that is minimised."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..files.fingerprint import hash_state
from ..sampling.schedule import TRAINING_STEPS, make_schedule
from ..vae.coding import SCALE
from .config import TrainingConfig
from .data import Batch
from .losses import EncoderDistance, NoiseSchedule, PhaseLoss, distillation_target, latent_loss, low_level_distance
from .pose_logits import PoseLogits, find_pose_logits

logger = logging.getLogger("echomimic")

Terms = dict[str, list[float]]
# (noisy, timesteps, conditioned flags) -> velocity
Velocity = Callable[[Tensor, Tensor, list[bool]], Tensor]
# Number of pictures that go through the VAE's encoder at a time.
PICTURES_AT_ONCE = 8


@dataclass
class Objective:
    """The loss of a stage.

    Attributes:
        config: of the run.
        schedule: of the noise.
        vae: frozen, on the device.
        phase_loss: the phase-specific terms; None leaves them out.
        dtype: to compute in.
        teacher: for distillation, the frozen networks; None otherwise.
    """

    config: TrainingConfig
    schedule: NoiseSchedule
    vae: nn.Module
    phase_loss: PhaseLoss | None
    dtype: torch.dtype
    teacher: nn.Module | None = None

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Terms]:
        """The mean loss of the rows, with its graph, and each term's values by name."""
        clean, reference = self.latents(batch)

        def velocity_of(network: nn.Module) -> Velocity:
            return lambda noisy, timesteps, conditioned: network(
                noisy,
                timesteps,
                reference=reference,
                audio=batch.audio,
                pose=batch.pose,
                audio_mask=batch.audio_mask,
                conditioned=conditioned,
                posed=batch.posed,
                dtype=self.dtype,
            )

        if self.teacher is not None:
            return self.distil(velocity_of(model), velocity_of(self.teacher), clean, batch)
        return self.denoise(velocity_of(model), clean, batch)

    def latents(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The rows' clean latents `[B, 4, F, h, w]` and their references' `[B, 4, h, w]`."""
        if batch.latents is not None:
            return batch.latents, batch.reference
        assert batch.frames is not None
        rows, frames = batch.frames.shape[:2]
        encoded = encode_pictures(self.vae, torch.cat([batch.frames.flatten(0, 1), batch.reference]))
        return encoded[: rows * frames].unflatten(0, (rows, frames)).transpose(1, 2), encoded[rows * frames :]

    def denoise(self, velocity: Velocity, clean: Tensor, batch: Batch) -> tuple[Tensor, Terms]:
        """The velocity's error, and the phase-specific term of each row."""
        noisy = self.schedule.add_noise(clean, batch.noise, batch.timesteps)
        target = self.schedule.velocity(clean, batch.noise, batch.timesteps)
        predicted = velocity(noisy, batch.timesteps, batch.conditioned)
        gamma = self.config.loss.snr_gamma
        weight = self.schedule.min_snr_weight(batch.timesteps, gamma) if gamma > 0 else None
        rows = latent_loss(predicted, target, weight, batch.loss_mask)
        log: Terms = {"latent": rows.detach().tolist()}
        if self.phase_loss is not None:
            estimate = self.schedule.estimate_clean(noisy, predicted, batch.timesteps)
            extra, terms = self.phase_loss(estimate, batch.timesteps, batch.targets)
            rows = rows + extra
            log |= terms
        log["total"] = rows.detach().tolist()
        return rows.mean(), log

    def distil(self, student: Velocity, teacher: Velocity, clean: Tensor, batch: Batch) -> tuple[Tensor, Terms]:
        """The student's one step against the teacher's several guided ones."""
        settings = self.config.distill
        # The student is only ever run at its sampler's timesteps, each of which comes up equally often.
        table = student_timesteps(settings.student_steps).to(batch.timesteps.device)
        t = table[batch.timesteps % settings.student_steps]
        s = t - TRAINING_STEPS // settings.student_steps
        noisy = self.schedule.add_noise(clean, batch.noise, t)
        everyone, nobody = [True] * len(t), [False] * len(t)

        def guided(latents: Tensor, timesteps: Tensor) -> Tensor:
            conditional = teacher(latents, timesteps, everyone)
            if settings.guidance <= 1:
                return conditional
            unconditional = teacher(latents, timesteps, nobody)
            return unconditional + settings.guidance * (conditional - unconditional)

        with torch.no_grad():
            reached = teacher_steps(self.schedule, guided, noisy, t, s, settings.teacher_steps)
            target = distillation_target(self.schedule, noisy, reached, t, s)
        rows = latent_loss(student(noisy, t, everyone), target, None, batch.loss_mask)
        values = rows.detach().tolist()
        return rows.mean(), {"latent": values, "total": values}


def make_phase_loss(config: TrainingConfig, vae: Any, device: torch.device) -> PhaseLoss | None:
    """The phase-specific terms, where they have any weight; distillation has none."""
    settings = config.loss
    weights = settings.phases
    if config.stage == "distill" or not (weights.pose or weights.detail or weights.low_level):
        return None
    vae.enable_gradient_checkpointing()
    distance = low_level_distance(vae, settings.low_level, device)
    pose = find_pose_logits(config, device) if weights.pose else None
    if weights.pose:
        logger.info("the pose loss compares %s", "pixels around points" if pose is None else "what DWPose sees")
    if weights.low_level:
        kind = "the VAE encoder's features" if isinstance(distance, EncoderDistance) else "LPIPS' features"
        logger.info("the low-level loss compares %s", kind)
    return PhaseLoss(vae, distance, weights, settings.crop // 8 or None, pose=pose)


def pose_digest(phase_loss: PhaseLoss | None) -> str:
    """A hash of the detector that the pose loss looks through; "" where there is none."""
    pose = None if phase_loss is None else phase_loss.pose
    return hash_state(dict(pose.network.named_buffers())) if isinstance(pose, PoseLogits) else ""


def encode_pictures(vae: nn.Module, pictures: Tensor) -> Tensor:
    """uint8 `[n, 3, H, W]` to scaled latents (the mean) `[n, 4, H/8, W/8]` float32."""
    parts = []
    with torch.no_grad():
        for part in pictures.split(PICTURES_AT_ONCE):
            prepared = (part.float() / 127.5 - 1).to(vae.dtype)
            parts.append(vae.encode(prepared).latent_dist.mean.float() * SCALE)  # type: ignore[operator]
    return torch.cat(parts)


def student_timesteps(steps: int) -> Tensor:
    """The sampler's timesteps from noisy to clean (trailing spacing), `[steps]`."""
    return torch.tensor([step.timestep for step in make_schedule(steps).steps])


def teacher_steps(
    schedule: NoiseSchedule,
    velocity: Callable[[Tensor, Tensor], Tensor],
    noisy: Tensor,
    t: Tensor,
    s: Tensor,
    steps: int,
) -> Tensor:
    """Go from t to s in equal DDIM steps; returns x_s."""
    current = t
    for i in range(steps):
        following = s if i == steps - 1 else t - ((t - s) * (i + 1)).div(steps, rounding_mode="floor")
        noisy = schedule.ddim_step(noisy, velocity(noisy, current), current, following)
        current = following
    return noisy


def add_terms(total: Terms, more: Mapping[str, list[float]]) -> None:
    """Append each term's values, in place."""
    for name, values in more.items():
        total.setdefault(name, []).extend(values)
