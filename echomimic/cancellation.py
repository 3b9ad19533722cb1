"""Cancelling work that is under way: long loops call `check_cancelled`, and calls of a library run in a thread.

The host supplies a check, a function that raises when the user has pressed cancel (`cancellable`). Without one nothing
is checked: on the command line Ctrl-C raises KeyboardInterrupt.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotDone
from contextlib import contextmanager
from typing import TypeVar

from .errors import Cancelled

Check = Callable[[], object]
Result = TypeVar("Result")

# Seconds between two checks while a library computes.
POLL_SECONDS = 0.1

_check: contextvars.ContextVar[Check | None] = contextvars.ContextVar("echomimic_check", default=None)


def check_cancelled() -> None:
    """Raises: Cancelled when the user wants to stop; `cancellable` turns it back into what the host raised."""
    check = _check.get()
    if check is None:
        return
    try:
        check()
    except Cancelled:
        raise
    except Exception as error:  # the host's own class, which a reader's `except Exception` would swallow
        raise Cancelled("the user pressed cancel") from error


@contextmanager
def cancellable(check: Check) -> Iterator[None]:
    """While the block runs, `check_cancelled` calls this check, which raises to stop."""
    token = _check.set(check)
    try:
        yield
    except Cancelled as error:
        if error.__cause__ is not None:
            raise error.__cause__ from None
        raise
    finally:
        _check.reset(token)


def run_cancellable(work: Callable[[], Result]) -> Result:
    """What `work` returns or raises. Where there is a check, it runs in a thread, so that a cancel takes effect while
    a library is busy; the thread then ends at its next `check_cancelled`, or when it is done."""
    if _check.get() is None:
        return work()
    stopped = threading.Event()

    def check_here() -> None:
        if stopped.is_set():
            raise Cancelled("stopped")

    def run() -> Result:
        with cancellable(check_here):
            return work()

    pool = ThreadPoolExecutor(1, thread_name_prefix="echomimic-work")
    future: Future[Result] = pool.submit(contextvars.copy_context().run, run)
    pool.shutdown(wait=False)
    try:
        while True:
            try:
                return future.result(POLL_SECONDS)
            except NotDone:
                if future.done():  # the work itself raised this
                    raise
                check_cancelled()
    except BaseException:
        stopped.set()
        raise
