"""`pose extract`: from videos and pictures to clips, and every mistake a sentence."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from echomimic.cli.pose import extract
from echomimic.pose import load_poses
from echomimic.pose.canvas import picture_canvas
from echomimic.pose.repair import repair
from tests.pose_commands import pose, same
from tests.test_pose_extract import SquareDetector, marked_picture, write_clip


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SquareDetector:
    """Stands in for DWPose; what is kept of results goes into the test's folder."""
    stand_in = SquareDetector()
    stand_in.asked = []
    monkeypatch.setattr("echomimic.cli.pose.extract.DWPose", lambda *args: stand_in.asked.append(args) or stand_in)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    return stand_in


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", count=12)


def test_video_to_clip(detector, video, out, capsys):
    assert (
        pose("extract", video, "--output", f"{out}.safetensors", "--fps", 12, "--models", "m", "--device", "cpu") == 0
    )
    clip = load_poses(f"{out}.safetensors")
    assert (len(clip), clip.fps, detector.calls) == (6, 12, 12)
    assert clip.info == {"name": "out", "source": "extracted from clip.mp4"}
    assert detector.asked == [(Path("m"), "cpu")]
    assert "extract: 100%" in capsys.readouterr().err
    assert [file.name for file in out.parent.iterdir()] == ["out.safetensors"]


def test_quiet_extraction_shows_no_bar(detector, video, out, capsys):
    assert pose("extract", video, "--output", f"{out}.safetensors", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert detector.asked == [(extract.MODELS, None)], "auto leaves the choice to DWPose"


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp"])
def test_picture_to_a_portrait_of_one_frame(detector, tmp_path, out, ending):
    Image.fromarray(marked_picture(3)).save(tmp_path / f"me.{ending}")
    assert pose("extract", tmp_path / f"me.{ending}", "--output", f"{out}.json") == 0
    clip = load_poses(f"{out}.json")
    assert len(clip) == 1 and clip.canvas == picture_canvas(192, 128)
    np.testing.assert_allclose(clip.keypoints[0, 0] * [192, 128], [26, 50], atol=0.6)


def test_results_are_kept_in_the_users_cache_by_default(detector, video, out, tmp_path):
    command = ["extract", video, "--output", f"{out}.safetensors"]
    for more, calls in (([], 12), ([], 12), (["--no-cache"], 24), (["--cache", tmp_path / "own"], 36), ([], 36)):
        assert pose(*command, *more) == 0
        assert detector.calls == calls, more
    for folder in (extract.default_cache(), tmp_path / "own"):
        assert len(list(folder.iterdir())) == 1
    assert extract.default_cache() == tmp_path / "cache" / "echomimic" / "poses"


@pytest.mark.skipif(os.name == "nt", reason="XDG is for the others")
@pytest.mark.parametrize("named", ["", "relative/folder"])
def test_cache_without_an_absolute_xdg_folder_is_in_the_home(monkeypatch, tmp_path, named):
    monkeypatch.setenv("XDG_CACHE_HOME", named)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert extract.default_cache() == tmp_path / ".cache" / "echomimic" / "poses"


def test_repair_after_extraction(detector, video, out):
    for name, more in (("raw", []), ("repaired", ["--repair"])):
        assert pose("extract", video, "--output", out / f"{name}.safetensors", *more) == 0
    raw, repaired = (load_poses(out / f"{name}.safetensors") for name in ("raw", "repaired"))
    assert same(repaired, repair(raw)) and not same(repaired, raw)


def test_person_is_passed_on(detector, video, out, capsys):
    assert pose("extract", video, "--output", f"{out}.safetensors", "--person", 1) == 2
    assert "person 1 was requested" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--fps", 0], "--fps must be above 0"),
        (["--fps", "nan"], "--fps must be above 0"),
        (["--person", -1], "--person counts from 0"),
        (["--output", "clip.mp4"], "clip.mp4: a pose clip ends in"),
        (["--device", "abacus"], "invalid choice"),
        (["--cache", "here", "--no-cache"], "not allowed with"),
        (["--cache", __file__], "is not a folder"),
    ],
)
def test_mistakes_are_refused_before_dwpose_is_loaded(detector, video, out, capsys, more, message):
    assert pose("extract", video, "--output", f"{out}.safetensors", *more) == 2
    assert message in capsys.readouterr().err
    assert not detector.asked and not list(video.parent.glob("**/*.safetensors"))


@pytest.mark.parametrize(("name", "content"), [("no.mp4", None), ("bad.mp4", b"x"), ("bad.png", b"x")])
def test_what_is_no_video_or_picture(detector, tmp_path, out, capsys, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert pose("extract", tmp_path / name, "--output", f"{out}.safetensors") == 2
    assert name in capsys.readouterr().err.splitlines()[-1]
    assert not out.parent.exists() or not list(out.parent.iterdir())


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + b"\0\0\0\x10mdat" + bytes(8)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("me.heic", HEIC, "HEIC"),
        ("me.mp4", HEIC, "HEIC"),
        ("me.jxl", b"\xff\x0a" + bytes(50), "is a JPEG XL picture"),
        ("me.svg", b"<svg></svg>", "is a vector drawing (SVG)"),
    ],
)
def test_pictures_that_cannot_be_read_are_not_taken_for_videos(
    detector, tmp_path, out, capsys, monkeypatch, name, content, words
):
    """A HEIC was called a video that was not finished."""
    monkeypatch.setattr("echomimic.media.pictures.heif_reader", lambda: False)
    (tmp_path / name).write_bytes(content)
    assert pose("extract", tmp_path / name, "--output", f"{out}.safetensors") == 2
    message = capsys.readouterr().err
    assert words in message
    assert "not finished" not in message and "video" not in message


def test_nobody_in_the_picture(detector, tmp_path, out, capsys):
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    assert pose("extract", tmp_path / "black.png", "--output", f"{out}.json") == 2
    assert "nobody was found" in capsys.readouterr().err
    assert not list(out.parent.iterdir())


def test_interrupted_extraction_leaves_nothing(detector, video, out, tmp_path, capsys, monkeypatch):
    def interrupted(self, picture):
        raise KeyboardInterrupt

    monkeypatch.setattr(SquareDetector, "__call__", interrupted)
    assert pose("extract", video, "--output", f"{out}.safetensors") == 130
    assert "stopped; nothing was left behind" in capsys.readouterr().err
    assert not list(out.parent.iterdir()) and not (tmp_path / "cache").exists()


def test_missing_packages_or_networks_are_named_with_what_to_do(video, out, capsys):
    assert pose("extract", video, "--output", f"{out}.safetensors", "--models", video.parent, "--no-cache") == 2
    message = capsys.readouterr().err
    assert "pip install" in message or "lacks yolox_l.onnx" in message
