"""A killed render continues to the same result; the state of another render is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from echomimic.errors import CheckpointError
from echomimic.runtime.checkpoint import RenderCheckpoint
from echomimic.sampling import FastMode
from tests.tiny import clip_arguments, sample

ROOT = Path(__file__).resolve().parents[1]

# Forks renders that write a state after every step, and kills them at a random window, at once or a moment later: in
# the midst of a window, or of writing the state. Forking spares each of them the imports.
KILLER = """
import os, random, signal, sys, time, torch
from echomimic.runtime.checkpoint import RenderCheckpoint
from tests.tiny import sample
from tests.tiny import clip_arguments

torch.set_num_threads(1)
arguments = clip_arguments()
state, output = sys.argv[1:3]

def render(pipe):
    on_progress = lambda progress: os.write(pipe, b".") and None
    torch.save(sample(**arguments, checkpoint=RenderCheckpoint(state, interval=0), on_progress=on_progress), output)

def start():
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        render(writing)
        os._exit(0)
    os.close(writing)
    return child, reading

chance = random.Random(7)
killed = finished = 0
while killed < 20 or not finished:
    child, pipe = start()
    doom = chance.randint(1, 6) if killed < 20 else 1000
    while doom and os.read(pipe, 1):
        doom -= 1
    time.sleep(chance.choice([0, 0.002, 0.01]))
    if doom == 0:
        os.kill(child, signal.SIGKILL)
    os.close(pipe)
    status = os.waitpid(child, 0)[1]
    killed += status == signal.SIGKILL
    if status == 0:
        finished += 1
        os.rename(output, f"{output}{finished}")
        os.remove(state)
print(killed)
"""


class Stop(Exception):
    pass


def stop_at(step):
    def on_step(progress):
        if progress.step == step:
            raise Stop

    return on_step


def interrupted(path, step=2, **changes):
    """A state file of a render that stopped in a step."""
    with pytest.raises(Stop):
        sample(**clip_arguments(**changes), checkpoint=RenderCheckpoint(path, interval=0), on_progress=stop_at(step))
    assert path.exists()


@pytest.fixture(scope="module")
def whole():
    return sample(**clip_arguments())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_twenty_times_ends_in_identical_output(tmp_path):
    command = [sys.executable, "-c", KILLER, str(tmp_path / "state.safetensors"), str(tmp_path / "latents")]
    killer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert int(killer.stdout or 0) >= 20, killer.stderr
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = sample(**clip_arguments())
    finally:
        torch.set_num_threads(threads)
    outputs = list(tmp_path.glob("latents*"))
    assert outputs and all(torch.equal(torch.load(output), whole) for output in outputs)


def test_resuming_computes_only_the_missing_steps(tmp_path, whole):
    path = tmp_path / "state.safetensors"
    interrupted(path, step=3)
    steps = []
    latents = sample(
        **clip_arguments(), checkpoint=RenderCheckpoint(path, 0), on_progress=lambda p: steps.append(p.step)
    )
    assert set(steps) == {3}
    assert torch.equal(latents, whole)


def test_the_first_window_is_kept_and_not_computed_again(tmp_path, whole):
    """Half a minute has not gone by, and no step is done: 14 frames are five windows a step."""
    path = tmp_path / "state.safetensors"

    def stop_after_two(progress):
        if progress.done == 2:
            raise Stop

    with pytest.raises(Stop):
        sample(**clip_arguments(), checkpoint=RenderCheckpoint(path), on_progress=stop_after_two)
    done = []
    latents = sample(**clip_arguments(), checkpoint=RenderCheckpoint(path), on_progress=lambda p: done.append(p.done))
    assert done[0] in (2, 3) and done[1:] == list(range(done[0] + 1, 21))
    assert torch.equal(latents, whole)


def test_writing_takes_a_twentieth_of_the_time_at_most(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    checkpoint = RenderCheckpoint(tmp_path / "state.safetensors", inputs={"a": "b"})
    latents = torch.zeros(1, 4, 2, 2, 2)
    checkpoint.begin({}, latents)
    checkpoint.writing_takes = 0.5
    for now[0], written in ((9.0, False), (11.0, True)):
        checkpoint.save(1, latents)
        assert checkpoint.path.exists() is written
    checkpoint.writing_takes = 60.0
    checkpoint.path.unlink()
    now[0] = 42.0  # the interval of 30 s is the most
    checkpoint.save(1, latents)
    assert checkpoint.path.exists()


def test_a_finished_state_gives_the_latents_at_once(tmp_path, whole):
    state = RenderCheckpoint(tmp_path / "state.safetensors", interval=0)
    sample(**clip_arguments(), checkpoint=state)
    again = sample(**clip_arguments(), checkpoint=state, on_progress=stop_at(0))
    assert torch.equal(again, whole)
    state.remove()
    assert not list(tmp_path.iterdir())


def test_reused_deep_features_survive_too(tmp_path):
    fast = FastMode(reuse_every=2)
    path = tmp_path / "state.safetensors"
    interrupted(path, step=3, fast=fast)
    latents = sample(**clip_arguments(fast=fast), checkpoint=RenderCheckpoint(path, 0))
    assert torch.equal(latents, sample(**clip_arguments(fast=fast)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 5}, "steps 4 then, 5 now"),
        ({"guidance": 2.0}, "guidance 1.5 then, 2.0 now"),
        ({"pose_strength": 0.5}, "pose strength 1.0 then, 0.5 now"),
        ({"audio": torch.zeros(14, 50, 24)}, "audio"),
        ({"pose": None}, "pose"),
        ({"noise": torch.zeros(1, 4, 14, 4, 4)}, "noise"),
        ({"overlap": 2}, "overlap 1 then, 2 now"),
    ],
)
def test_the_state_of_another_render_is_refused(tmp_path, changes, message):
    path = tmp_path / "state.safetensors"
    interrupted(path, step=1)
    with pytest.raises(CheckpointError, match=f"belongs to another render.*{message}"):
        sample(**clip_arguments(**changes), checkpoint=RenderCheckpoint(path))


def test_a_damaged_state_is_refused(tmp_path):
    path = tmp_path / "state.safetensors"
    interrupted(path)
    whole = path.read_bytes()
    for damaged in (whole[:-100], whole[:-1] + bytes([whole[-1] ^ 1]), b"", b"x" * 100):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="delete it to start over"):
            sample(**clip_arguments(), checkpoint=RenderCheckpoint(path))


def test_a_foreign_file_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"latents": torch.zeros(1, 4, 14, 4, 4)}, path)
    with pytest.raises(CheckpointError, match="is not a render's state"):
        sample(**clip_arguments(), checkpoint=RenderCheckpoint(path))
    assert load_file(path).keys() == {"latents"}


def test_a_state_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot be (written|read)"):
        sample(**clip_arguments(), checkpoint=RenderCheckpoint(tmp_path / "file" / "state.safetensors", interval=0))


def test_inputs_are_compared_and_what_is_computed_of_them_is_not(tmp_path, whole):
    """Another thread library or device computes the reference and the audio features a little differently."""
    path = tmp_path / "state.safetensors"

    def run(inputs, on_progress=None, **changes):
        return sample(
            **clip_arguments(**changes), checkpoint=RenderCheckpoint(path, 0, inputs), on_progress=on_progress
        )

    with pytest.raises(Stop):
        run({"portrait": "a", "voice": "b"}, stop_at(3))
    nearly = clip_arguments()["audio"] + 1e-6
    steps = []
    run({"portrait": "a", "voice": "b"}, lambda progress: steps.append(progress.step), audio=nearly)
    assert set(steps) == {3}
    with pytest.raises(CheckpointError, match="voice b then, c now"):
        run({"portrait": "a", "voice": "c"})


def test_other_weights_are_another_render(tmp_path):
    path = tmp_path / "state.safetensors"
    with pytest.raises(Stop):
        sample(**clip_arguments(), checkpoint=RenderCheckpoint(path, 0, {"a": "b"}), on_progress=stop_at(2))
    other = clip_arguments()
    with torch.no_grad():
        other["denoiser"].conv_out.bias += 1
    with pytest.raises(CheckpointError, match="weights"):
        sample(**other, checkpoint=RenderCheckpoint(path, 0, {"a": "b"}))


def test_what_was_read_does_not_hang_on_the_file(tmp_path):
    """A mapped file cannot be replaced on Windows; elsewhere, overwriting it would change what was read."""
    path = tmp_path / "state.safetensors"
    checkpoint = RenderCheckpoint(path, 0, {"a": "b"})
    checkpoint.begin({}, torch.zeros(1, 4, 2, 2, 2))
    checkpoint.write(1, torch.ones(1, 4, 2, 2, 2))
    latents, steps = RenderCheckpoint(path, 0, {"a": "b"}).begin({}, torch.zeros(1, 4, 2, 2, 2))
    with path.open("rb+") as file:
        file.write(b"\0" * path.stat().st_size)
    assert steps == 1 and float(latents.sum()) == 32


def test_a_failed_write_leaves_the_last_state_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    checkpoint = RenderCheckpoint(path, 0, {"a": "b"})
    checkpoint.begin({}, torch.zeros(1, 4, 2, 2, 2))
    checkpoint.write(1, torch.ones(1, 4, 2, 2, 2))
    before = path.read_bytes()

    def full_disk(self, data):
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(CheckpointError, match="No space left on device"):
        checkpoint.write(2, torch.ones(1, 4, 2, 2, 2))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_state_that_is_a_link_is_written_and_deleted_where_it_leads(tmp_path):
    (tmp_path / "disk").mkdir()
    end = tmp_path / "disk" / "state"
    (tmp_path / "link").symlink_to(end)
    state = RenderCheckpoint(tmp_path / "link", interval=0)
    state.begin({"seed": 1}, torch.zeros(2, 4, 4, 4))
    state.write(1, torch.ones(2, 4, 4, 4))
    _, step = RenderCheckpoint(tmp_path / "link").begin({"seed": 1}, torch.zeros(2, 4, 4, 4))
    assert step == 1 and end.is_file()
    state.remove()
    assert not end.exists() and (tmp_path / "link").is_symlink()
