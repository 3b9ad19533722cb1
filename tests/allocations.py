"""Counts what a pass allocates, without computing anything: tensors on the meta device have shapes only.

`python -m tests.allocations` prints the peaks of a window's pass for `WINDOWS` and, last, of all that sampling has on a
device at 768x768. Tests start it as a process of its own: where torch's compiler has been imported, it has replaced
operations of the meta device by Python that allocates more.
"""

from __future__ import annotations

import json
import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from echomimic.models import DenoisingUNet, PoseEncoder, ReferenceUNet, UNetConfig
from echomimic.models.casting_layers import filters_to_channels_last
from echomimic.sampling.conditions import AUDIO_CACHE_BYTES, PICTURES_AT_ONCE

# The network's size, frames, height and width of the latents.
WINDOWS = [
    (UNetConfig(), 12, 96, 96),
    (UNetConfig(), 4, 64, 128),
    (UNetConfig(), 32, 32, 32),
    (UNetConfig(), 24, 96, 96),
    (UNetConfig((32, 64, 96, 96), 2, 8, 32, 48), 12, 96, 96),
]


class PeakCounter(TorchDispatchMode):
    """Follows the bytes of every storage that operations make, from birth to death."""

    def __init__(self, *modules: torch.nn.Module) -> None:
        super().__init__()
        weights = [tensor for module in modules for tensor in [*module.parameters(), *module.buffers()]]
        self.alive = {tensor.untyped_storage()._cdata: 0 for tensor in weights}
        self.now = self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.untyped_storage()._cdata not in self.alive:
                storage = leaf.untyped_storage()
                self.alive[storage._cdata] = storage.nbytes()
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self.freed, storage._cdata)
        return result

    def freed(self, key: int) -> None:
        self.now -= self.alive.pop(key, 0)


def fused_attention(query, key, value, heads):
    """Takes no memory but its result, as flash attention does."""
    return torch.empty_like(query)


def empty(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device="meta", dtype=torch.float16)


SETTINGS = {"device": "meta", "dtype": torch.float16, "attention": fused_attention}


def make_networks(config: UNetConfig) -> tuple[DenoisingUNet, ReferenceUNet]:
    """Both UNets as loaders leave them."""
    denoiser, reference = DenoisingUNet(config, **SETTINGS), ReferenceUNet(config, **SETTINGS)
    filters_to_channels_last(denoiser)
    return denoiser, reference


def counted_bytes(config: UNetConfig, frames: int, height: int, width: int) -> int:
    """The peak of a window's pass, without the weights and without what the pass is given."""
    denoiser, reference = make_networks(config)
    with torch.no_grad():
        projected = denoiser.project_reference(reference(empty(1, 4, height, width)))
        audio = denoiser.project_audio(empty(1, frames, 50, config.audio_dim))
        pose = empty(1, config.block_out_channels[0], frames, height, width)
        latents = empty(1, 4, frames, height, width)
        with PeakCounter(denoiser) as counter:
            denoiser(latents, 1.0, audio=audio, pose=pose, reference=projected)
    return counter.peak


def counted_sampling(config: UNetConfig, frames: int, height: int, width: int) -> int:
    """The peak of a guided window as the sampler goes through it, with weights and all that is kept between windows."""
    denoiser, reference = make_networks(config)
    encoder = PoseEncoder(config.block_out_channels[0], device="meta", dtype=torch.float16)
    with torch.no_grad():
        tokens = reference(empty(1, 4, height, width))
        with PeakCounter(denoiser, encoder) as counter:
            kept = [tokens, empty(AUDIO_CACHE_BYTES // 2)]
            projected = denoiser.project_reference(tokens)
            pictures = [empty(1, 3, PICTURES_AT_ONCE, height * 8, width * 8)] * (frames // PICTURES_AT_ONCE)
            pose = torch.cat([encoder(some) for some in pictures], dim=2)
            audio = denoiser.project_audio(empty(1, frames, 50, config.audio_dim))
            latents = empty(1, 4, frames, height, width)
            velocity = denoiser(latents, 1.0, audio=audio, pose=pose, reference=projected)
            plain = denoiser(latents, 1.0)
            plain + 2.5 * (velocity - plain)
            del kept
    weights = [tensor for network in (denoiser, encoder) for tensor in [*network.parameters(), *network.buffers()]]
    given = sum(tensor.nbytes for tensor in tokens.values())
    return counter.peak + given + sum(tensor.nbytes for tensor in weights)


if __name__ == "__main__":
    print(json.dumps([*(counted_bytes(*window) for window in WINDOWS), counted_sampling(UNetConfig(), 12, 96, 96)]))
