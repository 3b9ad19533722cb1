"""The size of the networks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..errors import WeightsError

# The motion modules' sinusoidal position table has 32 rows, so no window can be longer.
MAX_WINDOW = 32
# Frames before and after: far above what any model takes; a bound for damaged headers.
MAX_AUDIO_CONTEXT = 10


@dataclass(frozen=True)
class UNetConfig:
    """Width and depth shared by the reference UNet, the denoising UNet and the pose encoder.

    The defaults are the published model's.

    Attributes:
        block_out_channels: channels of each resolution level, from full latent size downwards.
        layers_per_block: resnets in a downward block (an upward block has one more).
        attention_heads: heads at every level; must divide each level's channels.
        norm_num_groups: groups of the spatial networks' GroupNorms (the motion modules always use 32).
        audio_dim: width of one audio token.
        audio_context: how many frames on each side of a frame it attends to the audio of, 0 to 10 (the original's
            `audio_feat_length`). Attention does not know which token comes first, so a small model with an
            audio encoder that looks around by itself follows the voice better with 0.
    """

    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int = 2
    attention_heads: int = 8
    norm_num_groups: int = 32
    audio_dim: int = 384
    audio_context: int = 2

    def __post_init__(self) -> None:
        if type(self.audio_context) is not int or not 0 <= self.audio_context <= MAX_AUDIO_CONTEXT:
            raise WeightsError(
                f"audio_context must be a whole number of frames, 0 to {MAX_AUDIO_CONTEXT}, not {self.audio_context!r}"
            )
        object.__setattr__(self, "block_out_channels", tuple(int(c) for c in self.block_out_channels))
        for channels in self.block_out_channels:
            if channels % self.attention_heads or channels % self.norm_num_groups:
                raise WeightsError(
                    f"a level of {channels} channels cannot be split into {self.attention_heads} attention heads "
                    f"and {self.norm_num_groups} norm groups"
                )

    def to_dict(self) -> dict[str, Any]:
        """JSON values, for a file's metadata; the usual `audio_context` stays out, as versions before 0.2 know none."""
        values = {**asdict(self), "block_out_channels": list(self.block_out_channels)}
        if self.audio_context == UNetConfig.audio_context:
            del values["audio_context"]
        return values
