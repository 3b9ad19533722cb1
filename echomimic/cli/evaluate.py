"""`evaluate`: renders against the truth, by the measures of the paper's table 2."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from tqdm import tqdm

from ..errors import OutputError, TrainingError
from ..media.video_writer import check_place
from ..training.evaluate import as_table, evaluate, plot_results, write_results
from ..training.render_list import write_render_list
from .generate import pick_device
from .options import file_path

logger = logging.getLogger("echomimic")

PLOT = ".png"

EXAMPLE = """\
examples:
  python -m echomimic evaluate --made renders --truth test_videos --models models/echomimic --output row.json
  python -m echomimic evaluate --reproduce emtd

Videos are paired by name. A measure whose package or weights are not there is left out with the reason.
"""

EMTD = """\
The paper's row on EMTD, from a machine with the published weights and a GPU:

1. The test videos: github.com/antgroup/echomimic_v2 describes EMTD (110 public half-body clips) and has the scripts
   that download and cut them (EMTD_dataset/). They are other people's videos and not part of this project.
2. The weights: python -m echomimic download models/echomimic --variant standard
   and DWPose's yolox_l.onnx and dw-ll_ucoco_384.onnx from huggingface.co/yzd-v/DWPose into the same folder.
3. The measures' packages: pip install -r requirements-train.txt cd-fvd insightface syncnet-python onnxruntime
   and pip install --no-deps rtmlib, which finds the poses;
   and SyncNet's files (syncnet_v2.model, sfd_face.pth), which syncnet-python's page names, into models/syncnet.
4. Bring the videos to 768x768, head to waist, with poses and sound:
     python -m echomimic prepare EMTD --output emtd --no-headshots --max-seconds 80
5. Render each clip from its own first frame, sound and poses (the list for `batch` is written beside the clips):
     python -m echomimic evaluate --reproduce emtd --data emtd --made renders
     python -m echomimic batch emtd/renders.csv --weights models/echomimic --variant standard
6. The row:
     python -m echomimic evaluate --made renders --truth emtd/clips --models models/echomimic --syncnet models/syncnet
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "evaluate",
        help="measure renders against the truth",
        description="Measure renders against the truth: PSNR, SSIM, FID, FVD, LPIPS, CSIM, Sync-C, Sync-D, HKC, HKV.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--made", type=file_path, metavar="FOLDER", help="the rendered videos")
    parser.add_argument("--truth", type=file_path, metavar="FOLDER", help="the true videos, with the same names")
    parser.add_argument(
        "--output", type=file_path, metavar="JSON", help="write the results here (.json), and a plot beside it (.png)"
    )
    parser.add_argument("--models", type=file_path, metavar="FOLDER", help="DWPose's two .onnx files, for HKC and HKV")
    parser.add_argument("--syncnet", type=file_path, metavar="FOLDER", help="SyncNet's files, for Sync-C and Sync-D")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    parser.add_argument("--reproduce", choices=("emtd",), help="print how to reproduce the paper's row")
    parser.add_argument(
        "--data", type=file_path, help="with --reproduce: the prepared clips, for a list that batch renders"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no log messages")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.reproduce is not None:
        return reproduce(options)
    if options.made is None or options.truth is None:
        raise TrainingError("name the rendered videos with --made and the true ones with --truth")
    if options.output is not None:
        check_output(options.output)
    with tqdm(unit=" video", disable=options.quiet) as bar:

        def on_video(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        measures = evaluate(
            options.made,
            options.truth,
            models=options.models,
            syncnet=options.syncnet,
            device=str(pick_device(options.device)),
            on_video=on_video,
        )
    print(as_table(measures))
    if options.output is not None:
        write_results(measures, options.output)
        plot_results(measures, options.output.with_suffix(PLOT))
    return 0


def check_output(path: Path) -> None:
    """Check, before the measuring, that results and plot can be written.

    Raises:
        OutputError: they cannot, or both would have one name.
    """
    if path.suffix.lower() == PLOT:
        raise OutputError(
            f"--output {path.name}: the results are JSON, and their plot gets this name: name {path.stem}.json"
        )
    if path.is_dir():
        raise OutputError(f"--output {path} is a folder: name a file, such as {path / 'row.json'}")
    for place in (path, path.with_suffix(PLOT)):
        check_place(place)


def reproduce(options: argparse.Namespace) -> int:
    """Print the steps, or write the list of renders of prepared clips."""
    if options.data is None:
        print(EMTD)
        return 0
    if options.made is None:
        raise TrainingError("--made must name the folder for the rendered videos")
    path = write_render_list(options.data, options.made)
    logger.info(
        "%s lists the renders: python -m echomimic batch %s --weights models/echomimic --variant standard", path, path
    )
    return 0
