"""`generate`: the main job."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import torch

from ..audio import frames_needed, read_audio
from ..errors import EchoMimicError, WeightsError
from ..files.heads import read_head
from ..files.state_dicts import name_some
from ..kernels.float8 import check_device, describe_float8
from ..media.pictures import read_image
from ..media.video_writer import check_output
from ..models.networks import RECOMMENDED_SETTINGS, Networks, RecommendedSettings
from ..pipeline import FramesCallback, Inputs, Rendered, RenderSettings, render
from ..pose import load_poses
from ..runtime.checkpoint import RenderCheckpoint
from ..runtime.device import compute_dtype, keep_freed_blocks
from ..sampling import FAST_MODES, SamplingSettings, clip_frames
from ..weights import WeightFiles, find_weights, load_bundle, load_weights, read_bundle_info
from ..weights.lora import apply_lora, split_strength
from ..weights.published import resolve_variant
from .distributed import check_same_video, joined_processes, process_device
from .options import check_not_inputs, file_path, picture_size
from .progress import StageBars

logger = logging.getLogger("echomimic")

MIN_SIDE, MAX_SIDE = 64, 16384
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

EXAMPLE = """\
example:
  python -m echomimic generate --image me.png --audio speech.wav --pose assets/clips/explaining.safetensors \\
      --weights models/echomimic --output talking.mp4

The portrait shows a person from head to waist, facing the camera. The pose clip moves the hands; without
one the hands are left to the model. Sizes, steps and guidance come from the weights unless given.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "generate",
        help="make a video from a portrait, a voice and a pose clip",
        description="Make a video of the person in a portrait, speaking a recording and gesturing.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    inputs = parser.add_argument_group("what to make")
    inputs.add_argument("--image", required=True, type=file_path, help="the portrait (png, jpg, webp, ...)")
    inputs.add_argument(
        "--audio", required=True, type=file_path, help="the voice (wav, mp3, flac, m4a, a video's sound, ...)"
    )
    inputs.add_argument(
        "--pose",
        type=file_path,
        help="the gestures: a clip (.safetensors), a folder of .npy frames, or keypoints (.json)",
    )
    inputs.add_argument("--output", required=True, type=file_path, help="the video (.mp4), or a folder with --png")
    inputs.add_argument("--png", action="store_true", help="write numbered PNG pictures into the folder --output")

    add_weights(parser)
    add_settings(parser)
    parser.add_argument(
        "--resume",
        type=file_path,
        metavar="STATE",
        help="keep the render's state in this file (.safetensors), and continue from it if it exists",
    )
    parser.add_argument(
        "--resume-every",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="at most this long between two writes of that file (default: %(default)g)",
    )
    parser.set_defaults(run=run)


def add_weights(parser: argparse.ArgumentParser) -> None:
    """The options that choose the networks."""
    weights = parser.add_argument_group("weights (one of the first two)")
    source = weights.add_mutually_exclusive_group(required=True)
    source.add_argument("--weights", type=file_path, metavar="FOLDER", help="a folder with the published files")
    source.add_argument("--bundle", type=file_path, help="one .safetensors with everything, see the command bundle")
    weights.add_argument(
        "--variant",
        choices=("standard", "accelerated"),
        help="which of the published files to take (default: the accelerated ones if the folder has them)",
    )
    weights.add_argument(
        "--float8",
        action="store_true",
        help="keep the denoising network's wide linear layers in float8: less memory; NVIDIA GPUs since Ada multiply "
        "the widest in it, too; changes the result a little",
    )
    weights.add_argument(
        "--lora",
        action="append",
        default=[],
        metavar="FILE[:STRENGTH]",
        help="a LoRA, as `train` writes it or of ComfyUI's, kohya's, diffusers' or peft's naming; may be given several "
        "times (default strength: 1)",
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The options that generate and demo share."""
    poses = parser.add_argument_group("the pose clip")
    poses.add_argument(
        "--pose-fps", type=float, metavar="FPS", help="its rate, for keypoints that do not record one (default: 24)"
    )
    poses.add_argument(
        "--pose-canvas",
        type=picture_size,
        metavar="WIDTHxHEIGHT",
        help="the size of the picture that it was found in, for keypoints that do not record it",
    )

    video = parser.add_argument_group("the video")
    video.add_argument("--width", type=int, help="pixels, rounded to a multiple of 8 (default: the weights')")
    video.add_argument("--height", type=int, help="pixels, rounded to a multiple of 8 (default: the weights')")
    video.add_argument("--fps", type=float, help="frames a second (default: the weights')")
    video.add_argument("--frames", type=int, help="length in frames (default: the voice's)")

    sampling = parser.add_argument_group("sampling")
    sampling.add_argument("--steps", type=int, help="denoising steps (default: the weights')")
    sampling.add_argument("--guidance", type=float, help="guidance scale, 1 is none (default: the weights')")
    sampling.add_argument("--seed", type=int, default=0, help="seed of the initial noise (default: %(default)s)")
    sampling.add_argument("--window", type=int, help="frames denoised together, at most 32 (default: 12)")
    sampling.add_argument("--overlap", type=int, help="frames that neighbouring windows share (default: 3)")
    sampling.add_argument(
        "--open-windows",
        action="store_true",
        help="do not wrap the last window around to the first frame: fewer windows, no loop",
    )
    sampling.add_argument(
        "--fast",
        choices=tuple(FAST_MODES),
        default="exact",
        help="approximations that change the result: guidance-half (guidance in the first half of the steps; nothing "
        "where there is none), reuse-2 (coarse features serve for two steps), merge-2 (the reference at half its "
        "resolution), overlap-1 (windows share one frame), fastest (all of these) (default: %(default)s)",
    )

    machine = parser.add_argument_group("the machine")
    machine.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)")
    machine.add_argument(
        "--dtype",
        choices=("auto", *DTYPES),
        default="auto",
        help="precision; auto is float16 on a GPU and float32 on a CPU (default: %(default)s)",
    )
    machine.add_argument(
        "--compile",
        action="store_true",
        help="compile the denoising network: minutes at the start, then faster windows; for long videos and batches",
    )
    machine.add_argument("--quiet", action="store_true", help="no progress bars, no log messages")


def run(options: argparse.Namespace) -> int:
    # Everything small is read and checked before the weights, so that a mistake is reported at once.
    check_own_inputs(options)
    source, recommended = find_source(options)
    inputs = read_inputs(options)
    settings = render_settings(options, recommended)
    clip_frames(frames_needed(inputs.waveform, inputs.sample_rate, settings.fps), settings.fps, settings.frames)
    check_output(options.output, options.png)
    networks, device = load_networks(options, source)
    render_with(networks, inputs, options, device)
    return 0


def check_own_inputs(options: argparse.Namespace) -> None:
    """Raises: OutputError when video and state are one file, or would be written over one that they are made of."""
    check_not_inputs(options, ("output", "resume"), ("image", "audio", "pose", "bundle"))
    check_not_inputs(options, ("resume",), ("output",))


def read_inputs(options: argparse.Namespace) -> Inputs:
    """The portrait, the voice and the poses that the options name."""
    poses = None
    if options.pose is not None:
        poses = load_poses(options.pose, options.pose_fps, options.pose_canvas)
    if poses is None:
        logger.info("no pose clip was given: the hands are left to the model")
    return Inputs(read_image(options.image), *read_audio(options.audio), poses)


def find_source(options: argparse.Namespace) -> tuple[Path | WeightFiles, RecommendedSettings]:
    """The bundle, or the published files in a folder, and what they recommend; no tensor is read.

    Raises:
        WeightsError: they or a LoRA are not there, or --float8 is not for the device.
        EchoMimicError: the device cannot be used, or --variant names another variant than the bundle's.
    """
    if options.float8:
        check_device(pick_device(process_device(options.device)))
    for text in options.lora:
        read_head(split_strength(text)[0], "LoRA", WeightsError)
    if options.bundle is None:
        files = find_weights(options.weights, options.variant)
        return files, RECOMMENDED_SETTINGS[resolve_variant(files, options.variant)]
    info = read_bundle_info(options.bundle)
    if options.variant not in (None, info.variant):
        raise EchoMimicError(f"--variant {options.variant} was requested, but {options.bundle} is {info.variant}")
    return options.bundle, info.settings


def load_networks(options: argparse.Namespace, source: Path | WeightFiles) -> tuple[Networks, torch.device]:
    """The networks of `find_source`, in the precision that --dtype names, and the device of --device.

    Raises:
        EchoMimicError: files or device cannot be used.
    """
    device = prepare_device(options.device)
    dtype = pick_dtype(options.dtype, device)
    if isinstance(source, Path):
        networks = load_bundle(source, dtype=dtype, float8=options.float8)
    else:
        networks = load_weights(source, options.variant, dtype=dtype, float8=options.float8)
    if options.float8:
        logger.info("%s", describe_float8(networks.denoiser, device))
    for text in options.lora:
        apply_lora_option(networks, text)
    return networks, device


def apply_lora_option(networks: Networks, text: str) -> None:
    """Merge one --lora into the networks, and log which of its layers were used.

    Raises:
        WeightsError: it is not a LoRA for these networks.
    """
    path, strength = split_strength(text)
    applied = apply_lora(networks, path, strength)
    logger.info("%s: %d layers at strength %g", path, applied.layers, strength)
    if applied.unused:
        logger.warning("%s: tensors that no network has a place for: %s", path, name_some(applied.unused))


def render_with(
    networks: Networks,
    inputs: Inputs,
    options: argparse.Namespace,
    device: torch.device,
    on_frames: FramesCallback | None = None,
) -> Rendered:
    """Render with the options' settings and log the result; `on_frames` as in `pipeline.render`."""
    settings = render_settings(options, networks.settings)
    width, height = settings.size
    if (width, height) != (settings.width, settings.height):
        logger.info("%dx%d is rounded to %dx%d, multiples of 8", settings.width, settings.height, width, height)
    logger.info(
        "%s weights: %d steps, guidance %g, %dx%d at %g frames a second, on %s",
        networks.variant,
        settings.sampling.steps,
        settings.sampling.guidance,
        width,
        height,
        settings.fps,
        device,
    )
    resume = getattr(options, "resume", None)
    processes = joined_processes()
    if processes is not None:
        check_same_video(processes, options, settings)
    with StageBars(options.quiet or (processes is not None and processes.rank > 0)) as bars:
        made = render(
            networks,
            inputs,
            settings,
            options.output,
            device=device,
            pictures=getattr(options, "png", False),
            on_progress=bars,
            checkpoint=None if resume is None else RenderCheckpoint(resume, options.resume_every),
            processes=processes,
            on_frames=on_frames,
        )
    logger.info("%s: %d frames, %.2f s", made.path, made.frames, made.frames / made.fps)
    return made


def render_settings(options: argparse.Namespace, recommended: RecommendedSettings) -> RenderSettings:
    """The options, and what the weights recommend where an option was not given."""

    def chosen(name: str) -> Any:
        given = getattr(options, name)
        return getattr(recommended, name) if given is None else given

    for name in ("width", "height"):
        if not MIN_SIDE <= chosen(name) <= MAX_SIDE:
            raise EchoMimicError(f"--{name} must be {MIN_SIDE} to {MAX_SIDE} pixels, got {chosen(name)}")
    sampling = SamplingSettings(
        steps=chosen("steps"),
        guidance=chosen("guidance"),
        window_length=chosen("window"),
        overlap=chosen("overlap"),
        looped=not options.open_windows,
        seed=options.seed,
        fast=FAST_MODES[options.fast],
    )
    shape = {name: chosen(name) for name in ("width", "height", "fps")}
    return RenderSettings(sampling, **shape, frames=options.frames, compile=options.compile)


def prepare_device(name: str) -> torch.device:
    """`pick_device` for this process, where several share the windows; on a CPU freed memory is kept for reuse."""
    device = pick_device(process_device(name))
    if device.type == "cpu":
        keep_freed_blocks()
    return device


def pick_device(name: str) -> torch.device:
    """The device of that name; `auto` is CUDA (or ROCm), else MPS, else the CPU.

    Raises:
        EchoMimicError: torch does not support it or cannot reach it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()  # "meta" has no numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise EchoMimicError(f"the device {name!r} cannot be used here ({reason}): try --device cpu") from error
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The precision of that name; `auto` is float16 on a GPU, as released, and float32 on a CPU."""
    if name != "auto":
        return DTYPES[name]
    if device.type != "cpu":
        return torch.float16
    if compute_dtype(torch.bfloat16, device) == torch.bfloat16:
        logger.info("this processor multiplies bfloat16 natively: --dtype bfloat16 is several times faster")
    return torch.float32
