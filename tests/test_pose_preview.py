"""Previews of poses show the right frames, at the right size and time."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from echomimic.errors import OutputError, PoseError
from echomimic.pose import PoseSequence, draw_poses
from echomimic.pose.canvas import Canvas
from echomimic.pose.drawing.preview import animated_preview, contact_sheet, preview_frames, speed_plot
from echomimic.pose.gestures import load_clip

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def clip() -> PoseSequence:
    return load_clip("waving")


@pytest.fixture(scope="module")
def speech() -> tuple[np.ndarray, int]:
    with wave.open(str(ROOT / "assets" / "speech.wav"), "rb") as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / 32768
        return samples.astype(np.float32), sound.getframerate()


def colour_near(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (np.abs(picture.astype(int) - colour) < 24).all(axis=-1)


# Frames -------------------------------------------------------------------------------------------------------------


def test_without_the_figure_it_is_what_the_model_sees(clip: PoseSequence) -> None:
    assert np.array_equal(preview_frames(clip, [0, 40], 200, figure=False), draw_poses(clip, [0, 40], 200, 200))


def test_the_figure_lies_behind_the_hands(clip: PoseSequence) -> None:
    hands = draw_poses(clip, [40], 200, 200)
    picture = preview_frames(clip, [40], 200)
    assert np.array_equal(picture[hands.any(axis=-1)], hands[hands.any(axis=-1)])
    assert picture.any(axis=-1).sum() > 1.5 * hands.any(axis=-1).sum()


def test_the_figure_of_a_narrow_canvas_lies_in_its_columns(clip: PoseSequence) -> None:
    narrow = clip.with_points(clip.keypoints, canvas=Canvas(768, (0, 768), (192, 576)))
    columns = np.flatnonzero(preview_frames(narrow, [0], 256)[0].any(axis=(0, 2)))
    assert columns.min() >= 64
    assert columns.max() < 192


def test_points_far_outside_do_no_harm(clip: PoseSequence) -> None:
    wild = clip.with_points(clip.keypoints * 1e5)
    assert preview_frames(wild, [0], 128).shape == (1, 128, 128, 3)


@pytest.mark.parametrize("side", [0, 8, 10_000])
def test_impossible_sizes_are_refused(clip: PoseSequence, side: int) -> None:
    with pytest.raises(PoseError, match=str(side)):
        preview_frames(clip, [0], side)


# Contact sheet ------------------------------------------------------------------------------------------------------


def test_sheet_has_a_tile_for_each_picture(clip: PoseSequence) -> None:
    sheet = contact_sheet(clip, pictures=10, columns=4, side=64)
    assert (sheet.shape, sheet.dtype) == ((3 * 64, 4 * 64, 3), np.uint8)


def test_sheet_shows_the_first_and_the_last_frame(clip: PoseSequence) -> None:
    sheet = contact_sheet(clip, pictures=5, columns=5, side=128)
    for tile, frame in ((0, 0), (4, len(clip) - 1)):
        below_label = sheet[32:127, tile * 128 + 1 : tile * 128 + 127]
        assert np.array_equal(below_label, preview_frames(clip, [frame], 128)[0, 32:127, 1:127])


def test_sheet_of_a_short_clip_shows_each_frame_once(clip: PoseSequence) -> None:
    assert contact_sheet(clip.take([0, 1, 2]), pictures=24, columns=6, side=64).shape == (64, 3 * 64, 3)


@pytest.mark.parametrize("wrong", [{"pictures": 0}, {"columns": 0}, {"pictures": 120, "side": 2048}])
def test_impossible_sheets_are_refused(clip: PoseSequence, wrong: dict[str, int]) -> None:
    with pytest.raises(PoseError):
        contact_sheet(clip, **wrong)


# Moving preview -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".gif", ".webp"])
@pytest.mark.parametrize("fps", [24.0, 23.976, 60.0])
def test_preview_plays_as_long_as_the_clip(tmp_path: Path, clip: PoseSequence, ending: str, fps: float) -> None:
    short = clip.take(np.arange(0, 48, 2)).with_points(clip.keypoints[:24], clip.scores[:24], fps=fps)
    path = animated_preview(short, tmp_path / f"wave{ending}", side=64)
    with Image.open(path) as picture:
        assert picture.size == (64, 64)
        assert picture.info["loop"] == 0
        total = 0
        for number in range(picture.n_frames):
            picture.seek(number)
            picture.load()  # WebP knows a frame's duration once it is decoded
            total += picture.info["duration"]
    assert total == pytest.approx(1000 * short.seconds, abs=10)


def test_preview_of_another_kind_is_refused(tmp_path: Path, clip: PoseSequence) -> None:
    with pytest.raises(PoseError, match=r"\.gif or \.webp"):
        animated_preview(clip, tmp_path / "wave.mp4")


def test_a_moving_preview_of_a_long_clip_is_refused_with_what_can_be_done(
    tmp_path: Path, clip: PoseSequence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said to choose a smaller size, which no command lets one choose, and knew nothing of the memory."""
    monkeypatch.setattr("echomimic.pose.drawing.preview.draw_poses", lambda *_: pytest.fail("the work began"))
    long = clip.take(np.zeros(13_000, int))
    with pytest.raises(PoseError, match=r"13000 previews of 256 .* 12000 is the limit: cut out .* 542 s .*--trim"):
        animated_preview(long, tmp_path / "long.gif")
    monkeypatch.setattr("echomimic.media.limits.available_bytes", lambda: 10**9)
    with pytest.raises(PoseError, match=r"take 1\.2 GB, and memory has room for 0\.9 GB: cut out a part"):
        animated_preview(clip.take(np.zeros(1500, int)), tmp_path / "long.gif")
    with pytest.raises(PoseError, match="choose fewer frames or a smaller size"):
        preview_frames(clip, np.zeros(1500, int), 256)
    assert not list(tmp_path.iterdir())


def test_preview_that_cannot_be_written_leaves_nothing(tmp_path: Path, clip: PoseSequence) -> None:
    (tmp_path / "taken.gif").mkdir()
    with pytest.raises(OutputError, match=r"taken\.gif"):
        animated_preview(clip.take([0, 1]), tmp_path / "taken.gif", side=32)
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken.gif"]


# Speed plot ---------------------------------------------------------------------------------------------------------


def test_plot_has_the_requested_size(clip: PoseSequence, speech: tuple[np.ndarray, int]) -> None:
    plot = speed_plot(clip, *speech, width=640, height=300)
    assert (plot.shape, plot.dtype) == ((300, 640, 3), np.uint8)


def test_plot_shades_the_pauses(clip: PoseSequence) -> None:
    """A hum in the middle third: the shade covers the outer thirds of the time axis only."""
    samples = np.zeros(3 * 16000)
    samples[16000:32000] = 0.3 * np.sin(np.arange(16000) * 0.06)
    plot = speed_plot(clip.take(np.arange(72)), samples, 16000, width=900, height=400)
    shaded = colour_near(plot, (238, 234, 222))[44:150].mean(axis=0) > 0.5
    begin, width = 58, 900 - 16 - 58
    thirds = [shaded[begin + round(width * a) : begin + round(width * b)].mean() for a, b in
              ((0.02, 0.3), (0.37, 0.63), (0.7, 0.98))]  # fmt: skip
    assert thirds[0] > 0.9
    assert thirds[1] < 0.1
    assert thirds[2] > 0.9


def test_plot_draws_the_moving_hand_above_the_still_one(clip: PoseSequence, speech: tuple[np.ndarray, int]) -> None:
    """`waving` moves the right hand only."""
    plot = speed_plot(clip, *speech)[250:446]
    left, right = colour_near(plot, (38, 126, 122)), colour_near(plot, (150, 74, 140))
    assert np.flatnonzero(right.any(axis=1)).min() < 40
    assert np.flatnonzero(left.any(axis=1)).min() > 150


@pytest.mark.parametrize("seconds", [0.01, 100.0])
def test_plot_of_any_length(clip: PoseSequence, seconds: float) -> None:
    samples = np.random.default_rng(0).normal(scale=0.1, size=round(8000 * seconds))
    assert speed_plot(clip.take([0]), samples, 8000).shape == (480, 1280, 3)


def test_impossible_plots_are_refused(clip: PoseSequence, speech: tuple[np.ndarray, int]) -> None:
    with pytest.raises(PoseError, match="20x20"):
        speed_plot(clip, *speech, width=20, height=20)
