"""`demo`: a full run on inputs that ship with the repository."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from ..audio import read_audio
from ..errors import EchoMimicError
from ..media.pictures import read_image
from ..pipeline import Inputs
from ..pose import load_poses
from ..weights import load_bundle
from .generate import add_settings, pick_device, pick_dtype, render_with

logger = logging.getLogger("echomimic")

ASSETS = Path(__file__).resolve().parents[2] / "assets"
IMAGE, AUDIO, BUNDLE = ASSETS / "portrait.png", ASSETS / "speech.wav", ASSETS / "demo_bundle.safetensors"
POSE = ASSETS / "clips" / "explaining.safetensors"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "demo",
        help="run everything on a CPU with inputs and a small bundle that ship here",
        description="Run every stage on the portrait, voice, clip and small bundle of the folder assets. The bundle's "
        "weights are drawn at random, so the picture is noise; what it shows is that everything works here.",
    )
    parser.add_argument("--output", type=Path, default=Path("demo.mp4"), help="the video (default: %(default)s)")
    add_settings(parser)
    # Two seconds are enough to show every stage.
    parser.set_defaults(run=run, frames=48)


def run(options: argparse.Namespace) -> int:
    missing = [path.name for path in (IMAGE, AUDIO, POSE, BUNDLE) if not path.exists()]
    if missing:
        raise EchoMimicError(
            f"the demo's {', '.join(missing)} are not in {ASSETS}: run it in a clone of the repository"
        )
    inputs = Inputs(read_image(IMAGE), *read_audio(AUDIO), load_poses(POSE))
    device = pick_device(options.device)
    networks = load_bundle(BUNDLE, dtype=pick_dtype(options.dtype, device))
    logger.info("the demo's weights are drawn at random: expect noise that moves, and sound")
    return render_with(networks, inputs, options, device)
