"""`avatar`: from one's own video to one's own LoRA."""

from __future__ import annotations

import argparse
import logging

from ..errors import TrainingError
from ..pose.sources.dwpose import DWPose
from ..training.avatar import AvatarSettings, make_avatar, with_changes
from ..training.prepare import find_videos
from .options import check_not_inputs, file_path
from .train import TrainingBar

logger = logging.getLogger("echomimic")

EXAMPLE = """\
example:
  python -m echomimic avatar my_video.mp4 --weights models/echomimic --output me.safetensors
  python -m echomimic generate --image me.png --audio speech.wav --weights models/echomimic \\
      --lora me.safetensors:0.8 --output talking.mp4

The video shows one person from head to waist, speaking, for a few minutes. me.sheet.png beside the LoRA shows the
video, the render without the LoRA and the render with it. The same command resumes an interrupted run; of
other or more videos it trains another LoRA, from the beginning.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "avatar",
        help="train a LoRA of one person from a video",
        description="Train a LoRA of one person from a video: prepare, train, and a sheet of before and after.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("videos", nargs="+", type=file_path, metavar="VIDEO", help="videos of the person")
    parser.add_argument("--weights", type=file_path, required=True, help="a folder of published files, or a bundle")
    parser.add_argument("--output", type=file_path, required=True, help="the LoRA (.safetensors)")
    parser.add_argument(
        "--models", type=file_path, metavar="FOLDER", help="DWPose's two .onnx files (default: the weights' folder)"
    )
    parser.add_argument("--size", type=int, help="side of the pictures in pixels (default: 512)")
    parser.add_argument("--frames", type=int, help="frames of a window (default: 12)")
    parser.add_argument("--steps", type=int, help="training steps (default: 500)")
    parser.add_argument("--rank", type=int, help="rank of the LoRA (default: 16)")
    parser.add_argument("--learning-rate", type=float, help="learning rate of the optimiser (default: 1e-4)")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto", help="auto takes a GPU where there is one")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no log messages")
    parser.set_defaults(run=run, resumes=True)


def run(options: argparse.Namespace) -> int:
    if not options.weights.exists():
        raise TrainingError(
            f"there are no weights {options.weights}: give a bundle, or a folder that `python -m echomimic download "
            "FOLDER --variant standard` made"
        )
    check_not_inputs(options, ["output"], ["weights"])
    settings = with_changes(
        AvatarSettings(),
        size=options.size,
        frames=options.frames,
        steps=options.steps,
        rank=options.rank,
        learning_rate=options.learning_rate,
    )
    folder = options.weights if options.weights.is_dir() else options.weights.parent
    detect = DWPose(options.models or folder, None if options.device == "auto" else options.device)
    with TrainingBar(options.quiet) as bar:
        lora, sheet = make_avatar(
            find_videos(options.videos),
            options.weights,
            options.output,
            detect,
            settings,
            device=options.device,
            on_step=bar,
        )
    logger.info("%s; before and after: %s", lora, sheet)
    return 0
