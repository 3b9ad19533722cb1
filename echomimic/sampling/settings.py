"""The sampling settings: what a clip depends on besides the networks and their inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import EchoMimicError
from .approximations import EXACT, FastMode
from .noise import check_seed
from .schedule import check_steps
from .windows import check_windows, windows

# Beyond it numbers overflow in the VAE.
MAX_GUIDANCE = 1000


@dataclass(frozen=True)
class SamplingSettings:
    """How a clip is sampled; checked on construction, so that nothing impossible reaches a device.

    Attributes:
        steps: denoising steps, 1..1000 (30 for the standard weights, 6 for the accelerated ones).
        guidance: scale of classifier-free guidance, 0..1000 (2.5 and 1); at 1 and below there is none and a step
            costs half.
        window_length: frames denoised together, 1..32.
        overlap: frames that neighbouring windows share, 0..window_length - 1; their velocities are averaged.
        looped: windows wrap around the clip and move from step to step, as published; else they end at the last frame.
        seed: of the start noise, -2^63..2^64 - 1; for `make_noise`.
        pose_strength: factor on the pose features, finite; 1 is the model's own, 0 ignores the poses.
        audio_scale: factor on the audio attention, finite; 1 is the model's own.
        fast: approximations that change the result a little; none unless given.

    Raises:
        EchoMimicError: a value outside its range; the message names it.
    """

    steps: int
    guidance: float
    window_length: int = 12
    overlap: int = 3
    looped: bool = True
    seed: int = 0
    pose_strength: float = 1.0
    audio_scale: float = 1.0
    fast: FastMode = EXACT

    def __post_init__(self) -> None:
        check_steps(self.steps)
        check_windows(self.window_length, self.overlap)
        check_seed(self.seed)
        if not 0 <= self.guidance <= MAX_GUIDANCE:
            raise EchoMimicError(
                f"the guidance must be a number of at least 0 (1 is none) and at most {MAX_GUIDANCE}, got "
                f"{self.guidance}"
            )
        for name, value in (("pose strength", self.pose_strength), ("audio scale", self.audio_scale)):
            if not math.isfinite(value):
                raise EchoMimicError(f"the {name} must be a finite number (1 is the model's own), got {value}")

    def by_name(self) -> dict[str, object]:
        """The settings by readable names, for messages."""
        return {name.replace("_", " "): value for name, value in vars(self).items()}

    @property
    def guided(self) -> bool:
        """Whether any step has guidance."""
        return self.guidance > 1

    def uses_guidance(self, step: int) -> bool:
        """Whether this step has guidance."""
        return self.guided and self.fast.uses_guidance(step, self.steps)

    def computes_deep_features(self, step: int) -> bool:
        """Whether this step computes the lower resolutions itself, reusing nothing of an earlier one."""
        return self.fast.source_step(step) == step

    def windows(self, frames: int, step: int = 0) -> list[list[int]]:
        """The windows of a step over a clip of this length.

        Raises:
            EchoMimicError: there are no frames.
        """
        overlap = self.fast.overlap(self.overlap)
        return windows(frames, self.window_length, overlap, self.fast.source_step(step), self.looped)
