"""The networks can be trained: gradients are right, reach every weight, and survive gradient checkpointing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from echomimic import kernels
from echomimic.models import DenoisingUNet, PoseEncoder, ReferenceUNet, UNetConfig
from echomimic.models.attention import merge_heads, scaled_dot_product_attention, split_heads
from tests.recipe import fill

CONFIG = UNetConfig((32, 64), layers_per_block=1, attention_heads=8, norm_num_groups=16, audio_dim=8)
FRAMES, SIDE = 2, 4


class Training:
    """All three networks in double precision, and the loss of a batch with a conditioned and an unconditioned row."""

    def __init__(self, with_kernels: bool = False, dtype: torch.dtype = torch.float64) -> None:
        layers = {"operations": kernels.layer_classes(with_kernels)}
        self.denoiser = fill(DenoisingUNet(CONFIG, **layers), "t.").to(dtype)
        self.reference_unet = fill(ReferenceUNet(CONFIG, **layers), "t.").to(dtype)
        self.pose_encoder = fill(PoseEncoder(32, **layers), "t.").to(dtype)
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=dtype)

        self.latents = draw(2, 4, FRAMES, SIDE, SIDE)
        self.portrait = draw(1, 4, SIDE, SIDE)
        self.pictures = draw(1, 3, FRAMES, SIDE * 8, SIDE * 8)
        self.audio = draw(2, FRAMES, 50, CONFIG.audio_dim)
        self.mask = torch.rand(2, FRAMES, SIDE, SIDE, generator=generator, dtype=dtype)
        self.target = draw(2, 4, FRAMES, SIDE, SIDE)

    def modules(self) -> list[torch.nn.Module]:
        return [self.denoiser, self.reference_unet, self.pose_encoder]

    def loss(self) -> Tensor:
        velocity = self.denoiser.predict(
            self.latents,
            torch.tensor([700, 200]),
            self.audio,
            self.pose_encoder(self.pictures),
            self.reference_unet(self.portrait),
            audio_mask=self.mask,
            conditioned=[False, True],
        )
        return (velocity - self.target).square().mean()


@pytest.mark.parametrize("with_kernels", [False, True], ids=["plain", "kernels"])
@pytest.mark.parametrize(
    "name",
    [
        "denoiser.conv_in.weight",
        "denoiser.time_embedding.linear_1.weight",
        "denoiser.down_blocks.0.resnets.0.conv1.weight",
        "denoiser.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k.weight",
        "denoiser.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v.weight",
        "denoiser.down_blocks.0.attentions.0.transformer_blocks.0.norm2.weight",
        "denoiser.down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj.weight",
        "denoiser.mid_block.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.1.to_q.weight",
        "denoiser.up_blocks.1.resnets.0.conv_shortcut.weight",
        "reference_unet.conv_in.weight",
        "pose_encoder.conv_in.weight",
        "audio",
        "mask",
        "latents",
    ],
)
def test_gradients_equal_finite_differences(name, with_kernels):
    training = Training(with_kernels)
    network, _, rest = name.partition(".")
    tensor = getattr(training, network)
    if rest:
        tensor = tensor.get_parameter(rest)
    tensor.requires_grad_()
    (gradient,) = torch.autograd.grad(training.loss(), tensor)
    direction = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    step = 1e-6 * tensor.detach().norm() / direction.norm()
    losses = []
    with torch.no_grad():
        for sign in (1, -1):
            tensor += sign * step * direction
            losses.append(training.loss())
            tensor -= sign * step * direction
    difference = (losses[0] - losses[1]) / (2 * step)
    assert difference.abs() > 0
    torch.testing.assert_close((gradient * direction).sum(), difference, rtol=1e-4, atol=1e-9)


def unused_by_design(name: str) -> bool:
    """The reference UNet's layers after its last block's norm1 have no influence on its tokens."""
    after = ("attn1.", "norm3.", "ff.", "proj_out.", "norm2", "attn2")
    return name.startswith("up_blocks.1.attentions.1.") and any(part in name for part in after)


def gradients(training: Training) -> dict[str, Tensor]:
    for module in training.modules():
        module.requires_grad_().zero_grad()
    training.loss().backward()
    found = {}
    for label, module in zip(("denoiser", "reference", "pose"), training.modules()):
        for name, parameter in module.named_parameters():
            if label != "reference" or not unused_by_design(name):
                assert parameter.grad is not None, f"{label}.{name}"
                found[f"{label}.{name}"] = parameter.grad
    return found


def test_gradients_reach_every_weight():
    found = gradients(Training())
    # Adding a constant to all keys of a softmax, or to a whole norm group, changes nothing; those gradients vanish.
    assert all(gradient.isfinite().all() for gradient in found.values())
    assert sum(gradient.abs().max() > 1e-12 for gradient in found.values()) > 0.97 * len(found)


def test_gradient_checkpointing_gives_the_same_gradients_with_less_memory():
    plain, checkpointed = Training(), Training()
    for network in (checkpointed.denoiser, checkpointed.reference_unet):
        assert network.gradient_checkpointing is False
        network.gradient_checkpointing = True
    assert saved_bytes(checkpointed) < 0.5 * saved_bytes(plain)
    expected, found = gradients(plain), gradients(checkpointed)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=name)


def saved_bytes(training: Training) -> int:
    """Bytes of distinct storages that autograd keeps for the backward pass."""
    storages = {}

    def pack(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    for module in training.modules():
        module.requires_grad_()
    weights = {p.untyped_storage().data_ptr() for module in training.modules() for p in module.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        training.loss()
    return sum(size for pointer, size in storages.items() if pointer not in weights)


def test_half_precision_activations_train_float32_weights():
    training = Training(dtype=torch.float32)
    for module in training.modules():
        module.requires_grad_()
    for name in ("latents", "portrait", "pictures", "audio", "mask", "target"):
        setattr(training, name, getattr(training, name).bfloat16())
    training.loss().float().backward()
    weight = training.denoiser.conv_in.weight
    assert weight.grad is not None and weight.grad.dtype == torch.float32 and weight.grad.isfinite().all()


def test_bfloat16_attention_on_a_cpu_learns_in_float32_and_renders_as_before():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 6, 8, generator=generator).bfloat16() for _ in range(3))
    plain = scaled_dot_product_attention(query, key, value, 2)
    parts = [split_heads(x, 2) for x in (query, key, value)]
    assert torch.equal(plain, merge_heads(F.scaled_dot_product_attention(*parts)))
    query.requires_grad_()
    learning = scaled_dot_product_attention(query, key, value, 2)
    exact = scaled_dot_product_attention(query.float(), key.float(), value.float(), 2)
    assert torch.equal(learning, exact.bfloat16())
    learning.sum().backward()
    assert query.grad is not None and query.grad.dtype == torch.bfloat16 and query.grad.any()
