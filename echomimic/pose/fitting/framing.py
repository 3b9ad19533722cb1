"""Any picture to the video's size, framed as the model was trained: from above the head to the waist."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from ...errors import PoseError
from ..anatomy import LEFT_SHOULDER, NECK, NOSE, RIGHT_SHOULDER, SEEN, region_sides, with_neck
from ..canvas import picture_canvas
from ..sequence import FACE, HAND_A, HAND_B, POINTS, PoseSequence
from .crop import NOTHING_SHOWN, CropBox, check_view, cut_box

Framing = Literal["auto", "keep the top", "whole picture"]
Fill = Literal["edge", "blur"]

# Where the published demo clips have nose, neck and shoulders (medians), in shares of a square video.
USUAL_POINTS = {NOSE: (0.5, 0.19), NECK: (0.5, 0.44), RIGHT_SHOULDER: (0.297, 0.438), LEFT_SHOULDER: (0.704, 0.438)}
ASSUMED = (
    "Nose, neck and shoulders are assumed to be where half-body portraits usually have them: look at the overlay, and "
    "mark them where they are."
)
# The head above the eyebrows, as a share of the height from chin to brows.
FOREHEAD_AND_HAIR = 0.8
# Space around the outermost point that must be seen, in shares of the box's shorter side.
MARGIN = 0.03
# A box this many times the picture's size, or the size that shows the whole picture, would be mostly filler.
MAX_BOX = 3.0
# From this on it is said that a picture is small for its video.
MOST_ENLARGED = 1.5
# The blurred filler: the picture's edge, blurred over this share of the video's shorter side.
BLUR = 0.04
SHADE = 0.45


@dataclass(frozen=True)
class FramedPortrait:
    """A portrait in the video's size.

    Attributes:
        image: uint8 RGB `[height, width, 3]`.
        box: the part of the full picture that it shows, for `paste_back`; may reach beyond the picture.
        portrait: the portrait's keypoints in it; those of `usual_portrait` where none were given.
        cut: shares of the full picture that were cut off at the left, top, right and bottom.
        sentence: what was cut and filled, and what to know about it.
    """

    image: np.ndarray
    box: CropBox
    portrait: PoseSequence
    cut: tuple[float, float, float, float]
    sentence: str


def frame_portrait(
    image: np.ndarray,
    width: int = 768,
    height: int = 768,
    portrait: PoseSequence | None = None,
    framing: Framing = "auto",
    fill: Fill = "edge",
    scale: float = 1.0,
    offset: tuple[float, float] = (0.0, 0.0),
) -> FramedPortrait:
    """Crop and resize a picture of any shape.

    Args:
        image: uint8 RGB `[H, W, 3]`.
        width, height: size of the video in pixels.
        portrait: the picture's keypoints, canvas region = the picture; the first frame counts.
        framing: "auto" frames head to waist by the keypoints, without any keeps the top; "keep the top" cuts a tall
            picture at its bottom and a wide one at both sides; "whole picture" cuts nothing and fills.
        fill: what lies beyond the picture: "edge" repeats its edge, "blur" blurs that as well.
        scale: on top: above 1 makes the person larger, 0.1 to 10.
        offset: on top: moves the person right and down, in shares of the video's size.

    Raises:
        PoseError: keypoints of another picture or without neck and nose or shoulders, an unknown framing or fill, or
            a box that would be mostly filler.
    """
    if framing not in get_args(Framing) or fill not in get_args(Fill):
        raise PoseError(
            f"unknown framing {framing!r} or fill {fill!r}: choose {', '.join(get_args(Framing))}, and "
            f"{' or '.join(get_args(Fill))}"
        )
    if not 0.1 <= scale <= 10:
        raise PoseError(f"the scale must be 0.1 to 10 (1 leaves the person as framed), got {scale:g}")
    full_height, full_width = image.shape[:2]
    if portrait is not None:
        check_same_picture(portrait, full_width, full_height)
    check_view(width, height, offset)
    aspect = width / height
    usual_size = full_width, full_height
    if framing == "whole picture":
        box = whole_box(full_width, full_height, aspect)
        usual_size = box.width, box.height
    elif framing == "keep the top" or portrait is None:
        box = top_box(full_width, full_height, aspect)
    else:
        box = head_to_waist_box(portrait, full_width, full_height, aspect)
    box = adjust_box(box, scale, offset)
    if max(box.width / usual_size[0], box.height / usual_size[1]) > MAX_BOX:
        advice = "choose a larger scale" if portrait is None else "check the keypoints, or choose a larger scale"
        raise PoseError(
            f"the video would show {box.width}x{box.height} pixels, but the picture has only {full_width}x"
            f"{full_height}: {advice}"
        )
    if not box.inside(full_width, full_height):
        raise PoseError(NOTHING_SHOWN)
    if portrait is None:
        framed = usual_portrait(width, height)
    else:
        moved = (portrait.keypoints * [full_width, full_height] - [box.left, box.top]) / [box.width, box.height]
        framed = portrait.with_points(moved, canvas=picture_canvas(width, height))
    if width > MOST_ENLARGED * box.width:
        # Read in the report of a fit, where a workflow does not show that of this one.
        framed = replace(framed, info={**framed.info, "picture": f"The picture is {enlarged(box, width)}"})
    cut = cut_shares(box, full_width, full_height)
    sentence = describe(box, cut, full_width, full_height, width, portrait is None and framing == "auto")
    return FramedPortrait(cut_picture(image, box, width, height, fill), box, framed, cut, sentence)


def usual_portrait(width: int, height: int) -> PoseSequence:
    """Nose, neck and shoulders where a half-body portrait usually has them in a video of this size, in pixels.

    `info["note"]` says that they are assumed; the report of a fit repeats it.
    """
    side = min(width, height)
    keypoints, scores = np.zeros((1, POINTS, 2)), np.zeros((1, POINTS))
    for point, (x, y) in USUAL_POINTS.items():
        keypoints[0, point] = ((width - side) / 2 + x * side) / width, y * side / height
        scores[0, point] = 1.0
    return PoseSequence(keypoints, scores, canvas=picture_canvas(width, height), info={"note": ASSUMED})


def check_same_picture(portrait: PoseSequence, width: int, height: int) -> None:
    """Raises: PoseError when the keypoints are those of a picture of another size."""
    sides = region_sides(portrait.canvas)
    if tuple(sides) != (width, height):
        raise PoseError(
            f"the keypoints are for a picture of {sides[0]:.0f}x{sides[1]:.0f} pixels, but this one has "
            f"{width}x{height}: take the keypoints of this picture, before it is resized"
        )


def whole_box(width: int, height: int, aspect: float) -> CropBox:
    """The smallest box of the video's shape that holds the whole picture."""
    if width / height >= aspect:
        box_width, box_height = width, round(width / aspect)
    else:
        box_width, box_height = round(height * aspect), height
    return CropBox((width - box_width) // 2, (height - box_height) // 2, box_width, box_height)


def top_box(width: int, height: int, aspect: float) -> CropBox:
    """The largest box of the video's shape inside the picture: its top, or its middle."""
    if width / height <= aspect:
        return CropBox(0, 0, width, max(1, round(width / aspect)))
    box_width = max(1, round(height * aspect))
    return CropBox((width - box_width) // 2, 0, box_width, height)


def head_to_waist_box(portrait: PoseSequence, width: int, height: int, aspect: float) -> CropBox:
    """The box in which the person stands as in the published clips, enlarged where head or hands would be cut.

    One scale and one offset, by least squares over nose, neck and shoulders.
    """
    sides = np.array([width, height], np.float64)
    keypoints, scores = with_neck(portrait.keypoints[0], portrait.scores[0])
    seen = [point for point in USUAL_POINTS if scores[point] >= SEEN]
    if len(seen) < 2:
        raise PoseError(
            f"of nose, neck and shoulders the keypoints show {len(seen)}, two are needed: mark the portrait by hand "
            "(EchoMimic Mark Portrait), or choose 'keep the top'"
        )
    points = (keypoints * sides)[seen]
    # A square video's shares; a wider or taller one shows the same square and more at the sides, or below.
    goal = np.array([USUAL_POINTS[point] for point in seen])
    spread, target = points - points.mean(axis=0), goal - goal.mean(axis=0)
    if not (spread**2).sum() > 0 or not (spread * target).sum() > 0:
        raise PoseError("the keypoints lie in one place or stand upside down: check them")
    square = (spread**2).sum() / (spread * target).sum()  # the square's side in pixels of the picture
    left, top = points.mean(axis=0) - goal.mean(axis=0) * square
    box_width, box_height = square * max(aspect, 1.0), square * max(1.0, 1 / aspect)
    box = np.array([left - (box_width - square) / 2, top, left + (box_width + square) / 2, top + box_height])
    box = include(box, must_be_seen(keypoints * sides, scores, sides), aspect)
    return CropBox(round(box[0]), round(box[1]), max(1, round(box[2] - box[0])), max(1, round(box[3] - box[1])))


def must_be_seen(points: np.ndarray, scores: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Points in pixels `[n, 2]` that the video has to show: the head with its hair, and hands inside the picture."""
    head = points[FACE][scores[FACE] >= SEEN]
    if len(head) >= 3:
        low, high = head.min(axis=0), head.max(axis=0)
        head = np.array([[low[0], max(0.0, low[1] - FOREHEAD_AND_HAIR * (high[1] - low[1]))], high])
    both = slice(HAND_A.start, HAND_B.stop)
    hands = points[both][scores[both] >= SEEN]
    hands = hands[((hands >= 0) & (hands <= sides)).all(axis=1)]
    return np.concatenate([head, hands])


def include(box: np.ndarray, points: np.ndarray, aspect: float) -> np.ndarray:
    """The box `[left, top, right, bottom]` grown, in its shape, until it holds the points with a margin."""
    if not len(points):
        return box
    margin = MARGIN * min(box[2] - box[0], box[3] - box[1])
    left, top = np.minimum(box[:2], points.min(axis=0) - margin)
    right, bottom = np.maximum(box[2:], points.max(axis=0) + margin)
    width, height = right - left, bottom - top
    if width < height * aspect:
        grow = height * aspect - width
        left, right = left - grow / 2, right + grow / 2
    else:
        bottom += width / aspect - height  # the head keeps its place, the waist comes in
    return np.array([left, top, right, bottom])


def adjust_box(box: CropBox, scale: float, offset: tuple[float, float]) -> CropBox:
    """The box for a person that is `scale` times as large, about the box's middle, and moved by `offset`."""
    width, height = max(1, round(box.width / scale)), max(1, round(box.height / scale))
    left = box.left + (box.width - width) / 2 - offset[0] * width
    top = box.top + (box.height - height) / 2 - offset[1] * height
    return CropBox(round(left), round(top), width, height)


def cut_shares(box: CropBox, width: int, height: int) -> tuple[float, float, float, float]:
    """Shares of the picture's width and height that the box cuts at the left, top, right and bottom."""
    return (
        min(1.0, max(0, box.left) / width),
        min(1.0, max(0, box.top) / height),
        min(1.0, max(0, width - box.left - box.width) / width),
        min(1.0, max(0, height - box.top - box.height) / height),
    )


def cut_picture(image: np.ndarray, box: CropBox, width: int, height: int, fill: Fill) -> np.ndarray:
    """The box's part of the picture in the video's size, `[height, width, 3]`; beyond the picture it is filled."""
    cut = cut_box(image, box, width, height)
    if fill == "edge" or box.inside(image.shape[1], image.shape[0]) >= 1:
        return cut
    fitted = Image.fromarray(cut)
    blurred = fitted.filter(ImageFilter.GaussianBlur(BLUR * min(width, height)))
    across, down = width / box.width, height / box.height
    inner = (
        round(max(0, -box.left) * across),
        round(max(0, -box.top) * down),
        round((min(box.left + box.width, image.shape[1]) - box.left) * across),
        round((min(box.top + box.height, image.shape[0]) - box.top) * down),
    )
    blurred.paste(fitted.crop(inner), inner[:2])
    return np.asarray(blurred)


def draw_cut(image: np.ndarray, box: CropBox, longest: int = 1024) -> np.ndarray:
    """The full picture with what the video does not show darkened, and the box's outline.

    Args:
        image: uint8 RGB `[H, W, 3]`.
        box: the part that the video shows.
        longest: longer side of the result in pixels, at most.

    Returns:
        uint8 RGB of the picture and the box together, smaller where they are larger than `longest`.
    """
    height, width = image.shape[:2]
    left, top = min(0, box.left), min(0, box.top)
    right, bottom = max(width, box.left + box.width), max(height, box.top + box.height)
    scale = min(1.0, longest / max(right - left, bottom - top))

    def place(x: float, y: float) -> tuple[int, int]:
        return round((x - left) * scale), round((y - top) * scale)

    canvas = Image.new("RGB", (max(1, place(right, 0)[0]), max(1, place(0, bottom)[1])), (40, 40, 44))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    canvas.paste(Image.fromarray((np.asarray(small) * SHADE).astype(np.uint8)), place(0, 0))
    outline = (*place(box.left, box.top), *place(box.left + box.width, box.top + box.height))
    bright = Image.new("RGB", canvas.size)
    bright.paste(small, place(0, 0))
    inside = (
        *place(max(box.left, 0), max(box.top, 0)),
        *place(min(box.left + box.width, width), min(box.top + box.height, height)),
    )
    if inside[2] > inside[0] and inside[3] > inside[1]:
        canvas.paste(bright.crop(inside), inside[:2])
    line = max(2, round(max(canvas.size) / 300))
    ImageDraw.Draw(canvas).rectangle(
        (outline[0], outline[1], outline[2] - 1, outline[3] - 1), None, (255, 200, 60), line
    )
    return np.asarray(canvas)


def enlarged(box: CropBox, width: int) -> str:
    return f"enlarged {width / box.width:.1f} times: a larger one would be sharper."


def describe(
    box: CropBox, cut: tuple[float, float, float, float], full_width: int, full_height: int, width: int, blind: bool
) -> str:
    """What was cut and filled, in plain sentences."""
    text = f"The video shows {box.width}x{box.height} pixels of a picture of {full_width}x{full_height}."
    sides = [
        f"{share:.0%} at the {side}" for side, share in zip(("left", "top", "right", "bottom"), cut) if share >= 0.005
    ]
    if sides:
        text += f" Cut off: {', '.join(sides)}."
    inside = box.inside(full_width, full_height)
    if inside < 0.995:
        text += f" {1 - inside:.0%} of it lies beyond the picture and is filled."
    if width > MOST_ENLARGED * box.width:
        text += f" It is {enlarged(box, width)}"
    if blind:
        text += " No keypoints were given, so the top of the picture is kept: check that head and hands are in it."
    return text
