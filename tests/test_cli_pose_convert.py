"""`pose convert`: each edit, their order, and every mistake a sentence."""

from __future__ import annotations

import numpy as np
import pytest

from echomimic.pose import load_poses, save_poses
from echomimic.pose.canvas import picture_canvas
from echomimic.pose.repair import mirror, repair
from echomimic.pose.timing import back_and_forth, concatenate, hold, loop, make_loop, resample, reverse, trim
from tests.pose_commands import ASSETS, IDLE, WAVING, pose, same


@pytest.mark.parametrize("ending", [".safetensors", ".json", ""])
def test_formats(tmp_path, out, ending):
    assert pose("convert", WAVING, "--output", f"{out}{ending}", "--quiet") == 0
    clip, again = load_poses(WAVING), load_poses(f"{out}{ending}")
    np.testing.assert_allclose(again.keypoints[:, 92:], clip.keypoints[:, 92:], atol=1e-9)
    assert len(again) == len(clip)


def test_rate_of_what_does_not_record_it(tmp_path, out, caplog):
    with caplog.at_level("INFO", "echomimic"):
        assert pose("convert", WAVING, "--fps", 30, "--output", out / "folder") == 0
    assert "give --read-fps when it is read" in caplog.text
    assert pose("convert", out / "folder", "--read-fps", 30, "--output", out / "back.safetensors") == 0
    clip = load_poses(out / "back.safetensors")
    assert (len(clip), clip.fps, clip.info["name"]) == (150, 30, "back")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--trim", 1, 2.5], lambda clip: trim(clip, 24, 60)),
        (["--trim", 0, 5], lambda clip: clip),
        (["--reverse"], reverse),
        (["--mirror"], mirror),
        (["--repair"], repair),
        (["--fps", 25], lambda clip: resample(clip, 25)),
        (["--back-and-forth"], back_and_forth),
        (["--seamless", "--blend", 1], lambda clip: make_loop(clip, 1.0)),
        (["--loop", 2], lambda clip: loop(clip, 2, 0.5)),
        (["--loop", 2, "--blend", 0], lambda clip: loop(clip, 2)),
        (["--hold", 0.5, 1], lambda clip: hold(clip, 12, 24)),
    ],
)
def test_each_edit(out, more, expected):
    assert pose("convert", WAVING, "--output", f"{out}.safetensors", *more) == 0
    assert same(load_poses(f"{out}.safetensors"), expected(load_poses(WAVING)))


def test_edits_are_applied_in_the_order_of_the_help(out):
    """Whatever the order on the command line; each of these would give another result at another place."""
    edits = ["--hold", 0.5, 0, "--loop", 2, "--back-and-forth", "--reverse", "--mirror", "--fps", 12, "--trim", 1, 6]
    assert pose("convert", *edits, "--repair", "--blend", 0.2, "--output", f"{out}.safetensors", WAVING, IDLE) == 0
    clip = concatenate([repair(load_poses(WAVING)), repair(load_poses(IDLE))], 0.2)
    clip = back_and_forth(reverse(mirror(resample(trim(clip, 24, 144), 12))))
    assert same(load_poses(f"{out}.safetensors"), hold(loop(clip, 2), 6, 0))


def test_a_seamless_clip_is_looped_without_another_blend(out):
    assert pose("convert", WAVING, "--seamless", "--loop", 2, "--output", f"{out}.safetensors") == 0
    assert same(load_poses(f"{out}.safetensors"), loop(make_loop(load_poses(WAVING), 0.5), 2))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--trim", 2, 1], "--trim takes START and END in seconds with 0 <= START < END, got 2 1"),
        (["--trim", -1, 1], "got -1 1"),
        (["--trim", "nan", 1], "got nan 1"),
        (["--trim", 1, 5.1], "--trim 1 5.1: the clip lasts only 5.00 s"),
        (["--trim", 1, 1e300], "the clip lasts only 5.00 s"),
        (["--trim", 1, "inf"], "--trim takes START and END"),
        (["--trim", 1, 1.01], "leaves no frame"),
        (["--loop", 0], "--loop must be 1 or more"),
        (["--loop", 10**9], "would make a clip of 120,000,000,000 frames, and at most"),
        (["--fps", 0], "--fps must be above 0"),
        (["--hold", -1, 0], "--hold must be 0 to 3600 seconds"),
        (["--hold", 0, "nan"], "--hold must be 0 to 3600 seconds"),
        (["--blend", 1], "--blend softens seams, but nothing here has one"),
        (["--blend", 1, "--loop", 2, "--back-and-forth"], "--blend softens seams, but nothing here has one"),
        (["--blend", -1, "--loop", 2], "--blend must be 0 to 60 seconds"),
        (["--seamless", "--back-and-forth"], "not allowed with"),
        (["--read-fps", 25], "--read-fps is for clips that do not record their rate"),
        (["--output", "clip.mp4"], "clip.mp4: a pose clip ends in"),
        (["--output", str(ASSETS)], "will not be replaced"),
    ],
)
def test_converting_mistakes(out, capsys, more, message):
    assert pose("convert", WAVING, "--output", f"{out}.safetensors", *more) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not out.parent.exists() or not list(out.parent.iterdir())


def test_clips_of_different_canvases_are_not_joined(tmp_path, out, capsys):
    clip = load_poses(WAVING)
    save_poses(clip.with_points(clip.keypoints, canvas=picture_canvas(600, 800)), tmp_path / "tall.safetensors")
    assert pose("convert", WAVING, tmp_path / "tall.safetensors", "--output", f"{out}.safetensors") == 2
    assert "align or retarget them to one portrait" in capsys.readouterr().err
    assert not list(out.parent.iterdir())
