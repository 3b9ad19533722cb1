"""Several processes for one video: `torchrun --nproc-per-node=N -m echomimic generate ...`."""

from __future__ import annotations

import argparse
import atexit
import functools
import os

import torch
import torch.distributed as dist

from ..files.fingerprint import hash_file, hash_text
from ..pipeline import RenderSettings
from ..runtime.distributed import Processes


def started_by_torchrun() -> bool:
    """Whether torchrun started this process, so that others share its windows."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def process_device(name: str) -> str:
    """The device option for this process: on a machine with GPUs every process takes its own, unless one is named."""
    if name in ("auto", "cuda") and started_by_torchrun() and torch.cuda.is_available():
        return f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
    return name


def joined_processes() -> Processes | None:
    """This process among those that torchrun started; None where it runs alone."""
    return join() if started_by_torchrun() else None


@functools.cache
def join() -> Processes:
    """Join the process group, once: a second group of the same processes would wait forever, since torchrun's store
    still holds the first group's signals."""
    dist.init_process_group("gloo")
    atexit.register(dist.destroy_process_group)
    return Processes()


def check_same_video(processes: Processes, options: argparse.Namespace, settings: RenderSettings) -> None:
    """Make sure that all processes make one video of the same files.

    These are compared by their bytes: what is computed from them differs by rounding from processor to processor.

    Raises:
        EchoMimicError: they do not; names what differs.
    """
    facts: dict[str, object] = {name: getattr(settings, name) for name in ("width", "height", "fps", "frames")}
    for name in ("image", "audio", "pose"):
        path = getattr(options, name, None)
        if path is not None:
            files = sorted(path.iterdir()) if path.is_dir() else [path]
            facts[name] = hash_text(*(hash_file(file) for file in files if file.is_file()))
    processes.check_same(facts)
