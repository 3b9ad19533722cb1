"""How much a single input may take of the memory that is free."""

from __future__ import annotations

from pathlib import Path

from ..errors import EchoMimicError

# Where a container's limit and what it uses are written: control groups of version 2, and of version 1.
CONTROL_GROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
# Where the system does not say how much is free.
ASSUMED_BYTES = 8 * 2**30
# An input is copied once or twice on its way.
SHARE = 0.4
# A result whose size is known to the byte may take more.
RESULT_SHARE = 0.9
# A picture of ComfyUI's: red, green and blue as float32.
FLOAT_PIXEL = 12


def available_bytes() -> int:
    """Memory that new arrays can get on this machine and in this container, in bytes."""
    rooms = (room for group in CONTROL_GROUPS if (room := room_in_container(*group)) is not None)
    return min((available_on_machine(), *rooms))


def room_in_container(folder: Path, limit_name: str, usage_name: str) -> int | None:
    """Bytes below a control group's limit, with files' cache, which the system gives up first; None without a limit.

    A container sees its machine's /proc/meminfo, and is killed at a limit that stands here alone.
    """
    try:
        limit, usage = (int((folder / name).read_text()) for name in (limit_name, usage_name))
        lines = dict(line.split(maxsplit=1) for line in (folder / "memory.stat").read_text().splitlines())
        cache = int(lines.get("total_inactive_file", lines.get("inactive_file", "0")))
    except (OSError, ValueError):  # no such groups, or "max"
        return None
    return max(limit - usage + cache, 0)


def available_on_machine() -> int:
    """Memory that the system has, in bytes."""
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
