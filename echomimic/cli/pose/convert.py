"""`pose convert`: clips joined, cut, turned, repeated, repaired, at another rate, in another format."""

from __future__ import annotations

import argparse
import math

from ...errors import PoseError
from ...pose import PoseSequence, resample
from ...pose.repair import mirror, repair
from ...pose.timing import (
    back_and_forth,
    check_length,
    concatenate,
    hold_seconds,
    loop,
    make_loop,
    resampled_length,
    reverse,
    trim,
)
from .common import (
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

EXAMPLE = """\
examples:
  python -m echomimic pose convert folder_of_npy --output clip.safetensors
  python -m echomimic pose convert assets/clips/waving.safetensors assets/clips/explaining.safetensors \\
      --output both.safetensors
  python -m echomimic pose convert clip.safetensors --trim 1.5 4 --mirror --loop 3 --output cut.json

However the options stand, they are applied in this order:
  1. --repair      each clip by itself
  2. (joining)     several clips become one, at the first one's rate and on its canvas
  3. --trim        seconds of the joined clip
  4. --fps
  5. --mirror
  6. --reverse
  7. --back-and-forth, or --seamless
  8. --loop
  9. --hold
"""


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers, "convert", "join, cut, turn, repeat or repair clips, or write them in another format", EXAMPLE
    )
    add_clip_input(parser, several=True)
    add_clip_output(parser)
    parser.add_argument("--fps", type=float, help="bring it to this rate; the motion keeps its speed")
    parser.add_argument("--trim", nargs=2, type=float, metavar=("START", "END"), help="keep these seconds")
    parser.add_argument("--reverse", action="store_true", help="play it backwards")
    parser.add_argument("--mirror", action="store_true", help="left becomes right")
    parser.add_argument("--repair", action="store_true", help="take out jitter, wild points, short gaps, swapped hands")
    ends = parser.add_mutually_exclusive_group()
    ends.add_argument("--back-and-forth", action="store_true", help="append it backwards, so that it can repeat")
    ends.add_argument("--seamless", action="store_true", help="bend its ends towards each other, so that it can repeat")
    parser.add_argument("--loop", type=int, metavar="TIMES", help="repeat it; 1 is once")
    parser.add_argument(
        "--hold", nargs=2, type=float, metavar=("BEFORE", "AFTER"), help="seconds for which the ends are held"
    )
    parser.add_argument(
        "--blend", type=float, metavar="SECONDS", help="how long seams are blended, 0 cuts hard (default: 0.5)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Convert; returns 0."""
    check_options(options)
    check_json_in_place(options)
    clips = read_clips(options)
    check_edits(options, clips)
    check_clip_output(options.output)
    save_clip(edited(clips, options), options.output)
    return 0


def edited(clips: list[PoseSequence], options: argparse.Namespace) -> PoseSequence:
    """The clips with the options' edits, in the order that the help gives."""
    blend = 0.5 if options.blend is None else options.blend
    if options.repair:
        clips = [repair(clip) for clip in clips]
    clip = concatenate(clips, blend)
    if options.trim is not None:
        clip = trim(clip, *trimmed_frames(options.trim, len(clip), clip.fps))
    if options.fps is not None:
        clip = resample(clip, options.fps)
    if options.mirror:
        clip = mirror(clip)
    if options.reverse:
        clip = reverse(clip)
    if options.back_and_forth:
        clip = back_and_forth(clip)
    if options.seamless:
        clip = make_loop(clip, blend)
    if options.loop is not None:
        repeats_by_itself = options.back_and_forth or options.seamless
        clip = loop(clip, options.loop, 0.0 if repeats_by_itself else blend)
    if options.hold is not None:
        clip = hold_seconds(clip, *options.hold)
    return clip


def check_options(options: argparse.Namespace) -> None:
    """Raises: PoseError for options that contradict each other or lie out of range, before anything is read."""
    if options.fps is not None:
        check_fps(options.fps)
    if options.loop is not None and options.loop < 1:
        raise PoseError(f"--loop must be 1 or more, got {options.loop}")
    if options.trim is not None and not 0 <= options.trim[0] < options.trim[1] < math.inf:
        raise PoseError(f"--trim takes START and END in seconds with 0 <= START < END, got {seconds_of(options.trim)}")
    for seconds in options.hold or ():
        check_seconds(seconds, "--hold", 3600)
    if options.blend is not None:
        check_seconds(options.blend, "--blend")
        bare_loop = (options.loop or 1) > 1 and not options.back_and_forth
        if not (len(options.clips) > 1 or options.seamless or bare_loop):
            raise PoseError("--blend softens seams, but nothing here has one: several clips, --loop or --seamless do")


def check_edits(options: argparse.Namespace, clips: list[PoseSequence]) -> None:
    """Raises: PoseError when the edits ask for what these clips do not have, or for more frames than fit in memory."""
    fps = clips[0].fps
    frames = sum(resampled_length(len(clip), clip.fps, fps) for clip in clips)
    if options.trim is not None:
        begin, end = trimmed_frames(options.trim, frames, fps)
        frames = end - begin
    if options.fps is not None:
        check_length(frames / fps * options.fps, f"--fps {options.fps:g}")
        frames, fps = resampled_length(frames, fps, options.fps), options.fps
    if options.back_and_forth:
        frames = max(1, 2 * frames - 2)
    frames *= options.loop or 1
    frames += sum(seconds * fps for seconds in options.hold or ())
    check_length(frames, "these options")


def trimmed_frames(span: list[float], frames: int, fps: float) -> tuple[int, int]:
    """The frames of `--trim`'s seconds, `begin` up to but not including `end`.

    Raises:
        PoseError: they do not lie in the clip, or hold no frame.
    """
    begin, end = (round(seconds * fps) for seconds in span)
    if end > frames:
        raise PoseError(f"--trim {seconds_of(span)}: the clip lasts only {frames / fps:.2f} s")
    if begin == end:
        raise PoseError(f"--trim {seconds_of(span)} leaves no frame: at {fps:g} a second one lasts {1 / fps:.3f} s")
    return begin, end


def seconds_of(span: list[float]) -> str:
    return " ".join(f"{seconds:g}" for seconds in span)
