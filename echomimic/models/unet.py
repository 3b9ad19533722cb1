"""The structure that both UNets share: Stable Diffusion 1.5's, for any width, depth and image size.

The modules after a resnet (a transformer within the frame, a motion module along time) are built by the factories of
the two UNets. They are called with a `context` that this file only passes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .blocks import Downsample, ResnetBlock, Upsample
from .config import UNetConfig
from .layers import LayerFactory, TimestepEmbedding

LATENT_CHANNELS = 4


@dataclass
class DeepFeatures:
    """Output of the lower resolutions, to be reused in the following steps (DeepCache, arXiv 2312.00858)."""

    features: Tensor | None = None


# (the transformer's name in the UNet, channels) -> module called with (hidden, context)
MakeTransformer = Callable[[str, int], nn.Module]
# channels -> module called with (hidden, context)
MakeMotion = Callable[[int], nn.Module]


class Stage(nn.Module):
    """The layers of one resolution: resnets, each followed by a transformer and a motion module where there are any."""

    def __init__(
        self,
        resnets: list[ResnetBlock],
        attentions: list[nn.Module],
        motion_modules: list[nn.Module],
        resampler: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        self.attentions = nn.ModuleList(attentions)
        self.motion_modules = nn.ModuleList(motion_modules)
        self.gradient_checkpointing = False
        self.register_resampler([resampler] if resampler else [])

    def register_resampler(self, resamplers: list[nn.Module]) -> None:
        """Store the resampler under the published name (the middle stage has none)."""

    @property
    def layer(self) -> Callable[[int, Tensor, Tensor, Any], Tensor]:
        """`compute_layer`, with gradient checkpointing if that is on.

        A property, because a method that calls `compute_layer` would hold the layer's input in memory until its end.
        """
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return partial(checkpoint, self.compute_layer, use_reentrant=False)
        return self.compute_layer

    def compute_layer(self, index: int, hidden: Tensor, time: Tensor, context: Any) -> Tensor:
        """Resnet, transformer and motion module number `index`."""
        hidden = self.resnets[index](hidden, time)
        if self.attentions:
            hidden = self.attentions[index](hidden, context)
        if self.motion_modules:
            hidden = self.motion_modules[index](hidden, context)
        return hidden


class DownStage(Stage):
    """Downward stage: the output of every layer and of the downsampler becomes a skip connection."""

    def register_resampler(self, resamplers: list[nn.Module]) -> None:
        self.downsamplers = nn.ModuleList(resamplers)

    def forward(self, hidden: Tensor, time: Tensor, context: Any, skips: list[Tensor]) -> Tensor:
        for index in range(len(self.resnets)):
            hidden = self.layer(index, hidden, time, context)
            skips.append(hidden)
        return hidden

    def resample(self, hidden: Tensor, skips: list[Tensor]) -> Tensor:
        """To the next stage's size; the last stage has no downsampler."""
        for downsampler in self.downsamplers:
            hidden = downsampler(hidden)
            skips.append(hidden)
        return hidden


class MiddleStage(Stage):
    """The lowest resolution: resnet, transformer, motion module, resnet."""

    def forward(self, hidden: Tensor, time: Tensor, context: Any) -> Tensor:
        hidden = self.layer(0, hidden, time, context)
        return self.resnets[1](hidden, time)


class UpStage(Stage):
    """Upward stage: every layer reads one skip connection; the upsampler resizes to the size of the next.

    The hidden state is passed as the last skip connection, so that it is freed as soon as it is concatenated with the
    one before: at the first level this saves a quarter of a window's memory.
    """

    def register_resampler(self, resamplers: list[nn.Module]) -> None:
        self.upsamplers = nn.ModuleList(resamplers)

    def forward(self, time: Tensor, context: Any, skips: list[Tensor]) -> Tensor:
        for index in range(len(self.resnets)):
            skips.append(self.layer(index, torch.cat([skips.pop(), skips.pop()], dim=1), time, context))
        return skips.pop()

    def resample(self, hidden: Tensor, skips: list[Tensor]) -> Tensor:
        """To the size of the next stage's first skip connection; the last stage has no upsampler."""
        for upsampler in self.upsamplers:
            hidden = upsampler(hidden, tuple(skips[-1].shape[-2:]))
        return hidden


class UNet(nn.Module):
    """Downward stages, a middle stage, upward stages; the stages of the lowest resolution have no transformers."""

    def __init__(
        self, config: UNetConfig, make: LayerFactory, transformer: MakeTransformer, motion: MakeMotion | None
    ) -> None:
        super().__init__()
        self.config = config
        widths = config.block_out_channels
        time_channels, groups = widths[0] * 4, config.norm_num_groups

        def resnet(inputs: int, outputs: int) -> ResnetBlock:
            return ResnetBlock(make, inputs, outputs, time_channels, groups)

        def attentions(name: str, channels: int, count: int) -> list[nn.Module]:
            return [transformer(f"{name}.attentions.{i}", channels) for i in range(count)]

        def motions(channels: int, count: int) -> list[nn.Module]:
            return [motion(channels) for _ in range(count)] if motion else []

        self.conv_in = make.conv(LATENT_CHANNELS, widths[0], 3)
        self.time_embedding = TimestepEmbedding(make, widths[0])

        last, depth = len(widths) - 1, config.layers_per_block
        self.down_blocks = nn.ModuleList()
        for level, channels in enumerate(widths):
            inputs = [widths[max(level - 1, 0)]] + [channels] * (depth - 1)
            attending = attentions(f"down_blocks.{level}", channels, depth) if level < last else []
            downsampler = Downsample(make, channels) if level < last else None
            resnets = [resnet(i, channels) for i in inputs]
            self.down_blocks.append(DownStage(resnets, attending, motions(channels, depth), downsampler))

        channels = widths[-1]
        self.mid_block = MiddleStage(
            [resnet(channels, channels) for _ in range(2)], attentions("mid_block", channels, 1), motions(channels, 1)
        )

        self.up_blocks = nn.ModuleList()
        skip_widths = [widths[0]]
        for level, channels in enumerate(widths):
            skip_widths += [channels] * (depth + (level < last))
        previous = widths[-1]
        for index, channels in enumerate(reversed(widths)):
            inputs = [previous] + [channels] * depth
            resnets = [resnet(i + skip_widths.pop(), channels) for i in inputs]
            attending = attentions(f"up_blocks.{index}", channels, depth + 1) if index > 0 else []
            upsampler = Upsample(make, channels) if index < last else None
            self.up_blocks.append(UpStage(resnets, attending, motions(channels, depth + 1), upsampler))
            previous = channels

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether training recomputes layers in the backward pass instead of storing their activations."""
        return self.mid_block.gradient_checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, enabled: bool) -> None:
        for stage in (*self.down_blocks, self.mid_block, *self.up_blocks):
            stage.gradient_checkpointing = enabled

    def features(self, hidden: Tensor, time: Tensor, context: Any, deep: DeepFeatures | None = None) -> Tensor:
        """From `conv_in`'s output `[B, C0, h, w]` through all stages to `[B, C0, h, w]`.

        If `deep` holds features, they replace everything below the first resolution; if it is empty, this call's are
        stored there.
        """
        skips = [hidden]
        hidden = self.down_blocks[0](hidden, time, context, skips)
        if deep is None or deep.features is None:
            hidden = self.inner(hidden, time, context, skips)
            if deep is not None:
                deep.features = hidden
        else:
            hidden = deep.features
        skips.append(self.resample_last(hidden, skips))
        del hidden
        return self.up_blocks[-1](time, context, skips)

    def inner(self, hidden: Tensor, time: Tensor, context: Any, skips: list[Tensor]) -> Tensor:
        """Everything below the first resolution; pops the skip connections that it pushes."""
        for previous, stage in pairwise(self.down_blocks):
            hidden = stage(previous.resample(hidden, skips), time, context, skips)  # type: ignore[operator]
        hidden = self.mid_block(hidden, time, context)
        for index, stage in enumerate(self.up_blocks[:-1]):
            skips.append(self.up_blocks[index - 1].resample(hidden, skips) if index else hidden)  # type: ignore[operator]
            del hidden
            hidden = stage(time, context, skips)
        return hidden

    def resample_last(self, hidden: Tensor, skips: list[Tensor]) -> Tensor:
        return self.up_blocks[-2].resample(hidden, skips) if len(self.up_blocks) > 1 else hidden  # type: ignore[operator]
