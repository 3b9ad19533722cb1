"""What the pose commands share: clips in, clips out, and option types beyond argparse's own."""

from __future__ import annotations

import argparse
import logging
import math
from dataclasses import replace
from pathlib import Path

from ...errors import OutputError, PoseError
from ...media.video_writer import check_place
from ...pose import PoseSequence, load_poses, save_poses
from ...pose.sources.files import check_clip_name
from ..options import file_path, is_same_file, picture_size

logger = logging.getLogger("echomimic")

Subparsers = argparse._SubParsersAction

FPS_HELP = "frames a second, 24 for the published weights (default: %(default)g)"


def add_command(subparsers: Subparsers, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    """A subcommand's parser; `summary` is its one sentence in the list and the first of its own help."""
    parser = subparsers.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    assert isinstance(parser, argparse.ArgumentParser)
    return parser


def add_clip_input(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """The clip or clips to read."""
    parser.add_argument(
        "clips",
        nargs="+" if several else 1,
        type=file_path,
        metavar="CLIP",
        help="a clip (.safetensors), a folder of .npy frames, or POSE_KEYPOINT frames (.json)",
    )
    parser.add_argument(
        "--canvas",
        type=picture_size,
        metavar="WIDTHxHEIGHT",
        help="the size of the picture that keypoints were found in, where they do not record it (OpenPose's own files)",
    )
    parser.add_argument(
        "--read-fps",
        type=float,
        metavar="FPS",
        help="the rate of a folder or .json, which do not record it (default: 24)",
    )


def add_clip_output(parser: argparse.ArgumentParser) -> None:
    """The clip to write, and whether to print it."""
    parser.add_argument(
        "--output",
        required=True,
        type=file_path,
        metavar="CLIP",
        help="the clip to write: .safetensors, .json (POSE_KEYPOINT), or no ending for a folder of .npy frames",
    )
    add_quiet(parser)


def add_quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress bars, no log messages")


def read_clips(options: argparse.Namespace) -> list[PoseSequence]:
    """The clips that the options of `add_clip_input` name.

    Raises:
        PoseError: a clip cannot be read, or --read-fps is given and every clip records its own rate.
    """
    rate = options.read_fps
    if rate is not None:
        check_fps(rate, "--read-fps")
        if all(path.suffix.lower() == ".safetensors" for path in options.clips):
            raise PoseError(
                f"--read-fps is for clips that do not record their rate; {options.clips[0].name} does: use --fps of "
                "convert to bring it to another"
            )
    return [load_poses(path, rate, options.canvas) for path in options.clips]


def check_clip_output(path: Path) -> None:
    """Check, before the work, that the clip can be written there.

    Raises:
        PoseError, OutputError: it cannot.
    """
    check_clip_name(path)
    check_place(path)


def check_json_in_place(options: argparse.Namespace) -> None:
    """A clip may be replaced by its own edit, but keypoints hold what a clip does not: others in the picture, scores.

    Raises:
        OutputError: --output is one of the clips, and a .json.
    """
    if options.output.suffix.lower() == ".json" and any(is_same_file(options.output, path) for path in options.clips):
        raise OutputError(
            f"--output {options.output} is the clip that is read, whose keypoints hold more than is written (other "
            "people, scores, the rate): name another one"
        )


def check_picture_output(path: Path, option: str, endings: tuple[str, ...] = (".png",)) -> None:
    """Check, before the work, that the picture can be written there.

    Raises:
        OutputError: it cannot, or the name ends in something else.
    """
    if path.suffix.lower() not in endings:
        raise OutputError(f"{option} {path.name}: it must end in {' or '.join(endings)}")
    if path.is_dir():
        raise OutputError(f"{option} {path} is a folder: name a file")
    check_place(path)


def save_clip(sequence: PoseSequence, path: Path) -> None:
    """Write the clip under its file's name, and log what it is."""
    save_poses(replace(sequence, info={**sequence.info, "name": path.stem}), path)
    logger.info("%s: %d frames at %g a second, %.2f s", path, len(sequence), sequence.fps, sequence.seconds)
    if path.suffix.lower() != ".safetensors" and sequence.fps != 24:
        logger.info("this format does not record %g frames a second: give --read-fps when it is read", sequence.fps)


def check_fps(fps: float, option: str = "--fps") -> None:
    """Raises: PoseError for a rate that no clip can have."""
    if not (math.isfinite(fps) and 0 < fps <= 1000):
        raise PoseError(f"{option} must be above 0 and at most 1000 frames a second, got {fps:g}")


def check_seconds(seconds: float, option: str, maximum: float = 60.0) -> None:
    """Raises: PoseError for a time that is not 0 to `maximum` seconds."""
    if not 0 <= seconds <= maximum:  # also false for NaN
        raise PoseError(f"{option} must be 0 to {maximum:g} seconds, got {seconds:g}")


def point(text: str) -> tuple[float, float]:
    """`X,Y` for argparse."""
    try:
        x, y = (float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"a point is X,Y in pixels, such as 512,300, not {text!r}") from None
    return x, y
