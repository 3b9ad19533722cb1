"""The estimate of a window's memory against a count of every allocation of a pass."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from echomimic.memory import is_out_of_memory, smaller_settings, window_bytes
from echomimic.models import DenoisingUNet, ReferenceUNet, UNetConfig


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


@pytest.mark.parametrize(
    ("config", "frames", "height", "width"),
    [
        (UNetConfig(), 12, 96, 96),
        (UNetConfig(), 4, 64, 128),
        (UNetConfig(), 32, 32, 32),
        (UNetConfig(), 24, 96, 96),
        (UNetConfig((32, 64, 96, 96), 2, 8, 32, 48), 12, 96, 96),
    ],
)
def test_estimate_is_close_to_the_count(config, frames, height, width):
    counted = counted_bytes(config, frames, height, width)
    estimate = window_bytes(config, frames, height, width, element_size=2)
    assert 0.9 * counted <= estimate <= 1.2 * counted


def test_advice_fits_into_what_is_free():
    config = UNetConfig()
    said = smaller_settings(config, 12, 96, 96, 2, free=900_000_000)
    length = int(said.split("a window length of ")[1].split()[0])
    assert window_bytes(config, length, 96, 96, 2) <= 900_000_000 < window_bytes(config, length + 1, 96, 96, 2)
    side = int(said.split(" or ")[1].split("x")[0])
    assert window_bytes(config, 12, side // 8, side // 8, 2) <= 900_000_000
    assert "768x768" in said and "900 MB are free" in said


def test_out_of_memory_is_recognised():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
