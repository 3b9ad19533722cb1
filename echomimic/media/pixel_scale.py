"""The scale that a picture's numbers are on: what black is in them, and what white."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from ..errors import ImageError

logger = logging.getLogger("echomimic")

# Full scales of samples that are stored in more bits than they have, as programs of 8 bits, and scanners and cameras of
# 12 bits, write them; and of 16 bits.
NARROW_SCALES = (255.0, 4095.0)
FULL_SCALES = (*NARROW_SCALES, 65535.0)
# Resizing lets fractions go a little beyond their scale.
OVERSHOOT = 1.25
# Fractions with a larger peak, or a black this far below 0, are on another scale than 0..1.
MAX_UNIT, MIN_SIGNED = 8.0, 0.5
# -1..1, with what a decoder adds. Pictures that were standardised for a network (mean 0, deviation 1) go further.
MAX_SIGNED = 1.5
# Up to this share of a picture's values may be damage: it decides no scale, and becomes black.
MAX_BAD_SHARE = 1e-3
# More than this share beyond 0..1 is worth a line in the log.
MAX_CUT_SHARE = 0.01
KNOWN = "0..1, 0..255, 0..65535 or -1..1"

Parts = Callable[[], Iterable[Tensor]]


@dataclass(frozen=True)
class PixelCounts:
    """How many of a picture's values are what, and the smallest and largest finite one."""

    values: int
    bad: int  # NaN or infinite
    worst: float  # the largest share of these in a part
    negative: int  # clearly below 0
    dim: int  # between 0 and 1, both excluded
    bright: int  # above 1
    low: float
    high: float

    @property
    def beyond(self) -> float:
        """The share of values that are not in 0..1."""
        return (self.negative + self.bright) / self.values


def count_pixels(parts: Iterable[Tensor]) -> PixelCounts:
    """The counts of all parts together."""
    values = bad = negative = dim = bright = 0
    worst = 0.0
    low, high = float("inf"), float("-inf")
    for part in parts:
        good = part[part.isfinite()]
        lost = part.numel() - good.numel()
        values, bad, worst = values + part.numel(), bad + lost, max(worst, lost / part.numel())
        if good.numel():
            negative += int((good < -0.1).sum())
            dim += int(((good > 0) & (good < 1)).sum())
            bright += int((good > 1).sum())
            least, most = good.aminmax()
            low, high = min(low, float(least)), max(high, float(most))
    return PixelCounts(values, bad, worst, negative, dim, bright, low, high)


def to_unit(values: Tensor, name: str) -> Tensor:
    """Pictures of floating point values `[n, ...]` in 0..1, black where they are no numbers; a little beyond stays.

    Raises:
        ImageError: see `fraction_scale`.
    """
    if all(map(is_unit, values)):
        return values
    black, white = fraction_scale(lambda: values, name)
    return values.sub(black).div_(white - black).nan_to_num_(0.0, 0.0, 0.0)


def fraction_scale(parts: Parts, name: str) -> tuple[float, float]:
    """What black and white are in pictures of floating point values.

    0..1 is the rule, and single values may lie far beyond it (light sources, damage). Other scales are recognised by
    what most values are, which goes to the log.

    Args:
        parts: gives the values, a picture (or a part of one) at a time, as often as it is called.
        name: what it is, for messages.

    Raises:
        ImageError: more than single values are NaN or infinite, or they are on no scale of pictures.
    """
    if all(map(is_unit, parts())):
        return 0.0, 1.0
    counts = count_pixels(parts())
    few = MAX_BAD_SHARE * counts.values
    if counts.worst > MAX_BAD_SHARE:
        raise ImageError(
            f"{name} holds NaN or infinite values, {counts.bad:,} of {counts.values:,}: look at where it comes from"
        )
    if counts.bad:
        logger.warning("%s holds NaN or infinite values, %d, which become black", name, counts.bad)
    low, high = counts.low, counts.high
    if high > MAX_UNIT and counts.bright > counts.dim:
        white = next((scale for scale in FULL_SCALES if high <= OVERSHOOT * scale), None)
        if white is None or counts.negative > few:
            raise ImageError(f"{name} reaches from {low:.6g} to {high:.6g}, but its values must lie in {KNOWN}")
        logger.warning("%s reaches %.6g: it is taken as 0..%.0f", name, high, white)
        return 0.0, white
    if low <= -MIN_SIGNED and counts.negative > few:
        if max(-low, high) > MAX_SIGNED:
            raise ImageError(f"{name} reaches from {low:.6g} to {high:.6g}, but its values must lie in {KNOWN}")
        logger.warning("%s reaches down to %.3g: it is taken as -1..1", name, low)
        return -1.0, 1.0
    if counts.beyond > MAX_CUT_SHARE or high > MAX_UNIT:
        share = 100 * counts.beyond
        logger.warning("%s reaches from %.3g to %.3g: %.2g %% of it is cut off at 0 and 1", name, low, high, share)
    return 0.0, 1.0


def is_unit(part: Tensor) -> bool:
    """Whether all values lie in 0..1; NaN does not."""
    low, high = part.aminmax()
    return bool(low >= 0) and bool(high <= 1)


def whole_scale(low: float, high: float, name: str) -> float:
    """What white is in pictures of whole numbers: the least usual scale that holds their brightest value.

    Raises:
        ImageError: there are negative ones, or it is on no scale of pictures.
    """
    white = next((scale for scale in FULL_SCALES if high <= scale), None)
    if white is None or low < 0:
        raise ImageError(f"{name} reaches from {low:.0f} to {high:.0f}, but its values must lie in {KNOWN}")
    if white in NARROW_SCALES and high:
        logger.warning("%s reaches only %.0f of 65535: it is taken as 0..%.0f", name, high, white)
    return white
