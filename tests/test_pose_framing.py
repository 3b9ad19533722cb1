"""Portraits of any shape: head and hands stay in the video, and the box leads back into the full picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echomimic.errors import PoseError
from echomimic.media.pictures import read_image
from echomimic.pose import PoseSequence
from echomimic.pose.canvas import picture_canvas
from echomimic.pose.fitting.crop import CropBox
from echomimic.pose.fitting.framing import draw_cut, frame_portrait
from echomimic.pose.fitting.linear import portrait_from_points
from echomimic.pose.fitting.paste import paste_back
from echomimic.pose.fitting.portrait import fit_to_portrait
from echomimic.pose.gestures import load_clip
from echomimic.pose.sequence import FACE, HAND_A, HAND_B
from tests.portraits import marked_portrait

ASSETS = Path(__file__).resolve().parents[1] / "assets"
TALL, WIDE = (832, 1216), (1280, 720)


def gradient(width: int, height: int) -> np.ndarray:
    """Red grows to the right, green downwards: a colour says where it came from."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, np.zeros_like(x)], axis=-1).round().astype(np.uint8)


def person_in(size: tuple[int, int], left: float, top: float, side: float) -> PoseSequence:
    """A marked portrait's keypoints, its square placed in a picture of `size`."""
    square = marked_portrait("0014")
    points = (square.keypoints * side + [left, top]) / size
    return square.with_points(points, canvas=picture_canvas(*size))


def seen(portrait: PoseSequence, part: slice) -> np.ndarray:
    return portrait.keypoints[0, part][portrait.scores[0, part] > 0]


@pytest.mark.parametrize(("size", "cut"), [(TALL, (0, 0, 0, 384 / 1216)), (WIDE, (280 / 1280, 0, 280 / 1280, 0))])
def test_without_keypoints_the_top_and_the_middle_stay(size, cut):
    framed = frame_portrait(gradient(*size), 64, 64)
    assert framed.cut == pytest.approx(cut)
    assert framed.box.inside(*size) == 1
    assert "No keypoints were given" in framed.sentence


def test_without_keypoints_those_of_a_usual_portrait_are_assumed_and_the_fit_notes_it():
    portrait = frame_portrait(gradient(*WIDE), 800, 400).portrait
    nose, neck, right, left = portrait.keypoints[0, [0, 1, 2, 5]] * [800, 400]
    np.testing.assert_allclose([nose, neck], [(400, 0.19 * 400), (400, 0.44 * 400)])
    np.testing.assert_allclose((left[0] - right[0]) / 400, 0.704 - 0.297)
    fit = fit_to_portrait(load_clip("explaining"), portrait)
    assert fit.warnings[0].startswith("Nose, neck and shoulders are assumed")
    # A verdict on an assumed body says so first, and that it holds for that one only.
    assert fit.report.splitlines()[0] == fit.warnings[0]
    assert fit.report.splitlines()[1] == f"If that is right, the {fit.score.verdict.removeprefix('The ')}"
    assert fit.report.count(fit.warnings[0]) == 1


def test_a_person_who_is_small_or_near_and_a_picture_that_is_enlarged_are_warned_of_before_the_verdict():
    def report(width: float, picture: int) -> list[str]:
        middle, half = 0.5 * picture, 0.5 * width * picture
        points = [(middle, middle - 0.6 * half), (middle, middle), (middle - half, middle), (middle + half, middle)]
        portrait = portrait_from_points((picture, picture), *points, (middle - half, middle + half))
        framed = frame_portrait(gradient(picture, picture), 192, 192, portrait, framing="whole picture")
        return fit_to_portrait(load_clip("explaining"), framed.portrait).report.splitlines()

    usual = report(0.41, 400)
    assert usual[0].startswith("The pose ")
    small, near = report(0.2, 400), report(0.7, 400)
    assert small[0].startswith("The person is small in the picture: the shoulders take 20%") and "auto" in small[0]
    assert near[0].startswith("The person is very large in the picture: the shoulders take 70%")
    assert small[1].startswith("The pose ") and near[1].startswith("The pose ")
    tiny = report(0.41, 64)
    assert tiny[0] == "The picture is enlarged 3.0 times: a larger one would be sharper."


def test_keypoints_bring_the_person_to_the_models_usual_place():
    framed = frame_portrait(gradient(*TALL), 768, 768, person_in(TALL, 150, 500, 500))
    assert framed.portrait is not None
    nose, neck, right, left = framed.portrait.keypoints[0, [0, 1, 2, 5]]
    assert neck == pytest.approx([0.5, 0.44], abs=0.04)
    assert left[0] - right[0] == pytest.approx(0.41, abs=0.03)
    assert nose[1] < neck[1]


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(300, 2000), st.integers(300, 2000)),
    place=st.tuples(st.floats(-0.1, 0.5), st.floats(-0.05, 0.5)),
    side=st.floats(0.4, 0.9),
    video=st.sampled_from([(512, 512), (768, 512), (512, 768)]),
)
def test_head_and_hands_inside_the_picture_are_never_cut(size, place, side, video):
    length = side * min(size)
    portrait = person_in(size, place[0] * size[0], place[1] * size[1], length)
    framed = frame_portrait(gradient(*size), *video, portrait)
    assert framed.portrait is not None
    assert framed.box.width / framed.box.height == pytest.approx(video[0] / video[1], rel=0.02)
    head = seen(framed.portrait, FACE)
    assert (head > 0).all() and (head < 1).all()
    for hand in (HAND_A, HAND_B):
        inside = ((seen(portrait, hand) >= 0) & (seen(portrait, hand) <= 1)).all(axis=1)
        shown = seen(framed.portrait, hand)[inside]
        assert (shown > 0).all() and (shown < 1).all()


def test_the_box_holds_the_pixels_that_the_video_shows():
    picture = gradient(1000, 500)
    framed = frame_portrait(picture, 200, 100, framing="whole picture", scale=2.0, offset=(0.25, 0.0))
    assert framed.box == CropBox(125, 125, 500, 250)
    middle = framed.image[50, 100] / 255
    assert middle[:2] == pytest.approx([375 / 1000, 0.5], abs=0.01)


def test_whole_picture_is_filled_and_goes_back_where_it_was():
    picture = gradient(300, 600)
    framed = frame_portrait(picture, 600, 600, framing="whole picture", fill="edge")
    assert framed.cut == (0, 0, 0, 0)
    assert framed.box == CropBox(-150, 0, 600, 600)
    pasted = paste_back(framed.image[None], picture, framed.box)[0]
    assert np.abs(pasted.astype(int) - picture).max() <= 1


@pytest.mark.parametrize("size", [(1920, 1080), (1080, 1920), (1280, 400), (90, 1600)])
@pytest.mark.parametrize("video", [(576, 1024), (1280, 720), (768, 768)])
def test_whole_picture_takes_every_shape(size, video):
    framed = frame_portrait(gradient(*size), *video, framing="whole picture")
    assert framed.image.shape[:2] == video[::-1] and framed.cut == (0, 0, 0, 0)
    assert max(draw_cut(gradient(*size), framed.box).shape) <= 1024


def test_blur_changes_only_what_lies_beyond_the_picture():
    picture = np.random.default_rng(0).integers(0, 256, (200, 100, 3), dtype=np.uint8)
    edge = frame_portrait(picture, 200, 200, framing="whole picture", fill="edge").image
    blurred = frame_portrait(picture, 200, 200, framing="whole picture", fill="blur").image
    assert (edge[:, 50:150] == blurred[:, 50:150]).all()
    # The repeated edge is noise along y; blurred, neighbours are alike.
    assert np.abs(np.diff(blurred[:, 10].astype(int), axis=0)).mean() < 15
    assert np.abs(np.diff(edge[:, 10].astype(int), axis=0)).mean() > 50


def test_the_preview_darkens_what_is_cut():
    picture = np.full((400, 200, 3), 200, np.uint8)
    preview = draw_cut(picture, CropBox(0, 0, 200, 200))
    assert preview.shape == (400, 200, 3)
    assert preview[100, 100].mean() == 200
    assert preview[300, 100].mean() == pytest.approx(90, abs=1)


def test_keypoints_of_another_picture_are_refused_with_both_sizes():
    with pytest.raises(PoseError, match=r"832x1216.*1280x720"):
        frame_portrait(gradient(*WIDE), portrait=person_in(TALL, 100, 100, 500))


def test_too_few_points_explain_what_to_do():
    portrait = person_in(TALL, 100, 100, 500)
    portrait.scores[:, 1:8] = 0
    with pytest.raises(PoseError, match="Mark Portrait"):
        frame_portrait(gradient(*TALL), portrait=portrait)


@pytest.mark.parametrize(("changes", "words"), [({"framing": "middle"}, "framing"), ({"scale": 0.0}, "scale")])
def test_impossible_settings_are_refused(changes, words):
    with pytest.raises(PoseError, match=words):
        frame_portrait(gradient(100, 100), **changes)


def test_a_person_far_too_small_to_frame_is_refused():
    with pytest.raises(PoseError, match="larger scale"):
        frame_portrait(gradient(100, 100), framing="whole picture", scale=0.2)


def test_no_seam_is_seen_where_head_to_waist_is_put_back_into_a_full_body_picture():
    """What comes back from the model differs a little in colour everywhere; along the seam nothing must show of it."""
    picture = read_image(ASSETS / "full_body.png")
    height, width = picture.shape[:2]
    marks = np.array([[50.2, 11.1], [49.9, 21.8], [37.3, 21.8], [62.6, 21.8], [40.5, 40.5]]) / 100 * [width, height]
    framed = frame_portrait(picture, 768, 768, portrait_from_points((width, height), *marks))
    rendered = np.clip(framed.image * 0.96 + 14.0, 0, 255).round().astype(np.uint8)
    box = framed.box
    change = paste_back(rendered[None], picture, box)[0].astype(float) - picture
    left, top, right, bottom = box.left, max(box.top, 0), box.left + box.width, box.top + box.height
    middle = change[(top + bottom) // 2, (left + right) // 2]
    assert np.abs(change[top:bottom, left:right]).mean() > 4  # it can be seen inside ...
    assert np.abs(middle).max() > 2
    seams = change[bottom - 1, left:right], change[top:bottom, left], change[top:bottom, right - 1]
    assert max(np.abs(seam).max() for seam in seams) <= 1  # ... and begins with nothing at the edge
    rising = np.abs(np.diff(change[bottom - 46 : bottom + 1, left:right].mean(axis=(1, 2))))
    assert rising.max() <= 1  # of 255 levels, from one pixel to the next
    assert not change[bottom:].any() and not change[:, :left].any() and not change[:, right:].any()
