"""`pose preview`: pictures of a clip."""

from __future__ import annotations

import argparse
import logging

from ...audio import read_audio
from ...errors import PoseError
from ...media.pictures import read_image
from ...media.video_writer import write_picture
from ...pose.drawing.fit_overlay import fit_sheet
from ...pose.drawing.preview import animated_preview, contact_sheet, speed_plot
from ..options import check_not_inputs, file_path
from .common import Subparsers, add_clip_input, add_command, add_quiet, check_picture_output, read_clips

logger = logging.getLogger("echomimic")

SHEET, ANIMATIONS = ".png", (".gif", ".webp")
PICTURES, PICTURES_OVER_IMAGE = 24, 8

EXAMPLE = """\
examples:
  python -m echomimic pose preview assets/clips/waving.safetensors --output waving.png
  python -m echomimic pose preview assets/clips/waving.safetensors --output waving.gif
  python -m echomimic pose preview fitted.safetensors --image me.png --output fitted.png
  python -m echomimic pose preview gestures.safetensors --audio speech.wav --output speed.png

A .png is a contact sheet, over the portrait with --image; with --audio it is a plot of the hands' speed under the
voice. A .gif or .webp moves. Hands are drawn as the model sees them.
"""


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers, "preview", "draw a clip as a contact sheet, a moving picture, or its speed under a voice", EXAMPLE
    )
    add_clip_input(parser)
    parser.add_argument("--output", required=True, type=file_path, metavar="FILE", help=".png, .gif or .webp")
    over = parser.add_mutually_exclusive_group()
    over.add_argument("--image", type=file_path, help="the portrait, to draw a contact sheet over it")
    over.add_argument("--audio", type=file_path, help="the voice, to plot the hands' speed under it")
    parser.add_argument("--plain", action="store_true", help="only what the model sees, without the grey figure")
    parser.add_argument(
        "--pictures",
        type=int,
        metavar="N",
        help=f"pictures in a contact sheet (default: {PICTURES}, or {PICTURES_OVER_IMAGE} with --image)",
    )
    add_quiet(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Draw; returns 0."""
    check_options(options)
    check_not_inputs(options, ["output"], ["image", "audio"])
    (clip,) = read_clips(options)
    image = None if options.image is None else read_image(options.image)
    voice = None if options.audio is None else read_audio(options.audio)
    check_picture_output(options.output, "--output", (SHEET, *ANIMATIONS))

    if options.output.suffix.lower() in ANIMATIONS:
        animated_preview(clip, options.output, figure=not options.plain)
    elif voice is not None:
        write_picture(options.output, speed_plot(clip, *voice))
    elif image is not None:
        write_picture(options.output, fit_sheet(clip, image, pictures=options.pictures or PICTURES_OVER_IMAGE))
    else:
        sheet = contact_sheet(clip, options.pictures or PICTURES, figure=not options.plain)
        write_picture(options.output, sheet)
    logger.info("%s shows %d frames at %g a second", options.output, len(clip), clip.fps)
    return 0


def check_options(options: argparse.Namespace) -> None:
    """Raises: PoseError for options that contradict each other, before anything is read."""
    given = [f"--{name}" for name in ("image", "audio", "pictures") if getattr(options, name) is not None]
    ending = options.output.suffix.lower()
    if ending in ANIMATIONS and given:
        raise PoseError(f"{given[0]} belongs to a .png, but {options.output.name} is a moving picture")
    if options.audio is not None and options.pictures is not None:
        raise PoseError("--pictures belongs to a contact sheet, but with --audio a plot is drawn")
    if options.plain and (options.image is not None or options.audio is not None):
        raise PoseError(f"--plain leaves out the grey figure, which is not drawn with {given[0]}")
    if options.pictures is not None and options.pictures < 1:
        raise PoseError(f"--pictures must be 1 or more, got {options.pictures}")
