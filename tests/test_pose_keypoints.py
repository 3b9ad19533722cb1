"""POSE_KEYPOINT in every dialect, out and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echomimic.errors import EchoMimicError, PoseError
from echomimic.pose import Canvas, PoseSequence, load_poses, save_poses
from echomimic.pose.sequence import BODY, FACE, FEET, HAND_A, HAND_B, POINTS
from echomimic.pose.sources import person_tracking
from echomimic.pose.sources.keypoints import from_pose_keypoints, to_pose_keypoints
from echomimic.pose.sources.person_tracking import choose_person

WIDTH, HEIGHT = 640, 480


def person_points(x: float = 320, y: float = 100, size: float = 60) -> np.ndarray:
    """A plausible half body in pixels, [134, 2]: hand A on the left wrist (7), hand B on the right wrist (4)."""
    body = np.array(
        [
            (0, 0),
            (0, 1),
            (-1, 1),
            (-1.4, 2.2),
            (-1, 3),
            (1, 1),
            (1.4, 2.2),
            (1, 3),
            (-0.6, 4),
            (-0.6, 5),
            (-0.6, 6),
            (0.6, 4),
            (0.6, 5),
            (0.6, 6),
            (-0.2, -0.2),
            (0.2, -0.2),
            (-0.4, -0.1),
            (0.4, -0.1),
        ]
    )
    points = np.zeros((POINTS, 2))
    points[BODY] = body
    points[FEET] = np.linspace((-0.6, 6.1), (0.6, 6.3), 6)
    turn = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    points[FACE] = np.stack([0.5 * np.cos(turn), 0.6 * np.sin(turn)], axis=1)
    spread = np.stack([np.linspace(-0.2, 0.2, 21), np.linspace(0, -0.6, 21)], axis=1)
    points[HAND_A], points[HAND_B] = body[7] + spread, body[4] + spread
    return points * size + [x, y]


def flat(points: np.ndarray, confidence: float = 1.0) -> list[float]:
    return np.concatenate([points, np.full((len(points), 1), confidence)], axis=1).reshape(-1).tolist()


def frame(*people: dict, width: int = WIDTH, height: int = HEIGHT) -> dict:
    return {"people": list(people), "canvas_width": width, "canvas_height": height}


def person(points: np.ndarray | None = None, **changes: object) -> dict:
    """A person as controlnet_aux writes one."""
    points = person_points() if points is None else points
    return {
        "pose_keypoints_2d": flat(points[BODY]),
        "face_keypoints_2d": flat(np.concatenate([points[FACE], points[14:16]])),
        "hand_left_keypoints_2d": flat(points[HAND_A]),
        "hand_right_keypoints_2d": flat(points[HAND_B]),
    } | changes


def fractions(points: np.ndarray) -> np.ndarray:
    return points / [WIDTH, HEIGHT]


def test_controlnet_aux() -> None:
    clip = from_pose_keypoints([frame(person())] * 2, fps=30)
    expected = fractions(person_points())
    expected[FEET] = 0
    np.testing.assert_allclose(clip.keypoints, [expected] * 2)
    assert len(clip) == 2 and clip.fps == 30
    assert (clip.scores[:, np.r_[BODY, FACE, HAND_A, HAND_B]] == 1).all() and not clip.scores[:, FEET].any()


def test_canvas_is_the_picture_in_its_square() -> None:
    assert from_pose_keypoints([frame(person())]).canvas == Canvas(640, (80, 560), (0, 640))
    tall = from_pose_keypoints([frame(person(), width=600, height=800)])
    assert tall.canvas == Canvas(800, (0, 800), (100, 700))


def test_old_fractions_are_distinguished_from_pixels() -> None:
    pixels, old = (
        from_pose_keypoints([frame(person(points))]) for points in (person_points(), fractions(person_points()))
    )
    np.testing.assert_allclose(pixels.keypoints, old.keypoints)


def test_each_part_may_have_its_own_unit() -> None:
    mixed = person(pose_keypoints_2d=flat(fractions(person_points())[BODY]))
    np.testing.assert_allclose(
        from_pose_keypoints([frame(mixed)]).keypoints, from_pose_keypoints([frame(person())]).keypoints
    )


def test_a_hand_in_the_corner_does_not_turn_the_clip_into_fractions() -> None:
    low = person_points()
    low[HAND_A] = [1.5, 1.0]
    clip = from_pose_keypoints([frame(person(low)), frame(person())])
    np.testing.assert_allclose(clip.keypoints[0, HAND_A], np.tile([1.5 / WIDTH, 1 / HEIGHT], (21, 1)))


@pytest.mark.parametrize("missing", [None, [], [0.0] * 63, [-1.0] * 63, [[-1, -1, 0.4]] * 21, [[None] * 3] * 21])
def test_whatever_stands_for_a_missing_hand(missing: object) -> None:
    clip = from_pose_keypoints([frame(person(hand_left_keypoints_2d=missing))])
    assert not clip.scores[0, HAND_A].any() and not clip.keypoints[0, HAND_A].any()
    assert clip.scores[0, HAND_B].all()


def test_a_part_whose_name_is_not_there() -> None:
    bare = person()
    del bare["hand_left_keypoints_2d"], bare["face_keypoints_2d"]
    clip = from_pose_keypoints([frame(bare)])
    assert not clip.scores[0, HAND_A].any() and not clip.scores[0, FACE].any()


def test_nested_lists_and_arrays() -> None:
    points = person_points()
    nested = person(
        pose_keypoints_2d=np.array(flat(points[BODY])).reshape(-1, 3).tolist(),
        hand_left_keypoints_2d=np.array(flat(points[HAND_A])),
    )
    np.testing.assert_allclose(
        from_pose_keypoints([frame(nested)]).keypoints, from_pose_keypoints([frame(person())]).keypoints
    )


def test_bare_frame_and_bare_person() -> None:
    expected = from_pose_keypoints([frame(person())]).keypoints
    np.testing.assert_array_equal(from_pose_keypoints(frame(person())).keypoints, expected)
    alone = person() | {"canvas_width": WIDTH, "canvas_height": HEIGHT}
    np.testing.assert_array_equal(from_pose_keypoints(alone).keypoints, expected)


def test_body_of_25_points() -> None:
    """OpenPose's BODY_25: the hips' middle is 8, right leg 9-11, left leg 12-14, eyes and ears 15-18, feet 19-24."""
    points = person_points()
    order = [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, *range(18, 24)]
    body25 = points[order]
    body25[8] = (points[8] + points[11]) / 2
    clip = from_pose_keypoints([frame(person(pose_keypoints_2d=flat(body25)))])
    np.testing.assert_allclose(clip.keypoints[0], fractions(points))


def test_face_of_68_points() -> None:
    short = person(face_keypoints_2d=flat(person_points()[FACE]))
    assert from_pose_keypoints([frame(short)]).scores[0, FACE].all()


def test_core_calls_the_hands_the_other_way_round_and_has_feet_and_scores() -> None:
    points = person_points()
    core = person(
        hand_left_keypoints_2d=flat(points[HAND_B], 0.8),
        hand_right_keypoints_2d=flat(points[HAND_A], 0.6),
        foot_keypoints_2d=flat(points[FEET], 0.2),
    )
    clip = from_pose_keypoints([frame(core)])
    np.testing.assert_allclose(clip.keypoints[0], fractions(points))
    assert (clip.scores[0, HAND_A] == 0.6).all() and (clip.scores[0, HAND_B] == 0.8).all()
    assert (clip.scores[0, FEET] == 0.2).all()


def test_hands_that_cross_for_a_moment_keep_their_sides() -> None:
    crossed = person_points()
    crossed[HAND_A], crossed[HAND_B] = crossed[HAND_B].copy(), crossed[HAND_A].copy()
    clip = from_pose_keypoints([frame(person())] * 3 + [frame(person(crossed))])
    np.testing.assert_allclose(clip.keypoints[0, HAND_A], fractions(person_points())[HAND_A])
    np.testing.assert_allclose(clip.keypoints[3, HAND_A], fractions(person_points())[HAND_B])


def test_labels_decide_where_no_wrist_is_seen() -> None:
    clip = from_pose_keypoints([frame(person(pose_keypoints_2d=None))])
    np.testing.assert_allclose(clip.keypoints[0, HAND_A], fractions(person_points())[HAND_A])


def test_frames_with_nobody_become_gaps(caplog: pytest.LogCaptureFixture) -> None:
    clip = from_pose_keypoints([frame(person()), frame(), frame(person(pose_keypoints_2d=None)), frame()])
    assert (clip.scores.any(axis=1) == [True, False, True, False]).all()
    assert "the person was not found in 2 of 4 pose frames: 1, 3" in caplog.text


def test_nobody_at_all() -> None:
    with pytest.raises(PoseError, match="nobody was found in any of the 3 frames"):
        from_pose_keypoints([frame()] * 2 + [frame(person(np.zeros((POINTS, 2))))])


def test_the_largest_person_is_followed_when_another_comes_close() -> None:
    large, small = person_points(300, 100, 60), person_points(550, 60, 30)
    closer = person_points(560, 20, 75)
    clip = from_pose_keypoints(
        [
            frame(person(small), person(large)),
            frame(person(large + 5), person(small)),
            frame(person(large), person(small)),
        ]
    )
    np.testing.assert_allclose(clip.keypoints[:, 0], fractions(np.array([large[0], large[0] + 5, large[0]])))
    swap = from_pose_keypoints([frame(person(large), person(small)), *[frame(person(closer), person(large))] * 2])
    np.testing.assert_allclose(swap.keypoints[:, 0], fractions(np.array([small[0], closer[0], closer[0]])))


def test_somebody_alone_may_jump_at_a_cut() -> None:
    here, there = person_points(200, 100, 60), person_points(600, 60, 66)
    clip = from_pose_keypoints([frame(person(one)) for one in (here, here, there, there, here)])
    wanted = fractions(np.array([one[0] for one in (here, here, there, there, here)]))
    np.testing.assert_allclose(clip.keypoints[:, 0], wanted)


def test_somebody_else_is_a_gap_and_not_a_jump() -> None:
    large, small = person_points(200, 100, 60), person_points(600, 60, 30)
    clip = from_pose_keypoints([frame(person(small)), frame(person(large)), frame(person(small)), frame(person(large))])
    assert (clip.scores.any(axis=1) == [False, True, False, True]).all()


def test_person_by_index() -> None:
    large, small = person_points(200, 100, 60), person_points(550, 60, 30)
    clip = from_pose_keypoints([frame(person(large), person(small)), frame(person(large))], person=1)
    np.testing.assert_allclose(clip.keypoints[0, 0], fractions(small[0]))
    assert not clip.scores[1].any()
    with pytest.raises(PoseError, match="person 2 was requested, but no frame has more than 2"):
        from_pose_keypoints([frame(person(large), person(small))], person=2)


def test_a_person_of_that_index_without_points() -> None:
    with pytest.raises(PoseError, match="person 1 has no points in any of the 2 frames"):
        from_pose_keypoints([frame(person(), person(np.zeros((POINTS, 2))))] * 2, person=1)


ANIMAL = {"version": "ap10k", "animals": [[[1.0, 2.0, 1.0]] * 17], "canvas_width": 64, "canvas_height": 64}


def test_animals_are_refused() -> None:
    with pytest.raises(PoseError, match="frame 1 holds keypoints of an animal"):
        from_pose_keypoints([frame(person()), ANIMAL])


def test_frames_scaled_alike_are_one_picture() -> None:
    clip = from_pose_keypoints([frame(person()), frame(person(person_points() * 2), width=1280, height=960)])
    np.testing.assert_allclose(clip.keypoints[0], clip.keypoints[1])


def test_contradictory_canvases() -> None:
    with pytest.raises(PoseError, match="frame 0 is 640x480, frame 1 is 480x640"):
        from_pose_keypoints([frame(person()), frame(person(), width=480, height=640)])
    with pytest.raises(PoseError, match="it is 64x48, but most points lie about x 3"):
        from_pose_keypoints([frame(person(), width=64, height=48)])


def test_somebody_of_one_point_has_no_size() -> None:
    here, there = np.zeros((2, POINTS, 3))
    here[0], there[0] = (5, 5, 1), (9, 5, 1)
    chosen = choose_person([here[None], there[None], here[None]])
    assert np.array_equal(chosen[[0, 2]], [here, here])
    assert not chosen[1].any()


def someone(x: float, size: float = 0.8, part: slice = slice(None)) -> np.ndarray:
    """A person `[134, 3]` of that height about that place across, or a part of their points."""
    points = fractions(person_points(0, 0, size * HEIGHT / 6.9)) + np.array([x, 0.1])
    return np.where(
        np.isin(np.arange(POINTS), np.arange(POINTS)[part])[:, None], np.append(points, np.ones((POINTS, 1)), 1), 0
    )


def noses(frames: list[list[np.ndarray]], person: int | None = None) -> list[float]:
    """Where the nose of the chosen person is across, 0 in gaps."""
    people = [np.array(frame).reshape(-1, POINTS, 3) for frame in frames]
    return np.round(choose_person(people, person, follow=person is not None)[:, 0, 0], 2).tolist()


@pytest.mark.parametrize("wanted", [None, 0])
def test_a_missed_frame_does_not_lead_to_the_one_beside(wanted: int | None) -> None:
    here, beside = someone(0.33), someone(0.62, 0.6)
    assert noses([[here, beside], [beside], [here, beside], [beside, here]], wanted) == [0.33, 0, 0.33, 0.33]
    # Nor does one who walks past the other, who is hidden.
    past = [[someone(x)] for x in (0.38, 0.5, 0.6, 0.68, 0.75)]
    assert noses([[someone(0.28), beside], *past], wanted) == [0.28, 0.38, 0.5, 0.6, 0.68, 0.75]


@pytest.mark.parametrize("part", [slice(1), HAND_A], ids=["nose", "hand"])
@pytest.mark.parametrize("others", [[], [someone(0.9, 0.5)]], ids=["alone", "another"])
def test_a_person_is_not_lost_by_a_frame_with_a_few_points(part: slice, others: list[np.ndarray]) -> None:
    fragment = someone(0.3, 0.8, part)
    frames = [[someone(0.3), *others], [fragment, *others], *([someone(0.32), *others] for _ in range(3))]
    assert noses(frames)[2:] == [0.32] * 3
    # Their size is still known where they stand somewhere else after a cut.
    if not others:
        assert noses([[someone(0.2)], [someone(0.2, 0.8, part)], [someone(0.9)]])[2] == 0.9


@pytest.mark.parametrize(("wanted", "expected"), [(None, 0.55), (0, 0.55), (1, 0.9)])
def test_after_a_cut_the_one_of_that_number_goes_on(wanted: int | None, expected: float) -> None:
    first, second = [someone(0.1, 0.4), someone(0.3, 0.25)], [someone(0.55, 0.35), someone(0.9, 0.34)]
    found = noses([first] * 20 + [second] * 20 + [first] * 20, wanted)
    assert found == [first[wanted or 0][0, 0]] * 20 + [expected] * 20 + [first[wanted or 0][0, 0]] * 20
    # Somebody who is there for a moment is not taken, nor is whoever stood beside them.
    beside = first[1 - (wanted or 0)]
    assert noses([first] * 20 + [second] * 5 + [[beside]] * 20, wanted)[20:] == [0] * 25


@pytest.mark.parametrize("wanted", [None, 0])
@pytest.mark.parametrize("passing", [someone(0.9), someone(0.35, 0.75)], ids=["apart", "across"])
def test_somebody_larger_who_passes_is_not_the_person(passing: np.ndarray, wanted: int | None) -> None:
    here = someone(0.3, 0.4)
    assert noses([[passing, here]] * 5 + [[here]] * 60 + [[passing, here]] * 5 + [[here]] * 30, wanted) == [0.3] * 100
    # Nor are they who goes on after a cut.
    there = someone(0.65, 0.42)
    cut = noses([[here]] * 60 + [[someone(0.9), there]] * 13 + [[there]] * 40)
    assert cut == [0.3] * 60 + [0.65] * 53


@pytest.mark.parametrize(("frames", "larger"), [(20, 2.1), (13, 2.7)])
def test_without_a_number_the_largest_sum_of_areas_is_followed(frames: int, larger: float) -> None:
    """Seen in the whole clip against larger by less, and by more, than that is longer."""
    here, beside = someone(0.3, 0.2), someone(0.7, 0.2 * larger)
    assert noses([[here]] * (100 - frames) + [[beside, here]] * frames) == [0.3] * 100
    nearer = someone(0.7, 0.2 * larger * 1.1)
    assert noses([[here]] * (100 - frames) + [[nearer, here]] * frames) == [0] * (100 - frames) + [0.7] * frames


@pytest.mark.parametrize("wanted", [None, 0])
@pytest.mark.parametrize("twice", [range(1), range(50, 51), range(20, 60), range(0, 100, 3)], ids=str)
def test_a_person_who_is_found_twice_is_one(twice: range, wanted: int | None) -> None:
    """A detector's second box, whole or of a part, moves about as the person does."""
    random = np.random.default_rng(0)
    seen = np.append(someone(0.3)[:, :2], np.ones((POINTS, 1)), axis=1)

    def moved(person: np.ndarray) -> np.ndarray:
        return person + np.append(random.uniform(-0.01, 0.01, 2), 0)

    again = [someone(0.3, 0.83), seen * [1, 1, 0.9], someone(0.3, 0.8, slice(18, POINTS))]
    frames = [[moved(again[f % 3]), moved(seen)] if f in twice else [moved(seen)] for f in range(100)]
    found = noses(frames, wanted)
    assert 0 not in found and np.abs(np.array(found) - 0.3).max() <= 0.02
    # They have one number, after which others come.
    beside = someone(0.8, 0.5)
    assert noses([[*people, beside] for people in frames], 1) == [0.8] * 100


def test_false_detections_are_not_looked_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each frame's people are compared with everybody who is: the time grew with the square of the clip's length."""
    continued, looked_for = person_tracking._continued, []

    def counting(live: list, *rest: Any) -> dict:
        looked_for.append(len(live))
        return continued(live, *rest)

    monkeypatch.setattr(person_tracking, "_continued", counting)
    places = np.random.default_rng(0).permutation(300) / 300
    frames = [[someone(0.3), someone(place, 0.001)] for place in places]
    assert noses(frames) == [0.3] * 300
    assert max(looked_for) < 100
    # A person who is found now and then is still the same.
    here = someone(0.3, 0.4)
    assert noses([[here, someone(0.8, 0.2)], *[[]] * 100, [here], *[[]] * 100]) == [0.3, *[0] * 100, 0.3, *[0] * 100]


def test_people_by_number_or_one_alone() -> None:
    expected = from_pose_keypoints([frame(person())]).keypoints
    for people in (person(), {"0": person()}):
        given = {**frame(), "people": people}
        assert np.array_equal(from_pose_keypoints([given]).keypoints, expected)


def test_canvas_size_from_the_caller() -> None:
    bare = {"people": [person()]}
    with pytest.raises(PoseError, match="do not record the size"):
        from_pose_keypoints([bare])
    assert from_pose_keypoints([bare], canvas_size=(WIDTH, HEIGHT)).canvas.size == 640


@pytest.mark.parametrize(
    "frames",
    [
        None,
        [],
        "frames",
        [None],
        [{"people": 3, "canvas_width": 1, "canvas_height": 1}],
        [frame(3)],  # type: ignore[arg-type]
        [frame(person(hand_left_keypoints_2d=[1.0] * 62))],
        [frame(person(hand_left_keypoints_2d=[1.0] * 60))],
        [frame(person(hand_left_keypoints_2d="abc"))],
        [frame(person(hand_left_keypoints_2d=[[1.0], [2.0, 3.0]]))],
        [frame(person(), width=0)],
        [frame(person(), width=10**9)],
        [frame(person(), width=float("nan"))],  # type: ignore[arg-type]
        [frame(person(), width=True)],
    ],
)
def test_what_is_not_pose_keypoint(frames: object) -> None:
    with pytest.raises(PoseError):
        from_pose_keypoints(frames)


def test_nan_and_huge_coordinates_are_absent() -> None:
    points = person_points()
    points[HAND_A.start] = np.nan
    points[HAND_A.start + 1, 0] = 1e300
    clip = from_pose_keypoints([frame(person(points))])
    assert not clip.scores[0, HAND_A.start : HAND_A.start + 2].any() and np.isfinite(clip.keypoints).all()


# ---- out


def random_clip(canvas: Canvas, seed: int = 0, frames: int = 2) -> PoseSequence:
    random = np.random.default_rng(seed)
    points = np.tile(fractions(person_points()), (frames, 1, 1)) + random.normal(0, 0.01, (frames, POINTS, 2))
    return PoseSequence(points, random.uniform(0.1, 1.2, (frames, POINTS)), canvas=canvas)


def test_out_and_back_with_real_scores_loses_nothing() -> None:
    clip = random_clip(Canvas(640, (80, 560), (0, 640)))
    back = from_pose_keypoints(to_pose_keypoints(clip, 640, 480, real_scores=True))
    np.testing.assert_allclose(back.keypoints, clip.keypoints, atol=1e-12)
    np.testing.assert_array_equal(back.scores, clip.scores)
    assert back.canvas == clip.canvas


def test_out_as_others_expect_it() -> None:
    clip = random_clip(Canvas(640, (80, 560), (0, 640)))
    scores = clip.scores.copy()
    scores[0, HAND_B] = 0.2
    (first, _) = to_pose_keypoints(clip.with_points(clip.keypoints, scores), 640, 480)
    assert first["canvas_width"] == 640 and first["canvas_height"] == 480
    (only,) = first["people"]
    assert {name: len(values) // 3 for name, values in only.items()} == {
        "pose_keypoints_2d": 18,
        "foot_keypoints_2d": 6,
        "face_keypoints_2d": 70,
        "hand_left_keypoints_2d": 21,
        "hand_right_keypoints_2d": 21,
    }
    assert only["hand_right_keypoints_2d"] == [0.0] * 63, "zeros, never null"
    assert set(only["hand_left_keypoints_2d"][2::3]) <= {0.0, 1.0}
    assert only["face_keypoints_2d"][-6:] == only["pose_keypoints_2d"][14 * 3 : 16 * 3]
    assert json.loads(json.dumps(first)) == first, "plain numbers only"


def test_out_to_another_shape_shows_the_middle_of_the_square() -> None:
    clip = random_clip(Canvas(768, (0, 768), (0, 768)))
    x, y, _ = to_pose_keypoints(clip, 512, 768, real_scores=True)[0]["people"][0]["pose_keypoints_2d"][:3]
    np.testing.assert_allclose([x, y], clip.keypoints[0, 0] * 768 - [128, 0])


def test_published_clip_through_json_and_the_originals_folder(shared: Path, tmp_path: Path) -> None:
    clip = load_poses(shared / "assets" / "pose" / "fight")
    by_json = load_poses(save_poses(clip, tmp_path / "clip.json", real_scores=True))
    np.testing.assert_allclose(by_json.keypoints, clip.keypoints * (clip.scores > 0)[..., None], atol=1e-12)
    np.testing.assert_array_equal(by_json.scores, clip.scores)
    by_folder = load_poses(save_poses(by_json, tmp_path / "clip"))
    np.testing.assert_array_equal(by_folder.scores, clip.scores)
    assert by_folder.canvas == clip.canvas


def test_json_keeps_a_narrow_region(tmp_path: Path) -> None:
    clip = random_clip(Canvas(768, (0, 768), (67, 701)))
    back = load_poses(save_poses(clip, tmp_path / "clip.json", real_scores=True), fps=12)
    np.testing.assert_allclose(back.keypoints, clip.keypoints, atol=1e-12)
    assert back.canvas == clip.canvas and back.fps == 12


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"people": []', "3", '"a"', "\ud800"])
def test_damaged_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "clip.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(PoseError, match=r"clip\.json"):
        load_poses(tmp_path / "clip.json")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["people", "canvas_width", "canvas_height", "animals", "pose_keypoints_2d"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(value=JSON_VALUES)
def test_any_json_gives_our_errors_only(value: object) -> None:
    with pytest.raises(EchoMimicError):
        from_pose_keypoints(value)


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.floats() | st.none(), min_size=63, max_size=63),
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
)
def test_any_hand_gives_a_finite_clip_or_our_error(values: list, width: int, height: int) -> None:
    try:
        clip = from_pose_keypoints([frame(person(hand_left_keypoints_2d=values), width=width, height=height)])
    except EchoMimicError:
        return
    assert np.isfinite(clip.keypoints).all()
