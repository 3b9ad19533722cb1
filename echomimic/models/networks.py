"""The networks of one variant together, and the settings that its authors recommend."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from torch import nn

from ..errors import WeightsError
from .config import UNetConfig
from .denoising import DenoisingUNet
from .pose_encoder import PoseEncoder
from .reference import ReferenceUNet

Variant = Literal["standard", "accelerated"]
VARIANTS: tuple[str, ...] = get_args(Variant)


@dataclass(frozen=True)
class RecommendedSettings:
    """How the authors run a variant.

    Attributes:
        steps: sampling steps.
        guidance: scale of classifier-free guidance; 1 means none.
        width, height: pixels of the video.
        fps: frames a second.
        window: frames denoised together.
        overlap: frames that neighbouring windows share.

    Raises:
        WeightsError: a value is not a number, or too small; the settings of a bundle come from its header.
    """

    steps: int
    guidance: float
    width: int = 768
    height: int = 768
    fps: float = 24.0
    window: int = 12
    overlap: int = 3

    def __post_init__(self) -> None:
        minima = {"steps": 1, "guidance": 0, "width": 8, "height": 8, "fps": 1, "window": 1, "overlap": 0}
        for name, minimum in minima.items():
            value = getattr(self, name)
            if not isinstance(value, int | float) or not minimum <= value < math.inf:
                raise WeightsError(f"the setting {name} must be a number of at least {minimum}, not {value!r}")


RECOMMENDED_SETTINGS: dict[Variant, RecommendedSettings] = {
    "standard": RecommendedSettings(steps=30, guidance=2.5),
    "accelerated": RecommendedSettings(steps=6, guidance=1.0),
}


@dataclass(frozen=True)
class Networks:
    """The networks of one variant, in evaluation mode and without gradients.

    Attributes:
        config: their size.
        variant: standard or accelerated.
        denoiser: the denoising UNet with its motion modules.
        reference_unet: encodes the portrait.
        pose_encoder: encodes pose pictures.
        settings: recommended for these weights.
        audio_encoder: Whisper's encoder on the CPU, or None if it was not loaded.
        vae: diffusers' AutoencoderKL on the CPU, or None if it was not loaded.
    """

    config: UNetConfig
    variant: Variant
    denoiser: DenoisingUNet
    reference_unet: ReferenceUNet
    pose_encoder: PoseEncoder
    settings: RecommendedSettings
    audio_encoder: Any = None
    vae: Any = None

    def with_audio_context(self, frames: int) -> Networks:
        """Just loaded networks, attending to the audio of this many frames before and after; see `UNetConfig`.

        The modules are the same ones, so their own `config` changes, too.
        """
        config = replace(self.config, audio_context=frames)
        self.denoiser.config = self.reference_unet.config = config
        return replace(self, config=config)

    def modules(self) -> list[nn.Module]:
        """The networks that were loaded."""
        loaded = (self.denoiser, self.reference_unet, self.pose_encoder, self.audio_encoder, self.vae)
        return [network for network in loaded if network is not None]
