"""`demo`: a full run on inputs that ship with the repository."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np

from ..audio import frame_levels, read_audio
from ..errors import EchoMimicError
from ..media.pictures import fit_image, frame_strip, read_image
from ..media.video_writer import write_picture
from ..pipeline import Inputs, Rendered
from ..pose import load_poses
from ..pose.fitting.linear import portrait_from_points
from ..pose.fitting.retarget import retarget
from ..weights import load_bundle
from .demo_pictures import STRIP_FRAMES, mouth_change, mouth_plot
from .generate import add_settings, pick_dtype, prepare_device, render_with
from .options import file_path

logger = logging.getLogger("echomimic")

ASSETS = Path(__file__).resolve().parents[2] / "assets"
IMAGE, AUDIO, BUNDLE = ASSETS / "portrait.png", ASSETS / "speech.wav", ASSETS / "demo_bundle.safetensors"
POSE = ASSETS / "clips" / "explaining.safetensors"
# In the portrait: nose, neck, right and left shoulder, right wrist, in pixels; and where the mouth moves, left, top,
# right, bottom in fractions.
MARKS = ((386, 174), (383, 377), (241, 376), (525, 376), (279, 685))
MOUTH_BOX = (0.41, 0.26, 0.59, 0.41)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "demo",
        help="make the drawn person of the folder assets speak, on a CPU, without a download",
        description="Run every stage on the portrait, voice, clip and small bundle of the folder assets: a drawn "
        "person speaks the recording. Beside the video it writes a strip of frames and a plot of the mouth under the "
        "voice.",
    )
    parser.add_argument("--output", type=file_path, default=Path("demo.mp4"), help="the video (default: %(default)s)")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    missing = [path.name for path in (IMAGE, AUDIO, POSE, BUNDLE) if not path.exists()]
    if missing:
        raise EchoMimicError(
            f"the demo's {', '.join(missing)} are not in {ASSETS}: run it in a clone of the repository"
        )
    image = read_image(IMAGE)
    portrait = portrait_from_points((image.shape[1], image.shape[0]), *MARKS)
    inputs = Inputs(image, *read_audio(AUDIO), retarget(load_poses(POSE), portrait).sequence)
    device = prepare_device(options.device)
    networks = load_bundle(BUNDLE, dtype=pick_dtype(options.dtype, device))
    logger.info("a drawn person speaks %s, by a small model that was trained on drawn people", AUDIO.name)
    chunks: list[np.ndarray] = []
    made = render_with(networks, inputs, options, device, on_frames=chunks.append)
    if chunks:  # of several processes only the one that writes the video has frames
        write_pictures(made, np.concatenate(chunks), inputs)
        logger.info("look at %s, and at its frames and the mouth under the voice beside it", options.output)
    return 0


def write_pictures(made: Rendered, frames: np.ndarray, inputs: Inputs) -> None:
    """`NAME_frames.png` and `NAME_mouth.png` beside the video, of its frames, uint8 `[F, H, W, 3]`."""
    video = made.path
    write_picture(video.with_name(f"{video.stem}_frames.png"), frame_strip(frames, STRIP_FRAMES))
    change = mouth_change(frames, fit_image(inputs.image, made.width, made.height), MOUTH_BOX)
    levels = frame_levels(inputs.waveform, inputs.sample_rate, made.fps, made.frames)
    write_picture(video.with_name(f"{video.stem}_mouth.png"), mouth_plot(levels, change, made.fps))
