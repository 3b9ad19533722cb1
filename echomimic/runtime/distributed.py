"""One clip on several processes: the windows of a step are independent, so every rank takes its share of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import EchoMimicError

T = TypeVar("T")

# How long a rank waits for the others: a step of a long clip on slow devices, and no more.
PATIENCE = timedelta(hours=2)


class Ranks:
    """The processes of a `torchrun`, and what they tell each other: sums of velocities, and failures.

    Latents live on the host, so the group is gloo's whatever the devices are; it is made of the default group, which
    must be initialised (any backend). A process that dies closes its connections, which ends the others' run.

    Attributes:
        rank, count: this process's number and how many there are.
    """

    def __init__(self) -> None:
        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        self.group = dist.new_group(backend="gloo", timeout=PATIENCE)

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This rank's part of a step's windows."""
        return items[self.rank :: self.count]

    def run(self, work: Callable[[], None]) -> None:
        """Do this rank's work; when it fails on any rank, it fails on all.

        Raises:
            EchoMimicError: another rank failed, with its message, or died. This rank's own error passes through.
        """
        failure: BaseException | None = None
        try:
            work()
        except BaseException as error:
            failure = error
        told: list[Any] = [None] * self.count
        words = None if failure is None else f"{type(failure).__name__}: {failure}"
        try:
            self.talk(lambda: dist.all_gather_object(told, words, group=self.group))
        except EchoMimicError:
            if failure is None:
                raise
        if failure is not None:
            raise failure
        for rank, words in enumerate(told):
            if words is not None:
                raise EchoMimicError(f"process {rank} of {self.count} failed: {words}")

    def add_up(self, *tensors: Tensor) -> None:
        """Sum host tensors over the ranks, in place and with the same result everywhere."""
        for tensor in tensors:
            self.talk(lambda tensor=tensor: dist.all_reduce(tensor, group=self.group))  # type: ignore[misc]

    def from_first(self, tensor: Tensor, number: int) -> int:
        """Take the first rank's tensor, in place, and its number."""
        box = torch.tensor([number])
        self.talk(lambda: dist.broadcast(box, 0, group=self.group))
        self.talk(lambda: dist.broadcast(tensor, 0, group=self.group))
        return int(box)

    def talk(self, exchange: Callable[[], Any]) -> None:
        try:
            exchange()
        except (RuntimeError, EOFError) as error:
            raise EchoMimicError(
                f"process {self.rank} of {self.count} lost the others: one of them died ({error}); "
                "see its own messages, and start all of them again"
            ) from error
