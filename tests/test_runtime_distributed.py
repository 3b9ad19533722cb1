"""Several processes give what one gives; a process that fails or dies ends the run of all."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.tiny import clip_arguments, sample

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

ROOT = Path(__file__).resolve().parents[1]

# Forks the ranks, which spares each of them the imports.
RANKS = '''
import os, signal, sys, traceback, torch
from dataclasses import replace
import torch.distributed as dist
from echomimic.runtime.checkpoint import RenderCheckpoint
from echomimic.runtime.distributed import Processes
from tests.tiny import sample
from tests.tiny import clip_arguments

torch.set_num_threads(1)
arguments = clip_arguments()
folder, count, fault = sys.argv[1], int(sys.argv[2]), sys.argv[3]

def run(rank):
    os.environ["RANK"] = str(rank)
    dist.init_process_group("gloo")
    processes = Processes()
    def on_progress(progress):
        if rank == 1 and progress.step == 1:
            if fault == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            if fault in ("fails", "cancelled"):
                raise OSError("the pose file is gone")
        with open(f"{folder}/windows{rank}", "a") as file:
            file.write(f"{progress.step} ")
    state = RenderCheckpoint(folder + "/state.safetensors", 0) if fault == "state" else None
    if fault == "settings" and rank == 1:
        arguments["settings"] = replace(arguments["settings"], guidance=2.0, steps=3)
    if fault in ("before", "between"):
        fail_once(rank, processes)
    latents = sample(**arguments, processes=processes, checkpoint=state, on_progress=on_progress)
    torch.save(latents, f"{folder}/latents{rank}.pt")

def fail_once(rank, processes):
    """One process fails in a clip of other settings, before its first window or between two steps."""
    def on_progress(progress):
        if rank == 1 and (progress.step, progress.window) == (1, progress.windows - 1):
            raise MemoryError("full")
    try:
        with processes.together():
            if rank == 1 and fault == "before":
                raise MemoryError("full")
            other = {**arguments, "settings": replace(arguments["settings"], guidance=3.0)}
            sample(**other, processes=processes, on_progress=on_progress)
    except Exception as error:
        with open(f"{folder}/first{rank}", "w") as file:
            file.write(f"{type(error).__name__}: {error}")

children = []
for rank in range(count):
    child = os.fork()
    if child == 0:
        try:
            run(rank)
        except Exception:
            with open(f"{folder}/error{rank}", "w") as file:
                file.write(traceback.format_exc())
            os._exit(1)
        os._exit(0)
    children.append(child)
for child in children:
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
'''


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def run_ranks(folder: Path, count: int, fault: str = "none") -> tuple[list[int], list[str]]:
    """Exit code and error of each rank."""
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": str(count)}
    command = [sys.executable, "-c", RANKS, str(folder), str(count), fault]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    errors = [folder / f"error{rank}" for rank in range(count)]
    message = [file.read_text() if file.exists() else "" for file in errors]
    assert len(run.stdout.split()) == count, run.stderr
    return [int(code) for code in run.stdout.split()], message


@pytest.mark.parametrize("count", [2, 3])
def test_ranks_give_what_one_process_gives(tmp_path, count):
    codes, errors = run_ranks(tmp_path, count)
    assert codes == [0] * count, errors
    alone = sample(**clip_arguments())
    for rank in range(count):
        torch.testing.assert_close(torch.load(tmp_path / f"latents{rank}.pt"), alone, atol=1e-5, rtol=1e-4)


def test_a_rank_that_dies_ends_the_run(tmp_path):
    codes, errors = run_ranks(tmp_path, 3, "dies")
    assert codes == [1, -9, 1]
    assert all("lost the others: one of them died" in errors[rank] for rank in (0, 2))


def test_a_rank_that_fails_gives_the_others_its_message(tmp_path):
    codes, errors = run_ranks(tmp_path, 3, "fails")
    assert codes == [1, 1, 1]
    assert "OSError: the pose file is gone" in errors[1]
    assert all("process 1 of 3 failed: OSError: the pose file is gone" in errors[rank] for rank in (0, 2))


def test_ranks_share_a_state(tmp_path):
    assert run_ranks(tmp_path, 2, "state")[0] == [0, 0]
    first = torch.load(tmp_path / "latents0.pt")
    # A second run finds everything done and only reads it, on both ranks.
    assert run_ranks(tmp_path, 2, "state")[0] == [0, 0]
    assert torch.equal(torch.load(tmp_path / "latents1.pt"), first)


def test_a_rank_that_is_cancelled_stops_the_others_within_one_window(tmp_path):
    """Not after their whole share of a step: 14 frames are five windows, three of them the first rank's."""
    codes, _ = run_ranks(tmp_path, 2, "cancelled")
    assert codes == [1, 1]
    windows = (tmp_path / "windows0").read_text().split()
    assert windows.count("1") == 1


@pytest.mark.parametrize("fault", ["before", "between"])
def test_after_a_failure_of_one_rank_all_are_in_the_same_clip(tmp_path, fault):
    """The next clip was made of both ones' inputs, without a word."""
    codes, errors = run_ranks(tmp_path, 2, fault)
    assert codes == [0, 0], errors
    assert (tmp_path / "first1").read_text() == "MemoryError: full"
    assert (tmp_path / "first0").read_text() == "EchoMimicError: process 1 of 2 failed: MemoryError: full"
    alone = sample(**clip_arguments())
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"latents{rank}.pt"), alone, atol=1e-5, rtol=1e-4)


def test_ranks_with_different_settings_are_refused(tmp_path):
    codes, errors = run_ranks(tmp_path, 2, "settings")
    assert codes == [1, 1]
    assert all("to make different videos (they differ in guidance, steps): start all" in error for error in errors)
