"""Audio tokens of the denoising UNet: Whisper's hidden states at 50 steps a second, gathered for a window's frames."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import AudioError
from ..files.fingerprint import hash_tensor, hash_text, hash_weights
from ..media.waveform import SAMPLE_RATE, mono_16khz
from .spectrum import HOP, log_mel, segments

logger = logging.getLogger("echomimic")

STEPS_PER_SECOND = 50
# A frame's tokens come from its own two steps and, in the published model, from those of two frames on each side.
STEPS_PER_FRAME, CONTEXT = 2, 2
# Each step gives a token for every hidden state of Whisper tiny: its input embedding and four blocks.
LAYERS = 5
# A quieter peak than this (-80 dB) is a muted recording.
SILENT_PEAK = 1e-4


@dataclass(frozen=True)
class SpeechFeatures:
    """Features of a recording; `sample` takes it as its source of audio tokens.

    Attributes:
        steps: `[S, layers, width]` float32 on the host, 50 steps a second (Whisper tiny: 5 layers of 384). Stored for
            each frame, the tokens would take five times as much memory.
        fps: frames a second.
        source: hash of the recording and the encoder's weights that the features were computed from; empty if unknown.
        context: how many frames on each side of a frame add their steps to its tokens; `UNetConfig.audio_context`.
    """

    steps: Tensor
    fps: float
    source: str = ""
    context: int = CONTEXT

    def __len__(self) -> int:
        """How many frames the video has, see `frames_of`."""
        return frames_of(len(self.steps), self.fps)

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return len(self.steps) / STEPS_PER_SECOND

    def with_context(self, context: int) -> SpeechFeatures:
        """The same recording for a model of another `UNetConfig.audio_context`."""
        return replace(self, context=context)

    def tokens(self, frames: Sequence[int]) -> Tensor:
        """Tokens of the listed frames, `[n, 10 * layers, width]`, step by step, each with its layers.

        Frame i takes step `int(i * 50 / fps)`, the four before it and the five after it (of another `context` c: 2c
        before, 2c + 1 after); beyond the ends of the recording the first or last step is repeated.
        """
        before = STEPS_PER_FRAME * self.context
        centres = torch.tensor([int(frame * STEPS_PER_SECOND / self.fps) for frame in frames], dtype=torch.long)
        index = centres[:, None] + torch.arange(-before, before + STEPS_PER_FRAME)
        return self.steps[index.clamp(0, len(self.steps) - 1)].flatten(1, 2)


def tokens_per_frame(context: int) -> int:
    """Audio tokens of a frame, from Whisper tiny, for this `UNetConfig.audio_context`; the published model has 50."""
    return (2 * context + 1) * STEPS_PER_FRAME * LAYERS


def frames_of(steps: int, fps: float) -> int:
    """The original's number of frames: it ends with the first frame whose step lies beyond the recording."""
    # From just before the place where rounding decides: a day of sound has millions of frames.
    frames = max(0, int((steps + 1) * fps / STEPS_PER_SECOND) - 2)
    while int(frames * STEPS_PER_SECOND / fps) <= steps:
        frames += 1
    return frames + 1


def frames_needed(waveform: Tensor | np.ndarray, sample_rate: int, fps: float) -> int:
    """How many frames the video of a recording has: the length of `encode_speech`'s features, without the encoder.

    Args:
        waveform, sample_rate, fps: as for `encode_speech`.

    Raises:
        AudioError: an impossible rate, or a recording that is empty, shorter than 20 ms, or not finite.
    """
    _check_rate(fps)
    samples = len(mono_16khz(waveform, sample_rate))
    # A column of the spectrum lasts 10 ms, a step of the encoder two columns.
    steps = samples // HOP // 2
    if not steps:
        raise _too_short(samples)
    return frames_of(steps, fps)


@torch.no_grad()
def encode_speech(
    encoder: Any,
    waveform: Tensor | np.ndarray,
    sample_rate: int,
    fps: float,
    on_segment: Callable[[int, int], None] | None = None,
) -> SpeechFeatures:
    """Encode a recording of any length.

    Args:
        encoder: from `load_audio_encoder`, on the device that computes.
        waveform: `[channels, samples]` or `[samples]`, in -1..1 (or 16- or 32-bit whole numbers).
        sample_rate: samples a second.
        fps: frames a second of the video.
        on_segment: called after each 30 s segment with how many are done and how many there are; raises to stop.

    Raises:
        AudioError: an impossible rate, or a recording that is empty, shorter than 20 ms, or not finite.
    """
    _check_rate(fps)
    samples = mono_16khz(waveform, sample_rate)
    if samples.abs().max() < SILENT_PEAK:
        logger.info("the recording is silent: the mouth will stay at rest")
    mels = log_mel(samples)
    weight = next(encoder.parameters())
    parts = []
    todo = list(segments(mels))
    for number, (segment, columns) in enumerate(todo):
        states = encoder(segment.to(weight.device, weight.dtype), output_hidden_states=True).hidden_states
        layers = torch.stack([state[0] for state in states], dim=1)  # [1500, layers, width]
        parts.append(layers[: columns // 2].float().cpu())
        if on_segment is not None:
            on_segment(number + 1, len(todo))
    steps = torch.cat(parts) if parts else torch.zeros(0)
    if not len(steps):
        raise _too_short(len(samples))
    source = hash_text(hash_tensor(samples), hash_weights(encoder))
    return SpeechFeatures(steps, fps, source)


def _check_rate(fps: float) -> None:
    if not 0 < fps <= 1000:
        raise AudioError(f"the video's rate must be above 0 and at most 1000 frames a second, got {fps:g}")


def _too_short(samples: int) -> AudioError:
    milliseconds = samples / SAMPLE_RATE * 1000
    return AudioError(f"the recording lasts {milliseconds:.0f} ms, but at least 20 ms are needed")
