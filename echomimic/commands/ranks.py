"""Several processes for one video: `torchrun --nproc-per-node=N -m echomimic generate ...`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..sampling.parallel import Ranks


def started_by_torchrun() -> bool:
    """Whether there are other processes to share the windows with."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def rank_device(name: str) -> str:
    """The device option for this process: with `auto` on a machine with GPUs, every process takes its own."""
    import torch

    if name == "auto" and started_by_torchrun() and torch.cuda.is_available():
        return f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
    return name


@contextmanager
def joined_ranks() -> Iterator[Ranks | None]:
    """This process among those that torchrun started; None where it runs alone."""
    if not started_by_torchrun():
        yield None
        return
    import torch.distributed as dist

    dist.init_process_group("gloo")
    try:
        yield Ranks()
    finally:
        dist.destroy_process_group()
