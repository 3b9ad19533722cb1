"""Which frames are denoised together."""

from __future__ import annotations

from ..errors import EchoMimicError
from ..models.config import MAX_WINDOW

# The released sampler moves every window by this many frames from step to step, for any overlap, so that no seam
# stays in one place (golden cases sample_*).
SHIFT_PER_STEP = 3


def looped_windows(frames: int, length: int, overlap: int, step: int = 0) -> list[list[int]]:
    """The published model's windows: the clip is a ring, and the last window wraps to its start.

    Args:
        frames: frames in the clip.
        length: frames in a window; a clip not longer than that is one window.
        overlap: frames that neighbouring windows share.
        step: sampling step, from 0; the windows move on along the ring with it.
    """
    shift = SHIFT_PER_STEP * step
    if frames <= length:
        return [[(i + shift) % frames for i in range(frames)]]
    return [[(start + i + shift) % frames for i in range(length)] for start in range(0, frames, length - overlap)]


def open_windows(frames: int, length: int, overlap: int) -> list[list[int]]:
    """Windows from the first frame to the last without wrapping; the last is moved back to end at the last frame."""
    if frames <= length:
        return [list(range(frames))]
    starts = [*range(0, frames - length, length - overlap), frames - length]
    return [list(range(start, start + length)) for start in starts]


def windows(frames: int, length: int, overlap: int, step: int = 0, looped: bool = True) -> list[list[int]]:
    """The windows of one sampling step.

    Raises:
        EchoMimicError: no frames, a window longer than 32 or shorter than 1, or an overlap that leaves no progress.
    """
    if frames < 1:
        raise EchoMimicError("there are no frames to sample")
    check_windows(length, overlap)
    return looped_windows(frames, length, overlap, step) if looped else open_windows(frames, length, overlap)


def check_windows(length: int, overlap: int) -> None:
    """Raises: EchoMimicError for a window longer than 32 or shorter than 1, or an overlap that leaves no progress."""
    if not 1 <= length <= MAX_WINDOW:
        raise EchoMimicError(f"the window length must be 1 to {MAX_WINDOW} frames, got {length}")
    if not 0 <= overlap < length:
        raise EchoMimicError(
            f"the overlap must be at least 0 and below the window length, got {overlap} of {length} frames"
        )
