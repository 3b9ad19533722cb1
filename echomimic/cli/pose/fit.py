"""`pose fit`: a clip of the wanted length."""

from __future__ import annotations

import argparse
import logging
import math
from typing import get_args

from ...audio import frames_needed, read_audio
from ...errors import PoseError
from ...pose import fit_length
from ...pose.timing import FitMode, check_length, resampled_length
from ..options import check_not_inputs, file_path
from .common import (
    FPS_HELP,
    Subparsers,
    add_clip_input,
    add_clip_output,
    add_command,
    check_clip_output,
    check_fps,
    check_json_in_place,
    check_seconds,
    read_clips,
    save_clip,
)

logger = logging.getLogger("echomimic")

MODES: tuple[FitMode, ...] = get_args(FitMode)
CONTINUATIONS = {"back_and_forth": "it goes back and forth", "loop": "it starts over", "hold": "its last pose is held"}

EXAMPLE = """\
example:
  python -m echomimic pose fit assets/clips/waving.safetensors --audio speech.wav --output ready.safetensors

A longer clip is cut; a shorter one continues as --mode selects: backwards and forwards again (without a jump),
from its start again, or with its last pose held. With --audio the clip gets as many frames as `generate` makes of it.
"""


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers, "fit", "bring a clip to a length in frames or seconds, or to that of a recording", EXAMPLE
    )
    add_clip_input(parser)
    add_clip_output(parser)
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--frames", type=int, metavar="N", help="length in frames")
    length.add_argument("--seconds", type=float, metavar="S", help="length in seconds, to the nearest frame")
    length.add_argument("--audio", type=file_path, metavar="FILE", help="as long as this recording's video")
    parser.add_argument("--fps", type=float, default=24.0, help=FPS_HELP)
    parser.add_argument(
        "--mode", choices=MODES, default=MODES[0], help="how a clip that is too short continues (default: %(default)s)"
    )
    parser.add_argument(
        "--blend",
        type=float,
        metavar="SECONDS",
        help="how softly it continues: the blend at the seam of a loop, the slowing at a turn (default: 0.5)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Fit; returns 0."""
    check_fps(options.fps)
    if options.blend is not None:
        check_seconds(options.blend, "--blend")
        if options.mode == "hold":
            raise PoseError("--blend has no meaning with --mode hold: the last pose just stays")
    check_not_inputs(options, ["output"], ["audio"])
    check_json_in_place(options)
    frames = wanted_frames(options)
    (clip,) = read_clips(options)
    check_clip_output(options.output)
    if frames > resampled_length(len(clip), clip.fps, options.fps):
        logger.info(
            "the clip lasts %.2f s of %.2f s: %s", clip.seconds, frames / options.fps, CONTINUATIONS[options.mode]
        )
    blend = 0.5 if options.blend is None else options.blend
    save_clip(fit_length(clip, frames, options.fps, options.mode, blend), options.output)
    return 0


def wanted_frames(options: argparse.Namespace) -> int:
    """The length that the options give.

    Raises:
        PoseError: a clip cannot have it.
    """
    if options.frames is not None:
        if options.frames < 1:
            raise PoseError(f"--frames must be 1 or more, got {options.frames}")
        check_length(options.frames, f"--frames {options.frames}")
        return options.frames
    if options.seconds is not None:
        if not (math.isfinite(options.seconds) and options.seconds > 0):
            raise PoseError(f"--seconds must be above 0, got {options.seconds:g}")
        check_length(options.seconds * options.fps, f"--seconds {options.seconds:g}")
        return max(1, math.floor(options.seconds * options.fps + 0.5))
    frames = frames_needed(*read_audio(options.audio), options.fps)
    check_length(frames, f"{options.audio} at {options.fps:g} frames a second")
    return frames
