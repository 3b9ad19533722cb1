"""`download`: the published weights, into a folder."""

from __future__ import annotations

import argparse
import logging

from ..weights.download import RemoteFile, download
from .options import file_path

logger = logging.getLogger("echomimic")

EXAMPLE = """\
examples:
  python -m echomimic download models/echomimic
  python -m echomimic download models/echomimic --variant standard

The accelerated variant needs about 9 GB of disk and a tenth of the standard variant's computing. An interrupted
download resumes when the same command is run again. The variable HF_ENDPOINT names another hub
(a mirror), HF_TOKEN logs in. For ComfyUI name the folder models/echomimic of ComfyUI's, and move the sd-vae-ft-mse that
arrives there to its models/vae, where Load VAE looks.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "download",
        help="fetch the published weights into a folder",
        description="Fetch the published weights from the Hugging Face hub (BadToBest/EchoMimicV2, Apache-2.0, and the "
        "VAE stabilityai/sd-vae-ft-mse, MIT) into a folder, for `generate --weights` or `bundle`.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=file_path, help="where to put the files; created if it is missing")
    parser.add_argument(
        "--variant",
        choices=("accelerated", "standard", "both"),
        default="accelerated",
        help="which to fetch: accelerated takes 6 steps, standard 30 with guidance (default: %(default)s)",
    )
    parser.add_argument("--no-vae", action="store_true", help="leave out the VAE (0.3 GB), if you have it")
    parser.add_argument("--no-audio-encoder", action="store_true", help="leave out the audio encoder (Whisper tiny)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars, no log messages")
    parser.set_defaults(run=run, resumes=True)


def run(options: argparse.Namespace) -> int:
    """Download; returns 0."""

    def log_file(file: RemoteFile, number: int, total: int) -> None:
        logger.info("%d of %d: %s from %s", number + 1, total, file.name, file.repository)

    files = download(
        options.folder,
        options.variant,
        with_audio_encoder=not options.no_audio_encoder,
        with_vae=not options.no_vae,
        quiet=options.quiet,
        on_progress=log_file,
    )
    logger.info("%d files of the %s variant are in %s", len(files), options.variant, options.folder)
    return 0
