"""From a portrait, a voice and poses to frames in memory, for clips that need neither a file nor offloading."""

from __future__ import annotations

import numpy as np
import torch

from ..audio import SpeechFeatures
from ..models.networks import Networks
from ..pose import PoseSequence
from ..runtime.context import RunContext
from ..vae import decode_frames, encode_reference
from ..vae.coding import DOWNSAMPLING
from .conditions import DrawnPose
from .inputs import clip_frames
from .noise import make_noise
from .sampler import sample
from .settings import SamplingSettings


@torch.no_grad()
def sample_frames(
    networks: Networks,
    portrait: np.ndarray,
    speech: SpeechFeatures,
    poses: PoseSequence | None,
    settings: SamplingSettings,
    *,
    frames: int | None = None,
    context: RunContext | None = None,
) -> np.ndarray:
    """The frames that the networks make, at the portrait's size.

    `pipeline.render` makes the same with one network on the device at a time, and writes a file.

    Args:
        networks: all on the context's device.
        portrait: uint8 RGB `[H, W, 3]`, H and W multiples of 8.
        speech: the voice's features.
        poses: the gestures at the speech's rate, at least as many as frames; None for none.
        settings: how to sample; its seed draws the start noise.
        frames: length of the clip; None takes the speech's.
        context: where and in which precision; the weights' own where it does not say.

    Returns:
        uint8 RGB `[F, H, W, 3]`.

    Raises:
        EchoMimicError: inputs do not fit together, or the device's memory is too small.
    """
    context = context or RunContext()
    device, dtype = context.resolve(next(networks.denoiser.parameters()))
    height, width = portrait.shape[:2]
    count = clip_frames(len(speech), speech.fps, frames)
    latents = encode_reference(networks.vae, portrait)
    clean = sample(
        denoiser=networks.denoiser,
        reference=networks.reference_unet(latents.to(device, dtype)),
        audio=speech,
        pose=None if poses is None else DrawnPose(networks.pose_encoder, poses, width, height, device, dtype),
        noise=make_noise(count, height // DOWNSAMPLING, width // DOWNSAMPLING, settings.seed),
        settings=settings,
        context=context,
    )
    return np.concatenate(list(decode_frames(networks.vae, clean)))
