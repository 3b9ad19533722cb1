"""Renders that survive, renders that are shared, and many renders: `--resume`, torchrun and `batch`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from echomimic.cli.main import main
from tests.test_cli import ROOT, arguments, bundle, facts, inputs, refusal, weights

__all__ = ["bundle", "inputs", "weights"]  # fixtures


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_killed_render_resumes(tmp_path, bundle, inputs):
    source, state = ["--bundle", str(bundle), "--steps", "20"], tmp_path / "state.safetensors"
    whole, resumed = tmp_path / "whole.png", tmp_path / "resumed.png"
    assert main([*arguments(inputs, whole, source, "--png", "--frames", "3", "--quiet"), "--steps", "20"]) == 0

    command = [*arguments(inputs, resumed, source, "--png", "--frames", "3", "--quiet"), "--steps", "20"]
    command += ["--resume", str(state), "--resume-every", "0"]
    running = subprocess.Popen([sys.executable, "-m", "echomimic", *command], cwd=ROOT)
    while not state.exists() and running.poll() is None:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert state.exists() and not resumed.exists()

    assert main(command) == 0
    assert not state.exists()
    for picture in sorted(whole.iterdir()):
        assert (resumed / picture.name).read_bytes() == picture.read_bytes()


def test_state_of_another_render_is_refused(tmp_path, bundle, inputs, capsys):
    state = tmp_path / "state.safetensors"
    state.write_bytes(b"no state at all")
    command = arguments(inputs, tmp_path / "a.mp4", ["--bundle", str(bundle)], "--resume", str(state))
    assert "state.safetensors" in refusal(capsys, *command)
    assert state.read_bytes() == b"no state at all"


def test_two_processes_make_the_video_of_one(tmp_path, bundle, inputs):
    source = ["--bundle", str(bundle), "--window", "6", "--overlap", "2", "--png", "--quiet"]
    assert main(arguments(inputs, tmp_path / "one", source)) == 0
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29617"]
    command = [*launcher, "-m", "echomimic", *arguments(inputs, tmp_path / "two", source)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})
    one, two = (
        np.stack([np.asarray(Image.open(path)) for path in sorted((tmp_path / name).iterdir())])
        for name in ("one", "two")
    )
    assert len(one) == 14
    # Velocities are added up in another order.
    assert np.abs(one.astype(int) - two).max() <= 2


def test_two_processes_make_many_videos(tmp_path, bundle, inputs):
    """In one group of processes: a second one of the same would wait for ever."""
    table = write_table(tmp_path, "image,audio,output,frames\nme.png,voice.wav,a.mp4,2\nme.png,voice.wav,b.mp4,3\n")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29618"]
    command = [*launcher, "-m", "echomimic", *batch(table, bundle)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert [facts(tmp_path / name)[2] for name in ("a.mp4", "b.mp4")] == [2, 3]


# One process of two fails in one line, once, before it shares anything.
ONE_FAILS = """
import os, sys
from echomimic import pipeline
from echomimic.cli.main import main

encode = pipeline.encode_portrait

def encode_once_less(*arguments):
    pipeline.encode_portrait = encode
    raise MemoryError("full")

if os.environ["RANK"] == "1":
    pipeline.encode_portrait = encode_once_less
sys.exit(main(sys.argv[1:]))
"""


def test_a_line_that_fails_in_one_process_fails_in_both_and_the_next_one_is_whole(tmp_path, bundle, inputs, capfd):
    """Their exchanges met in different lines, and a video was made of two people's inputs."""
    Image.fromarray(np.asarray(Image.open(tmp_path / "me.png"))[::-1]).save(tmp_path / "other.png")
    table = write_table(tmp_path, "image,audio,output,seed\nme.png,voice.wav,a.mp4,1\nother.png,voice.wav,b.mp4,2\n")
    (tmp_path / "one_fails.py").write_text(ONE_FAILS, encoding="utf-8")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29619"]
    command = [*launcher, str(tmp_path / "one_fails.py"), *batch(table, bundle)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, cwd=tmp_path, timeout=300, env=environment).returncode
    said = capfd.readouterr().err
    assert "a.mp4 failed: full" in said and "a.mp4 failed: process 1 of 2 failed: MemoryError: full" in said
    assert not (tmp_path / "a.mp4").exists()
    two = frames_of(tmp_path / "b.mp4")
    (tmp_path / "b.mp4").unlink()
    assert main(batch(write_table(tmp_path, "image,audio,output,seed\nother.png,voice.wav,b.mp4,2\n"), bundle)) == 0
    one = frames_of(tmp_path / "b.mp4")
    assert one.shape == two.shape and np.abs(one - two).mean() < 1


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)])


def write_table(folder: Path, text: str) -> Path:
    (folder / "jobs.csv").write_text(text, encoding="utf-8")
    return folder / "jobs.csv"


def batch(table: Path, bundle: Path) -> list[str]:
    return ["batch", str(table), "--bundle", str(bundle), "--width", "64", "--height", "64", "--steps", "1", "--quiet"]


def test_table_makes_its_videos_skips_finished_ones_and_survives_a_bad_line(tmp_path, bundle, inputs, capsys):
    table = write_table(
        tmp_path,
        "image,audio,pose,output,frames\n"
        "me.png,voice.wav,clip.safetensors,out/a.mp4,2\n"
        "gone.png,voice.wav,,out/b.mp4,2\n"
        "me.png,voice.wav,,out/c.mp4,3\n"
        "me.png,voice.wav,,done.mp4,2\n",
    )
    (tmp_path / "done.mp4").write_bytes(b"finished before")
    message = refusal(capsys, *batch(table, bundle))
    assert "1 of 3 videos failed: line 3" in message and "gone.png" in message
    assert facts(tmp_path / "out" / "a.mp4")[2] == 2
    assert facts(tmp_path / "out" / "c.mp4")[2] == 3
    assert (tmp_path / "done.mp4").read_bytes() == b"finished before"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.mp4", "c.mp4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,audio\nme.png,voice.wav\n", "lacks the columns output"),
        ("image,audio,output,colour\n", "has columns colour"),
        ("image,audio,output,seed\nme.png,voice.wav,a.mp4,blue\n", "line 2 of .*seed must be a whole number"),
        ("image,audio,output\nme.png,,a.mp4\n", "line 2 of .* has no audio"),
    ],
)
def test_bad_tables_are_refused_before_the_work(tmp_path, bundle, inputs, capsys, text, message):
    import re

    assert re.search(message, refusal(capsys, *batch(write_table(tmp_path, text), bundle)))
    assert not (tmp_path / "a.mp4").exists()


def test_missing_table_is_named(tmp_path, bundle, capsys):
    assert "there is no file" in refusal(capsys, *batch(tmp_path / "no.csv", bundle))
