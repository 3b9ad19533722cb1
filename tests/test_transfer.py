"""Moving tensors to a device: on a CPU it is torch's own `to` and pins nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from echomimic.sampling import sample
from echomimic.sampling.transfer import to_device
from tests.tiny import clip_arguments


class Moves:
    """Stands for a tensor of the host; remembers what was done to it."""

    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self) -> None:
        self.done = []

    def to(self, *where, **how):
        self.done.append((*where, how))
        return self

    def pin_memory(self):
        self.done.append("pinned")
        return self


def test_values_precision_and_layout_are_those_of_to():
    turned = torch.randn(3, 4, 5).transpose(0, 2)
    moved = to_device(turned, "cpu", torch.float16)
    assert torch.equal(moved, turned.to(torch.float16)) and moved.stride() == turned.stride()
    assert to_device(turned, "cpu") is turned


def test_cuda_gets_it_converted_and_pinned_without_waiting():
    tensor = Moves()
    to_device(tensor, "cuda:1", torch.float16)
    assert tensor.done == [(torch.float16, {}), "pinned", ("cuda:1", {"non_blocking": True})]


def test_what_is_on_the_device_already_is_not_pinned():
    tensor = Moves()
    tensor.device = torch.device("cuda")
    to_device(tensor, "cuda", torch.float16)
    assert tensor.done == [("cuda", torch.float16, {})]


def test_sampling_on_a_cpu_pins_nothing(monkeypatch):
    monkeypatch.setattr(Tensor, "pin_memory", lambda *_: pytest.fail("memory was pinned"))
    assert sample(**clip_arguments(frames=5)).isfinite().all()
