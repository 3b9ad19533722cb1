"""`pose`: everything that is done with poses before a video is made, one subcommand a file."""

from __future__ import annotations

import argparse

from . import convert, extract, fit, generate, preview, retarget

SUBCOMMANDS = (extract, retarget, fit, generate, preview, convert)

EXAMPLE = """\
example: your own gestures on your own portrait, from a video to a clip that fits the voice
  python -m echomimic pose extract me.mp4 --models models/echomimic --output mine.safetensors --repair
  python -m echomimic pose extract me.png --models models/echomimic --output me.json
  python -m echomimic pose retarget mine.safetensors --portrait me.json --image me.png \\
      --output fitted.safetensors --overlay fitted.png
  python -m echomimic pose fit fitted.safetensors --audio speech.wav --output ready.safetensors
  python -m echomimic generate --image me.png --audio speech.wav --pose ready.safetensors ...

A pose clip is a .safetensors, which keeps everything; a .json of POSE_KEYPOINT frames, for other programs; or a folder
of .npy frames, as the original reads it (a name without an ending). The last two do not record their frame rate.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "pose",
        help="extract, retarget, fit, generate, preview or convert pose clips",
        description="Make pose clips, the gestures of a video, and bring them into shape.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    nested = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=True)
    for subcommand in SUBCOMMANDS:
        subcommand.add_parser(nested)
