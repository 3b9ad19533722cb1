"""`pose retarget`: a clip brought onto the body of a portrait, and how well it fits."""

from __future__ import annotations

import argparse
import logging
import math

import numpy as np

from ...errors import PoseError
from ...media.pictures import fit_image, read_image
from ...media.video_writer import write_picture
from ...pose import PoseSequence, load_poses
from ...pose.anatomy import region_sides
from ...pose.drawing.fit_overlay import fit_sheet
from ...pose.fitting.align import crop_poses, head_to_waist
from ...pose.fitting.linear import adjust, portrait_from_points
from ...pose.fitting.portrait import FitSettings, PortraitFit, fit_to_portrait
from ..options import check_not_inputs, file_path, picture_size
from .common import (
    Subparsers,
    add_clip_input,
    add_clip_output,
    add_command,
    check_clip_output,
    check_json_in_place,
    check_picture_output,
    point,
    read_clips,
    save_clip,
)

logger = logging.getLogger("echomimic")

METHODS = ("retarget", "linear", "original")
POINT_NAMES = ("NOSE", "NECK", "RIGHT_SHOULDER", "LEFT_SHOULDER", "WRIST")
MIN_SIDE = 64

EXAMPLE = """\
examples:
  python -m echomimic pose retarget assets/clips/waving.safetensors --portrait me.json --image me.png \\
      --output fitted.safetensors --overlay fitted.png
  python -m echomimic pose retarget assets/clips/waving.safetensors --image me.png \\
      --points 520,248 515,489 303,489 727,489 722,730 --output fitted.safetensors

The portrait's keypoints come from a pose file of one frame (`pose extract me.png` makes one) or are typed: nose, neck,
both shoulders and one wrist in pixels of --image, right being the person's right. Each method, then --scale and
--offset:
  retarget   each limb gets the portrait's length and keeps its direction; --proportions 0 keeps the driver's lengths
  linear     the whole clip is scaled and moved
  original   the published alignment: the clip's own head-to-waist square, for portraits cut alike; needs no portrait
The printed score says how well the clip fits the portrait. In --overlay, green is the portrait, white the clip's body.
"""


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers, "retarget", "bring a clip onto the body of a portrait, and say how well it fits", EXAMPLE
    )
    add_clip_input(parser)
    add_clip_output(parser)
    portrait = parser.add_mutually_exclusive_group()
    portrait.add_argument(
        "--portrait",
        type=file_path,
        metavar="FILE",
        help="the portrait's keypoints: a clip of one frame; where it does not record its canvas, --image's size is "
        "taken, else --canvas",
    )
    portrait.add_argument(
        "--points", nargs=len(POINT_NAMES), type=point, metavar=POINT_NAMES, help="five points as X,Y in pixels"
    )
    parser.add_argument("--image", type=file_path, help="the portrait itself, for --points and --overlay")
    parser.add_argument("--method", choices=METHODS, default=METHODS[0], help="how to fit it (default: %(default)s)")
    parser.add_argument(
        "--proportions", type=float, help="1 gives limbs the portrait's lengths, 0 keeps the clip's (default: 1)"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="above 1 makes the person larger (default: 1)")
    parser.add_argument(
        "--offset",
        nargs=2,
        type=float,
        default=(0.0, 0.0),
        metavar=("X", "Y"),
        help="move it right and down, in fractions of the picture (default: 0 0)",
    )
    parser.add_argument(
        "--size",
        type=picture_size,
        default=(768, 768),
        metavar="WIDTHxHEIGHT",
        help="size of the video; a portrait of another shape is cut to it, as `generate` cuts it (default: 768x768)",
    )
    parser.add_argument("--overlay", type=file_path, metavar="PNG", help="a picture of a few frames over --image")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Retarget; prints the score; returns 0."""
    check_options(options)
    check_not_inputs(options, ["output", "overlay"], ["portrait", "image"])
    check_json_in_place(options)
    (clip,) = read_clips(options)
    image = None if options.image is None else read_image(options.image)
    portrait = read_portrait(options, image)
    check_clip_output(options.output)
    if options.overlay is not None:
        check_picture_output(options.overlay, "--overlay")

    if portrait is None:
        moved, report = adjust(cropped(clip), options.scale, tuple(options.offset)), None
    else:
        fit = fit_with(options, clip, portrait)
        moved, portrait, report = fit.sequence, fit.portrait, fit.report
    save_clip(moved, options.output)
    if image is not None and options.overlay is not None:
        write_picture(options.overlay, fit_sheet(moved, fit_image(image, *options.size), portrait))
    if report is not None and not options.quiet:
        print(report)
    return 0


def check_options(options: argparse.Namespace) -> None:
    """Raises: PoseError for options that contradict each other or lie out of range, before anything is read."""
    if options.method != "original" and options.portrait is None and options.points is None:
        raise PoseError(
            f"--method {options.method} needs the portrait's keypoints: give --portrait FILE, or --points and --image"
        )
    if options.points is not None and options.image is None:
        raise PoseError("--points are pixels of a picture: give it with --image")
    if options.overlay is not None and options.image is None:
        raise PoseError("--overlay is drawn over the portrait: give it with --image")
    if options.proportions is not None:
        if options.method != "retarget":
            raise PoseError(f"--proportions belongs to --method retarget, not to {options.method}")
        if not 0 <= options.proportions <= 1:
            raise PoseError(
                f"--proportions goes from 0 (the clip's) to 1 (the portrait's), got {options.proportions:g}"
            )
    if not 0.01 <= options.scale <= 100:
        raise PoseError(f"--scale must be 0.01 to 100, got {options.scale:g}")
    if not all(math.isfinite(share) and abs(share) <= 10 for share in options.offset):
        raise PoseError(f"--offset is in fractions of the picture, such as 0.05 -0.1, got {options.offset}")
    if min(options.size) < MIN_SIDE or max(options.size) > 8192:
        raise PoseError(f"--size must be {MIN_SIDE} to 8192 pixels, got {options.size[0]}x{options.size[1]}")


def read_portrait(options: argparse.Namespace, image: np.ndarray | None) -> PoseSequence | None:
    """The portrait's keypoints; None without any.

    Raises:
        PoseError: it cannot be read, not one frame, a point that is not in the picture, or keypoints and picture of
            different shapes.
    """
    if options.points is not None:
        assert image is not None
        height, width = image.shape[:2]
        for name, (x, y) in zip(POINT_NAMES, options.points):
            if not (0 <= x <= width and 0 <= y <= height):
                raise PoseError(f"the point {name} at {x:g},{y:g} does not lie in --image, {width}x{height} pixels")
        portrait = portrait_from_points((width, height), *options.points)
    elif options.portrait is not None:
        size = options.canvas if image is None else (image.shape[1], image.shape[0])
        portrait = load_poses(options.portrait, canvas_size=size)
        if len(portrait) != 1:
            raise PoseError(f"--portrait {options.portrait} has {len(portrait)} frames; a portrait has one")
    else:
        return None
    sides = region_sides(portrait.canvas)
    if image is not None and abs(image.shape[1] / image.shape[0] / (sides[0] / sides[1]) - 1) > 0.01:
        raise PoseError(
            f"--portrait was made of a picture of {sides[0]:.0f}x{sides[1]:.0f} pixels, but --image has "
            f"{image.shape[1]}x{image.shape[0]}: give the picture that its keypoints belong to"
        )
    return portrait


def fit_with(options: argparse.Namespace, clip: PoseSequence, portrait: PoseSequence) -> PortraitFit:
    """The clip on the portrait by the options' method, scale and offset, for a video of their size."""
    settings = FitSettings(
        "none" if options.method == "original" else options.method,
        1.0 if options.proportions is None else options.proportions,
        options.scale,
        tuple(options.offset),
    )
    fit = fit_to_portrait(cropped(clip) if options.method == "original" else clip, portrait, settings, options.size)
    if fit.portrait is not portrait:
        logger.info("the portrait is cut to the video's shape, %dx%d", *options.size)
    return fit


def cropped(clip: PoseSequence) -> PoseSequence:
    """The clip in its own head-to-waist square, as the original aligns it."""
    return crop_poses(clip, head_to_waist(clip))
