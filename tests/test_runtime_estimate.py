"""The time that is left, from the windows that are done."""

from __future__ import annotations

import pytest

from echomimic.runtime.context import SamplingProgress
from echomimic.runtime.estimate import TimeEstimate, format_duration


def windows(estimate: TimeEstimate, times: list[float], clock: list[float], first: int = 0) -> list[float]:
    """Seconds left after windows that are done at these times, of 20 windows in two steps."""
    left = []
    for number, clock[0] in enumerate(times, first):
        left.append(estimate.update(SamplingProgress(number // 10, 2, number % 10, 10)))
    return left


@pytest.mark.parametrize(
    ("first", "times", "expected"),
    [
        (0, [5.0], [95.0]),  # one window took 5 s, 19 are to come
        (0, [5.0, 7.0, 9.0], [95.0, 36.0, 34.0]),  # the first one was slow to begin
        (12, [3.0, 4.0], [21.0, 6.0]),  # a render that goes on with window 13
    ],
)
def test_what_is_left_follows_the_windows_after_the_first(first, times, expected):
    clock = [0.0]
    assert windows(TimeEstimate(lambda: clock[0]), times, clock, first) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (203, "3 min 20 s"),
        (597, "10 min"),
        (2832, "47 min"),
        (3599, "1 h"),
        (3900, "1 h 5 min"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds, words):
    assert format_duration(seconds) == words
