"""How much a single input may take of the memory that is free."""

from __future__ import annotations

from pathlib import Path

from ..errors import EchoMimicError

# Where the system does not say how much is free.
ASSUMED_BYTES = 8 * 2**30
# An input is copied once or twice on its way.
SHARE = 0.4
# A result whose size is known to the byte may take more.
RESULT_SHARE = 0.9
# A picture of ComfyUI's: red, green and blue as float32.
FLOAT_PIXEL = 12


def available_bytes() -> int:
    """Memory that new arrays can get on this machine, in bytes."""
    listing = Path("/proc/meminfo")
    try:
        for line in listing.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass  # not Linux, or a system that hides it
    try:
        import psutil  # optional: ComfyUI brings it
    except ImportError:
        return ASSUMED_BYTES
    return int(psutil.virtual_memory().available)


def input_limit() -> int:
    """Bytes that one decoded input may take."""
    return int(SHARE * available_bytes())


def check_room(size: float, what: str, advice: str, error: type[EchoMimicError] = EchoMimicError) -> None:
    """Raises: `error`, before the work, when a result of this many bytes does not fit in memory.

    Args:
        size: bytes that the result takes at its largest, copies included.
        what: the result, in the plural, with its numbers ("432 pictures of 768x768").
        advice: what to do, for the end of the sentence.
        error: the class to raise.
    """
    limit = RESULT_SHARE * available_bytes()
    if size > limit:
        raise error(f"{what} take {size / 1e9:.1f} GB, and memory has room for {limit / 1e9:.1f} GB: {advice}")
