"""Whether the inputs of a clip fit together, checked before any network runs."""

from __future__ import annotations

import math
from typing import Protocol

from torch import Tensor

from ..errors import EchoMimicError, PoseError
from ..models.config import UNetConfig
from ..pose import PoseSequence
from .conditions import AudioSource

# Three times halved, smaller latents leave nothing to normalise.
MIN_LATENT_SIDE = 2


class Speech(AudioSource, Protocol):
    """Audio that knows its length and rate; `echomimic.audio.SpeechFeatures` is one."""

    @property
    def fps(self) -> float: ...

    def __len__(self) -> int: ...


def clip_frames(spoken: int, fps: float, frames: int | None) -> int:
    """Length of the clip: the speech's frames, `spoken` at `fps` a second, or `frames` where that is given.

    Raises:
        EchoMimicError: more frames are requested than the speech lasts.
    """
    if frames is None:
        return spoken
    if not 1 <= frames <= spoken:
        raise EchoMimicError(
            f"{frames} frames were requested, but the audio lasts {spoken} frames at {fps:g} frames a second: choose "
            f"1 to {spoken}, or give longer audio"
        )
    return frames


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
            "(Fit Pose Length), or choose fewer frames"
        )


def check_portrait(latents: Tensor) -> None:
    """Raises: EchoMimicError when these are not one picture's latents of a Stable Diffusion 1.5 VAE."""
    if latents.ndim != 4 or latents.shape[:2] != (1, 4):
        raise EchoMimicError(
            f"the reference must be one picture's latents [1, 4, height / 8, width / 8], got {list(latents.shape)}: "
            "encode the portrait with the VAE of Stable Diffusion 1.5 (vae-ft-mse-840000-ema-pruned)"
        )
    height, width = latents.shape[2:]
    if min(height, width) < MIN_LATENT_SIDE:
        raise EchoMimicError(
            f"the reference is of a picture of {8 * width}x{8 * height} pixels, and both sides need "
            f"{8 * MIN_LATENT_SIDE} at least: resize the portrait before VAE Encode"
        )
    if not latents.isfinite().all():
        raise EchoMimicError("the reference holds NaN or infinite values: encode the portrait again, in float32")


def check_clip(
    config: UNetConfig, portrait: Tensor, speech: Speech, poses: PoseSequence | None, frames: int | None = None
) -> int:
    """How many frames the clip has, if its inputs fit together.

    Args:
        config: the networks' size.
        portrait: its latents `[1, 4, h, w]`.
        speech, poses: poses at the speech's rate, at least as many as frames.
        frames: length of the clip; None takes the speech's.

    Raises:
        EchoMimicError: they do not fit; the message names what, with the numbers.
    """
    check_portrait(portrait)
    width = speech.tokens([0]).shape[-1]
    if width != config.audio_dim:
        raise EchoMimicError(
            f"the audio was encoded to tokens of {width} numbers, but this model takes {config.audio_dim}: use the "
            "audio encoder that belongs to it (Whisper tiny for the published weights)"
        )
    count = clip_frames(len(speech), speech.fps, frames)
    if poses is not None:
        check_poses(poses, count, speech.fps)
    return count
