"""Moving tensors to a device and back: on a CPU it is torch's own `to` and pins nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from echomimic.runtime.async_copy import PendingCopy, pipelined, to_device, to_host
from tests.tiny import clip_arguments, sample


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


class Signal:
    """Stands for a CUDA event; it has happened once it was waited for, or from the start."""

    def __init__(self, events, name, happened=False):
        self.events, self.name, self.happened = events, name, happened

    def query(self):
        return self.happened

    def synchronize(self):
        self.events.append(f"wait for {self.name}")
        self.happened = True


def run(happened):
    """What happens, in its order, when pieces of work are started and collected."""
    events = []

    def start():
        for number, here in enumerate(happened):
            events.append(f"start {number}")
            yield number, PendingCopy(torch.tensor(number), Signal(events, number, here))

    for number, tensor in pipelined(start()):
        assert tensor == number
        events.append(f"got {number}")
    return events


def test_the_next_work_is_started_before_a_result_is_waited_for():
    assert run([False, False, False]) == (
        ["start 0", "start 1", "wait for 0", "got 0", "start 2", "wait for 1", "got 1", "wait for 2", "got 2"]
    )


def test_what_is_done_is_not_kept_back():
    assert [word for word in run([True, True]) if "wait" not in word] == ["start 0", "got 0", "start 1", "got 1"]
    assert run([]) == []


def test_a_result_on_the_host_is_done():
    velocity = torch.randn(2, 3)
    arrival = to_host(velocity)
    assert arrival.is_done() and torch.equal(arrival.wait(), velocity)


def test_a_result_on_cuda_is_copied_to_pinned_memory_without_waiting(monkeypatch):
    events = []

    class Place:
        def copy_(self, source, non_blocking):
            events.append(("copied", source, non_blocking))

    class Stream:
        def record_event(self):
            events.append("recorded")
            return Signal(events, "copy")

    result = Moves()
    result.device, result.shape = torch.device("cuda:1"), (2, 3)
    monkeypatch.setattr(torch, "empty", lambda *size, **how: events.append((size, how)) or Place())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: events.append(device) or Stream())
    arrival = to_host(result)
    assert events == [
        (((2, 3),), {"dtype": torch.float32, "pin_memory": True}),
        ("copied", result, True),
        torch.device("cuda:1"),
        "recorded",
    ]
    assert not arrival.is_done()
    arrival.wait()
    assert events[-1] == "wait for copy" and arrival.is_done()


def test_a_run_whose_results_come_late_is_the_same(monkeypatch):
    from echomimic.sampling import window_denoiser as velocity

    expected = sample(**clip_arguments())
    waited = []
    monkeypatch.setattr(velocity, "to_host", lambda tensor: PendingCopy(tensor.clone(), Signal(waited, "velocity")))
    assert torch.equal(sample(**clip_arguments()), expected)
    assert len(waited) == 4 * 5  # steps and windows
