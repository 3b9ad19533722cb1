"""Asynchronous copies between host and device, which overlap with computation."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

# Results that may be pending while the device is given the next work. One keeps it busy; more would only make a
# cancelled run stop later.
MAX_PENDING = 1


def to_device(tensor: Tensor, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
    """What `tensor.to(device, dtype)` gives; from the host to CUDA through pinned memory, without waiting.

    The copy is queued on the device, so that the host can prepare what comes next. torch holds the pinned memory until
    the copy is done.
    """
    dtype = dtype or tensor.dtype
    if torch.device(device).type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device, dtype)
    return tensor.to(dtype).pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True)
class PendingCopy:
    """A host tensor that a device is writing to; `event` is recorded after the write, None: it is written."""

    tensor: Tensor
    event: torch.cuda.Event | None = None

    def is_done(self) -> bool:
        return self.event is None or self.event.query()

    def wait(self) -> Tensor:
        if self.event is not None:
            self.event.synchronize()
        return self.tensor


def to_host(tensor: Tensor) -> PendingCopy:
    """What `tensor.cpu()` gives; from CUDA into pinned memory, once the device's queue comes to it."""
    if tensor.device.type != "cuda":
        return PendingCopy(tensor.cpu())
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    return PendingCopy(host, torch.cuda.current_stream(tensor.device).record_event())


def pipelined(started: Iterable[tuple[T, PendingCopy]]) -> Iterator[tuple[T, Tensor]]:
    """Each label with its result, in order; a result is waited for when the next work has been started.

    Results that are done already (always, where the device is the host) are not held back.
    """
    pending: deque[tuple[T, PendingCopy]] = deque()
    for item in started:
        pending.append(item)
        while pending and (len(pending) > MAX_PENDING or pending[0][1].is_done()):
            label, copy = pending.popleft()
            yield label, copy.wait()
    for label, copy in pending:
        yield label, copy.wait()
