"""A tiny network and a clip for it, for tests that run it in processes of their own."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch

from echomimic import sampling
from echomimic.models import DenoisingUNet, ReferenceUNet, UNetConfig
from echomimic.runtime.context import RunContext
from echomimic.sampling import SamplingSettings, make_noise
from tests.recipe import fill

CONFIG = UNetConfig((32, 64), layers_per_block=1, attention_heads=8, norm_num_groups=32, audio_dim=24)


SETTINGS = {field.name for field in fields(SamplingSettings)}
CONTEXT = {field.name for field in fields(RunContext)}


def sample(**given: Any) -> torch.Tensor:
    """The engine's `sample`, with the fields of its `RunContext` as arguments of their own."""
    context = RunContext(**{name: given.pop(name) for name in CONTEXT & given.keys()})
    return sampling.sample(**given, context=context)


def settle(**given: Any) -> dict[str, Any]:
    """The same arguments with those of the sampler's settings gathered in `settings`."""
    settings = SamplingSettings(**{name: value for name, value in given.items() if name in SETTINGS})
    return {"settings": settings, **{name: value for name, value in given.items() if name not in SETTINGS}}


def clip_conditions(frames: int, generator: torch.Generator) -> dict[str, Any]:
    """What guides a clip of 4x4 latents, and the noise that it starts from."""
    return {
        "audio": torch.randn(frames, 50, CONFIG.audio_dim, generator=generator),
        "pose": torch.randn(32, frames, 4, 4, generator=generator),
        "noise": make_noise(frames, 4, 4, seed=1),
    }


@torch.no_grad()
def clip_arguments(frames: int = 14, **changes: Any) -> dict[str, Any]:
    """What `sample` needs for a clip of 4x4 latents, the same in every process."""
    generator = torch.Generator().manual_seed(3)
    reference = fill(ReferenceUNet(CONFIG), "s.")
    arguments = {
        "denoiser": fill(DenoisingUNet(CONFIG), "s."),
        "reference": reference(torch.randn(1, 4, 4, 4, generator=generator)),
        **clip_conditions(frames, generator),
        "steps": 4,
        "guidance": 1.5,
        "window_length": 4,
        "overlap": 1,
    }
    return settle(**{**arguments, **changes})
