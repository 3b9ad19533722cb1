"""What conditions a window: audio tokens and pose features, as whole tensors or computed for each window."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..audio import SpeechFeatures
from ..errors import EchoMimicError
from ..files.fingerprint import hash_tensor, hash_text, hash_weights
from ..models.config import UNetConfig
from ..models.denoising import DenoisingUNet, ProjectedAudio
from ..models.pose_encoder import PoseEncoder
from ..pose import PoseSequence, draw_poses
from ..runtime.async_copy import to_device
from ..runtime.memory import AUDIO_CACHE_BYTES

# Pose pictures go through the encoder a few at a time: its first layers work at full resolution.
PICTURES_AT_ONCE = 4
# Frames whose conditions are hashed at once.
FRAMES_AT_ONCE = 16


class AudioSource(Protocol):
    """Gives the audio tokens of any frames; `echomimic.audio.SpeechFeatures` is one."""

    def tokens(self, frames: Sequence[int]) -> Tensor:
        """`[n, 50, audio_dim]` of the listed frames (50 with the published `UNetConfig.audio_context`)."""
        ...


class PoseSource(Protocol):
    """Gives the pose features of any frames."""

    def features(self, frames: Sequence[int]) -> Tensor:
        """`[C0, n, h, w]` of the listed frames."""
        ...


@dataclass(frozen=True)
class TensorAudio:
    """Audio tokens `[F, N, A]` of the whole clip."""

    tensor: Tensor

    def tokens(self, frames: Sequence[int]) -> Tensor:
        return self.tensor[list(frames)]


@dataclass(frozen=True)
class TensorPose:
    """Pose features `[C0, F, h, w]` of the whole clip."""

    tensor: Tensor

    def features(self, frames: Sequence[int]) -> Tensor:
        return self.tensor[:, list(frames)]


@dataclass(frozen=True)
class DrawnPose:
    """Pose features that are drawn and encoded a window at a time; a whole clip's would take 6 to 12 MB a frame.

    Attributes:
        encoder: the pose encoder, on the device that samples.
        sequence: the poses, at least as many as there are frames.
        width, height: picture size in pixels, multiples of 8.
        device, dtype: where and in which precision the encoder works.
    """

    encoder: PoseEncoder
    sequence: PoseSequence
    width: int
    height: int
    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float32

    def fingerprint(self) -> str:
        """One hash for the features of all frames, without drawing them."""
        poses = [torch.from_numpy(np.ascontiguousarray(a)) for a in (self.sequence.keypoints, self.sequence.scores)]
        about = (self.sequence.fps, self.sequence.canvas, self.width, self.height)
        return hash_text(*map(hash_tensor, poses), hash_weights(self.encoder), repr(about))

    def features(self, frames: Sequence[int]) -> Tensor:
        parts = []
        for begin in range(0, len(frames), PICTURES_AT_ONCE):
            pictures = draw_poses(self.sequence, frames[begin : begin + PICTURES_AT_ONCE], self.width, self.height)
            video = to_device(torch.from_numpy(pictures), self.device).permute(3, 0, 1, 2)[None]  # [1, 3, n, H, W]
            parts.append(self.encoder(video.to(self.dtype) / 255)[0])
        return torch.cat(parts, dim=1)


class AudioProjector:
    """Projects the audio tokens, once for the clip where that fits in memory, else for each window.

    Args:
        denoiser: the network whose projections are used.
        source: where tokens come from.
        frames: frames in the clip.
        scale: factor on the audio attention; 1 is the model's own.
    """

    def __init__(
        self,
        denoiser: DenoisingUNet,
        source: AudioSource,
        frames: int,
        device: torch.device | str,
        dtype: torch.dtype,
        scale: float = 1.0,
    ) -> None:
        self.denoiser, self.source, self.scale = denoiser, source, scale
        self.device, self.dtype = device, dtype
        first = self.project([0])
        size = sum(k.nbytes + v.nbytes for k, v in first.blocks.values())
        self.whole = self.project(range(frames)) if frames * size <= AUDIO_CACHE_BYTES else None

    def project(self, frames: Sequence[int]) -> ProjectedAudio:
        tokens = to_device(self.source.tokens(frames)[None], self.device, self.dtype)  # [1, n, N, A]
        projected = self.denoiser.project_audio(tokens)
        if self.scale == 1:
            return projected
        # Attention is linear in its values, so scaling them scales its output.
        return replace(projected, blocks={name: (k, v * self.scale) for name, (k, v) in projected.blocks.items()})

    def window(self, frames: Sequence[int]) -> ProjectedAudio:
        """Keys and values of the listed frames."""
        if self.whole is None:
            return self.project(frames)
        return self.whole.take(to_device(torch.tensor(frames), self.device))


def audio_source(audio: Tensor | AudioSource, frames: int, config: UNetConfig) -> AudioSource:
    """Tensors wrapped, their length checked; features of a recording give the tokens that this model takes.

    Raises:
        EchoMimicError: a tensor that is not `[F, N, A]` with F frames.
    """
    if isinstance(audio, SpeechFeatures):
        return audio.with_context(config.audio_context)
    if not isinstance(audio, Tensor):
        return audio
    if audio.ndim != 3 or len(audio) != frames:
        raise EchoMimicError(
            f"audio tokens must be [{frames}, tokens, width] for {frames} frames, got {list(audio.shape)}"
        )
    return TensorAudio(audio)


def pose_source(pose: Tensor | PoseSource | None, noise: Tensor) -> PoseSource | None:
    """Tensors wrapped, their shape checked against the noise `[1, 4, F, h, w]`.

    Raises:
        EchoMimicError: a tensor that is not `[C0, F, h, w]`.
    """
    if not isinstance(pose, Tensor):
        return pose
    frames, height, width = noise.shape[2:]
    if pose.ndim != 4 or pose.shape[1:] != noise.shape[2:]:
        raise EchoMimicError(
            f"pose features must be [channels, {frames}, {height}, {width}] as the noise is, got {list(pose.shape)}"
        )
    return TensorPose(pose)


def check_reference_size(reference: dict[str, Tensor], config: UNetConfig, height: int, width: int) -> None:
    """Raises: EchoMimicError when the reference was computed for a picture of another size than the latents."""
    sizes = set()
    rows, columns = height, width
    for _ in config.block_out_channels:
        sizes.add(rows * columns)
        rows, columns = math.ceil(rows / 2), math.ceil(columns / 2)
    for name, tokens in reference.items():
        if tokens.ndim != 3 or tokens.shape[1] not in sizes:
            raise EchoMimicError(
                f"the reference is of another size than the latents: {name} has {list(tokens.shape)} tokens, a clip of "
                f"{width * 8}x{height * 8} pixels has {' or '.join(map(str, sorted(sizes)))}: encode the portrait in "
                "the clip's size"
            )


def hash_source(source: Any, method: str, frames: int) -> str:
    """One hash for what a source of audio or pose gives for every frame; `method` is the name of its method.

    A source with a method `fingerprint()` is hashed by that.
    """
    if source is None:
        return "none"
    if hasattr(source, "fingerprint"):
        return str(source.fingerprint())
    digest = hashlib.sha256()
    for begin in range(0, frames, FRAMES_AT_ONCE):
        part = getattr(source, method)(range(begin, min(begin + FRAMES_AT_ONCE, frames)))
        digest.update(hash_tensor(part.float()).encode())
    return digest.hexdigest()
