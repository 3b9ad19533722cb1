"""States of many renders in one folder: a file found is the render's own, and old ones do not pile up."""

from __future__ import annotations

import os
import time

import pytest
import torch

from echomimic.errors import CheckpointError
from echomimic.runtime.checkpoint_folder import KEPT_OTHERS, CheckpointFolder, file_stem
from tests.test_runtime_checkpoint import Stop, stop_at
from tests.tiny import clip_arguments, sample

DAY = 24 * 3600


def stopped(folder, step=2, **changes):
    """The file of a render that stopped in a step."""
    state = CheckpointFolder(folder, interval=0)
    with pytest.raises(Stop):
        sample(**clip_arguments(**changes), checkpoint=state, on_progress=stop_at(step))
    assert state.checkpoint is not None and state.checkpoint.path.exists()
    return state.checkpoint.path


def test_a_stopped_render_continues_to_the_same_result(tmp_path):
    path, steps = stopped(tmp_path / "new" / "folder"), []
    state = CheckpointFolder(tmp_path / "new" / "folder", interval=0)
    latents = sample(**clip_arguments(), checkpoint=state, on_progress=lambda progress: steps.append(progress.step))
    assert set(steps) == {2, 3}
    assert torch.equal(latents, sample(**clip_arguments()))
    assert path.exists()
    state.remove()
    assert not list((tmp_path / "new" / "folder").iterdir())


@pytest.mark.parametrize("change", [{"guidance": 2.0}, {"seed": 1}, {"audio": torch.zeros(14, 50, 24)}, {"pose": None}])
def test_any_change_starts_a_new_state_beside_it(tmp_path, change):
    first, steps = stopped(tmp_path), []
    state = CheckpointFolder(tmp_path, interval=0)
    sample(**clip_arguments(**change), checkpoint=state, on_progress=lambda progress: steps.append(progress.step))
    assert set(steps) == {0, 1, 2, 3}
    assert state.checkpoint.path != first and first.exists()


def test_a_damaged_file_is_named(tmp_path):
    path = stopped(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=f"{path.name} .*delete it to start over"):
        sample(**clip_arguments(), checkpoint=CheckpointFolder(tmp_path))


def test_a_folder_that_cannot_be_made_is_refused_before_the_first_window(tmp_path):
    (tmp_path / "file").write_text("")
    seen = []
    with pytest.raises(CheckpointError, match="file for renders' states cannot be made"):
        sample(**clip_arguments(), checkpoint=CheckpointFolder(tmp_path / "file"), on_progress=seen.append)
    assert not seen


def put(path, days):
    path.write_text("")
    os.utime(path, (time.time() - days * DAY,) * 2)
    return path


def test_states_that_are_old_or_too_many_go_and_other_files_stay(tmp_path):
    newest = [put(tmp_path / f"{file_stem({'seed': seed})}.safetensors", seed) for seed in range(KEPT_OTHERS)]
    fifth = put(tmp_path / f"{file_stem({'seed': 10})}.safetensors", 10)
    killed, writing = put(tmp_path / ".render-1.partial", 1), put(tmp_path / ".render-2.partial", 0)
    foreign = put(tmp_path / "weights.safetensors", 100)
    mine = stopped(tmp_path)
    assert set(tmp_path.iterdir()) == {*newest, writing, foreign, mine}
    assert not fifth.exists() and not killed.exists()
    os.utime(newest[1], (time.time() - 31 * DAY,) * 2)
    os.utime(mine, (time.time() - 31 * DAY,) * 2)
    assert stopped(tmp_path, step=3) == mine
    assert not newest[1].exists()


def test_a_portrait_encoded_on_another_device_continues_and_another_one_starts_its_own(tmp_path):
    """What a VAE computes differs by rounding from device to device."""
    portrait = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(1))

    def run(latents, **options):
        folder = CheckpointFolder(tmp_path, 0, {"voice": "a"}, latents)
        steps = []
        record = options.pop("stop", lambda progress: steps.append(progress.step))
        sample(**clip_arguments(), checkpoint=folder, on_progress=record)
        return steps

    with pytest.raises(Stop):
        run(portrait, stop=stop_at(2))
    assert set(run(-portrait)) == {0, 1, 2, 3}
    assert set(run(portrait + 0.001)) == {2, 3}
