"""Between the host and the device without waiting, so that each works while the other does."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

# So many results may be on their way while the device is given the next work. One keeps it busy; more would only make
# a cancelled run stop later.
ON_THE_WAY = 1


def to_device(tensor: Tensor, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
    """What `tensor.to(device, dtype)` gives; from the host to CUDA through pinned memory.

    The copy is put in the device's queue, so that the host can prepare what comes next. torch holds the pinned memory
    until the copy is done.
    """
    dtype = dtype or tensor.dtype
    if torch.device(device).type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device, dtype)
    return tensor.to(dtype).pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True)
class Arrival:
    """A tensor of the host that a device is writing to, or has written; `written` tells when, None: it has."""

    tensor: Tensor
    written: torch.cuda.Event | None = None

    def is_here(self) -> bool:
        return self.written is None or self.written.query()

    def wait(self) -> Tensor:
        if self.written is not None:
            self.written.synchronize()
        return self.tensor


def to_host(tensor: Tensor) -> Arrival:
    """What `tensor.cpu()` gives; from CUDA into pinned memory, once the device's queue comes to it."""
    if tensor.device.type != "cuda":
        return Arrival(tensor.cpu())
    place = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    place.copy_(tensor, non_blocking=True)
    return Arrival(place, torch.cuda.current_stream(tensor.device).record_event())


def in_turn(started: Iterable[tuple[T, Arrival]]) -> Iterator[tuple[T, Tensor]]:
    """Whatever was started, in its order and with its result; each is waited for when the next has been started.

    A result that is here already (always, where the device is the host) is not kept back.
    """
    waiting: deque[tuple[T, Arrival]] = deque()
    for one in started:
        waiting.append(one)
        while waiting and (len(waiting) > ON_THE_WAY or waiting[0][1].is_here()):
            label, arrival = waiting.popleft()
            yield label, arrival.wait()
    for label, arrival in waiting:
        yield label, arrival.wait()
