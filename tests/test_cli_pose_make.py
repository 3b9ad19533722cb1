"""`pose generate`, `pose preview`, and what holds for all subcommands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from echomimic.audio import frames_needed, read_audio
from echomimic.pose import draw_poses, load_poses, save_poses
from echomimic.pose.gestures import GestureSettings, generate_gestures, load_library
from echomimic.pose.timing import reverse
from tests.pose_commands import ASSETS, IDLE, PORTRAIT, SPEECH, WAVING, picture, pose, same


@pytest.fixture(scope="module")
def few_clips(tmp_path_factory) -> Path:
    """A library of two clips: the shipped ones take a while to be cut into movements."""
    folder = tmp_path_factory.mktemp("library")
    for path in (WAVING, IDLE):
        (folder / Path(path).name).write_bytes(Path(path).read_bytes())
    return folder


def test_gestures_from_the_voice(few_clips, out):
    settings = ["--energy", 0.8, "--expressiveness", 0.2, "--seed", 3, "--no-mirror", "--clips", "waving, idle"]
    command = ["generate", "--audio", SPEECH, "--library", few_clips, "--fps", 25, *settings]
    assert pose(*command, "--output", f"{out}.safetensors") == 0
    clip, voice = load_poses(f"{out}.safetensors"), read_audio(SPEECH)
    frames = frames_needed(*voice, 25)
    expected = generate_gestures(
        *voice,
        25,
        load_library(folder=few_clips),
        GestureSettings(0.8, 0.2, 3, ("waving", "idle"), False),
        frames,
    )
    assert len(clip) == frames and same(clip, expected)


def test_gestures_have_the_frames_of_an_odd_recording(few_clips, tmp_path, out):
    voice = 0.1 * np.random.default_rng(0).standard_normal(44100 + 777)
    soundfile.write(tmp_path / "voice.wav", voice, 44100)
    command = ["generate", "--audio", tmp_path / "voice.wav", "--library", few_clips]
    assert pose(*command, "--output", f"{out}.safetensors") == 0
    # 1.0176 s are 50 steps; the first frame whose step lies beyond them is number 25, and one more is made.
    assert len(load_poses(f"{out}.safetensors")) == 26


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--energy", 2], "energy must lie between 0 and 1, got 2"),
        (["--expressiveness", "nan"], "expressiveness must lie between 0 and 1"),
        (["--seed", -1], "the seed must be 0 or more"),
        (["--fps", 0], "--fps must be above 0"),
        (["--clips", "juggling"], "no clip named 'juggling'"),
        (["--clips", "waving,,idle"], "--clips takes names with commas between them"),
        (["--library", "gone"], "gone: no folder of gesture clips"),
        (["--audio", "gone.wav"], "there is no sound file gone.wav"),
        (["--output", "clip.mp4"], "clip.mp4: a pose clip ends in"),
    ],
)
def test_generating_mistakes(few_clips, out, capsys, more, message, monkeypatch):
    monkeypatch.setattr("echomimic.cli.pose.generate.generate_gestures", lambda *_: pytest.fail("the work began"))
    command = ["generate", "--audio", SPEECH, "--library", few_clips, "--output", f"{out}.safetensors"]
    assert pose(*command, *more) == 2
    assert message in capsys.readouterr().err
    assert not out.parent.exists() or not list(out.parent.iterdir())


def test_contact_sheet_with_and_without_the_figure(out):
    assert pose("preview", WAVING, "--output", out / "sheet.png", "--pictures", 5) == 0
    assert pose("preview", WAVING, "--output", out / "plain.png", "--pictures", 5, "--plain") == 0
    sheet, plain = picture(out / "sheet.png"), picture(out / "plain.png")
    assert sheet.shape == plain.shape == (256, 5 * 256, 3)
    hands = draw_poses(load_poses(WAVING), [0], 256, 256)[0]
    inner = slice(40, 255), slice(1, 255)
    assert np.array_equal(plain[:, :256][inner], hands[inner])
    assert sheet.any(axis=-1).sum() > plain.any(axis=-1).sum()


def test_sheet_over_the_portrait(image, out):
    assert pose("preview", WAVING, "--output", out / "over.png", "--image", image, "--pictures", 3) == 0
    over = picture(out / "over.png")
    assert over.shape == (384, 3 * 384, 3)
    assert (over == 110).all(axis=-1).mean() > 0.5, "the picture, 200, dimmed to 55 %"


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_moving_preview(tmp_path, out, ending):
    short = save_poses(load_poses(WAVING).take(np.arange(0, 40, 4)), tmp_path / "short.safetensors")
    assert pose("preview", short, "--output", out / f"a.{ending}") == 0
    with Image.open(out / f"a.{ending}") as moving:
        assert moving.n_frames == 10
    assert [file.name for file in out.iterdir()] == [f"a.{ending}"]


def test_speed_under_the_voice(out, caplog):
    with caplog.at_level("INFO", "echomimic"):
        assert pose("preview", WAVING, "--output", out / "speed.png", "--audio", SPEECH) == 0
    assert picture(out / "speed.png").shape == (480, 1280, 3)
    assert "speed.png shows 120 frames at 24 a second" in caplog.text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--output", "a.jpg"], "--output a.jpg: it must end in .png or .gif or .webp"),
        (["--output", "a.gif", "--audio", SPEECH], "--audio belongs to a .png"),
        (["--output", "a.gif", "--image", PORTRAIT], "--image belongs to a .png"),
        (["--output", "a.webp", "--pictures", 3], "--pictures belongs to a .png"),
        (["--audio", SPEECH, "--image", PORTRAIT], "not allowed with"),
        (["--audio", SPEECH, "--pictures", 3], "--pictures belongs to a contact sheet"),
        (["--audio", SPEECH, "--plain"], "--plain leaves out the grey figure"),
        (["--image", PORTRAIT, "--plain"], "--plain leaves out the grey figure"),
        (["--pictures", 0], "--pictures must be 1 or more"),
        (["--image", "gone.png"], "there is no image file gone.png"),
        (["--audio", "gone.wav"], "there is no sound file gone.wav"),
        (["--output", str(ASSETS)], "must end in"),
    ],
)
def test_preview_mistakes(out, capsys, more, message):
    assert pose("preview", WAVING, "--output", f"{out}.png", *more) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not out.parent.exists() or not list(out.parent.iterdir())


@pytest.mark.parametrize(
    "command",
    [
        ["retarget", "gone.safetensors", "--method", "original", "--output", "O"],
        ["fit", "gone.safetensors", "--frames", 9, "--output", "O"],
        ["preview", "gone.safetensors", "--output", "P"],
        ["convert", WAVING, "gone.safetensors", "--output", "O"],
    ],
)
def test_missing_clip(tmp_path, capsys, command):
    names = {"O": tmp_path / "a.safetensors", "P": tmp_path / "a.png"}
    assert pose(*(names.get(part, part) for part in command)) == 2
    assert "gone.safetensors: no such pose clip" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command", [["fit", WAVING, "--frames", 9], ["convert", WAVING], ["generate", "--audio", SPEECH]]
)
def test_place_that_cannot_be_written_is_refused_before_the_work(tmp_path, capsys, monkeypatch, command):
    monkeypatch.setattr(f"echomimic.cli.pose.{command[0]}.save_clip", lambda *_: pytest.fail("the work was done"))
    (tmp_path / "file").touch()
    assert pose(*command, "--output", tmp_path / "file" / "clip.safetensors") == 2
    assert "cannot write" in capsys.readouterr().err


def test_clip_is_replaced_by_its_own_edit(tmp_path):
    path = save_poses(load_poses(WAVING), tmp_path / "clip.safetensors")
    assert pose("convert", path, "--reverse", "--output", path) == 0
    assert same(load_poses(path), reverse(load_poses(WAVING)))
    assert [file.name for file in tmp_path.iterdir()] == ["clip.safetensors"]


def test_help_shows_the_six_with_a_sentence_and_an_example(capsys):
    assert pose("--help") == 0
    message = capsys.readouterr().out
    for name in ("extract", "retarget", "fit", "generate", "preview", "convert"):
        assert f"\n    {name} " in message
        assert pose(name, "--help") == 0
        assert f"python -m echomimic pose {name} " in capsys.readouterr().out
    assert "example" in message
