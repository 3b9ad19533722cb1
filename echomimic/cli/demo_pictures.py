"""What `demo` writes beside its video: a strip of its frames, and the mouth's movement under the voice."""

from __future__ import annotations

import cv2
import numpy as np

STRIP_FRAMES = 8
# Of the plot, in pixels.
WIDTH, HEIGHT, MARGIN, HEADER = 960, 130, 24, 48
WHITE, INK, GRID, VOICE, MOUTH = (255, 255, 255), (40, 44, 52), (228, 230, 234), (96, 130, 176), (206, 84, 72)


def mouth_change(frames: np.ndarray, portrait: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """How far the mouth is from the portrait's closed lips, `[F]` in 0..1.

    Args:
        frames: uint8 `[F, H, W, 3]`.
        portrait: uint8 `[H, W, 3]`, lips closed.
        box: left, top, right, bottom of the mouth, in fractions of the picture.

    Returns:
        mean absolute difference inside the box, less its least value, as a share of its greatest; zeros where the
        mouth stands still.
    """
    height, width = portrait.shape[:2]
    left, top, right, bottom = (round(edge * side) for edge, side in zip(box, (width, height, width, height)))
    difference = frames[:, top:bottom, left:right].astype(float) - portrait[top:bottom, left:right]
    change = np.abs(difference).mean(axis=(1, 2, 3))
    return share_of_greatest(change - change.min())


def share_of_greatest(values: np.ndarray) -> np.ndarray:
    """The values as shares of their greatest; zeros stay."""
    return values / values.max() if values.max() > 0 else values


def mouth_plot(voice: np.ndarray, mouth: np.ndarray, fps: float) -> np.ndarray:
    """Loudness of the voice above the mouth's change, over the same seconds; uint8 `[H, W, 3]`.

    Args:
        voice: `[F]`, drawn as shares of the loudest.
        mouth: `[F]` in 0..1.
        fps: frames a second.
    """
    picture = np.full((2 * (HEADER + HEIGHT) + MARGIN, WIDTH, 3), WHITE, np.uint8)
    across = np.linspace(MARGIN, WIDTH - MARGIN, len(voice))
    for number, (title, values, colour) in enumerate(
        (("voice: loudness", share_of_greatest(voice), VOICE), ("mouth: change from closed lips", mouth, MOUTH))
    ):
        base = (number + 1) * (HEADER + HEIGHT)
        for second in range(int(len(voice) / fps) + 1):
            x = round(MARGIN + second * fps * (WIDTH - 2 * MARGIN) / max(1, len(voice) - 1))
            cv2.line(picture, (x, base - HEIGHT), (x, base), GRID, 1)
            write(picture, f"{second} s", (x + 4, base + 14))
        curve = np.stack([across, base - values * (HEIGHT - 12)], axis=-1)
        area = np.concatenate([[[across[0], base]], curve, [[across[-1], base]]])
        tint = tuple(round(0.75 * 255 + 0.25 * part) for part in colour)
        cv2.fillPoly(picture, [area.round().astype(np.int32)], tint)
        cv2.polylines(picture, [curve.round().astype(np.int32)], False, colour, 2, cv2.LINE_AA)
        cv2.line(picture, (MARGIN, base), (WIDTH - MARGIN, base), INK, 1)
        write(picture, title, (MARGIN, base - HEIGHT - 8))
    return picture


def write(picture: np.ndarray, text: str, place: tuple[int, int]) -> None:
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, cv2.LINE_AA)
