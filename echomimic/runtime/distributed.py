"""One clip on several processes: the windows of a step are independent, so every process takes its share of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import EchoMimicError

T = TypeVar("T")

# A process waits this long for the others: enough for one window on slow devices.
TIMEOUT = timedelta(hours=2)


class Processes:
    """The processes of a `torchrun` and what they exchange: sums of velocities, and failures.

    Latents live on the host, so the group uses gloo for any device; it is made of the default group, which
    must be initialised (any backend). A process that dies closes its connections, which ends the others' run.

    Attributes:
        rank, count: this process's number and how many there are.
    """

    def __init__(self) -> None:
        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        self.group = dist.new_group(backend="gloo", timeout=TIMEOUT)

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of a step's windows."""
        return items[self.rank :: self.count]

    def run(self, work: Iterator[None]) -> None:
        """Advance this process's work, one group of windows at a time.

        After each the processes exchange whether one has failed, so that a cancelled one stops the others within one
        window.

        Raises:
            EchoMimicError: another process failed, with its message, or died. This process's own exception passes.
        """
        failure: BaseException | None = None
        busy = True
        while True:
            if busy:
                try:
                    next(work)
                except StopIteration:
                    busy = False
                except BaseException as error:
                    failure, busy = error, False
            status = torch.tensor([failure is not None, busy], dtype=torch.int32)
            try:
                self.exchange(lambda status=status: dist.all_reduce(status, group=self.group))  # type: ignore[misc]
            except EchoMimicError:
                if failure is None:
                    raise
                raise failure from None
            failed, still_busy = status.tolist()
            if failed:
                self.raise_failure(failure)
            if not still_busy:
                return

    def raise_failure(self, own: BaseException | None) -> None:
        """Raise this process's own failure, or the first other process's."""
        messages: list[Any] = [None] * self.count
        message = None if own is None else f"{type(own).__name__}: {own}"
        try:
            self.exchange(lambda: dist.all_gather_object(messages, message, group=self.group))
        except EchoMimicError:
            if own is None:
                raise
        if own is not None:
            raise own
        rank, words = next((rank, words) for rank, words in enumerate(messages) if words is not None)
        raise EchoMimicError(f"process {rank} of {self.count} failed: {words}")

    def all_reduce(self, *tensors: Tensor) -> None:
        """Sum host tensors over the processes, in place and with the same result everywhere."""
        for tensor in tensors:
            self.exchange(lambda tensor=tensor: dist.all_reduce(tensor, group=self.group))  # type: ignore[misc]

    def broadcast(self, tensor: Tensor, number: int) -> int:
        """Take the first process's tensor, in place, and its number."""
        box = torch.tensor([number])
        self.exchange(lambda: dist.broadcast(box, 0, group=self.group))
        self.exchange(lambda: dist.broadcast(tensor, 0, group=self.group))
        return int(box)

    def exchange(self, operation: Callable[[], Any]) -> None:
        try:
            operation()
        except (RuntimeError, EOFError) as error:
            raise EchoMimicError(
                f"process {self.rank} of {self.count} lost the others: one of them died ({error}); "
                "see its own messages, and start all of them again"
            ) from error
