"""`demo`: a drawn person speaks, from inputs and a small model that ship with the repository."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import EchoMimicError
from .generate import add_settings, pick_device, pick_dtype, render_settings, render_with

if TYPE_CHECKING:
    from ..pipeline import Inputs

logger = logging.getLogger("echomimic")

ASSETS = Path(__file__).resolve().parents[2] / "assets"
IMAGE, AUDIO, BUNDLE = ASSETS / "portrait.png", ASSETS / "speech.wav", ASSETS / "demo_bundle.safetensors"
POSE = ASSETS / "clips" / "explaining.safetensors"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "demo",
        help="a drawn person speaks: everything on a CPU, with inputs and a small model that ship here",
        description="Run every stage on the portrait, voice, clip and small model of the folder assets. The model was "
        "trained from nothing on drawn people and synthetic voices (docs/demo_model.md): it knows nobody else.",
    )
    parser.add_argument("--output", type=Path, default=Path("demo.mp4"), help="the video (default: %(default)s)")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from ..audio import read_audio
    from ..media.pictures import read_image
    from ..pipeline import Inputs
    from ..pose import load_poses
    from ..weights import load_bundle

    missing = [path.name for path in (IMAGE, AUDIO, POSE, BUNDLE) if not path.exists()]
    if missing:
        raise EchoMimicError(
            f"the demo's {', '.join(missing)} are not in {ASSETS}: run it in a clone of the repository"
        )
    logger.info("portrait: %s   voice: %s   gestures: %s   model: %s", IMAGE.name, AUDIO.name, POSE.stem, BUNDLE.name)
    inputs = Inputs(read_image(IMAGE), *read_audio(AUDIO), load_poses(POSE))
    device = pick_device(options.device)
    networks = load_bundle(BUNDLE, dtype=pick_dtype(options.dtype, device))
    result = render_with(networks, inputs, options, device)
    settings = render_settings(options, networks.settings)
    strip, plot = write_pictures_beside(options.output, inputs, settings.size)
    logger.info("frames of it: %s", strip)
    logger.info("its mouth under the voice: %s", plot)
    logger.info("now with your own picture: python -m echomimic generate --help")
    return result


def write_pictures_beside(video: Path, inputs: Inputs, size: tuple[int, int]) -> tuple[Path, Path]:
    """A strip of the video's frames, and its mouth under the voice; returns both files.

    Args:
        video: just written.
        inputs: that it was made of.
        size: its width and height.
    """
    from ..media.pictures import fit_image
    from ..media.video_reader import read_frames
    from ..media.video_writer import write_picture
    from ..media.waveform import SAMPLE_RATE, mono_16khz
    from ..pipeline import fit_poses
    from .demo_pictures import frame_strip, mouth_change, mouth_plot

    pictures = [frame.picture for frame in read_frames(video)]
    frames = np.stack(pictures)
    strip = write_picture(video.with_name(f"{video.stem}_frames.png"), frame_strip(frames))
    assert inputs.poses is not None
    seconds = len(frames) / inputs.poses.fps
    poses = fit_poses(inputs.poses, len(frames), inputs.poses.fps)
    change = mouth_change(frames, fit_image(inputs.image, *size), poses)
    samples = np.asarray(mono_16khz(inputs.waveform, inputs.sample_rate))[: round(seconds * SAMPLE_RATE)]
    plot = write_picture(video.with_name(f"{video.stem}_mouth.png"), mouth_plot(samples, seconds, change))
    return strip, plot
