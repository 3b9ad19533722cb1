"""Counts what a pass allocates, without computing anything: tensors on the meta device have shapes only.

`python -m tests.allocations` prints the peaks of a window's pass for `WINDOWS`. Tests start it as a process of its own:
where torch's compiler has been imported, it has replaced operations of the meta device by Python that allocates more.
"""

from __future__ import annotations

import json
import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from echomimic.models import DenoisingUNet, ReferenceUNet, UNetConfig

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

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.alive = {tensor.untyped_storage()._cdata: 0 for tensor in [*module.parameters(), *module.buffers()]}
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


def counted_bytes(config: UNetConfig, frames: int, height: int, width: int) -> int:
    settings = {"device": "meta", "dtype": torch.float16, "attention": fused_attention}
    denoiser, reference = DenoisingUNet(config, **settings), ReferenceUNet(config, **settings)

    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(*shape, device="meta", dtype=torch.float16)

    with torch.no_grad():
        projected = denoiser.project_reference(reference(empty(1, 4, height, width)))
        audio = denoiser.project_audio(empty(1, frames, 50, config.audio_dim))
        pose = empty(1, config.block_out_channels[0], frames, height, width)
        latents = empty(1, 4, frames, height, width)
        with PeakCounter(denoiser) as counter:
            denoiser(latents, 1.0, audio=audio, pose=pose, reference=projected)
    return counter.peak


if __name__ == "__main__":
    print(json.dumps([counted_bytes(*window) for window in WINDOWS]))
