"""`pose retarget` and `pose fit`: onto a portrait and into a length, and every mistake a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from echomimic.audio import frames_needed, read_audio
from echomimic.pose import fit_length, load_poses, retarget, save_poses, score_fit
from echomimic.pose.canvas import picture_canvas
from echomimic.pose.fitting.align import cover, crop_poses, head_to_waist
from echomimic.pose.fitting.linear import adjust, fit_linear
from echomimic.pose.sources.keypoints import to_pose_keypoints
from tests.portraits import marked_portrait
from tests.pose_commands import IDLE, POINTS, PORTRAIT, SPEECH, WAVING, picture, pose, same


def test_retarget_to_marked_portrait(portrait, image, out, capsys):
    command = ["retarget", WAVING, "--portrait", portrait, "--image", image, "--output", f"{out}.safetensors"]
    assert pose(*command, "--overlay", f"{out}.png") == 0
    assert same(load_poses(f"{out}.safetensors"), retarget(load_poses(WAVING), marked_portrait("0077")).sequence)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("The pose fits well") and len(lines) == 5, "the verdict, the four measures, no notes"
    assert picture(Path(f"{out}.png")).shape == (2 * 384, 4 * 384, 3)


def test_linear_fit_by_hand(portrait, out):
    command = ["retarget", WAVING, "--portrait", portrait, "--output", f"{out}.safetensors", "--method", "linear"]
    assert pose(*command, "--scale", 0.9, "--offset", -0.1, 0.05) == 0
    expected = adjust(fit_linear(load_poses(WAVING), marked_portrait("0077")).sequence, 0.9, (-0.1, 0.05))
    assert same(load_poses(f"{out}.safetensors"), expected)


def test_proportions_of_the_clip(portrait, out):
    command = ["retarget", WAVING, "--portrait", portrait, "--output", f"{out}.safetensors", "--proportions", 0]
    assert pose(*command) == 0
    assert same(load_poses(f"{out}.safetensors"), retarget(load_poses(WAVING), marked_portrait("0077"), 0).sequence)


def test_original_needs_no_portrait_and_prints_no_score(out, capsys):
    assert pose("retarget", WAVING, "--method", "original", "--output", f"{out}.safetensors") == 0
    clip = load_poses(WAVING)
    assert same(load_poses(f"{out}.safetensors"), crop_poses(clip, head_to_waist(clip)))
    assert capsys.readouterr().out.strip() == ""


def test_original_with_a_portrait_is_judged_where_it_stands(portrait, out, capsys):
    command = ["retarget", WAVING, "--method", "original", "--portrait", portrait]
    assert pose(*command, "--output", f"{out}.safetensors") == 0
    clip = load_poses(WAVING)
    moved = crop_poses(clip, head_to_waist(clip))
    assert same(load_poses(f"{out}.safetensors"), moved)
    assert score_fit(moved, marked_portrait("0077")).neck.sentence in capsys.readouterr().out


def test_typed_points_give_notes_on_what_is_hidden(tmp_path, out, capsys):
    Image.new("RGB", (1024, 1024)).save(tmp_path / "me.png")
    command = ["retarget", WAVING, "--points", *POINTS, "--image", tmp_path / "me.png"]
    assert pose(*command, "--output", f"{out}.safetensors") == 0
    assert "The portrait's right elbow and wrist are not among its keypoints" in capsys.readouterr().out
    neck = load_poses(f"{out}.safetensors").keypoints[:, 1]
    assert np.abs(np.median(neck, axis=0) * 1024 - [515, 489]).max() < 10


def test_portrait_of_another_shape_is_cut_as_the_video_cuts_it(tmp_path, portrait, out, caplog):
    tall = marked_portrait("0077").with_points(marked_portrait("0077").keypoints, canvas=picture_canvas(600, 800))
    save_poses(tall, tmp_path / "tall.safetensors")
    Image.new("RGB", (600, 800)).save(tmp_path / "tall.png")
    command = ["retarget", WAVING, "--portrait", tmp_path / "tall.safetensors", "--output"]
    with caplog.at_level("INFO", "echomimic"):
        assert pose(*command, out / "square.safetensors") == 0
    assert "the portrait is cut to the video's shape, 768x768" in caplog.text
    clip = load_poses(WAVING)
    assert same(load_poses(out / "square.safetensors"), retarget(clip, cover(tall, 768, 768)).sequence)
    more = ["--image", tmp_path / "tall.png", "--overlay", out / "tall.png"]
    assert pose(*command, out / "tall.safetensors", "--size", "576x768", *more) == 0
    assert same(load_poses(out / "tall.safetensors"), retarget(clip, tall).sequence)
    assert picture(out / "tall.png").shape == (2 * 384, 4 * 288, 3)


def test_keypoints_that_do_not_record_their_canvas(tmp_path, portrait, out, capsys):
    """OpenPose's own files hold none; --canvas was taken for the clip only, and the error said to give it."""
    (frame,) = to_pose_keypoints(marked_portrait("0077"), 512, 512, real_scores=True)
    (tmp_path / "openpose.json").write_text(json.dumps({"version": 1.3, "people": frame["people"]}))
    Image.new("RGB", (512, 512)).save(tmp_path / "me.png")
    command = ["retarget", WAVING, "--portrait", tmp_path / "openpose.json", "--output"]
    assert pose(*command, f"{out}.safetensors") == 2
    assert "--canvas" in capsys.readouterr().err
    assert pose(*command, f"{out}.safetensors", "--canvas", "512x512") == 0
    # The picture knows its own size, and --canvas may be the clip's.
    assert pose(*command, f"{out}2.safetensors", "--canvas", "1280x720", "--image", tmp_path / "me.png") == 0
    by_canvas, by_image = (load_poses(f"{out}{number}.safetensors") for number in ("", 2))
    assert same(by_canvas, by_image)
    expected = retarget(load_poses(WAVING), marked_portrait("0077")).sequence
    assert np.abs(by_canvas.keypoints - expected.keypoints).max() < 1e-3


def test_quiet_retargeting_prints_nothing(portrait, out, capsys):
    assert pose("retarget", WAVING, "--portrait", portrait, "--output", f"{out}.safetensors", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "--method retarget needs the portrait's keypoints"),
        (["--method", "linear"], "--method linear needs the portrait's keypoints"),
        (["--points", *POINTS], "give it with --image"),
        (["--points", *POINTS, "--image", "I"], "NOSE at 520,248 does not lie in --image, 256x256"),
        (["--points", *POINTS[:4], "--image", PORTRAIT], "expected 5 arguments"),
        (["--points", *POINTS[:4], "here", "--image", PORTRAIT], "a point is X,Y in pixels"),
        (["--portrait", "P", "--points", *POINTS, "--image", PORTRAIT], "not allowed with"),
        (["--portrait", "P", "--overlay", "over.png"], "give it with --image"),
        (["--portrait", "P", "--image", "I", "--overlay", "over.jpg"], "--overlay over.jpg: it must end in .png"),
        (["--portrait", "P", "--method", "linear", "--proportions", 1], "--proportions belongs to --method retarget"),
        (["--portrait", "P", "--proportions", 1.5], "got 1.5"),
        (["--portrait", "P", "--scale", 0], "--scale must be"),
        (["--portrait", "P", "--offset", "nan", 0], "--offset is in fractions"),
        (["--portrait", "P", "--offset", 100, 0], "--offset is in fractions"),
        (["--portrait", "P", "--size", "768"], "a size is WIDTHxHEIGHT"),
        (["--portrait", "P", "--size", "0x768"], "a size is WIDTHxHEIGHT"),
        (["--portrait", "P", "--size", "63x768"], "--size must be 64 to 8192 pixels, got 63x768"),
        (["--portrait", WAVING], "has 120 frames; a portrait has one"),
        (["--portrait", "gone.json"], "gone.json: no such pose clip"),
        (["--portrait", "P", "--image", "gone.png"], "there is no image file"),
        (["--portrait", "P", "--image", "T"], "give the picture that its keypoints belong to"),
        (["--portrait", "P", "--read-fps", 25], "--read-fps is for clips that do not record their rate"),
        (["--portrait", "P", "--output", "clip.mp4"], "clip.mp4: a pose clip ends in"),
    ],
)
def test_retargeting_mistakes(portrait, image, out, tmp_path, capsys, more, message):
    Image.new("RGB", (64, 128)).save(tmp_path / "tall.png")
    names = {"P": portrait, "I": image, "T": tmp_path / "tall.png"}
    command = ["retarget", WAVING, "--output", f"{out}.safetensors", *(names.get(part, part) for part in more)]
    assert pose(*command) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not out.parent.exists() or not list(out.parent.iterdir())


@pytest.mark.parametrize(("mode", "more"), [("back_and_forth", 0.5), ("loop", 1.0), ("hold", None)])
def test_fit_to_frames(out, mode, more):
    blend = [] if more is None else ["--blend", more]
    command = ["fit", WAVING, "--frames", 300, "--fps", 25, "--mode", mode, *blend]
    assert pose(*command, "--output", f"{out}.safetensors") == 0
    assert same(load_poses(f"{out}.safetensors"), fit_length(load_poses(WAVING), 300, 25, mode, more or 0))


def test_fit_to_seconds(out):
    assert pose("fit", WAVING, "--seconds", 2.5, "--fps", 30, "--output", f"{out}.safetensors") == 0
    clip = load_poses(f"{out}.safetensors")
    assert (len(clip), clip.fps) == (75, 30)


@pytest.mark.parametrize("fps", [24, 25])
def test_fit_to_a_recording_gives_its_videos_frames(out, fps, caplog):
    with caplog.at_level("INFO", "echomimic"):
        assert pose("fit", IDLE, "--audio", SPEECH, "--fps", fps, "--output", f"{out}.safetensors") == 0
    assert len(load_poses(f"{out}.safetensors")) == frames_needed(*read_audio(SPEECH), fps)
    assert f" frames at {fps} a second" in caplog.text


def test_what_happens_to_a_short_clip_is_logged(out, caplog):
    with caplog.at_level("INFO", "echomimic"):
        assert pose("fit", WAVING, "--seconds", 9, "--mode", "loop", "--output", f"{out}.safetensors") == 0
    assert "the clip lasts 5.00 s of 9.00 s: it starts over" in caplog.text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "one of the arguments --frames --seconds --audio is required"),
        (["--frames", 9, "--seconds", 1], "not allowed with"),
        (["--frames", 0], "--frames must be 1 or more, got 0"),
        (["--frames", 10**9], "--frames 1000000000 would make a clip of 1,000,000,000 frames, and at most"),
        (["--seconds", 0], "--seconds must be above 0"),
        (["--seconds", "nan"], "--seconds must be above 0"),
        (["--seconds", 1e9], "would make a clip of 24,000,000,000 frames"),
        (["--seconds", 1e308], "--seconds 1e+308 would make a clip of inf frames"),
        (["--audio", "gone.wav"], "there is no sound file gone.wav"),
        (["--audio", PORTRAIT], "portrait.png"),
        (["--frames", 9, "--fps", -1], "--fps must be above 0"),
        (["--frames", 9, "--mode", "hold", "--blend", 1], "--blend has no meaning with --mode hold"),
        (["--frames", 9, "--blend", 99], "--blend must be 0 to 60 seconds, got 99"),
        (["--frames", 9, "--output", "clip.mp4"], "clip.mp4: a pose clip ends in"),
    ],
)
def test_fitting_mistakes(out, capsys, more, message):
    assert pose("fit", WAVING, "--output", f"{out}.safetensors", *more) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not out.parent.exists() or not list(out.parent.iterdir())
