"""The score, the overlay, and aligning the portrait to the clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echomimic.errors import PoseError
from echomimic.media.pictures import read_image
from echomimic.pose import PoseSequence, load_poses
from echomimic.pose.canvas import picture_canvas
from echomimic.pose.drawing.fit_overlay import draw_fit, fit_sheet
from echomimic.pose.fitting.crop import CropBox, align_portrait
from echomimic.pose.fitting.linear import adjust
from echomimic.pose.fitting.paste import match_tone, paste_back
from echomimic.pose.fitting.retarget import retarget
from echomimic.pose.fitting.score import FitScore, score_fit
from echomimic.pose.sequence import FACE, HAND_A, HAND_B
from tests.portraits import NAMES, marked_portrait
from tests.test_pose_retarget import moving_clip, without

CLIPS = ("01", "good", "fight", "salute")


# ---- score; the expectations are what the overlays showed to the eye


@pytest.mark.parametrize("name", NAMES)
def test_calm_clip_fits_every_portrait(shared: Path, name: str) -> None:
    """In the overlays of 01 every hand lies in the picture, on the person's forearms or belly."""
    score = fitted_score(shared, "01", name)
    assert score.total > 0.9 and score.hands_in_frame.value == 1.0
    assert "fits well" in score.verdict


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("clip", ["fight", "salute"])
def test_clips_whose_resting_hand_hangs_below_the_picture(shared: Path, name: str, clip: str) -> None:
    """In these overlays one hand is raised, and most of the other is cut off at the waist."""
    score = fitted_score(shared, clip, name)
    assert 0.5 < (score.hands_in_frame.value or 0) < 0.7 and 0.4 < score.total < 0.75
    assert "can be used" in score.verdict and "below it: move the pose up" in score.hands_in_frame.sentence


@pytest.mark.parametrize("name", NAMES)
def test_unaligned_clip_stands_too_high(shared: Path, name: str) -> None:
    """Laid over the portraits as it is, salute's shoulders lie above theirs by 5 % of the picture."""
    score = score_fit(load_poses(shared / "assets" / "pose" / "salute"), marked_portrait(name))
    assert 0.04 < (score.neck.value or 0) < 0.08 and "too high" in score.neck.sentence


def fitted_score(shared: Path, clip: str, name: str) -> FitScore:
    portrait = marked_portrait(name)
    return score_fit(retarget(load_poses(shared / "assets" / "pose" / clip), portrait).sequence, portrait)


def fitting_pair() -> tuple[PoseSequence, PoseSequence]:
    """A clip and a portrait that fit each other, hands in the picture and of the right size."""
    clip = moving_clip(frames=8)
    points = clip.keypoints[:1] + 0.2 * (clip.keypoints - clip.keypoints[:1])  # a calm one
    points[:, FACE, 1] = np.linspace(0.15, 0.33, 68)
    for hand in (HAND_A, HAND_B):
        points[:, hand] = points[:, hand.start, None] + np.linspace(0, 0.23, 21)[:, None] * [0.0, -1.0]
    clip = clip.with_points(points)
    return clip, clip.take([0])


def test_a_clip_fits_its_own_frame() -> None:
    assert score_fit(*fitting_pair()).total > 0.95


@pytest.mark.parametrize(
    ("scale", "offset", "measure", "words"),
    [
        (1.0, (0.0, 0.2), "neck", "too low"),
        (1.0, (-0.2, 0.0), "neck", "too far left"),
        (1.6, (0.0, 0.0), "shoulders", "wider"),
        (0.6, (0.0, 0.0), "shoulders", "narrower"),
        (0.6, (0.0, 0.0), "hand_size", "too small"),
        (2.0, (0.0, 0.0), "hand_size", "too large"),
        (1.0, (0.0, 0.25), "hands_in_frame", "below it: move the pose up"),
        (1.0, (0.4, 0.0), "hands_in_frame", "beside or above"),
        (1.0, (0.0, 2.0), "hands_in_frame", "No hand point is ever in the picture"),
    ],
)
def test_what_does_not_fit_is_reported_and_lowers_the_score(
    scale: float, offset: tuple, measure: str, words: str
) -> None:
    clip, portrait = fitting_pair()
    score = score_fit(adjust(clip, scale, offset), portrait)
    assert words in getattr(score, measure).sentence
    assert getattr(score, measure).quality < 0.9 and score.total < 0.75


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.05, 20), offset=st.tuples(st.floats(-3, 3), st.floats(-3, 3)))
def test_any_score_is_between_0_and_1_in_four_sentences(seed: int, scale: float, offset: tuple) -> None:
    score = score_fit(adjust(moving_clip(seed), scale, offset), moving_clip(seed + 1, 1))
    assert 0 <= score.total <= 1
    assert all(measure.sentence.endswith(".") for measure in score.measures)
    words = " ".join([score.verdict, *(measure.sentence for measure in score.measures)])
    assert words.count("%") >= 1 and "nan" not in words


@pytest.mark.parametrize("scale", np.linspace(0.55, 1.8, 40))
@pytest.mark.parametrize("down", [0.0, 0.03, 0.06])
def test_verdict_and_measures_do_not_contradict_each_other(scale: float, down: float) -> None:
    """A clip that fits well has nothing to mend, and one that does not has a measure that says why."""
    clip, portrait = fitting_pair()
    score = score_fit(adjust(clip, scale, (0.0, down)), portrait)
    remedies = [measure.name for measure in score.measures if ": " in measure.sentence]
    if "fits well" in score.verdict:
        assert not remedies
    else:
        assert remedies or any("a little" in measure.sentence for measure in score.measures)


def test_hands_one_per_cent_off_are_not_called_too_small() -> None:
    clip, portrait = fitting_pair()
    usual = score_fit(clip, portrait).hand_size.value
    score = score_fit(adjust(clip, 0.99 / usual), portrait)
    assert score.hand_size.value == pytest.approx(0.99, abs=0.005)
    assert "suit the face" in score.hand_size.sentence


def test_what_cannot_be_measured_does_not_count() -> None:
    clip, portrait = fitting_pair()
    score = score_fit(without(clip, 2, 5), without(portrait, FACE, 0))
    assert score.shoulders.quality is None and score.hand_size.quality is None
    assert "without the portrait's face" in score.hand_size.sentence
    assert score.total == pytest.approx(score.hands_in_frame.quality * score.neck.quality)


def test_portrait_without_face_points_is_measured_by_its_neck() -> None:
    clip, portrait = fitting_pair()
    assert score_fit(clip, without(portrait, FACE)).hand_size.value == pytest.approx(0.23 / (0.72 * 0.2), rel=0.3)


def test_clip_without_hands_does_not_fit() -> None:
    clip, portrait = fitting_pair()
    score = score_fit(without(clip, HAND_A, HAND_B), portrait)
    assert score.total == 0 and "no hands at all" in score.hands_in_frame.sentence


def test_unknown_portrait_cannot_be_judged() -> None:
    with pytest.raises(PoseError, match="cannot be judged"):
        score_fit(moving_clip(), without(moving_clip(1, 1), 1, 2))


def test_narrow_portrait_is_its_own_frame() -> None:
    """Points in the bands beside a portrait-format picture are out of the frame."""
    clip, _ = fitting_pair()
    clip = clip.with_points(clip.keypoints, canvas=picture_canvas(400, 800))
    assert score_fit(clip, clip.take([0])).hands_in_frame.value == 1
    outside = adjust(clip, 1.0, (0.5, 0.0))
    assert score_fit(outside, clip.take([0])).hands_in_frame.value == pytest.approx(0.5, abs=0.2)


# ---- overlay


def test_overlay_shows_hands_body_portrait_and_the_picture() -> None:
    clip, portrait = fitting_pair()
    image = np.full((256, 256, 3), 100, np.uint8)
    picture = draw_fit(clip, [0, 3], image, adjust(portrait, 1.0, (0.1, 0.0)))
    assert picture.shape == (2, 256, 256, 3) and picture.dtype == np.uint8
    colours = picture[0].reshape(-1, 3).astype(int)
    assert (colours == 255).all(axis=1).any(), "the clip's body is white"
    assert ((colours[:, 1] > 200) & (colours[:, 0] < 120)).any(), "the portrait's points are green"
    assert (colours == 55).all(axis=1).mean() > 0.5, "the picture stays visible, dimmed"
    assert (picture[0] != picture[1]).any()


def test_overlay_of_odd_points_does_not_crash() -> None:
    clip, _ = fitting_pair()
    assert draw_fit(clip.with_points(clip.keypoints * 999), [0], np.zeros((64, 48, 3), np.uint8)).shape == (
        1,
        64,
        48,
        3,
    )


def test_overlay_of_a_frame_that_is_not_there() -> None:
    with pytest.raises(PoseError, match="clip with 8 frames"):
        draw_fit(fitting_pair()[0], [8], np.zeros((64, 64, 3), np.uint8))


def test_sheet_lays_first_and_last_frame_over_the_whole_picture() -> None:
    clip, portrait = fitting_pair()
    image = np.full((128, 96, 3), 100, np.uint8)
    sheet = fit_sheet(clip, image, portrait, pictures=2, columns=4, side=128)
    assert sheet.shape == (128, 2 * 96, 3) and sheet.dtype == np.uint8
    inner = slice(20, 127), slice(1, 95)  # without the time and the frame
    for column, picture in zip((0, 96), draw_fit(clip, [0, 7], image, portrait)):
        assert np.array_equal(sheet[:, column : column + 96][inner], picture[inner])


@pytest.mark.parametrize(
    ("pictures", "columns", "shape"), [(8, 4, (2, 4)), (5, 4, (2, 3)), (99, 4, (2, 4)), (1, 4, (1, 1))]
)
def test_sheet_has_no_row_of_leftovers(pictures: int, columns: int, shape: tuple[int, int]) -> None:
    sheet = fit_sheet(fitting_pair()[0], np.zeros((64, 64, 3), np.uint8), pictures=pictures, columns=columns, side=64)
    assert sheet.shape == (64 * shape[0], 64 * shape[1], 3)


@pytest.mark.parametrize("wrong", [{"pictures": 0}, {"columns": 0}, {"side": 0}, {"side": 4096}])
def test_impossible_sheets_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(PoseError):
        fit_sheet(fitting_pair()[0], np.zeros((64, 64, 3), np.uint8), **wrong)


# ---- the portrait to the clip


def dotted_portrait(width: int = 900, height: int = 700, scale: float = 0.5) -> tuple[np.ndarray, PoseSequence]:
    """A picture with white dots on its nose and shoulders."""
    points = moving_clip(3, 1).keypoints[0] * 768 * scale + [200, 150]
    portrait = PoseSequence(
        (points / [width, height])[None], np.ones((1, len(points))), canvas=picture_canvas(width, height)
    )
    image = np.zeros((height, width, 3), np.uint8)
    for x, y in points[[0, 2, 5]].round().astype(int):
        image[y - 4 : y + 5, x - 4 : x + 5] = 255
    return image, portrait


def dots(picture: np.ndarray) -> np.ndarray:
    import cv2

    _, _, _, centres = cv2.connectedComponentsWithStats((picture[..., 0] > 100).astype(np.uint8))
    return centres[1:][np.argsort(centres[1:, 0])]


def test_portrait_is_brought_to_the_clip() -> None:
    image, portrait = dotted_portrait()
    clip = moving_clip(3, 1)
    aligned = align_portrait(image, portrait, clip, 768, 768)
    expected = clip.keypoints[0, [2, 0, 5]] * 768
    np.testing.assert_allclose(dots(aligned.image), expected, atol=2)
    np.testing.assert_allclose(aligned.portrait.keypoints[0, [2, 0, 5]] * 768, expected, atol=2)
    assert (aligned.box.width, aligned.box.height) == (384, 384)


def test_aligned_portrait_of_another_shape_and_by_hand() -> None:
    image, portrait = dotted_portrait()
    clip = moving_clip(3, 1)
    plain, moved = (align_portrait(image, portrait, clip, 512, 768, *extra) for extra in ((), (1.0, (0.1, 0.05))))
    assert plain.image.shape == (768, 512, 3)
    # The keypoints go where the picture goes.
    for one in (plain, moved):
        np.testing.assert_allclose(one.portrait.keypoints[0, [2, 0, 5]] * [512, 768], dots(one.image), atol=2)
    np.testing.assert_allclose(dots(moved.image) - dots(plain.image), np.tile([51.2, 38.4], (3, 1)), atol=2)
    larger = align_portrait(image, portrait, clip, 512, 768, 1.5)
    spans = [np.ptp(dots(one.image)[:, 0]) for one in (plain, larger)]
    assert spans[1] == pytest.approx(1.5 * spans[0], rel=0.03)


def test_box_beyond_the_picture_repeats_the_edge_and_reports_it() -> None:
    image, portrait = dotted_portrait(400, 500, 0.3)
    image[0] = image[-1] = 77
    aligned = align_portrait(image, portrait, moving_clip(3, 1).take([0]), 768, 768, 0.5)
    assert aligned.inside < 0.9 and "beyond the picture's edge" in aligned.sentence
    assert (aligned.image[-1, 380:390] == 77).all()


def test_published_portrait_to_a_published_clip(shared: Path) -> None:
    image = read_image(shared / "assets" / "reference" / "0077.png")
    clip = load_poses(shared / "assets" / "pose" / "salute")
    aligned = align_portrait(image, marked_portrait("0077"), clip)
    before, after = (
        score_fit(clip, portrait).neck.value or 0 for portrait in (marked_portrait("0077"), aligned.portrait)
    )
    assert after < 0.03 < before and 0.85 < aligned.inside <= 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scale": 0.0}, "scale is impossible"),
        ({"scale": 90.0}, "would have to be cut"),
        ({"scale": 0.05}, "would have to be cut"),
        ({"offset": (2.0, 0.0)}, "nothing of the picture: move it less"),
    ],
)
def test_impossible_alignments(change: dict, words: str) -> None:
    with pytest.raises(PoseError, match=words):
        align_portrait(*dotted_portrait(), moving_clip(3, 1), **change)


def test_alignment_needs_shared_points_and_the_right_picture() -> None:
    image, portrait = dotted_portrait()
    with pytest.raises(PoseError, match="share 1 of the points"):
        align_portrait(image, without(portrait, 0, *range(2, 18)), moving_clip())
    with pytest.raises(PoseError, match="for a picture of 900x700"):
        align_portrait(image[:-1], portrait, moving_clip())


@pytest.mark.parametrize("size", [(384, 384), (768, 768), (100, 60)])
def test_pasting_back_restores_the_picture(size: tuple[int, int]) -> None:
    """What was cut out and pasted back unchanged gives the picture again, but for resampling."""
    rows, columns = np.mgrid[0:500, 0:600]
    image = np.stack([rows / 2, columns / 3, (rows + columns) / 5], axis=2).astype(np.uint8)
    box = CropBox(150, 120, 200, 200 * size[1] // size[0])
    from PIL import Image

    part = image[box.top : box.top + box.height, box.left : box.left + box.width]
    frames = np.asarray(Image.fromarray(part).resize(size, Image.Resampling.LANCZOS))[None].repeat(2, axis=0)
    restored = paste_back(frames, image, box)
    assert restored.shape == (2, 500, 600, 3)
    assert np.abs(restored.astype(int) - image).max() <= 4


def test_pasted_edge_is_feathered_inside_the_box_only() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    frames = np.full((1, 40, 40, 3), 200, np.uint8)
    (picture,) = paste_back(frames, image, CropBox(30, 30, 40, 40), feather=0.25)
    assert not picture[:30].any() and not picture[:, 70:].any()
    profile = picture[50, 30:50, 0].astype(int)
    assert (np.diff(profile) >= 0).all() and profile[0] < 10 and (profile[10:] == 200).all()
    assert len(set(profile[:10])) >= 8, "a ramp, not a step"


def test_edges_at_the_pictures_own_edge_stay_hard() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    frames = np.full((1, 80, 80, 3), 200, np.uint8)
    (picture,) = paste_back(frames, image, CropBox(-20, 20, 80, 80), feather=0.2)
    assert (picture[70, 0] == 200).all() and (picture[99, 20] == 200).all(), "left and lower edge"
    assert picture[20, 20].max() < 10 and picture[70, 59].max() < 10, "upper and right edge"


def drifted() -> tuple[np.ndarray, np.ndarray, CropBox]:
    """A picture with a pillar that crosses the box's lower edge; its part as a network may give it back: bluer,
    darker towards the bottom, and with another pillar; the box."""
    rows, columns = np.mgrid[0:300, 0:200]
    image = np.stack([180 - rows / 6, 190 - columns / 8, 200 - rows / 8], axis=2)
    image[200:, 80:120] = [60, 60, 90]
    box = CropBox(40, 30, 120, 200)
    frame = image[30:230, 40:160] + np.linspace(0, -14, 200)[:, None, None] + [-4, 3, 12]
    frame[120:, 40:80] = [240, 150, 60]
    return image.round().astype(np.uint8), frame.round().astype(np.uint8)[None], box


def test_a_background_that_came_back_otherwise_is_brought_to_the_pictures() -> None:
    image, frames, box = drifted()
    tone = match_tone(frames, image[None], box)
    background = np.s_[30:230, 40:75]  # beside both pillars
    without, matched = (
        paste_back(frames, image, box, tone=given)[0][background].astype(float) - image[background]
        for given in (None, tone)
    )
    assert np.abs(without).max() > 10
    assert np.abs(matched).max() <= 2
    assert match_tone(frames, image[None], CropBox(-50, -10, 400, 400)) is None  # no edge within the picture


@pytest.mark.parametrize("value", [0, 255])
def test_frames_with_another_background_keep_theirs(value: int) -> None:
    image, frames, box = drifted()
    assert match_tone(np.full_like(frames, value), image[None], box) is None
    noise = np.random.default_rng(value).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    assert match_tone(noise, image[None], box) is None


def test_frames_as_they_were_cut_keep_their_tone() -> None:
    image, _, box = drifted()
    cut = image[box.top : box.top + box.height, box.left : box.left + box.width]
    tone = match_tone(cut[None], image[None], box)
    assert tone is not None and np.abs(tone.over(20, 10)).max() < 0.5


def test_pasting_elsewhere_is_refused() -> None:
    frames = np.zeros((1, 8, 8, 3), np.uint8)
    with pytest.raises(PoseError, match="does not touch"):
        paste_back(frames, np.zeros((50, 50, 3), np.uint8), CropBox(60, 0, 20, 20))
    with pytest.raises(PoseError, match="feathered edge"):
        paste_back(frames, np.zeros((50, 50, 3), np.uint8), CropBox(0, 0, 20, 20), feather=0.7)
