"""`pose generate`: gestures from the voice alone."""

from __future__ import annotations

import argparse

from ...audio import frames_needed, read_audio
from ...errors import OutputError, PoseError
from ...pose.gestures import GestureSettings, choose_clips, generate_gestures, load_library
from ...pose.gestures.library import SHIPPED_CLIPS
from ...pose.timing import check_length
from ..options import check_not_inputs, file_path
from .common import (
    FPS_HELP,
    Subparsers,
    add_clip_output,
    add_command,
    check_clip_output,
    check_fps,
    save_clip,
)

EXAMPLE = """\
example:
  python -m echomimic pose generate --audio speech.wav --energy 0.7 --output gestures.safetensors

The hands rest in silence, move more where the voice is louder, and land their strokes on stressed syllables. The
movements come from the clips that ship, or from a --library of clips of one person in one framing. The clip has the
frames that `generate` makes of the recording.
"""


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(subparsers, "generate", "make gestures that follow a recorded voice", EXAMPLE)
    parser.add_argument("--audio", required=True, type=file_path, help="the voice (wav, mp3, flac, m4a, ...)")
    add_clip_output(parser)
    parser.add_argument("--fps", type=float, default=24.0, help=FPS_HELP)
    parser.add_argument(
        "--energy", type=float, default=0.5, help="0 hardly moves, 1 as large and quick as the clips get (default: 0.5)"
    )
    parser.add_argument(
        "--expressiveness",
        type=float,
        default=0.5,
        help="0 is even throughout, at 1 loud phrases and stressed words make all the difference (default: 0.5)",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed, other gestures (default: 0)")
    parser.add_argument(
        "--clips",
        metavar="A,B,C",
        help="names of the clips to use (default: all but those with a meaning of their own, such as a thumbs up)",
    )
    parser.add_argument(
        "--library", type=file_path, metavar="FOLDER", help="clips of your own, .safetensors or folders of .npy frames"
    )
    parser.add_argument("--no-mirror", action="store_true", help="never use a clip the other way round")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Generate; returns 0."""
    check_fps(options.fps)
    names = None if options.clips is None else tuple(name.strip() for name in options.clips.split(","))
    if names is not None and not all(names):
        raise PoseError(
            f"--clips takes names with commas between them, such as waving,explaining, not {options.clips!r}"
        )
    settings = GestureSettings(
        options.energy, options.expressiveness, options.seed, names, mirrored=not options.no_mirror
    )
    check_not_inputs(options, ["output"], ["audio"])
    folder = options.library or SHIPPED_CLIPS
    is_clip = options.output.exists() and options.output.suffix.lower() != ".json"
    if is_clip and options.output.resolve().parent == folder.resolve():
        raise OutputError(f"--output {options.output} is one of the clips of {folder}: name another one")
    library = load_library(folder=folder)
    choose_clips(library, names)
    waveform, sample_rate = read_audio(options.audio)
    frames = frames_needed(waveform, sample_rate, options.fps)
    check_length(frames, f"{options.audio} at {options.fps:g} frames a second")
    check_clip_output(options.output)
    save_clip(generate_gestures(waveform, sample_rate, options.fps, library, settings, frames), options.output)
    return 0
