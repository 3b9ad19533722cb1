"""What training minimises: the velocity on the zero-SNR schedule, and the paper's phase-specific denoising loss.

Phase-specific denoising (arXiv 2411.10061, section 3.4): by timestep, one of three terms is added to the latent loss,
each on the picture that the one-step estimate of the clean latents decodes to. Gradients flow through the frozen VAE.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import TrainingError
from ..sampling.schedule import signal_shares
from ..vae.coding import SCALE
from .packages import missing_package

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

# (pictures, targets), each [n, 3, H, W] in -1..1 -> [n]
Distance = Callable[[Tensor, Tensor], Tensor]
# (pictures, targets, points [n, P, 2], weights [n, P]) -> [n]
PoseDistance = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class NoiseSchedule:
    """Linear betas 0.00085..0.012 rescaled to zero terminal SNR (arXiv 2305.08891): the sampler's own schedule.

    Attributes:
        alphas: cumulative products, `[1000]` float32; the last is 0.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.alphas = signal_shares().to(device)

    def coefficients(self, timesteps: Tensor, ndim: int) -> tuple[Tensor, Tensor]:
        """sqrt(alpha) and sqrt(1 - alpha) of timesteps `[B]`, each `[B, 1, ...]` of `ndim` axes."""
        alpha = self.alphas.to(timesteps.device)[timesteps].view(-1, *[1] * (ndim - 1))
        return alpha.sqrt(), (1 - alpha).sqrt()

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """`sqrt(alpha) z0 + sqrt(1 - alpha) noise` for latents `[B, ...]` at timesteps `[B]`."""
        a, b = self.coefficients(timesteps, clean.ndim)
        return a * clean + b * noise

    def velocity(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The network's target, `sqrt(alpha) noise - sqrt(1 - alpha) z0` (arXiv 2202.00512)."""
        a, b = self.coefficients(timesteps, clean.ndim)
        return a * noise - b * clean

    def estimate_clean(self, noisy: Tensor, velocity: Tensor, timesteps: Tensor) -> Tensor:
        """`sqrt(alpha) z_t - sqrt(1 - alpha) v`: finite at the last timestep too, where it is -v."""
        a, b = self.coefficients(timesteps, noisy.ndim)
        return a * noisy - b * velocity

    def ddim_step(self, noisy: Tensor, velocity: Tensor, timesteps: Tensor, earlier: Tensor) -> Tensor:
        """The deterministic step (eta 0) from `timesteps` to the less noisy `earlier`, each `[B]`; -1 is clean."""
        a, b = self.coefficients(timesteps, noisy.ndim)
        clean, noise = a * noisy - b * velocity, a * velocity + b * noisy
        next_a, next_b = self.coefficients(earlier.clamp(min=0), noisy.ndim)
        is_clean = (earlier < 0).view(-1, *[1] * (noisy.ndim - 1))
        return torch.where(is_clean, clean, next_a * clean + next_b * noise)

    def min_snr_weight(self, timesteps: Tensor, gamma: float) -> Tensor:
        """`min(snr + 1, gamma) / (snr + 1)` for v-prediction (arXiv 2303.09556), `[B]`; 1 at the last timestep."""
        alpha = self.alphas.to(timesteps.device)[timesteps]
        snr_plus_one = 1 / (1 - alpha)  # alpha / (1 - alpha) + 1
        return snr_plus_one.clamp(max=gamma) / snr_plus_one


def latent_loss(predicted: Tensor, target: Tensor, weight: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """Weighted squared error of the velocity, one number a row `[B]`.

    Args:
        predicted, target: `[B, 4, F, h, w]`.
        weight: `[B]`, for example `min_snr_weight`.
        mask: how much each place counts, `[B, F, h, w]`; the mean is weighted by it (0 for a row of zeros).
    """
    error = (predicted.float() - target.float()).square()
    if mask is None:
        loss = error.flatten(1).mean(dim=1)
    else:
        covered = mask.flatten(1).sum(dim=1) * error.shape[1]
        loss = (error * mask[:, None]).flatten(1).sum(dim=1) / covered.clamp(min=1)
    return loss if weight is None else loss * weight


@dataclass(frozen=True)
class PhaseWeights:
    """Weights of the phase-specific terms, and where in time each has its share.

    The shares are the paper's: pose in the first 10 % of denoising, details in the next 60 %, the low level in the last
    30 %. The weights are a third party's.
    """

    pose: float = 0.1
    detail: float = 0.1
    low_level: float = 0.1
    pose_from: int = 900
    detail_from: int = 300

    def __post_init__(self) -> None:
        for name in ("pose", "detail", "low_level"):
            if not getattr(self, name) >= 0:
                raise TrainingError(f"loss.phases.{name} must be at least 0, not {getattr(self, name)}")

    def phase_of(self, timestep: int) -> str:
        """ "pose", "detail" or "low_level"."""
        return "pose" if timestep >= self.pose_from else "detail" if timestep >= self.detail_from else "low_level"


def decode_with_gradient(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Scaled latents `[n, 4, h, w]` to pictures `[n, 3, 8h, 8w]` in about -1..1, keeping the graph.

    Call `vae.enable_gradient_checkpointing()` before, or one frame of 768x768 keeps 5 GB of activations.
    """
    return vae.decode((latents / SCALE).to(vae.dtype)).sample.float()


def pose_distance(pictures: Tensor, targets: Tensor, points: Tensor, weights: Tensor, sigma: float) -> Tensor:
    """Squared error weighted by Gaussians on the target's hand and body points, `[n]`.

    The paper compares the detector's keypoint maps of both pictures, but a detector as published gives no gradient.

    Args:
        pictures, targets: `[n, 3, H, W]`.
        points: `[n, P, 2]` in pixels.
        weights: `[n, P]`, 0 for points that are not seen.
        sigma: of the Gaussians, in pixels.
    """
    heat = gaussian_map(points, weights, pictures.shape[-2], pictures.shape[-1], sigma)
    error = (pictures - targets).square().mean(dim=1)
    return (error * heat).flatten(1).sum(dim=1) / heat.flatten(1).sum(dim=1).clamp(min=1)


def gaussian_map(points: Tensor, weights: Tensor, height: int, width: int, sigma: float) -> Tensor:
    """The highest of the points' Gaussians at each pixel, `[n, height, width]` in 0..1."""
    x = torch.arange(width, device=points.device, dtype=torch.float32) + 0.5
    y = torch.arange(height, device=points.device, dtype=torch.float32) + 0.5
    across = torch.exp(-((x - points[..., :1]) ** 2) / (2 * sigma**2))  # [n, P, width]
    down = torch.exp(-((y - points[..., 1:]) ** 2) / (2 * sigma**2))
    heat = torch.zeros(len(points), height, width, device=points.device)
    for point in range(points.shape[1]):  # one at a time: all together would be P pictures
        blob = down[:, point, :, None] * across[:, point, None, :] * weights[:, point, None, None]
        heat = torch.maximum(heat, blob)
    return heat


def edge_map(pictures: Tensor, threshold: float = 0.1, softness: float = 0.05) -> Tensor:
    """Canny's thinned gradient magnitude with a soft threshold, `[n, 1, H, W]` in 0..1, differentiable.

    Args:
        pictures: `[n, 3, H, W]` in -1..1.
        threshold: magnitude at which the map is 0.5, for pictures in 0..1.
        softness: width of the threshold.

    Raises:
        MissingPackageError: kornia is not installed.
    """
    try:
        from kornia.filters import canny  # optional
    except ImportError as error:
        raise missing_package("kornia", "the detail loss") from error
    magnitude, _ = canny((pictures / 2 + 0.5).clamp(0, 1))
    return torch.sigmoid((magnitude - threshold) / softness)


def detail_distance(pictures: Tensor, targets: Tensor) -> Tensor:
    """Squared error of edge maps, `[n]`."""
    with torch.no_grad():
        wanted = edge_map(targets)
    return (edge_map(pictures) - wanted).square().flatten(1).mean(dim=1)


class EncoderDistance:
    """A perceptual distance of features of the frozen VAE encoder, made like LPIPS (arXiv 1801.03924) without weights.

    Each level's features are brought to unit length over the channels; squared differences are averaged over the
    picture and summed over levels.
    """

    def __init__(self, vae: AutoencoderKL) -> None:
        self.vae = vae

    def __call__(self, pictures: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.features(targets)
        terms = [(a - b).square().sum(dim=1).flatten(1).mean(dim=1) for a, b in zip(self.features(pictures), wanted)]
        return torch.stack(terms).sum(dim=0)

    def features(self, pictures: Tensor) -> list[Tensor]:
        encoder: Any = self.vae.encoder
        hidden = encoder.conv_in(pictures.to(self.vae.dtype))
        found = []
        for block in encoder.down_blocks:
            hidden = block(hidden)
            found.append(F.normalize(hidden.float(), dim=1, eps=1e-6))
        return found


def low_level_distance(vae: AutoencoderKL, kind: str = "auto", device: torch.device | str = "cpu") -> Distance:
    """LPIPS where its package and backbone are there, else the distance of the VAE encoder's features.

    Args:
        vae: frozen, for the encoder's features.
        kind: "lpips", "encoder", or "auto" for whichever is there.

    Raises:
        MissingPackageError, TrainingError: "lpips" was chosen and is not available.
    """
    if kind == "encoder":
        return EncoderDistance(vae)
    if kind not in ("auto", "lpips"):
        raise TrainingError(f"the low-level distance is lpips, encoder or auto, not {kind!r}")
    try:
        import lpips  # optional

        network = lpips.LPIPS(net="alex", verbose=False).requires_grad_(False).eval().to(device)
    except ImportError as error:
        if kind == "lpips":
            raise missing_package("lpips torchvision", "the LPIPS distance") from error
        return EncoderDistance(vae)
    except (OSError, RuntimeError) as error:  # its backbone is downloaded by torchvision
        if kind == "lpips":
            raise TrainingError(f"LPIPS' backbone cannot be loaded ({error}): set low_level to encoder") from error
        return EncoderDistance(vae)
    return lambda pictures, targets: network(pictures.clamp(-1, 1), targets.clamp(-1, 1)).flatten()


@dataclass(frozen=True)
class FrameTargets:
    """The true picture of one frame of each row, for the phase-specific terms.

    Attributes:
        frame: its place in the window, `[B]`.
        pictures: `[B, 3, H, W]` in -1..1.
        points, weights: hand and body points in pixels `[B, P, 2]`, and how much each counts `[B, P]`.
        valid: whether the row takes part, `[B]` bool (a headshot's padding teaches nothing).
        crop_place: where a crop lies, `[B, 2]` in 0..1: the top and left edge's share of their range.
    """

    frame: Tensor
    pictures: Tensor
    points: Tensor
    weights: Tensor
    valid: Tensor
    crop_place: Tensor


@dataclass
class PhaseLoss:
    """The phase-specific terms of a batch.

    Attributes:
        vae: frozen, with gradient checkpointing if memory matters.
        low_level: the perceptual distance.
        weights: of the terms.
        crop: side of the decoded part of the picture in latent pixels; None decodes all of it.
        pose_sigma: of the Gaussians on points, as a share of the picture's side.
        pose: the pose term on whole pictures, called like `PoseLogits`; None takes the Gaussians.
    """

    vae: AutoencoderKL
    low_level: Distance
    weights: PhaseWeights = field(default_factory=PhaseWeights)
    crop: int | None = None
    pose_sigma: float = 0.02
    pose: PoseDistance | None = None

    def __call__(
        self, clean: Tensor, timesteps: Tensor, targets: FrameTargets
    ) -> tuple[Tensor, dict[str, list[float]]]:
        """The weighted terms' sum for each row `[B]`, and each term's unweighted values by name, for the log.

        Args:
            clean: estimated clean latents `[B, 4, F, h, w]` with their graph.
            timesteps: `[B]`.
            targets: one true frame a row.
        """
        losses: list[Tensor] = []
        log: dict[str, list[float]] = {}
        for row in range(len(clean)):
            weight = 0.0
            if bool(targets.valid[row]):
                phase = self.weights.phase_of(int(timesteps[row]))
                weight = getattr(self.weights, phase)
            if weight == 0:
                losses.append(clean.new_zeros(()))
                continue
            value = self.term(phase, clean[row], targets, row)
            log.setdefault(phase, []).append(float(value.detach()))
            losses.append(weight * value)
        return torch.stack(losses), log

    def term(self, phase: str, clean: Tensor, targets: FrameTargets, row: int) -> Tensor:
        """One row's term; `clean` is `[4, F, h, w]`."""
        latents = clean[:, int(targets.frame[row])][None]
        height, width = latents.shape[-2:]
        top = left = 0
        seen_whole = phase == "pose" and self.pose is not None
        if not seen_whole and self.crop is not None and self.crop < min(height, width):
            down, across = targets.crop_place[row].tolist()
            top = min(int(down * (height - self.crop + 1)), height - self.crop)
            left = min(int(across * (width - self.crop + 1)), width - self.crop)
            height = width = self.crop
        part = latents[..., top : top + height, left : left + width]
        true = targets.pictures[row : row + 1, :, top * 8 : (top + height) * 8, left * 8 : (left + width) * 8]
        pictures = decode_with_gradient(self.vae, part)
        if phase == "pose":
            if self.pose is not None:
                return self.pose(pictures, true, targets.points[row : row + 1], targets.weights[row : row + 1])[0]
            points = targets.points[row : row + 1] - torch.tensor([left * 8.0, top * 8.0], device=part.device)
            sigma = self.pose_sigma * max(targets.pictures.shape[-2:])
            return pose_distance(pictures, true, points, targets.weights[row : row + 1], sigma)[0]
        if phase == "detail":
            return detail_distance(pictures, true)[0]
        return self.low_level(pictures, true).reshape(())


def distillation_target(schedule: NoiseSchedule, noisy: Tensor, reached: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """The velocity with which one DDIM step from t to s lands where the teacher's several steps did.

    `v* = (x_s - (a_s a_t + b_s b_t) x_t) / (b_s a_t - a_s b_t)` with a = sqrt(alpha), b = sqrt(1 - alpha); progressive
    distillation (arXiv 2202.00512) for v-prediction.

    Args:
        noisy: x_t, `[B, ...]`.
        reached: x_s, the teacher's result.
        t, s: timesteps `[B]`, s < t; -1 is clean.
    """
    a_t, b_t = schedule.coefficients(t, noisy.ndim)
    a_s, b_s = schedule.coefficients(s.clamp(min=0), noisy.ndim)
    is_clean = (s < 0).view(-1, *[1] * (noisy.ndim - 1))
    a_s, b_s = torch.where(is_clean, 1.0, a_s), torch.where(is_clean, 0.0, b_s)
    return (reached - (a_s * a_t + b_s * b_t) * noisy) / (b_s * a_t - a_s * b_t)
