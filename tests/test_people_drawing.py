"""The drawn people of the demo's training data: what is drawn stands where the points say."""

import numpy as np
import pytest

pytest.importorskip("cv2")

from assets.scripts.people.canvas import Region
from assets.scripts.people.clips import draw_clip, gestures, sample_clip
from assets.scripts.people.figure import draw_frame
from assets.scripts.people.looks import (
    BEARDS,
    GARMENTS,
    GLASSES,
    HAIR_STYLES,
    HELD_OUT_SEEDS,
    TRAINING_SEEDS,
    WALLS,
    mouth_is_hard_to_see,
    person,
    portrait_person,
)
from assets.scripts.people.motion import Mouth, blinks, retarget
from echomimic.pose.sequence import FACE, HAND_A, HAND_B, LIPS

SIZE = 128


def first_frame(seed: int, clip: int = 0, mouth: Mouth | None = None, size: int = SIZE):
    who = person(seed)
    return draw_frame(who, retarget(gestures()[clip].take([0]), who)[0], mouth or Mouth(), 0.0, size)


def test_a_seed_always_draws_the_same_person() -> None:
    first, again = first_frame(5), first_frame(5)
    assert (first.picture == again.picture).all()
    assert (first.regions == again.regions).all()
    assert np.abs(first.picture.astype(int) - first_frame(6).picture).mean() > 5


def test_training_never_draws_held_out_people() -> None:
    assert not set(HELD_OUT_SEEDS) & set(TRAINING_SEEDS)
    rng = np.random.default_rng(0)
    drawn = [sample_clip(rng, 64, 1).who.seed for _ in range(20)]
    assert all(seed in TRAINING_SEEDS for seed in drawn)
    assert portrait_person().seed not in TRAINING_SEEDS


def test_people_whose_mouth_is_hard_to_see() -> None:
    rng = np.random.default_rng(0)
    people = [sample_clip(rng, 64, 1, hard_mouths=1.0).who for _ in range(20)]
    assert len({who.seed for who in people}) == 20 and all(who.seed in TRAINING_SEEDS for who in people)
    assert all(who.beard in ("full", "goatee", "moustache") for who in people)
    assert all(sum(who.skin) < 300 or sum(who.hair) > sum(who.skin) for who in people)
    # By chance they are few, and where none are asked for, the draw is the same as ever.
    by_chance = [mouth_is_hard_to_see(person(seed)) for seed in range(2000)]
    assert 0.04 < np.mean(by_chance) < 0.09
    assert sample_clip(np.random.default_rng(3), 64, 1).who.seed == int(np.random.default_rng(3).integers(1_000_000))


@pytest.mark.parametrize("size", [64, 128, 256, 768])
def test_sizes(size: int) -> None:
    frame = first_frame(3, size=size)
    assert frame.picture.shape == (size, size, 3) and frame.picture.dtype == np.uint8
    assert frame.regions.shape == (size, size)


def test_the_same_person_at_two_sizes() -> None:
    """A large picture reduced is the small picture, up to the smoothing of edges."""
    import cv2

    small, large = first_frame(8, size=128).picture, first_frame(8, size=256).picture
    reduced = cv2.resize(large, (128, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - reduced).mean() < 1.5


@pytest.mark.parametrize("clip", range(0, 15, 3))
def test_hands_stand_where_the_points_are(clip: int) -> None:
    """The mean of a drawn hand's pixels lies within 1 % of the mean of the points' hull."""
    import cv2

    apart = []
    for seed in range(8):
        frame = first_frame(seed, clip, size=256)
        other = frame.points[HAND_B]
        for rows, region in ((HAND_A, Region.HAND_A), (HAND_B, Region.HAND_B)):
            points = frame.points[rows]
            # A hand behind the other, or one that leaves the picture, is not seen whole.
            near = np.linalg.norm(frame.points[HAND_A].mean(axis=0) - other.mean(axis=0)) < 0.25
            if near or points.max() > 0.96 or points.min() < 0.04:
                continue
            hull = np.zeros((256, 256), np.uint8)
            cv2.fillConvexPoly(hull, cv2.convexHull(np.round(points * 256).astype(np.int32)), 1)
            grown = cv2.dilate(hull, np.ones((15, 15), np.uint8))
            drawn = frame.regions == region
            assert drawn.sum() > 0.5 * hull.sum()
            assert (drawn & (grown > 0)).sum() > 0.99 * drawn.sum()
            pixels = np.argwhere(drawn)[:, ::-1].mean(axis=0) / 256
            fingers = np.concatenate([np.linspace(points[a], points[b], 9) for a, b in BONES])
            apart.append(np.linalg.norm(pixels - fingers.mean(axis=0)))
    assert not apart or np.median(apart) < 0.01


BONES = [(0, 1), (1, 2), (2, 3), (3, 4)] + [
    bone for first in (5, 9, 13, 17)
    for bone in ((0, first), (0, first), *((i, i + 1) for i in range(first, first + 3)))
]  # fmt: skip


def test_the_mouth_opens_as_far_as_given() -> None:
    """The dark and the teeth between the lips grow with the opening, and there is nothing between closed lips."""
    heights = []
    for opening in (0.0, 0.25, 0.5, 0.75, 1.0):
        lips = first_frame(4, mouth=Mouth(opening)).points[LIPS]
        heights.append(lips[18, 1] - lips[14, 1])
    assert heights[0] == pytest.approx(0, abs=1e-9)
    assert (np.diff(heights) > 0.004).all()
    closed, open_ = (first_frame(4, mouth=Mouth(o), size=256) for o in (0.0, 0.8))
    x, y = np.round(open_.points[LIPS][[14, 18]].mean(axis=0) * 256).astype(int)
    assert open_.picture[y, x].sum() < 0.75 * closed.picture[y, x].sum()


def test_rounding_narrows_and_spreading_widens() -> None:
    def width(**values: float) -> float:
        lips = first_frame(4, mouth=Mouth(0.4, **values)).points[LIPS]
        return float(lips[6, 0] - lips[0, 0])

    assert width(rounding=1.0) < 0.7 * width() < width() < 0.9 * width(width=1.0)


def test_regions_lie_where_the_points_are() -> None:
    frame = first_frame(7, size=256)
    for rows, region in ((LIPS, Region.MOUTH), (HAND_A, Region.HAND_A)):
        points = np.round(frame.points[rows] * 256).astype(int).clip(0, 255)
        at = np.argwhere(frame.regions == region)[:, ::-1]
        assert (at.min(axis=0) <= points.min(axis=0) + 6).all() and (at.max(axis=0) >= points.max(axis=0) - 6).all()
    nose = np.round(frame.points[FACE][30] * 256).astype(int)
    assert frame.regions[nose[1], nose[0]] == Region.FACE
    assert frame.regions[2, 2] == Region.BACKGROUND


def test_a_headshot_shows_its_box_alone() -> None:
    clip = draw_clip(person(2), gestures()[0].take([0, 1]), np.full((2, 3), 0.3), SIZE, headshot=True)
    left, top, right, bottom = (round(edge * SIZE) for edge in clip.head_box)
    inside = np.zeros((SIZE, SIZE), bool)
    inside[top:bottom, left:right] = True
    assert (clip.frames[:, ~inside] == 0).all()
    assert (clip.frames[:, inside].mean(axis=-1) > 0).mean() > 0.99
    assert (clip.poses.scores[:, LIPS] > 0).all()
    assert (clip.poses.scores[:, HAND_A] == 0).all()


def test_bones_keep_their_angles() -> None:
    clip = gestures()[1]
    new, old = retarget(clip, person(9)), clip.keypoints
    for a, b in ((2, 3), (3, 4), (5, 6), (92, 101), (113, 122)):
        before, after = old[:, b] - old[:, a], new[:, b] - new[:, a]
        assert np.allclose(np.arctan2(*before.T), np.arctan2(*after.T), atol=1e-6)


def test_every_kind_of_look_is_drawn() -> None:
    people = [person(seed) for seed in range(300)]
    for name, kinds in (("hair_style", HAIR_STYLES), ("beard", BEARDS), ("glasses", GLASSES), ("neckline", GARMENTS),
                        ("wall_style", WALLS)):  # fmt: skip
        assert {getattr(who, name) for who in people} == set(kinds)


def test_blinks_are_short_and_rare() -> None:
    closed = blinks(np.random.default_rng(1), 2400, 24.0)
    assert 0.01 < (closed > 0.5).mean() < 0.08
    assert closed.max() == 1.0


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="2 frames of poses, but 3"):
        draw_clip(person(0), gestures()[0].take([0, 1]), np.zeros((3, 3)), 64)
