"""One's own avatar: from a video to a LoRA that moves the render, and a sheet of before and after."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from echomimic.cli.main import main
from echomimic.errors import Cancelled, OutputError, TrainingError
from echomimic.files.tensors import read_state_dict
from echomimic.models import UNetConfig
from echomimic.training.avatar import AvatarSettings, make_avatar
from echomimic.training.validation import caption_bar
from tests.published import write_published
from tests.training_data import DrawnPersonDetector, person_frames, write_person_video

CONFIG = UNetConfig((32, 64), layers_per_block=1, attention_heads=8, norm_num_groups=32, audio_dim=64)
SETTINGS = AvatarSettings(size=64, frames=2, steps=3, rank=2, learning_rate=0.05, sheet_frames=2, sheet_steps=1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("avatar")
    write_published(folder / "weights", CONFIG, variants=("",))
    write_person_video(folder / "me.mp4", person_frames(26))
    return folder


def test_a_video_becomes_a_lora_and_a_sheet(home: Path, tmp_path: Path) -> None:
    steps = []
    (tmp_path / "me.png").write_bytes(b"their portrait")
    lora, sheet = make_avatar(
        [home / "me.mp4"], home / "weights", tmp_path / "me.safetensors", DrawnPersonDetector(), SETTINGS,
        device="cpu", on_step=lambda report: steps.append(report.step),
    )  # fmt: skip
    assert steps == [0, 1, 2]
    assert (tmp_path / "me.png").read_bytes() == b"their portrait"
    assert (lora.name, sheet.name) == ("me.safetensors", "me.sheet.png")
    assert "1 clip, " in (tmp_path / "me.avatar" / "data" / "report.html").read_text()
    ups = [tensor for name, tensor in read_state_dict(lora).items() if name.endswith("lora_up.weight")]
    assert ups
    assert all(tensor.isfinite().all() for tensor in ups)
    assert any(tensor.any() for tensor in ups)
    picture = np.asarray(Image.open(sheet))
    bar = len(caption_bar("", 2 * 64))
    assert picture.shape == (3 * (64 + bar), 2 * 64, 3)
    _, before, after = (row[bar:] for row in np.split(picture, 3))
    assert not np.array_equal(before, after)


def test_a_stopped_run_resumes(home: Path, tmp_path: Path) -> None:
    whole, _ = make_avatar(
        [home / "me.mp4"], home / "weights", tmp_path / "a.safetensors", DrawnPersonDetector(), SETTINGS, device="cpu"
    )
    output, detector = tmp_path / "b.safetensors", DrawnPersonDetector()
    with pytest.raises(Cancelled):
        make_avatar(
            [home / "me.mp4"], home / "weights", output, detector, SETTINGS, device="cpu", on_step=lambda report: False
        )
    looked = detector.calls
    made, _ = make_avatar([home / "me.mp4"], home / "weights", output, detector, SETTINGS, device="cpu")
    assert detector.calls == looked
    ours, other = read_state_dict(whole), read_state_dict(made)
    assert all(torch.equal(ours[name], other[name]) for name in ours)


def test_more_videos_train_anew_and_the_first_alone_needs_no_step(home: Path, tmp_path: Path) -> None:
    write_person_video(tmp_path / "more.mp4", person_frames(26, background=(30, 90, 40)))
    settings, steps = replace(SETTINGS, steps=1), []

    def make(*videos: Path) -> int:
        make_avatar(
            list(videos), home / "weights", tmp_path / "x.safetensors", DrawnPersonDetector(), settings,
            device="cpu", on_step=lambda report: steps.append(report.step),
        )  # fmt: skip
        return len(steps)

    assert make(home / "me.mp4") == 1
    assert make(home / "me.mp4", tmp_path / "more.mp4") == 2
    assert make(home / "me.mp4") == 2


def test_an_interrupted_run_of_an_earlier_version_resumes(home: Path, tmp_path: Path) -> None:
    steps: list[int] = []

    def make() -> None:
        make_avatar(
            [home / "me.mp4"], home / "weights", tmp_path / "x.safetensors", DrawnPersonDetector(), SETTINGS,
            device="cpu", on_step=lambda report: steps.append(report.step) or len(steps) != 1,
        )  # fmt: skip

    with pytest.raises(Cancelled):
        make()
    (run,) = (tmp_path / "x.avatar").glob("run-*")
    (run / "clips.json").unlink()
    run = run.rename(run.with_name("run"))
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "output": str(run)}))
    make()
    make()
    assert steps == [0, 1, 2]


def test_a_video_that_cannot_be_used_gives_the_reason(home: Path, tmp_path: Path) -> None:
    write_person_video(tmp_path / "mute.mp4", person_frames(26), sound=False)
    with pytest.raises(TrainingError, match="can be used: no usable sound"):
        make_avatar(
            [tmp_path / "mute.mp4"], home / "weights", tmp_path / "x.safetensors", DrawnPersonDetector(), SETTINGS
        )
    (tmp_path / "x.safetensors").mkdir()
    for name, words in (("x.bin", "ends in"), ("x.safetensors", "is a folder"), ("mute.mp4/x.safetensors", "cannot")):
        with pytest.raises(OutputError, match=words):
            make_avatar([tmp_path / "mute.mp4"], home / "weights", tmp_path / name, DrawnPersonDetector(), SETTINGS)


def test_impossible_settings_are_refused_before_the_videos_are_looked_at(home: Path, tmp_path: Path) -> None:
    detector = DrawnPersonDetector()
    for wrong in ({"size": 68}, {"rank": 0}, {"steps": 0}, {"frames": 40}, {"sheet_frames": 0}):
        with pytest.raises(TrainingError, match="must be"):
            make_avatar(
                [home / "me.mp4"], home / "weights", tmp_path / "x.safetensors", detector, replace(SETTINGS, **wrong)
            )
    assert detector.calls == 0


def test_the_command_names_missing_weights(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    code = main(
        [
            "avatar",
            str(home / "me.mp4"),
            "--weights",
            str(tmp_path / "none"),
            "--output",
            str(tmp_path / "x.safetensors"),
        ]
    )
    assert code == 2
    assert "there are no weights" in capsys.readouterr().err
