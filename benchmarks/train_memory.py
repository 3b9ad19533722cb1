"""What a training step takes on a device, counted on the meta device: nothing is computed.

    python -m benchmarks.train_memory

Weights, gradients, AdamW's two averages and the averaged copy are summed; activations are followed tensor by tensor
through a step, forwards and backwards, with one decoded crop of 256x256 for the phase-specific loss. Attention is
counted as a fused kernel's (queries, keys, values and result are kept). The allocator's rounding is not in it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from echomimic.models import RECOMMENDED_SETTINGS, DenoisingUNet, Networks, PoseEncoder, ReferenceUNet, UNetConfig
from echomimic.training.config import config_from
from echomimic.training.losses import decode_with_gradient
from echomimic.training.networks import TrainedNetworks, add_lora, mark_trained
from tests.allocations import PeakCounter
from tests.published import PUBLISHED_VAE, vae_config

GIB = 2**30
CROP = 32  # latent pixels


class FusedAttention(torch.autograd.Function):
    """Takes and keeps what a fused kernel does: its inputs and its result."""

    @staticmethod
    def forward(context: Any, query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
        result = torch.empty_like(query)
        context.save_for_backward(query, key, value, result)
        return result

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, _ = context.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), None


def fused_attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    return FusedAttention.apply(query, key, value, heads)


@dataclass(frozen=True)
class Step:
    """A step to count."""

    stage: str
    size: int
    frames: int
    rank: int = 16
    precision: str = "bfloat16"
    checkpointing: bool = True

    def __str__(self) -> str:
        rank = f", rank {self.rank}" if self.stage == "lora" else ""
        kept = "" if self.checkpointing else ", without checkpointing"
        return f"{self.stage}, {self.size}x{self.size}, {self.frames} frames{rank}, {self.precision}{kept}"


STEPS = (
    Step("lora", 256, 12),
    Step("lora", 384, 12),
    Step("lora", 512, 12),
    Step("lora", 512, 12, rank=64),
    Step("lora", 512, 12, checkpointing=False),
    Step("lora", 512, 12, precision="float32"),
    Step("lora", 512, 24),
    Step("lora", 768, 12),
    Step("stage1", 512, 1),
    Step("stage1", 768, 1),
    Step("stage2", 512, 12),
    Step("stage2", 768, 12),
    Step("stage2", 768, 24),
)


@dataclass(frozen=True)
class Count:
    """Bytes: weights of all networks, what training keeps for the trained ones, and the step's activations."""

    weights: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.optimizer + self.activations


def count_step(step: Step, config: UNetConfig | None = None, vae_sizes: dict[str, Any] | None = None) -> Count:
    """What one row's step takes."""
    from diffusers import AutoencoderKL

    config = config or UNetConfig()
    dtype = torch.bfloat16 if step.precision == "bfloat16" else torch.float32
    stored = dtype if step.stage == "lora" else torch.float32
    made: dict[str, Any] = {"device": "meta", "dtype": stored}
    networks = Networks(
        config,
        "standard",
        DenoisingUNet(config, attention=fused_attention, **made),
        ReferenceUNet(config, attention=fused_attention, **made),
        PoseEncoder(config.block_out_channels[0], **made),
        RECOMMENDED_SETTINGS["standard"],
    )
    with torch.device("meta"):
        vae: Any = AutoencoderKL(**vae_config(vae_sizes or PUBLISHED_VAE)).requires_grad_(False)
        vae.enable_gradient_checkpointing()
        if step.stage == "lora":
            start = {"data": ".", "output": ".", "weights": {"path": "."}}
            content = {"stage": "lora", **start, "lora": {"rank": step.rank}}
            add_lora(networks, config_from(content, Path()))
    model = TrainedNetworks(networks)
    mark_trained(model, step.stage)
    for network in (networks.denoiser, networks.reference_unet):
        network.gradient_checkpointing = step.checkpointing  # type: ignore[assignment]
    trained = sum(p.numel() * 4 for p in model.parameters() if p.requires_grad)
    weights = sum(p.numel() * p.element_size() for module in (model, vae) for p in module.parameters())
    return Count(weights, 4 * trained, count_activations(step, model, vae, dtype))


def count_activations(step: Step, model: TrainedNetworks, vae: Any, dtype: torch.dtype) -> int:
    """The peak of a step's own tensors; gradients of the trained weights are counted with the optimiser."""
    side, frames = step.size // 8, step.frames

    def empty(*shape: int) -> Tensor:
        return torch.empty(*shape, device="meta")

    inputs = {
        "reference": empty(1, 4, side, side),
        "audio": empty(1, frames, 50, 384),
        "pose": empty(1, 3, frames, step.size, step.size),
        "audio_mask": empty(1, frames, side, side),
    }
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.empty_like(parameter)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    with PeakCounter(model, vae) as counter:
        counter.alive.update({gradient.untyped_storage()._cdata: 0 for gradient in gradients})
        velocity = model(
            empty(1, 4, frames, side, side), empty(1), **inputs, conditioned=[True], posed=[True], dtype=dtype
        )
        picture = decode_with_gradient(vae, velocity[:, :, 0, :CROP, :CROP])
        (velocity.square().mean() + picture.square().mean()).backward()
    return counter.peak


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print("| step | weights | training's copies | activations | together |\n|---|---|---|---|---|")
    for step in STEPS:
        count = count_step(step)
        numbers = (count.weights, count.optimizer, count.activations, count.total)
        print(f"| {step} | {' | '.join(f'{number / GIB:.1f}' for number in numbers)} GiB |", flush=True)


if __name__ == "__main__":
    main()
