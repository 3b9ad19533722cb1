"""Training in processes of its own: killed at any moment, and divided between two."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from echomimic.files.tensors import read_state_dict
from echomimic.training.records import read_records
from tests.conftest import ROOT
from tests.published import write_vae
from tests.training_data import person_frames, write_data, write_person_video

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data with cached features of noise, and a VAE: no audio encoder is needed."""
    from dataclasses import replace

    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("home")
    write_vae(folder / "vae", {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1})
    write_data(folder / "data", clips=2, frames=6, size=64)
    records = []
    for record in read_records(folder / "data"):
        name = record.file_name.replace(".mp4", ".latents.safetensors")
        generator = torch.Generator().manual_seed(len(records))
        latents, steps = torch.randn(6, 4, 8, 8, generator=generator), torch.randn(13, 5, 384, generator=generator)
        save_file({"latents": latents, "steps": steps}, folder / "data" / name)
        records.append(replace(record, latents=name))
    (folder / "data" / "metadata.jsonl").write_text("".join(f"{record.to_json()}\n" for record in records))
    return folder


def write_config(home: Path, name: str, steps: int, batch_size: int = 1) -> Path:
    content = {
        "stage": "stage2",
        "data": "data",
        "output": name,
        "weights": {
            "start": "random", "vae": "vae", "block_out_channels": [32, 32], "layers_per_block": 1,
            "attention_heads": 4, "norm_num_groups": 8,
        },
        "size": 64,
        "frames": 2,
        "steps": steps,
        "batch_size": batch_size,
        "precision": "float32",
        "gradient_checkpointing": False,
        "checkpoint_every": 3,
        "loss": {"low_level": "encoder", "crop": 32},
        "validation": {"every": 0},
        "optimizer": {"learning_rate": 1e-3, "warmup_steps": 2},
    }  # fmt: skip
    path = home / f"{name}.yaml"
    path.write_text(json.dumps(content))  # JSON is YAML
    return path


def start(config: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "echomimic", "train", str(config), "--device", "cpu", "--quiet"]
    return subprocess.Popen(command, env=ENVIRONMENT, cwd=config.parent, stderr=subprocess.PIPE)


def finish(config: Path) -> None:
    process = start(config)
    _, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors.decode()


def log(run: Path) -> list[tuple[int, float]]:
    lines = (json.loads(line) for line in (run / "losses.jsonl").read_text().splitlines())
    return [(line["step"], line["total"]) for line in lines]


def kill_often(home: Path, name: str, steps: int, kills: int, seed: int) -> list[int]:
    """Train with SIGKILLs at random moments, then to the end; returns how many steps were logged at each that struck.

    Two of three come within 0.4 s after one of the next five steps, where a checkpoint is written after every third;
    the others at any moment after the start, most while the run is still being read.
    """
    config, chance, struck = write_config(home, name, steps), random.Random(seed), []
    path = home / name / "losses.jsonl"
    for _ in range(kills):
        process = start(config)
        if chance.random() < 2 / 3:
            steps_to_come, begin = chance.randint(1, 5), time.time()
            deadline = time.monotonic() + 120
            seen, last = 0, None
            while process.poll() is None and time.monotonic() < deadline and seen < steps_to_come:
                written = path.stat().st_mtime_ns if path.exists() else None
                seen += written != last and written is not None and written / 1e9 > begin
                last = written
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.4))
        else:
            time.sleep(chance.uniform(0, 8))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            struck.append(len(path.read_text().splitlines()) if path.exists() else 0)
        process.communicate()
    finish(config)
    return struck


def compare(home: Path, a: str, b: str) -> None:
    assert log(home / a) == log(home / b)
    ours, other = (read_state_dict(home / name / "bundle.safetensors") for name in (a, b))
    assert ours.keys() == other.keys()
    assert all(torch.equal(ours[name], other[name]) for name in ours)


def test_killed_twice_it_ends_as_if_it_had_not_been(home: Path) -> None:
    finish(write_config(home, "whole", 30))
    assert len(kill_often(home, "killed", 30, kills=2, seed=1)) >= 1
    compare(home, "whole", "killed")


@pytest.mark.slow
def test_killed_20_times_it_ends_as_if_it_had_not_been(home: Path) -> None:
    finish(write_config(home, "long", 250))
    struck = kill_often(home, "long_killed", 250, kills=20, seed=2)
    print("steps logged at each kill:", *struck)
    assert len(struck) == 20
    assert len(set(struck)) > 5  # at different places
    compare(home, "long", "long_killed")


def test_a_second_training_into_the_folder_is_refused_while_the_first_runs(home: Path) -> None:
    config = write_config(home, "taken", 10_000)
    first = start(config)
    try:
        deadline = time.monotonic() + 120
        while not (home / "taken" / "losses.jsonl").is_file():
            assert first.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        second = start(config)
        _, errors = second.communicate(timeout=120)
        assert second.returncode == 2
        assert "another training runs in" in errors.decode()
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()


PREPARE = """
import sys, time
from pathlib import Path
from echomimic.training.clip_filters import PrepareSettings
from echomimic.training.prepare import find_videos, prepare
from tests.training_data import DrawnPersonDetector

class Slow(DrawnPersonDetector):
    def __call__(self, picture):
        time.sleep(float(sys.argv[3]))
        return super().__call__(picture)

detect = Slow()
prepare(find_videos([Path(sys.argv[1])]), Path(sys.argv[2]), detect, PrepareSettings(size=64))
print(detect.calls)
"""


def start_prepare(videos: Path, output: Path, seconds: float) -> subprocess.Popen[bytes]:
    """Prepare drawn people in a process of its own; `seconds` is what the detector takes for a picture."""
    command = [sys.executable, "-c", PREPARE, str(videos), str(output), str(seconds)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE)


def test_a_killed_prepare_goes_on_with_the_next_video(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(3):
        background = (220, 225 - 60 * number, 230)
        write_person_video(videos / f"{number}.mp4", person_frames(26, size=64, radius=7, background=background))
    whole = start_prepare(videos, tmp_path / "whole", 0.0)
    assert int(whole.communicate(timeout=120)[0]) == 3 * 26
    killed = start_prepare(videos, tmp_path / "killed", 0.05)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed" / ".prepared").glob("*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.2)  # in the middle of the second video
    assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    again = start_prepare(videos, tmp_path / "killed", 0.0)
    assert int(again.communicate(timeout=120)[0]) == 2 * 26  # the first video is not looked at again
    records = read_records(tmp_path / "whole")
    assert read_records(tmp_path / "killed") == records
    assert len(records) == 3
    for record in records:
        for name in (record.file_name, record.audio):
            assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        ours, other = (read_state_dict(tmp_path / run / record.poses) for run in ("killed", "whole"))
        assert ours.keys() == other.keys()
        assert all(torch.equal(ours[name], other[name]) for name in ours)


TWO_PROCESSES = {
    "torch": ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
    # `--cpu` would start one process only, unless it is given a host file for mpirun; our own `--device cpu` keeps both
    # on the CPU. The precision of accelerate's configuration is not to be used: ours is that of the file.
    "accelerate": [
        "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
        "--mixed_precision", "bf16", "--dynamo_backend", "no", "--main_process_port", "0",
    ],
}  # fmt: skip


@pytest.mark.parametrize("launcher", TWO_PROCESSES)
def test_two_processes_are_one_with_twice_the_batch(home: Path, launcher: str) -> None:
    if not (home / "one" / "bundle.safetensors").is_file():
        finish(write_config(home, "one", 4, batch_size=2))
    config = write_config(home, launcher, 4, batch_size=1)
    arguments = ["-m", "echomimic", "train", str(config), "--device", "cpu", "--quiet"]
    command = [sys.executable, "-m", *TWO_PROCESSES[launcher], *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, cwd=home, capture_output=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    # One process alone would have half the rows, and another loss.
    assert [step for step, _ in log(home / launcher)] == [0, 1, 2, 3]
    ours = [loss for _, loss in log(home / launcher)]
    assert ours == pytest.approx([loss for _, loss in log(home / "one")], rel=1e-4)
    made, other = (read_state_dict(home / name / "bundle.safetensors") for name in ("one", launcher))
    # Adam's first steps are the gradients' signs, so a rounding near zero is a step of the learning rate.
    differences = torch.cat([(made[name].float() - other[name].float()).abs().flatten() for name in made])
    assert float(differences.max()) < 4e-3
    assert float((differences > 1e-5).float().mean()) < 1e-3
