"""Where in a picture things are: audio masks over lips or face, and the geometry of headshot clips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import TrainingError
from ..pose.anatomy import SEEN
from ..pose.canvas import region_in_picture
from ..pose.sequence import FACE, HANDS, LIPS, PoseSequence

# How much larger than the points' bounding box a region is: the habit of the model's family (Hallo, EchoMimic V1).
GROWTH = {"lips": 2.0, "face": 1.2, "hands": 1.2}
# Standard deviation of the mask's soft edge, as a share of the box's shorter side.
SOFTNESS = 0.1
# Below this a blurred mask is exactly 0: there audio has no effect at all.
NEGLIGIBLE = 1e-2


@dataclass(frozen=True)
class Box:
    """A part of a picture, in fractions of its width and height; it may reach beyond the picture."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    def grown(self, factor: float) -> Box:
        """About the same middle, `factor` times as wide and as high."""
        x, y = (self.left + self.right) / 2, (self.top + self.bottom) / 2
        half_width, half_height = self.width * factor / 2, self.height * factor / 2
        return Box(x - half_width, y - half_height, x + half_width, y + half_height)


def points_in_picture(sequence: PoseSequence, width: int, height: int) -> np.ndarray:
    """Keypoints `[F, 134, 2]` in pixels of a picture of width x height, placed as `draw_poses` places them."""
    rows, columns = region_in_picture(sequence.canvas, width, height)
    sides = np.array([columns[1] - columns[0], rows[1] - rows[0]])
    return sequence.keypoints * sides + [columns[0], rows[0]]


def region_box(sequence: PoseSequence, region: str, width: int, height: int) -> Box | None:
    """The bounding box of the lips or the face over all frames, grown as `GROWTH` says; None where no point is seen."""
    rows = {"lips": LIPS, "face": FACE}[region]
    seen = sequence.scores[:, rows] >= SEEN
    if not seen.any():
        return None
    places = points_in_picture(sequence, width, height)[:, rows][seen] / [width, height]
    (left, top), (right, bottom) = places.min(axis=0), places.max(axis=0)
    return Box(float(left), float(top), float(right), float(bottom)).grown(GROWTH[region])


def soft_box(box: Box, height: int, width: int, softness: float = SOFTNESS) -> Tensor:
    """A box as a mask `[height, width]` in 0..1: 1 inside, its edge blurred by a Gaussian, exactly 0 far outside.

    The Gaussian blur of a box is a product of error functions, so no picture is filtered.
    """
    sigma_x = max(softness * box.width, 1e-6)
    sigma_y = max(softness * box.height, 1e-6)
    x = (torch.arange(width, dtype=torch.float64) + 0.5) / width
    y = (torch.arange(height, dtype=torch.float64) + 0.5) / height
    mask = _blurred(y, box.top, box.bottom, sigma_y)[:, None] * _blurred(x, box.left, box.right, sigma_x)
    return torch.where(mask < NEGLIGIBLE, 0.0, mask).float()


def hard_box(box: Box, height: int, width: int) -> Tensor:
    """A box as a mask `[height, width]` of zeros and ones: cells whose middle lies inside."""
    x = (torch.arange(width, dtype=torch.float64) + 0.5) / width
    y = (torch.arange(height, dtype=torch.float64) + 0.5) / height
    rows, columns = (y >= box.top) & (y < box.bottom), (x >= box.left) & (x < box.right)
    return (rows[:, None] & columns).float()


def audio_mask(sequence: PoseSequence, region: str, height: int, width: int) -> Tensor:
    """Where audio attention acts, `[height, width]` (latent size) in 0..1, the same for all frames of the clip.

    Args:
        sequence: the clip's poses.
        region: "none", "lips", "face" or "picture"; lips and face are where they are in any frame of the clip.
    """
    if region == "picture":
        return torch.ones(height, width)
    box = None if region == "none" else region_box(sequence, region, width * 8, height * 8)
    return torch.zeros(height, width) if box is None else soft_box(box, height, width)


@dataclass(frozen=True)
class RegionWeights:
    """How much the latent loss counts in parts of the picture, where everything else counts 1.

    The published model was trained without (its paper names none). A network that has to learn in hours instead of
    weeks leaves a mouth of a few latent pixels for last, if that weighs no more than a piece of wall.
    """

    lips: float = 1.0
    face: float = 1.0
    hands: float = 1.0

    def __post_init__(self) -> None:
        for name in ("lips", "face", "hands"):
            if not getattr(self, name) > 0:
                raise TrainingError(f"the weight of {name} in the loss must be above 0, not {getattr(self, name)}")


def loss_weights(sequence: PoseSequence, weights: RegionWeights, height: int, width: int) -> Tensor:
    """The latent loss's weight at each place, `[F, height, width]`, at least the smallest of 1 and the weights.

    A region is the box of its points in that frame, grown as `GROWTH` says, with a soft edge; where regions overlap the
    one that counts more decides.
    """
    counts = torch.ones(len(sequence), height, width)
    places = points_in_picture(sequence, width * 8, height * 8) / [width * 8, height * 8]
    regions = (("face", FACE), ("lips", LIPS), ("hands", HANDS[0]), ("hands", HANDS[1]))
    for name, rows in regions:
        extra = getattr(weights, name) - 1
        for frame in range(len(sequence)) if extra else ():
            seen = sequence.scores[frame, rows] >= SEEN
            if seen.any():
                points = places[frame, rows][seen]
                (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
                box = Box(float(left), float(top), float(right), float(bottom)).grown(GROWTH[name])
                mask = 1 + extra * soft_box(box, height, width)
                counts[frame] = torch.maximum(counts[frame], mask) if extra > 0 else torch.minimum(counts[frame], mask)
    return counts


def hand_and_body_points(sequence: PoseSequence, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Upper body's and hands' points for the pose loss.

    Returns:
        pixels `[F, 50, 2]` and weights `[F, 50]`: the scores in 0..1, 0 for points that are not seen.
    """
    rows = np.r_[1:8, 0, HANDS[0], HANDS[1]]
    scores = sequence.scores[:, rows]
    return points_in_picture(sequence, width, height)[:, rows], np.where(scores >= SEEN, scores.clip(0, 1), 0.0)


@dataclass(frozen=True)
class HeadPlacement:
    """Where a headshot's head is put in the half-body picture, in fractions of the square picture's side.

    The paper's head partial attention does not publish its geometry. The defaults are the average of the model's four
    published pose clips: middle of the face box and its height from brows to chin.
    """

    middle: tuple[float, float] = (0.5, 0.215)
    face_height: float = 0.18

    def __post_init__(self) -> None:
        if not 0 < self.face_height < 1:
            raise TrainingError(f"a head's face height must be a share of the picture from 0 to 1: {self.face_height}")


@dataclass(frozen=True)
class PlacedHeadshot:
    """A headshot scaled so that its face is as large and where half-body pictures have it, padded with black.

    From its pixels to those of the square picture: `scale * pixel + shift`.

    Attributes:
        size: side of the square picture in pixels.
        scale, shift: of the similarity.
        box: the part of the square that the headshot covers.
    """

    size: int
    scale: float
    shift: np.ndarray
    box: Box

    @classmethod
    def of(
        cls, width: int, height: int, face: Box, size: int, placement: HeadPlacement | None = None
    ) -> PlacedHeadshot:
        """For pictures of this width and height.

        Args:
            width, height: of the headshot in pixels.
            face: brows to chin, in fractions of it, over the clip.
            size: side of the square picture in pixels.
            placement: where the face goes.

        Raises:
            TrainingError: the face lies so that nothing of the headshot would be seen.
        """
        placement = placement or HeadPlacement()
        scale = placement.face_height * size / (face.height * height)
        middle = np.array([(face.left + face.right) / 2 * width, (face.top + face.bottom) / 2 * height])
        shift = np.array(placement.middle) * size - middle * scale
        corner, end = shift / size, (shift + np.array([width, height]) * scale) / size
        box = Box(*np.clip([*corner, *end], 0.0, 1.0).tolist())
        if box.width <= 0 or box.height <= 0:
            raise TrainingError("the headshot lies outside the picture: check its face keypoints")
        return cls(size, scale, shift, box)

    def picture(self, frame: np.ndarray) -> np.ndarray:
        """uint8 `[H, W, 3]` -> `[size, size, 3]`, padded with black."""
        import cv2  # heavy

        matrix = np.array([[self.scale, 0, self.shift[0]], [0, self.scale, self.shift[1]]])
        flags = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_CUBIC
        return cv2.warpAffine(frame, matrix, (self.size, self.size), flags=flags)

    def points(self, pixels: np.ndarray) -> np.ndarray:
        """Points `[..., 2]` in the headshot's pixels, in fractions of the square picture."""
        return (pixels * self.scale + self.shift) / self.size


def _blurred(places: Tensor, begin: float, end: float, sigma: float) -> Tensor:
    """A step up at `begin` and down at `end`, convolved with a Gaussian."""
    scale = sigma * 2**0.5
    return (torch.erf((places - begin) / scale) - torch.erf((places - end) / scale)) / 2
