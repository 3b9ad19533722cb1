"""`prepare`: training clips from videos."""

from __future__ import annotations

import argparse
import logging
import math
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..audio import load_audio_encoder
from ..errors import TrainingError, WeightsError
from ..pose import load_poses
from ..pose.sources.dwpose import DWPose
from ..training.clip_filters import PrepareSettings
from ..training.curriculum_picture import draw_curriculum
from ..training.data_report import counted, write_report
from ..training.latent_cache import cache_latents
from ..training.prepare import find_videos, prepare
from ..training.records import read_records
from ..training.video_results import VideoResult
from ..vae import load_vae
from ..weights import load_bundle_audio_encoder, load_bundle_vae
from ..weights.published import download_command, find_audio_encoder, find_vae, search_places
from .generate import pick_device
from .options import file_path
from .pose.common import check_picture_output

logger = logging.getLogger("echomimic")

MODELS = Path("models/echomimic")
MAX_SIZE, MAX_WORKERS = 4096, 64
EXAMPLE = """\
examples:
  python -m echomimic prepare my_videos --output data
  python -m echomimic prepare my_videos --output data --size 512 --cache-latents --weights models/echomimic
  python -m echomimic prepare --show-curriculum curriculum.png

The data folder holds metadata.jsonl, the clips, report.html (what was kept and what was refused, and why) and
refused.jsonl. The same command resumes an interrupted run.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "prepare",
        help="make training clips of videos",
        description="Make training clips of videos: scenes of one person, cropped from head to waist, with sound and "
        "poses.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("videos", nargs="*", type=file_path, metavar="VIDEOS", help="video files, or folders of them")
    parser.add_argument("--output", type=file_path, metavar="DATA", help="the data folder")
    parser.add_argument(
        "--models",
        type=file_path,
        default=MODELS,
        metavar="FOLDER",
        help="DWPose's two .onnx files (default: %(default)s)",
    )
    parser.add_argument("--size", type=int, default=768, help="side of the clips in pixels (default: %(default)s)")
    parser.add_argument(
        "--min-seconds",
        type=float,
        default=1.0,
        help="shortest clip (default: %(default)g); the 12 frames that training takes at once are half a second",
    )
    parser.add_argument("--max-seconds", type=float, default=30.0, help="longest clip (default: %(default)g)")
    parser.add_argument("--no-headshots", action="store_true", help="leave out clips that show no hands")
    parser.add_argument("--workers", type=int, default=2, help="videos at a time (default: %(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where DWPose and VAE run")
    parser.add_argument(
        "--cache-latents", action="store_true", help="encode pictures and sound now, not while training"
    )
    parser.add_argument(
        "--weights", type=file_path, help="folder or bundle with VAE and audio encoder, for --cache-latents"
    )
    parser.add_argument(
        "--show-curriculum", type=file_path, metavar="PNG", help="draw what the paper's phases show, and stop"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars, no log messages")
    parser.set_defaults(run=run, resumes=True)


def run(options: argparse.Namespace) -> int:
    if options.show_curriculum is not None:
        return show_curriculum(options)
    check_options(options)
    settings = make_settings(options)
    videos = find_videos(options.videos)
    detect = DWPose(options.models, None if options.device == "auto" else options.device)
    with tqdm(total=len(videos), unit=" video", disable=options.quiet) as bar:

        def on_video(done: int, total: int, result: VideoResult) -> None:
            bar.update(done - bar.n)
            for one in result.refusals:
                logger.info("%s, %.1f to %.1f s: %s", one.video, *one.seconds, one.reason)

        results = prepare(videos, options.output, detect, settings, workers=options.workers, on_video=on_video)
    clips = [clip for result in results for clip in result.clips]
    page = write_report(options.output, results)
    logger.info("%s of %s; %s shows them", counted(len(clips), "clip"), counted(len(videos), "video"), page)
    if not clips:
        raise TrainingError(f"no video gave a clip; {page} says why")
    if options.cache_latents:
        cache(options)
    return 0


def check_options(options: argparse.Namespace) -> None:
    """Raises: TrainingError for options that contradict each other."""
    if not options.videos or options.output is None:
        raise TrainingError("name the videos, and the data folder with --output")
    if not 64 <= options.size <= MAX_SIZE or options.size % 8:
        raise TrainingError(f"--size must be a multiple of 8, at least 64 and at most {MAX_SIZE}, got {options.size}")
    if not 0 < options.min_seconds <= options.max_seconds < math.inf:
        raise TrainingError(f"clips of {options.min_seconds:g} to {options.max_seconds:g} seconds cannot be made")
    if not 1 <= options.workers <= MAX_WORKERS:
        raise TrainingError(f"--workers must be 1 to {MAX_WORKERS}, got {options.workers}")
    if options.cache_latents and options.weights is None:
        raise TrainingError("--cache-latents needs --weights, a folder or bundle with VAE and audio encoder")
    if options.cache_latents and not options.weights.is_file():
        find_encoders(options.weights)  # before the videos, which may take hours


def cache(options: argparse.Namespace) -> None:
    """Encode all clips with the weights' VAE and audio encoder."""
    device = pick_device(options.device)
    vae, encoder = encoders(options.weights)
    with tqdm(unit=" clip", disable=options.quiet) as bar:

        def on_clip(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        cache_latents(options.output, vae.to(device), encoder.to(device), on_clip)


def encoders(path: Path) -> tuple[Any, Any]:
    """VAE and audio encoder of a folder or bundle."""
    if path.is_file():
        return load_bundle_vae(path), load_bundle_audio_encoder(path)
    vae, audio_encoder = find_encoders(path)
    return load_vae(vae), load_audio_encoder(audio_encoder)


def find_encoders(folder: Path) -> tuple[Path, Path]:
    """The files of VAE and audio encoder in a folder, which needs no others.

    Raises:
        WeightsError: one is missing.
    """
    # Training starts from the standard variant, and a folder that gains it goes on rendering with the one that it had.
    command = download_command(folder, "standard")
    if not folder.is_dir():
        raise WeightsError(f"there is no weights folder or bundle {folder}: {command} makes it")
    places = search_places(folder)
    vae, audio_encoder = find_vae(places), find_audio_encoder(places)
    if vae is None or audio_encoder is None:
        lacking = [
            n for n, found in (("VAE (sd-vae-ft-mse)", vae), ("audio encoder (tiny.pt)", audio_encoder)) if not found
        ]
        raise WeightsError(f"{folder} has no {' and no '.join(lacking)}: {command} gets what is missing")
    return vae, audio_encoder


def show_curriculum(options: argparse.Namespace) -> int:
    """Draw the paper's phases on a demo clip."""
    check_picture_output(options.show_curriculum, "--show-curriculum")
    if options.output is not None:
        record = read_records(options.output)[0]
        poses = load_poses(options.output / record.poses)
    else:
        poses = load_poses(demo_clip())
    path = draw_curriculum(options.show_curriculum, poses, len(poses) // 3)
    logger.info("%s", path)
    return 0


def demo_clip() -> Path:
    """A pose clip of the pack's own."""
    return Path(__file__).resolve().parents[2] / "assets" / "clips" / "explaining.safetensors"


def make_settings(options: argparse.Namespace) -> PrepareSettings:
    """The settings that the options name."""
    return PrepareSettings(
        size=options.size,
        min_seconds=options.min_seconds,
        max_seconds=options.max_seconds,
        headshots=not options.no_headshots,
    )
