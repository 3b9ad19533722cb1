"""`bundle`: the published files as one."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace

import torch
from tqdm import tqdm

from ..errors import OutputError
from ..media.video_writer import check_place
from ..models.networks import RECOMMENDED_SETTINGS
from ..weights import WeightFiles, find_weights, load_weights, save_bundle
from .options import file_path, is_same_file

logger = logging.getLogger("echomimic")

EXAMPLE = """\
examples:
  python -m echomimic bundle models/echomimic echomimic_v2_accelerated.safetensors --dtype float16
  python -m echomimic bundle models/echomimic echomimic_v2.safetensors --variant standard

A bundle holds all networks of one variant, its sizes and its recommended settings, so that loading needs one path and
cannot mix variants. float16 halves the file (to 4.4 GB) and is what the authors run on a GPU.
"""
DTYPES = ("float32", "float16", "bfloat16")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "bundle",
        help="put the published files into one .safetensors file",
        description="Put a folder of published files into one .safetensors file. Every tensor is checked on the way.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=file_path, help="the folder with the published files (see download)")
    parser.add_argument("output", type=file_path, help="the .safetensors file to write")
    parser.add_argument(
        "--variant",
        choices=("accelerated", "standard"),
        help="which of the folder's variants (default: the accelerated one if the folder has it)",
    )
    parser.add_argument("--dtype", choices=DTYPES, help="precision to store (default: that of the files)")
    parser.add_argument("--vae", type=file_path, help="a VAE folder or file, if it is not in the folder")
    parser.add_argument("--audio-encoder", type=file_path, help="Whisper tiny's file, if it is not in the folder")
    parser.add_argument("--no-vae", action="store_true", help="leave out the VAE")
    parser.add_argument("--no-audio-encoder", action="store_true", help="leave out the audio encoder")
    for name, kind in (("steps", int), ("guidance", float), ("width", int), ("height", int), ("fps", float)):
        parser.add_argument(f"--{name}", type=kind, help="recommended setting to store (default: the variant's)")
    parser.add_argument("--force", action="store_true", help="replace an existing output")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no log messages")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Read, check and write; returns 0."""
    if options.output.suffix != ".safetensors":
        raise OutputError(f"a bundle's name must end in .safetensors, not {options.output.name}")
    if options.output.is_dir():
        raise OutputError(f"{options.output} is a folder: name a file for the bundle")
    if options.output.exists() and not options.force:
        raise OutputError(f"{options.output} is there already: --force replaces it")
    names = ("steps", "guidance", "width", "height", "fps")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    replace(RECOMMENDED_SETTINGS["accelerated"], **given)  # refuses what no variant can have
    files = find_weights(options.folder, options.variant, audio_encoder=options.audio_encoder, vae=options.vae)
    for path in vars(files).values():
        if path is not None and is_same_file(options.output, path):
            raise OutputError(f"the bundle is made of {path}, which it would replace: name another file")
    check_place(options.output)
    networks = load_weights(
        files, options.variant, with_audio_encoder=not options.no_audio_encoder, with_vae=not options.no_vae
    )
    networks = replace(networks, settings=replace(networks.settings, **given))
    dtype = getattr(torch, options.dtype) if options.dtype else None
    with tqdm(desc="write", unit="B", unit_scale=True, disable=options.quiet) as bar:

        def show_progress(written: int, total: int) -> None:
            bar.total = total
            bar.update(written - bar.n)

        save_bundle(options.output, networks, dtype=dtype, source=described(files), on_progress=show_progress)
    logger.info("%s: the %s variant in %.1f MB", options.output, networks.variant, options.output.stat().st_size / 1e6)
    return 0


def described(files: WeightFiles) -> str:
    """The names of the files that a bundle was made of, for its header."""
    parts = (files.denoising_unet, files.motion_module, files.reference_unet, files.pose_encoder)
    return "made from " + ", ".join(path.name for path in (*parts, files.audio_encoder, files.vae) if path)
