"""Pastes finished frames back into the full picture that they were cut from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ...cancellation import check_cancelled
from ...errors import PoseError
from .crop import CropBox

_GRID, _BAND = 64, 3  # tones are compared on a grid of 64 x 64 cells, in the outer three rows and columns
# In levels of 0..255: cells that differ by more from the others show something else than background, and a tone that is
# further off than that was meant.
_OTHERS, _MOST = 16.0, 48.0
_AGREE = 0.5  # share of the edge's cells that must follow one tone


@dataclass(frozen=True)
class Tone:
    """Levels to add to a box's frames, a plane over the box: `plane[0] + plane[1] * x + plane[2] * y`.

    Attributes:
        plane: `[3, 3]`, a row each of the plane's numbers, a column each of red, green and blue; x and y go from 0 to 1
            over the part of the box that lies in the picture.
    """

    plane: np.ndarray

    def over(self, height: int, width: int) -> np.ndarray:
        """The levels for every pixel, `[height, width, 3]`."""
        y, x = (np.arange(count)[:, None] + 0.5 for count in (height, width))
        return (self.plane[0] + y / height * self.plane[2])[:, None] + (x / width * self.plane[1])[None]


def match_tone(frames: np.ndarray, images: np.ndarray, box: CropBox) -> Tone | None:
    """How much to lighten or darken frames, so that their background matches the picture around them.

    Networks return a background a little lighter, darker or bluer; pasted into the picture, that shows as a box,
    however soft its edge. A plane is fitted to the difference along those edges that lie within the picture, leaving
    out places where the frames show something else than the picture.

    Args:
        frames: uint8 RGB `[n, h, w, 3]`, some frames of the clip.
        images: the full picture of each, or one for all, uint8 RGB `[n or 1, H, W, 3]`.
        box: where they belong.

    Returns:
        The plane; None where the edges do not follow one (another background, or no edge within the picture).

    Raises:
        PoseError: the box does not touch the picture.
    """
    full_height, full_width = images.shape[1:3]
    left, top, right, bottom = part = box.part_of(full_width, full_height)
    size = (_GRID, _GRID)
    shown = np.stack([_resize_part(frame, box, part, size) for frame in frames])
    around = [image[top:bottom, left:right] for image in images]
    wanted = np.stack([np.asarray(Image.fromarray(place).resize(size, Image.Resampling.BOX)) for place in around])
    edge = np.zeros(size, bool)
    edge[:_BAND] |= box.top > 0
    edge[-_BAND:] |= box.top + box.height < full_height
    edge[:, :_BAND] |= box.left > 0
    edge[:, -_BAND:] |= box.left + box.width < full_width
    if not edge.any():
        return None
    difference = np.median(wanted.astype(float) - shown, axis=0)[edge]  # [cells, 3]
    rows, columns = np.nonzero(edge)
    terms = np.stack([np.ones(len(rows)), (columns + 0.5) / _GRID, (rows + 0.5) / _GRID], axis=1)
    plane = np.stack([np.median(difference, axis=0), np.zeros(3), np.zeros(3)])
    for _ in range(10):
        alike = np.abs(difference - terms @ plane).max(axis=1) <= _OTHERS
        if alike.mean() < _AGREE:
            return None
        plane = np.linalg.lstsq(terms[alike], difference[alike], rcond=None)[0]
    return Tone(plane) if np.abs(terms @ plane).max() <= _MOST else None


def paste_back(
    frames: np.ndarray,
    image: np.ndarray,
    box: CropBox,
    feather: float = 0.06,
    mask: np.ndarray | None = None,
    tone: Tone | None = None,
) -> np.ndarray:
    """Finished frames in the place of the full picture that they were cut from.

    Call it for a few frames at a time: the result holds the full picture once a frame.

    Args:
        frames: uint8 RGB `[n, h, w, 3]`.
        image: the full picture, uint8 RGB `[H, W, 3]`.
        box: where they belong, from `align_portrait`.
        feather: width of the soft edge, as a share of the box's shorter side. Edges that lie on or beyond the
            picture's own edge stay hard, as there is nothing to blend into.
        mask: how much of the frames is put into the full picture, `[H, W]` in 0..1; None: all of them. With it two
            people whose boxes overlap do not cover each other.
        tone: from `match_tone`: how much lighter or darker than the frames the picture around them is.

    Returns:
        uint8 RGB `[n, H, W, 3]`.

    Raises:
        PoseError: the box does not touch the picture, an impossible feather, or a mask of another size.
    """
    full_height, full_width = image.shape[:2]
    if not 0 <= feather <= 0.5:
        raise PoseError(f"the feathered edge is a share of the box from 0 to 0.5, not {feather}")
    left, top, right, bottom = box.part_of(full_width, full_height)
    reach = max(1.0, feather * min(box.width, box.height))
    across = _edge_weight(box.left, box.width, full_width, reach)
    down = _edge_weight(box.top, box.height, full_height, reach)
    weight = np.outer(down, across)[..., None]
    if mask is not None:
        if mask.shape != image.shape[:2]:
            raise PoseError(
                f"the mask has {mask.shape[1]}x{mask.shape[0]} pixels, the full picture {full_width}x{full_height}: "
                "they must be alike"
            )
        weight = weight * mask[top:bottom, left:right, None]
    shift = 0.0 if tone is None else tone.over(bottom - top, right - left)
    pictures = np.repeat(image[None], len(frames), axis=0)
    for picture, frame in zip(pictures, frames):
        check_cancelled()
        inner = np.clip(
            _resize_part(frame, box, (left, top, right, bottom), (right - left, bottom - top)) + shift, 0, 255
        )
        place = picture[top:bottom, left:right]
        place[:] = np.round(inner * weight + place * (1 - weight)).astype(np.uint8)
    return pictures


def _resize_part(frame: np.ndarray, box: CropBox, part: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """What a frame shows of a part of the picture, float `[height, width, 3]`, resized."""
    ratio = np.array([frame.shape[1] / box.width, frame.shape[0] / box.height] * 2)
    inner = tuple((np.array(part) - [box.left, box.top] * 2) * ratio)
    resized = Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS, box=inner)
    return np.asarray(resized).astype(float)


def _edge_weight(begin: int, length: int, full: int, reach: float) -> np.ndarray:
    """Along one side of the box, as far as it lies in the picture: 1 inside, falling smoothly over `reach` towards ends
    that lie within the picture."""
    place = np.arange(max(0, -begin), min(length, full - begin)) + 0.5
    low = np.clip(place / reach, 0, 1) if begin > 0 else np.ones(len(place))
    high = np.clip((length - place) / reach, 0, 1) if begin + length < full else np.ones(len(place))
    ramp = np.minimum(low, high)
    return ramp * ramp * (3 - 2 * ramp)
