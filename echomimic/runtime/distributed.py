"""One clip on several processes: the windows of a step are independent, so every process takes its share of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import EchoMimicError

T = TypeVar("T")

# A process waits this long for the others: enough for the first one to decode a long video on a slow device.
TIMEOUT = timedelta(hours=24)


class Processes:
    """The processes of a `torchrun` and what they exchange: sums of velocities, and failures.

    Latents live on the host, so the group uses gloo for any device; it is made of the default group, which
    must be initialised (any backend). A process that dies closes its connections, which ends the others' run.

    Only its order tells what is exchanged: after a failure in one process alone, its next work's exchanges would meet
    those of the others' last. So in work that is followed by other (`together`), one that fails takes part in the next
    `agree`, and all fail.

    Attributes:
        rank, count: this process's number and how many there are.
        shared: the failure that all processes know of, while it passes.
    """

    def __init__(self) -> None:
        self.shared: BaseException | None = None
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
        busy = any_busy = True
        while any_busy:
            if busy:
                try:
                    next(work)
                except StopIteration:
                    busy = False
                except BaseException as error:
                    failure, busy = error, False
            any_busy = self.agree(failure, busy)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Work that all processes do to its end, or none: where one fails, the others do at their next `agree`, at the
        latest at the end.

        Between an `agree` within it and what is exchanged next nothing may fail.

        Raises:
            EchoMimicError: another process failed, with its message, or died. This process's own exception passes.
        """
        try:
            yield
        except Exception as error:
            if error is not self.shared:
                self.agree(error)
            raise
        else:
            self.agree()
        finally:
            self.shared = None  # its traceback holds what was being computed

    def agree(self, failure: BaseException | None = None, busy: bool = False) -> bool:
        """Exchange whether one has failed; returns whether one is still busy.

        Raises:
            EchoMimicError: another process failed, with its message, or died. This process's `failure` passes.
        """
        status = torch.tensor([failure is not None, busy], dtype=torch.int32)
        try:
            self.exchange(lambda: dist.all_reduce(status, group=self.group))
        except EchoMimicError:
            if failure is None:
                raise
            raise failure from None
        failed, still_busy = status.tolist()
        if failed:
            self.raise_failure(failure)
        return bool(still_busy)

    def raise_failure(self, own: BaseException | None) -> None:
        """Raise this process's own failure, or the first other process's."""
        messages: list[Any] = [None] * self.count
        message = None if own is None else f"{type(own).__name__}: {own}"
        try:
            self.exchange(lambda: dist.all_gather_object(messages, message, group=self.group))
        except EchoMimicError:
            if own is None:
                raise
        if own is None:
            rank, words = next((rank, words) for rank, words in enumerate(messages) if words is not None)
            own = EchoMimicError(f"process {rank} of {self.count} failed: {words}")
        self.shared = own
        raise own

    def check_same(self, facts: Mapping[str, object]) -> None:
        """`agree`, and compare by name what the processes are to make.

        Raises:
            EchoMimicError: they are to make different things; names what differs, in all processes. See `agree`, too.
        """
        everybodys: list[Any] = [None] * self.count
        mine = {name: str(value) for name, value in facts.items()}
        self.agree()
        self.exchange(lambda: dist.all_gather_object(everybodys, mine, group=self.group))
        names = sorted({name for other in everybodys for name in other})
        differing = [name for name in names if len({other.get(name) for other in everybodys}) > 1]
        if differing:
            self.shared = EchoMimicError(
                f"the {self.count} processes are to make different videos (they differ in {', '.join(differing)}): "
                "start all of them with one command, on the same files"
            )
            raise self.shared

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
            self.shared = EchoMimicError(
                f"process {self.rank} of {self.count} lost the others: one of them died ({error}); "
                "see its own messages, and start all of them again"
            )
            raise self.shared from error
