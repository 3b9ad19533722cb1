"""`demo`: its video, and the two pictures beside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assets.scripts.people.clips import draw_clip
from assets.scripts.people.figure import draw_frame
from assets.scripts.people.looks import portrait_person
from assets.scripts.people.measure import mouth_box
from assets.scripts.people.motion import Mouth, retarget
from echomimic.cli import demo, generate
from echomimic.cli.demo_pictures import MARGIN, STRIP_FRAMES, WIDTH, mouth_change, mouth_plot
from echomimic.cli.main import main
from echomimic.media.pictures import frame_strip, read_image
from echomimic.pipeline import Rendered
from echomimic.pose import load_poses
from echomimic.pose.anatomy import LEFT_SHOULDER, NECK, NOSE, RIGHT_SHOULDER, RIGHT_WRIST
from echomimic.pose.sequence import FACE
from tests.video_frames import read_frames

SIZE = 96


@pytest.fixture(scope="module")
def speaking() -> np.ndarray:
    """The portrait's person, whose mouth opens and closes twice: `[20, 96, 96, 3]`."""
    poses = load_poses(demo.POSE).take(range(20))
    opening = np.abs(np.sin(np.linspace(0, 2 * np.pi, 20)))
    return draw_clip(portrait_person(), poses, np.stack([opening, np.full(20, 0.5), np.zeros(20)], -1), SIZE).frames


def test_strip_shows_the_first_and_the_last_frame(speaking):
    strip = frame_strip(speaking, STRIP_FRAMES)
    assert strip.shape == (SIZE, 8 * SIZE, 3)
    assert np.array_equal(strip[:, :SIZE], speaking[0]) and np.array_equal(strip[:, -SIZE:], speaking[-1])
    assert frame_strip(speaking[:3], STRIP_FRAMES).shape == (SIZE, 3 * SIZE, 3)


def test_mouth_change_follows_the_opening(speaking):
    portrait = draw_clip(
        portrait_person(), load_poses(demo.POSE).take([0]), np.array([[0, 0.5, 0]]), SIZE
    ).frames[0]  # fmt: skip
    change = mouth_change(speaking, portrait, demo.MOUTH_BOX)
    opening = np.abs(np.sin(np.linspace(0, 2 * np.pi, 20)))
    assert change.min() == 0 and change.max() == 1
    assert np.corrcoef(change, opening)[0, 1] > 0.9


def test_a_still_mouth_has_no_change(speaking):
    still = np.repeat(speaking[:1], 5, axis=0)
    assert np.array_equal(mouth_change(still, speaking[0], demo.MOUTH_BOX), np.zeros(5))


def test_plot_draws_voice_and_mouth_over_the_same_seconds():
    voice, mouth = np.zeros(48), np.zeros(48)
    voice[12], mouth[36] = 1, 1
    picture, flat = mouth_plot(voice, mouth, 24), mouth_plot(np.zeros(48), np.zeros(48), 24)
    changed = (picture != flat).any(axis=-1)
    upper, lower = changed[: len(changed) // 2].any(axis=0), changed[len(changed) // 2 :].any(axis=0)
    across = np.linspace(MARGIN, WIDTH - MARGIN, 48)
    assert np.flatnonzero(upper).mean() == pytest.approx(across[12], abs=2)
    assert np.flatnonzero(lower).mean() == pytest.approx(across[36], abs=2)


def test_plot_draws_a_quiet_voice_as_high_as_a_loud_one():
    voice = np.linspace(0, 1, 24)
    assert np.array_equal(mouth_plot(0.01 * voice, voice, 24), mouth_plot(voice, voice, 24))


def test_marks_are_the_portraits():
    image = read_image(demo.IMAGE)
    points = retarget(load_poses(demo.ASSETS / "clips" / "idle.safetensors").take([0]), portrait_person())[0]
    for mark, index in zip(demo.MARKS, (NOSE, NECK, RIGHT_SHOULDER, LEFT_SHOULDER, RIGHT_WRIST)):
        assert np.divide(mark, image.shape[1::-1]) == pytest.approx(points[index], abs=0.002)


def test_portrait_is_as_the_generator_draws_it():
    points = retarget(load_poses(demo.ASSETS / "clips" / "idle.safetensors").take([0]), portrait_person())[0]
    assert np.array_equal(draw_frame(portrait_person(), points, Mouth()).picture, read_image(demo.IMAGE))


def test_mouth_box_holds_the_mouth_in_every_frame():
    poses = load_poses(demo.POSE)
    left, top, right, bottom = demo.MOUTH_BOX
    truth = draw_clip(portrait_person(), poses, np.tile([[1.0, 0.9, 0.0]], (len(poses), 1)), SIZE)
    lips = truth.poses.keypoints[:, FACE][:, 48:68]
    assert (lips >= [left, top]).all() and (lips <= [right, bottom]).all()
    rows, columns = mouth_box(truth, 0, SIZE)
    assert rows.start / SIZE == pytest.approx(top, abs=0.08) and columns.start / SIZE == pytest.approx(left, abs=0.05)


def test_demo_writes_the_video_and_both_pictures(small_bundle, monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "BUNDLE", small_bundle)
    video = tmp_path / "demo.mp4"
    given = ["--frames", "3", "--steps", "1", "--width", "64", "--height", "64", "--device", "cpu", "--quiet"]
    assert main(["demo", "--output", str(video), *given]) == 0
    assert len(list(read_frames(video))) == 3
    assert read_image(tmp_path / "demo_frames.png").shape == (64, 3 * 64, 3)
    assert read_image(tmp_path / "demo_mouth.png").shape[1] == WIDTH


def test_a_process_that_writes_no_video_writes_no_pictures(small_bundle, monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "BUNDLE", small_bundle)
    video = tmp_path / "demo.mp4"
    monkeypatch.setattr(demo, "render_with", lambda *_, on_frames: Rendered(video, 3, 64, 64, 24.0))
    assert main(["demo", "--output", str(video), "--device", "cpu", "--quiet"]) == 0
    assert not list(tmp_path.iterdir())


def test_each_of_several_processes_takes_its_own_device(small_bundle, monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "BUNDLE", small_bundle)
    monkeypatch.setattr(generate, "process_device", lambda name: {"auto": "cpu:0"}[name])
    devices = []

    def render_with(networks, inputs, options, device, on_frames):
        devices.append(device)
        return Rendered(tmp_path / "demo.mp4", 3, 64, 64, 24.0)

    monkeypatch.setattr(demo, "render_with", render_with)
    assert main(["demo", "--output", str(tmp_path / "demo.mp4"), "--quiet"]) == 0
    assert devices == [torch.device("cpu:0")]


def test_demo_says_what_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(demo, "BUNDLE", tmp_path / "gone.safetensors")
    assert main(["demo", "--output", str(tmp_path / "demo.mp4")]) != 0
    assert "gone.safetensors" in capsys.readouterr().err and not (tmp_path / "demo.mp4").exists()
