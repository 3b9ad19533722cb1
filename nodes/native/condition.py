"""What guides the native MODEL beside the audio: the reference, the poses, and their strengths."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import comfy.conds
import torch
from torch import Tensor

from ...echomimic.pose import PoseSequence
from ...echomimic.sampling import DrawnPose

# Under this key the condition travels in a CONDITIONING, and through core's samplers.
KEY = "echomimic"


@dataclass(frozen=True)
class Reference:
    """What the reference UNet returned for a portrait, by block `[1, N, C]` on the host.

    Attributes:
        tokens: by block name.
        height, width: size of the portrait's latents.
    """

    tokens: dict[str, Tensor]
    height: int
    width: int
    copies: dict[tuple[torch.device, torch.dtype], dict[str, Tensor]] = field(default_factory=dict, repr=False)

    def on(self, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
        """The tokens where they are needed; the last copy is kept for the next window."""
        if (device, dtype) not in self.copies:
            self.copies.clear()
            self.copies[device, dtype] = {name: tokens.to(device, dtype) for name, tokens in self.tokens.items()}
        return self.copies[device, dtype]


@dataclass(frozen=True)
class PoseClip:
    """Poses that are drawn and encoded for the current window: a clip's features would take 6 MB a frame.

    Attributes:
        sequence: the poses, at least as many as the clip has frames.
        encoder: ComfyUI's handle on the pose encoder; core loads it with the MODEL.
        strength: factor on the features.
    """

    sequence: PoseSequence
    encoder: Any
    strength: float = 1.0

    def features(
        self, frames: tuple[int, ...], width: int, height: int, device: torch.device, dtype: torch.dtype
    ) -> Tensor:
        """`[C0, n, height / 8, width / 8]` of the listed frames; width and height are the picture's."""
        drawn = DrawnPose(self.encoder.model, self.sequence, width, height, device, dtype)
        return drawn.features(frames).to(device, dtype) * self.strength


@dataclass(frozen=True)
class Condition:
    """One chunk's condition.

    Attributes:
        frames: which frames of the clip the window holds, in order.
        reference: the portrait; None in the unconditional branch.
        pose: the gestures; None for none.
        audio_scale: factor on what the audio attention adds.
    """

    frames: tuple[int, ...]
    reference: Reference | None = None
    pose: PoseClip | None = None
    audio_scale: float = 1.0

    def take(self, indices: list[int]) -> Condition:
        """The condition of a window: these entries of `frames`."""
        return replace(self, frames=tuple(self.frames[index] for index in indices))


class ConditionCond(comfy.conds.CONDRegular):
    """Carries a `Condition` through core: not repeated for each frame, and joined as a list with an entry a chunk."""

    def process_cond(self, batch_size: int, **kwargs: Any) -> ConditionCond:
        return self

    def can_concat(self, other: Any) -> bool:
        return isinstance(other, ConditionCond)

    def concat(self, others: list[ConditionCond]) -> list[Condition]:
        return [self.cond, *(other.cond for other in others)]

    def size(self) -> list[int]:
        return [1]
