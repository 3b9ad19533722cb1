"""Estimates the remaining time of a render from the windows that are done."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .context import SamplingProgress


@dataclass
class TimeEstimate:
    """The time that a window takes.

    The first window includes preparations, so it is left out once a second one is done.

    Attributes:
        clock: a monotonic clock in seconds.
        window_seconds: seconds for a window; None before the first.
    """

    clock: Callable[[], float] = time.monotonic
    window_seconds: float | None = field(default=None, init=False)
    began: float = field(init=False)
    done: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def update(self, progress: SamplingProgress) -> float:
        """Seconds that the remaining windows will take; a resumed render does not begin at the first window."""
        now = self.clock()
        if self.done is None:
            self.window_seconds = now - self.began
            self.began, self.done = now, progress.done
        elif progress.done > self.done:
            self.window_seconds = (now - self.began) / (progress.done - self.done)
        assert self.window_seconds is not None
        return self.window_seconds * (progress.total - progress.done)


def format_duration(seconds: float) -> str:
    """A duration in words: `8 s`, `3 min 20 s`, `47 min`, `1 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        minutes, rest = divmod(round(whole / 10) * 10, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(whole / 60), 60)
    return f"{hours} h {minutes} min" if hours and minutes else f"{hours} h" if hours else f"{minutes} min"
