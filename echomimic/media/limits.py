"""How much a single input may take of the memory that is free."""

from __future__ import annotations

from pathlib import Path

# Where the system does not say how much is free.
ASSUMED_BYTES = 8 * 2**30
# An input is copied once or twice on its way.
SHARE = 0.4


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
