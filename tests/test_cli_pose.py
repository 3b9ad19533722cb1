"""`python -m echomimic pose`: each subcommand whole, every mistake a sentence and exit code 2, nothing left behind."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from echomimic.audio import frames_needed, read_audio
from echomimic.cli import main
from echomimic.commands.pose import extract
from echomimic.pose import PoseSequence, draw_poses, fit_length, load_poses, retarget, save_poses, score_fit
from echomimic.pose.align import cover, crop_poses, head_to_waist
from echomimic.pose.fitting import adjust, fit_linear
from echomimic.pose.gestures import GestureSettings, generate_gestures, load_library
from echomimic.pose.keypoints import picture_canvas
from echomimic.pose.repair import mirror, repair
from echomimic.pose.timing import back_and_forth, concatenate, hold, loop, make_loop, resample, reverse, trim
from tests.portraits import marked_portrait
from tests.test_pose_extract import SquareDetector, marked_picture, write_clip

ASSETS = Path(__file__).resolve().parents[1] / "assets"
WAVING, IDLE = (str(ASSETS / "clips" / f"{name}.safetensors") for name in ("waving", "idle"))
SPEECH, PORTRAIT = str(ASSETS / "speech.wav"), str(ASSETS / "portrait.png")
POINTS = ["520,248", "515,489", "303,489", "727,489", "722,730"]


def pose(*arguments: object) -> int:
    """Run a pose command; argparse's own refusals give their exit code too."""
    try:
        return main(["pose", *map(str, arguments)])
    except SystemExit as stopped:
        return int(stopped.code or 0)


def same(a: PoseSequence, b: PoseSequence) -> bool:
    return (
        np.array_equal(a.keypoints, b.keypoints)
        and np.array_equal(a.scores, b.scores)
        and (a.fps, a.canvas) == (b.fps, b.canvas)
    )


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder that is not there yet, for outputs only."""
    return tmp_path / "new" / "out"


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    return save_poses(marked_portrait("0077"), tmp_path / "portrait.safetensors")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A picture of the shape of the marked portraits."""
    path = tmp_path / "portrait.png"
    Image.fromarray(np.full((256, 256, 3), 200, np.uint8)).save(path)
    return path


# ---- extract


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SquareDetector:
    """Stands in for DWPose; what is kept of results goes into the test's folder."""
    stand_in = SquareDetector()
    stand_in.asked = []
    monkeypatch.setattr("echomimic.pose.dwpose.DWPose", lambda *args: stand_in.asked.append(args) or stand_in)
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


def test_results_are_kept_in_the_users_cache_unless_told_otherwise(detector, video, out, tmp_path):
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
    assert "person 1 was asked for" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
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
def test_mistakes_are_told_before_dwpose_is_loaded(detector, video, out, capsys, more, said):
    assert pose("extract", video, "--output", f"{out}.safetensors", *more) == 2
    assert said in capsys.readouterr().err
    assert not detector.asked and not list(video.parent.glob("**/*.safetensors"))


@pytest.mark.parametrize(("name", "content"), [("no.mp4", None), ("bad.mp4", b"x"), ("bad.png", b"x")])
def test_what_is_no_video_or_picture(detector, tmp_path, out, capsys, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert pose("extract", tmp_path / name, "--output", f"{out}.safetensors") == 2
    assert name in capsys.readouterr().err.splitlines()[-1]
    assert not out.parent.exists() or not list(out.parent.iterdir())


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


def test_missing_packages_or_networks_are_told_with_the_cure(video, out, capsys):
    assert pose("extract", video, "--output", f"{out}.safetensors", "--models", video.parent, "--no-cache") == 2
    said = capsys.readouterr().err
    assert "pip install" in said or "lacks yolox_l.onnx" in said


# ---- retarget


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


def test_original_needs_no_portrait_and_says_no_score(out, capsys):
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
    assert "The portrait's right elbow and wrist cannot be seen" in capsys.readouterr().out
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


def test_quiet_retargeting_says_nothing(portrait, out, capsys):
    assert pose("retarget", WAVING, "--portrait", portrait, "--output", f"{out}.safetensors", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("more", "said"),
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
        (["--portrait", "P", "--offset", "nan", 0], "--offset is in shares"),
        (["--portrait", "P", "--offset", 100, 0], "--offset is in shares"),
        (["--portrait", "P", "--size", "768"], "a size is WIDTHxHEIGHT"),
        (["--portrait", "P", "--size", "0x768"], "--size must be 64 to 8192 pixels, got 0x768"),
        (["--portrait", WAVING], "has 120 frames; a portrait has one"),
        (["--portrait", "gone.json"], "gone.json: no such pose clip"),
        (["--portrait", "P", "--image", "gone.png"], "there is no image file"),
        (["--portrait", "P", "--image", "T"], "give the picture that its keypoints belong to"),
        (["--portrait", "P", "--read-fps", 25], "--read-fps is for clips that do not record their rate"),
        (["--portrait", "P", "--output", "clip.mp4"], "clip.mp4: a pose clip ends in"),
    ],
)
def test_retargeting_mistakes(portrait, image, out, tmp_path, capsys, more, said):
    Image.new("RGB", (64, 128)).save(tmp_path / "tall.png")
    names = {"P": portrait, "I": image, "T": tmp_path / "tall.png"}
    command = ["retarget", WAVING, "--output", f"{out}.safetensors", *(names.get(part, part) for part in more)]
    assert pose(*command) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not out.parent.exists() or not list(out.parent.iterdir())


# ---- fit


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


def test_what_happens_to_a_short_clip_is_said(out, caplog):
    with caplog.at_level("INFO", "echomimic"):
        assert pose("fit", WAVING, "--seconds", 9, "--mode", "loop", "--output", f"{out}.safetensors") == 0
    assert "the clip lasts 5.00 s of 9.00 s: it starts over" in caplog.text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "one of the arguments --frames --seconds --audio is required"),
        (["--frames", 9, "--seconds", 1], "not allowed with"),
        (["--frames", 0], "a clip has 1 to 500000 frames, but 0 were asked for"),
        (["--frames", 10**9], "but 1000000000 were asked for"),
        (["--seconds", 0], "--seconds must be above 0"),
        (["--seconds", "nan"], "--seconds must be above 0"),
        (["--seconds", 1e9], "were asked for"),
        (["--audio", "gone.wav"], "there is no sound file gone.wav"),
        (["--audio", PORTRAIT], "portrait.png"),
        (["--frames", 9, "--fps", -1], "--fps must be above 0"),
        (["--frames", 9, "--mode", "hold", "--blend", 1], "--blend has no meaning with --mode hold"),
        (["--frames", 9, "--blend", 99], "--blend must be 0 to 60 seconds, got 99"),
        (["--frames", 9, "--output", "clip.mp4"], "clip.mp4: a pose clip ends in"),
    ],
)
def test_fitting_mistakes(out, capsys, more, said):
    assert pose("fit", WAVING, "--output", f"{out}.safetensors", *more) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not out.parent.exists() or not list(out.parent.iterdir())


# ---- generate


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
    ("more", "said"),
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
def test_generating_mistakes(few_clips, out, capsys, more, said, monkeypatch):
    monkeypatch.setattr("echomimic.pose.gestures.generate_gestures", lambda *_: pytest.fail("the work began"))
    command = ["generate", "--audio", SPEECH, "--library", few_clips, "--output", f"{out}.safetensors"]
    assert pose(*command, *more) == 2
    assert said in capsys.readouterr().err
    assert not out.parent.exists() or not list(out.parent.iterdir())


# ---- preview


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
    ("more", "said"),
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
def test_preview_mistakes(out, capsys, more, said):
    assert pose("preview", WAVING, "--output", f"{out}.png", *more) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not out.parent.exists() or not list(out.parent.iterdir())


# ---- convert


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
    ("more", "said"),
    [
        (["--trim", 2, 1], "--trim takes START and END in seconds with 0 <= START < END, got 2 1"),
        (["--trim", -1, 1], "got -1 1"),
        (["--trim", "nan", 1], "got nan 1"),
        (["--trim", 1, 5.1], "--trim 1 5.1: the clip lasts only 5.00 s"),
        (["--trim", 1, 1e300], "the clip lasts only 5.00 s"),
        (["--trim", 1, "inf"], "--trim takes START and END"),
        (["--trim", 1, 1.01], "leaves no frame"),
        (["--loop", 0], "--loop must be 1 or more"),
        (["--loop", 10**9], "but 120000000000 were asked for"),
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
def test_converting_mistakes(out, capsys, more, said):
    assert pose("convert", WAVING, "--output", f"{out}.safetensors", *more) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not out.parent.exists() or not list(out.parent.iterdir())


def test_clips_of_different_canvases_are_not_joined(tmp_path, out, capsys):
    clip = load_poses(WAVING)
    save_poses(clip.with_points(clip.keypoints, canvas=picture_canvas(600, 800)), tmp_path / "tall.safetensors")
    assert pose("convert", WAVING, tmp_path / "tall.safetensors", "--output", f"{out}.safetensors") == 2
    assert "align or retarget them to one portrait" in capsys.readouterr().err
    assert not list(out.parent.iterdir())


# ---- all of them


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
def test_place_that_cannot_be_written_is_told_before_the_work(tmp_path, capsys, monkeypatch, command):
    monkeypatch.setattr(f"echomimic.commands.pose.{command[0]}.save_clip", lambda *_: pytest.fail("the work was done"))
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
    said = capsys.readouterr().out
    for name in ("extract", "retarget", "fit", "generate", "preview", "convert"):
        assert f"\n    {name} " in said
        assert pose(name, "--help") == 0
        assert f"python -m echomimic pose {name} " in capsys.readouterr().out
    assert "example" in said
