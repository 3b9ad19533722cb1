"""The denoising UNet under the calling convention of ComfyUI's samplers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from comfy.patcher_extension import WrapperExecutor, WrappersMP, get_all_wrappers
from torch import Tensor

from ...echomimic.models import DenoisingUNet, ProjectedAudio
from ..plain_errors import NodeError


class NativeDenoisingUNet(DenoisingUNet):
    """A `DenoisingUNet` that ComfyUI calls; its weights keep their names, so LoRA files fit.

    Core batches "chunks": one for each conditioning that is evaluated together, each with all frames of the window. A
    clip is a batch of pictures `[chunks * F, 4, h, w]`, or a batch of videos `[chunks * B, 4, F, h, w]` as LoRA
    training hands it in.
    """

    def forward(self, *arguments: Any, transformer_options: dict[str, Any] | None = None, **keywords: Any) -> Tensor:
        """Core calls with `transformer_options`; other nodes' wrappers (EasyCache, for one) run around the network.

        Without them it is the engine's call, see `DenoisingUNet.predict`.
        """
        if transformer_options is None:
            return self.predict(*arguments, **keywords)
        wrappers = get_all_wrappers(WrappersMP.DIFFUSION_MODEL, transformer_options)
        return WrapperExecutor.new_class_executor(self.run, self, wrappers).execute(
            *arguments, keywords.pop("context"), keywords.pop("control", None), transformer_options, **keywords
        )

    def run(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        control: Any,
        transformer_options: dict[str, Any],
        references: Sequence[dict[str, Tensor] | None] = (),
        pose: Tensor | None = None,
        audio_scales: Sequence[float] = (),
        **unused: Any,
    ) -> Tensor:
        """The velocity, in the layout of `x`.

        Args:
            x: `[chunks * F, 4, h, w]` or `[chunks * B, 4, F, h, w]`.
            timesteps: 0..999, one for each entry of the first axis.
            context: audio tokens, `[chunks * F, N, audio_dim]` or `[chunks * B, F, N, audio_dim]`.
            control: a ControlNet's output; refused.
            transformer_options: of core; patches of attention are refused.
            references: for each chunk what the reference UNet returned, or None for the unconditional branch.
            pose: pose features `[chunks, C0, F, h, w]`.
            audio_scales: for each chunk the factor on what the audio attention adds.
        """
        check_supported(control, transformer_options)
        chunks = len(references)
        pictures = x.ndim == 4
        latents = x.unflatten(0, (chunks, -1)).transpose(1, 2) if pictures else x  # [rows, 4, F, h, w]
        audio = context.unflatten(0, (chunks, -1)) if pictures else context  # [rows, F, N, audio_dim]
        rows = len(latents)
        repeat = rows // chunks
        spread = [index // repeat for index in range(rows)]
        if pose is not None and repeat > 1:
            pose = pose.repeat_interleave(repeat, dim=0)
        velocity = self.predict(
            latents,
            timesteps.unflatten(0, (rows, -1))[:, 0],
            self.scaled_audio(audio, [audio_scales[index] for index in spread]),
            pose,
            join_references([references[index] for index in spread]),
            conditioned=[references[index] is not None for index in spread],
        )
        return velocity.transpose(1, 2).flatten(0, 1) if pictures else velocity

    def scaled_audio(self, audio: Tensor, scales: Sequence[float]) -> ProjectedAudio:
        """Keys and values of the tokens `[rows, F, N, audio_dim]`; scaled values scale what attention adds."""
        projected = self.project_audio(audio)
        if all(scale == 1 for scale in scales):
            return projected
        factor = torch.tensor(scales, device=audio.device, dtype=audio.dtype)[:, None, None, None]
        return replace(projected, blocks={name: (k, v * factor) for name, (k, v) in projected.blocks.items()})


def join_references(references: Sequence[dict[str, Tensor] | None]) -> dict[str, Tensor] | None:
    """The references of the conditioned rows, by block `[rows with one, N, C]`; one row where all have the same."""
    given = [reference for reference in references if reference is not None]
    if not given:
        return None
    if all(reference is given[0] for reference in given):
        return given[0]
    return {name: torch.cat([reference[name] for reference in given]) for name in given[0]}


def check_supported(control: Any, transformer_options: dict[str, Any]) -> None:
    """Raises: NodeError when another node wants to change what only Stable Diffusion's own UNet has."""
    if control is not None:
        raise NodeError(
            "ControlNets are made for Stable Diffusion's own UNet and cannot steer EchoMimic: remove Apply ControlNet; "
            "poses go into EchoMimic Conditioning"
        )
    patches = [*transformer_options.get("patches", {}), *transformer_options.get("patches_replace", {})]
    if patches:
        raise NodeError(
            f"a node before the sampler patches Stable Diffusion's attention ({', '.join(patches)}), which EchoMimic's "
            "network does not have in that form: remove it (FreeU, SAG, PAG, ToMe and HyperTile are such nodes)"
        )
    cache = transformer_options.get("easycache")
    if cache is not None and getattr(cache, "name", "") == "LazyCache":
        raise NodeError(
            "LazyCache gives wrong frames with EchoMimic, whose windows move from step to step: remove it; EasyCache "
            "works for a clip of one window that is not looped"
        )
    if cache is not None and "context_window" in transformer_options:
        raise NodeError(
            "EasyCache cannot tell windows apart and would mix their frames: remove it, or make the clip no longer "
            "than one window and switch 'looped' off in EchoMimic To MODEL"
        )
