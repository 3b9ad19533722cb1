"""`pose extract`: the poses of a video, or of a portrait."""

from __future__ import annotations

import argparse
import logging
import os
from dataclasses import replace
from pathlib import Path

from ...errors import PoseError
from ...media.containers import holds_picture
from ...media.pictures import is_animation, read_image
from ...pose import PoseSequence
from ...pose.repair import repair
from ...pose.sources.dwpose import DWPose
from ...pose.sources.extract import Detector, extract_poses, poses_of_pictures
from ..options import file_path
from ..progress import StageBars
from .common import FPS_HELP, Subparsers, add_clip_output, add_command, check_clip_output, check_fps, save_clip

logger = logging.getLogger("echomimic")

PICTURES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif")
# Pictures that cannot be read, of which `read_image` says what to do.
OTHER_PICTURES = (".jxl", ".svg", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw")
MODELS = Path("models/echomimic")

EXAMPLE = """\
examples:
  python -m echomimic pose extract me.mp4 --models models/echomimic --output mine.safetensors --repair
  python -m echomimic pose extract me.png --models models/echomimic --output me.json

The folder --models holds yolox_l.onnx and dw-ll_ucoco_384.onnx from https://huggingface.co/yzd-v/DWPose. A picture
gives a clip of one frame, for `pose retarget --portrait`. Results of videos are kept: the same video with the same
models, --fps and --person is analysed once.
"""


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers, "extract", "find the poses of a person in a video, or in a portrait, with DWPose", EXAMPLE
    )
    parser.add_argument("input", type=file_path, help=f"a video, or a picture ({', '.join(PICTURES)})")
    add_clip_output(parser)
    parser.add_argument(
        "--models",
        type=file_path,
        default=MODELS,
        metavar="FOLDER",
        help="DWPose's two .onnx files (default: %(default)s)",
    )
    parser.add_argument("--fps", type=float, default=24.0, help=FPS_HELP)
    parser.add_argument(
        "--person",
        type=int,
        metavar="N",
        help="which person, 0 being the largest in the first frame that shows so many; they are followed from there "
        "(default: the largest over all frames); whoever passes, in at most 12 frames, is not counted",
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where DWPose runs (default: %(default)s)"
    )
    cache = parser.add_mutually_exclusive_group()
    usual = str(default_cache() or "nowhere").replace("%", "%%")
    cache.add_argument("--cache", type=file_path, metavar="FOLDER", help=f"where results are kept (default: {usual})")
    cache.add_argument("--no-cache", action="store_true", help="neither keep results nor reuse them")
    parser.add_argument("--repair", action="store_true", help="take out jitter, wild points, short gaps, swapped hands")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Extract; returns 0."""
    check_fps(options.fps)
    if options.person is not None and options.person < 0:
        raise PoseError(f"--person counts from 0, the largest, got {options.person}")
    if not options.input.is_file():
        raise PoseError(f"there is no video or picture {options.input}")
    if options.cache is not None and options.cache.exists() and not options.cache.is_dir():
        raise PoseError(f"--cache {options.cache} is not a folder")
    check_clip_output(options.output)
    detect = DWPose(options.models, None if options.device == "auto" else options.device)
    found = extract(options, detect)
    save_clip(repair(found) if options.repair else found, options.output)
    return 0


def extract(options: argparse.Namespace, detect: Detector) -> PoseSequence:
    """The poses of the video or picture that the options name."""
    path = options.input
    if path.suffix.lower() in (*PICTURES, *OTHER_PICTURES) or holds_picture(path):
        if is_animation(path):
            raise PoseError(f"{path} is an animation, of which only the first picture would be used: save it as MP4")
        found = poses_of_pictures([read_image(path)], detect, options.fps, options.person)
        return replace(found, info={"source": f"extracted from {path.name}"})
    cache = None if options.no_cache else options.cache or default_cache()
    with StageBars(options.quiet) as bars:
        return extract_poses(
            path,
            detect,
            fps=options.fps,
            person=options.person,
            on_frame=lambda done, expected: bars("extract", done, expected),
            cache=cache,
        )


def default_cache() -> Path | None:
    """This program's part of the user's cache folder; None where there is no such folder."""
    try:
        if os.name == "nt":
            local = os.environ.get("LOCALAPPDATA")
            base = Path(local) if local else Path.home() / "AppData" / "Local"
        else:
            named = Path(os.environ.get("XDG_CACHE_HOME", ""))
            # The XDG specification: relative paths are to be ignored.
            base = named if named.is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # the user has no home folder
        return None
    return base / "echomimic" / "poses"
