"""Crops the portrait to fit the clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ...errors import PoseError
from ..anatomy import SEEN, STEADY, region_sides, with_neck
from ..canvas import picture_canvas, region_in_picture
from ..sequence import PoseSequence

_MAX_ENLARGEMENT = 16  # more than this many times, and there is no face to render
MIN_SIDE, MAX_SIDE = 8, 16384
MAX_OFFSET = 10
NOTHING_SHOWN = "the video would show nothing of the picture: move it less with 'right' and 'down'"
_MAX_BOX = 3  # times the picture's side; a larger box would be nearly all border


@dataclass(frozen=True)
class CropBox:
    """A part of a picture in whole pixels. It may reach beyond the picture's edges."""

    left: int
    top: int
    width: int
    height: int

    def inside(self, width: int, height: int) -> float:
        """Share of the box that lies in a picture of that size."""
        across = max(0, min(self.left + self.width, width) - max(self.left, 0))
        down = max(0, min(self.top + self.height, height) - max(self.top, 0))
        return across * down / (self.width * self.height)

    def part_of(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of what of the box lies in a picture of that size.

        Raises:
            PoseError: the box does not touch the picture.
        """
        if not self.inside(width, height):
            raise PoseError(
                f"the crop box, {self.width}x{self.height} pixels at {self.left}, {self.top}, does not touch a picture "
                f"of {width}x{height}: give the original"
            )
        right, bottom = min(self.left + self.width, width), min(self.top + self.height, height)
        return max(self.left, 0), max(self.top, 0), right, bottom


@dataclass(frozen=True)
class AlignedPortrait:
    """A portrait that was cropped and resized so that the person stands where the clip's does.

    Attributes:
        image: uint8 RGB `[height, width, 3]`, of the video's size.
        box: the part of the full picture that it shows, for `paste_back`.
        portrait: the portrait's keypoints in it.
        inside: share of it that the full picture covers; the rest repeats the picture's edge.
        sentence: how large the part is and what to know about it.
    """

    image: np.ndarray
    box: CropBox
    portrait: PoseSequence
    inside: float
    sentence: str


def check_view(width: int, height: int, offset: tuple[float, float]) -> None:
    """Raises: PoseError for an impossible size of a video, or an offset far outside the picture."""
    if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
        raise PoseError(f"a video has {MIN_SIDE} to {MAX_SIDE} pixels a side, not {width}x{height}")
    if max(map(abs, offset)) > MAX_OFFSET:
        raise PoseError(f"the offset must be -{MAX_OFFSET} to {MAX_OFFSET} of the video's size, got {offset}")


def align_portrait(
    image: np.ndarray,
    portrait: PoseSequence,
    clip: PoseSequence,
    width: int = 768,
    height: int = 768,
    scale: float = 1.0,
    offset: tuple[float, float] = (0.0, 0.0),
) -> AlignedPortrait:
    """Crop and resize the portrait to the clip: head, neck and shoulders come to lie on the clip's usual places.

    One scale and one offset, by least squares over the steady points that both show.

    Args:
        image: uint8 RGB `[H, W, 3]`, the full picture.
        portrait: its keypoints, canvas region = the picture; the first frame counts.
        clip: the poses that will drive the video.
        width, height: size of the video in pixels.
        scale: on top, by hand: above 1 makes the person larger.
        offset: on top: moves the person right and down, in shares of the video's size.

    Raises:
        PoseError: fewer than two steady points are seen in both, or the crop would be absurdly small or large, or show
            nothing of the picture.
    """
    check_view(width, height, offset)
    points, goal = _steady_places(image, portrait, clip, width, height)
    spread = points - points.mean(axis=0)
    if not (spread**2).sum() > 0 or not 0.01 <= scale <= 100:
        raise PoseError(
            "the portrait cannot be scaled to the clip: its points lie in one place, or scale is impossible"
        )
    factor = float((spread * (goal - goal.mean(axis=0))).sum() / (spread**2).sum()) * scale
    if not factor > 0:
        raise PoseError("the portrait's keypoints stand the other way up than the clip's: check both")
    middle = goal.mean(axis=0) + np.asarray(offset) * [width, height]
    size = max(1, round(width / factor)), max(1, round(height / factor))
    if factor > _MAX_ENLARGEMENT or max(size[0] / image.shape[1], size[1] / image.shape[0]) > _MAX_BOX:
        raise PoseError(
            f"to fit the clip, a part of {size[0]}x{size[1]} pixels would have to be cut from a picture of "
            f"{image.shape[1]}x{image.shape[0]}: check the keypoints, or use a larger portrait"
        )
    corner = points.mean(axis=0) - middle / [width, height] * size
    box = CropBox(round(corner[0]), round(corner[1]), *size)
    inside = box.inside(image.shape[1], image.shape[0])
    if not inside:
        raise PoseError(NOTHING_SHOWN)
    sides = region_sides(portrait.canvas)
    moved = (portrait.keypoints * sides - [box.left, box.top]) / [box.width, box.height]
    aligned = portrait.with_points(moved, canvas=picture_canvas(width, height))
    return AlignedPortrait(cut_box(image, box, width, height), box, aligned, inside, _sentence(box, inside, width))


def _steady_places(
    image: np.ndarray, portrait: PoseSequence, clip: PoseSequence, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Steady points in pixels of the full picture, and where the clip has them in pixels of the video: two `[n, 2]`."""
    sides = region_sides(portrait.canvas)
    if tuple(sides) != (image.shape[1], image.shape[0]):
        raise PoseError(
            f"the portrait's keypoints are for a picture of {sides[0]:.0f}x{sides[1]:.0f}, the picture has "
            f"{image.shape[1]}x{image.shape[0]} pixels"
        )
    keypoints, scores = with_neck(clip.keypoints, clip.scores)
    own, own_scores = with_neck(portrait.keypoints[0], portrait.scores[0])
    shared = [point for point in STEADY if own_scores[point] >= SEEN and (scores[:, point] >= SEEN).any()]
    if len(shared) < 2:
        raise PoseError(
            f"the portrait and the clip share {len(shared)} of the points nose, neck, shoulders, eyes and ears; "
            "two are needed"
        )
    rows, columns = region_in_picture(clip.canvas, width, height)
    region = np.array([columns[1] - columns[0], rows[1] - rows[0]])
    usual = np.stack([np.median(keypoints[scores[:, point] >= SEEN, point], axis=0) for point in shared])
    return (own * sides)[shared], usual * region + [columns[0], rows[0]]


def cut_box(image: np.ndarray, box: CropBox, width: int, height: int) -> np.ndarray:
    """The box's part of a picture, `[height, width, 3]`; beyond the picture, its edge is repeated."""
    rows = np.clip(np.arange(box.top, box.top + box.height), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(box.left, box.left + box.width), 0, image.shape[1] - 1)
    part = image[rows[:, None], columns]
    return np.asarray(Image.fromarray(part).resize((width, height), Image.Resampling.LANCZOS))


def _sentence(box: CropBox, inside: float, width: int) -> str:
    text = f"The video shows {box.width}x{box.height} pixels of the portrait."
    if width > 1.5 * box.width:
        text += f" They are enlarged {width / box.width:.1f} times: a larger picture would be sharper."
    if inside < 0.995:
        text += f" {1 - inside:.0%} of it lies beyond the picture's edge, which is repeated there."
    return text
