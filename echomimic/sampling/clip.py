"""A whole clip's latents from what a host has at hand: networks, the portrait's latents, speech and poses."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from ..errors import EchoMimicError, PoseError
from ..models.config import UNetConfig
from ..models.networks import Networks
from ..pose import PoseSequence
from ..runtime.checkpoint import RenderState
from ..runtime.checkpoint_folder import StateFolder
from ..runtime.device import compute_dtype
from ..runtime.distributed import Ranks
from ..runtime.memory import window_bytes
from ..runtime.plan import Plan, reference_bytes
from .conditions import AUDIO_CACHE_BYTES, AudioSource, DrawnPose
from .sampler import StepCallback, sample
from .schedule import make_noise
from .settings import SamplingSettings

TOKENS_PER_FRAME = 50


class Speech(AudioSource, Protocol):
    """Audio that knows its length and rate; `echomimic.audio.SpeechFeatures` is one."""

    @property
    def fps(self) -> float: ...

    def __len__(self) -> int: ...


def clip_frames(speech: Speech, wanted: int | None) -> int:
    """Frames to make: the speech's, or fewer if asked for.

    Raises:
        EchoMimicError: more frames are wanted than the speech lasts.
    """
    if wanted is None:
        return len(speech)
    if not 1 <= wanted <= len(speech):
        raise EchoMimicError(
            f"{wanted} frames were asked for, but the audio lasts {len(speech)} frames at {speech.fps:g} frames a "
            f"second: ask for 1 to {len(speech)}, or give longer audio"
        )
    return wanted


def check_poses(poses: PoseSequence, frames: int, fps: float) -> None:
    """Raises: PoseError when the clip is at another rate than the audio, or shorter than the frames to make."""
    if not math.isclose(poses.fps, fps, rel_tol=1e-6):
        raise PoseError(
            f"the poses have {poses.fps:g} frames a second and the audio {fps:g}, so gestures and speech would drift "
            "apart: fit the poses to the audio first (Fit Pose Length)"
        )
    if len(poses) < frames:
        raise PoseError(
            f"the poses have {len(poses)} frames, but {frames} are needed: fit them to the audio first "
            "(Fit Pose Length), or ask for fewer frames"
        )


def check_reference(latents: Tensor) -> None:
    """Raises: EchoMimicError when these are not one picture's latents of a Stable Diffusion 1.5 VAE."""
    if latents.ndim != 4 or latents.shape[:2] != (1, 4):
        raise EchoMimicError(
            f"the reference must be one picture's latents [1, 4, height / 8, width / 8], got {list(latents.shape)}: "
            "encode the portrait with the VAE of Stable Diffusion 1.5 (vae-ft-mse-840000-ema-pruned)"
        )


def check_clip(
    networks: Networks,
    reference: Tensor,
    speech: Speech,
    poses: PoseSequence | None,
    frames: int | None = None,
) -> int:
    """Whether the inputs of `sample_clip` fit together, for asking before the weights are moved to a device.

    Returns:
        how many frames the clip has.

    Raises:
        EchoMimicError: they do not; the message says which, with the numbers.
    """
    check_reference(reference)
    width, expected = speech.tokens([0]).shape[-1], networks.config.audio_dim
    if width != expected:
        raise EchoMimicError(
            f"the audio was encoded to tokens of {width} numbers, but this model listens to {expected}: use the audio "
            "encoder that belongs to it (Whisper tiny for the published weights)"
        )
    count = clip_frames(speech, frames)
    if poses is not None:
        check_poses(poses, count, speech.fps)
    return count


@torch.no_grad()
def sample_clip(
    networks: Networks,
    reference: Tensor,
    speech: Speech,
    poses: PoseSequence | None,
    settings: SamplingSettings,
    *,
    frames: int | None = None,
    on_step: StepCallback | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    plan: Plan | None = None,
    state: RenderState | StateFolder | None = None,
) -> Tensor:
    """Denoise a clip of the size of the portrait's latents.

    Args:
        networks: on the device that computes; their audio encoder and VAE are not used.
        reference: the portrait's latents `[1, 4, h, w]`, scaled (VAE mean x 0.18215).
        speech: what is said.
        poses: the gestures at the speech's rate, at least `frames` of them; None asks for no hands.
        settings: how to sample.
        frames: length of the clip; None takes the speech's.
        on_step, device, dtype, plan, state: see `sample`.

    Returns:
        scaled latents `[1, 4, frames, h, w]`, float32 on the host.

    Raises:
        EchoMimicError: inputs that do not fit together; told before any network runs.
        DeviceMemoryError, Cancelled: see `sample`.
    """
    frames = check_clip(networks, reference, speech, poses, frames)
    weight = next(networks.denoiser.parameters())
    device = device or weight.device
    dtype = dtype or compute_dtype(weight.dtype, device)
    height, width = reference.shape[-2:]
    return denoise_clip(
        networks,
        networks.reference_unet(reference.to(device, dtype)),
        speech,
        poses,
        (frames, height, width),
        settings,
        device=device,
        dtype=dtype,
        on_step=on_step,
        plan=plan,
        state=state,
    )


def denoise_clip(
    networks: Networks,
    reference: dict[str, Tensor],
    speech: AudioSource,
    poses: PoseSequence | None,
    size: tuple[int, int, int],
    settings: SamplingSettings,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
    on_step: StepCallback | None = None,
    plan: Plan | None = None,
    state: RenderState | StateFolder | None = None,
    ranks: Ranks | None = None,
) -> Tensor:
    """`sample` with the noise drawn and the poses turned into features: the part that every host's clip goes through.

    Args:
        networks: of them the denoiser and the pose encoder are used, on the device.
        reference: what the reference UNet returned for the portrait.
        speech, poses: at least as long as the clip.
        size: frames, and height and width of the latents (image / 8).
        settings, device, dtype, on_step, plan, state, ranks: see `sample`.

    Returns:
        scaled latents `[1, 4, frames, height, width]`, float32 on the host.
    """
    frames, height, width = size
    drawn = None
    if poses is not None:
        drawn = DrawnPose(networks.pose_encoder, poses, width * 8, height * 8, device, dtype)
    return sample(
        denoiser=networks.denoiser,
        reference=reference,
        audio=speech,
        pose=drawn,
        noise=make_noise(frames, height, width, settings.seed),
        settings=settings,
        on_step=on_step,
        device=device,
        dtype=dtype,
        plan=plan,
        state=state,
        ranks=ranks,
    )


def clip_bytes(config: UNetConfig, frames: int, window_length: int, height: int, width: int, element_size: int) -> int:
    """Bytes that sampling takes on the device beside the weights: a window's pass, and what is kept between windows.

    Args:
        config: the networks' size.
        frames: length of the clip.
        window_length: frames in a window.
        height, width: latent size (image / 8).
        element_size: bytes of one number: 2 in half precision, 4 in float32.
    """
    window = min(frames, window_length)
    reference = reference_bytes(config, height, width, element_size)
    audio = 0
    last = len(config.block_out_channels) - 1
    for level, channels in enumerate(config.block_out_channels):
        blocks = 2 * config.layers_per_block + 1 if level < last else 1
        audio += 2 * blocks * TOKENS_PER_FRAME * channels * element_size
    cached = frames * audio if frames * audio <= AUDIO_CACHE_BYTES else 0
    pose = window * height * width * config.block_out_channels[0] * element_size
    return window_bytes(config, window, height, width, element_size) + reference + cached + window * audio + pose
