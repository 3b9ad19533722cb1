"""The arm and hand that the clips are written with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.scripts.gesture_authoring import SHAPES, Arm, Choreography, Key, perform
from assets.scripts.gesture_skeleton import (
    FOREARM,
    JOINT_HIGH,
    JOINT_INDEX,
    JOINT_LOW,
    JOINTS,
    UPPER_ARM,
    arm_points,
    clamp,
    solve_arm,
    solve_hand,
)
from echomimic.errors import PoseError
from echomimic.pose.timing import hand_motion

BONES = [(0 if joint == 0 else 4 * finger + joint, 4 * finger + joint + 1) for finger in range(5) for joint in range(4)]
LOW = Arm((0.15, 0.87, 0.18), (-1, 0.1, 0.1), (0, 0.2, -1))
HIGH = Arm((0.29, 0.56, 0.16), (0, -1, 0.1), (-0.4, 0, 1), "open")


def angles(**named: float) -> np.ndarray:
    result = np.zeros((1, len(JOINTS)))
    for name, value in named.items():
        result[0, JOINT_INDEX[name]] = value
    return result


def random_angles(seed: int, count: int = 50) -> np.ndarray:
    return np.random.default_rng(seed).uniform(JOINT_LOW - 60, JOINT_HIGH + 60, (count, len(JOINTS)))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_no_angle_changes_the_length_of_a_bone(seed: int) -> None:
    hands = arm_points(random_angles(seed))[1]
    rest = arm_points(angles())[1]
    for a, b in BONES:
        length = np.linalg.norm(hands[:, b] - hands[:, a], axis=-1)
        assert np.allclose(length, np.linalg.norm(rest[:, b] - rest[:, a], axis=-1))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_clamping_stays_in_the_limits_and_is_done_once(seed: int) -> None:
    once = clamp(random_angles(seed))
    assert (once >= JOINT_LOW - 1e-9).all()
    assert (once <= JOINT_HIGH + 1e-9).all()
    assert np.array_equal(clamp(once), once)


def test_the_tip_of_a_finger_bends_by_two_thirds_of_its_middle() -> None:
    hand = arm_points(angles(index_middle=60, elbow=5))[1][0]
    bones = np.diff(hand[[5, 6, 7, 8]], axis=0)
    bones /= np.linalg.norm(bones, axis=1, keepdims=True)
    bends = np.degrees(np.arccos(np.sum(bones[1:] * bones[:-1], axis=1)))
    assert np.allclose(bends, [60, 40])


def test_a_bent_knuckle_cannot_spread() -> None:
    bent = clamp(angles(index_knuckle=90, index_spread=16))
    assert bent[0, JOINT_INDEX["index_spread"]] == 0


def test_the_little_finger_follows_its_neighbour() -> None:
    curled = clamp(angles(middle_knuckle=80, ring_knuckle=80, little_knuckle=0))
    assert curled[0, JOINT_INDEX["little_knuckle"]] == 30


def test_a_hanging_arm_points_down_with_the_thumb_forward_and_the_palm_to_the_thigh() -> None:
    elbow, hand = arm_points(angles())
    assert np.allclose(elbow[0], [0, UPPER_ARM, 0])
    assert hand[0, 12, 1] > hand[0, 0, 1] > UPPER_ARM
    assert hand[0, 5, 2] > hand[0, 17, 2]  # the index finger lies in front of the little finger
    fist = arm_points(angles(middle_knuckle=60))[1]
    assert fist[0, 12, 0] < hand[0, 12, 0]  # the fingers bend inwards, to the palm


@settings(max_examples=60, deadline=None)
@given(
    flexion=st.floats(0, 70),
    abduction=st.floats(0, 50),
    rotation=st.floats(-20, 70),
    elbow=st.floats(30, 130),
    swivel=st.floats(-40, 40),
)
def test_the_wrist_arrives_where_it_was_sent(
    flexion: float, abduction: float, rotation: float, elbow: float, swivel: float
) -> None:
    target = arm_points(
        angles(shoulder_flexion=flexion, shoulder_abduction=abduction, shoulder_rotation=rotation, elbow=elbow)
    )[1][0, 0]
    solved = solve_arm(target, swivel)
    if (solved < JOINT_LOW[:4]).any() or (solved > JOINT_HIGH[:4]).any():
        return  # a swivel that no shoulder can do
    again = arm_points(np.concatenate([solved, np.zeros(len(JOINTS) - 4)])[None])[1][0, 0]
    assert np.allclose(again, target, atol=1e-9)


def test_a_wrist_sent_too_far_stretches_the_arm_that_way() -> None:
    solved = solve_arm(np.array([0.2, 2.0, 0.5]), 0)
    wrist = arm_points(np.concatenate([solved, np.zeros(len(JOINTS) - 4)])[None])[1][0, 0]
    assert np.linalg.norm(wrist) > 0.98 * (UPPER_ARM + FOREARM)
    assert wrist @ [0.2, 2.0, 0.5] / np.linalg.norm(wrist) / np.linalg.norm([0.2, 2.0, 0.5]) > 0.99


def test_fingers_and_palm_face_the_given_way() -> None:
    arm = solve_arm(np.array([0.0, 0.2, 0.28]), 0)
    fingers, palm = np.array([-0.3, -0.5, 0.8]), np.array([-1.0, 0.0, 0.0])
    hand = solve_hand(arm, fingers, palm)
    points = arm_points(np.concatenate([arm, hand, SHAPES["flat"].angles() * 0])[None])[1][0]
    along = points[12] - points[9]
    assert along @ fingers / np.linalg.norm(along) / np.linalg.norm(fingers) > 0.99
    across = np.cross(points[5] - points[0], points[17] - points[0])
    assert abs(across @ palm) / np.linalg.norm(across) > 0.9


@pytest.mark.parametrize("name", SHAPES)
def test_hand_shapes_are_within_the_limits(name: str) -> None:
    shape = np.concatenate([np.zeros(7), SHAPES[name].angles()])
    assert np.all(shape[7:] <= JOINT_HIGH[7:])
    assert np.all(shape[7:] >= JOINT_LOW[7:])


def choreography(**changes: object) -> Choreography:
    settings = {"keys": [Key(0, LOW, LOW), Key(1.5, LOW, HIGH), Key(2.5, LOW, HIGH), Key(3.5, LOW, LOW)], "seconds": 4}
    return Choreography("test", "A test.", 0.5, **{**settings, **changes})  # type: ignore[arg-type]


def test_a_performed_wrist_is_at_its_key() -> None:
    clip = perform(choreography(sway=0.0))
    wrist = clip.keypoints[round(1.5 * 24), 4]
    assert np.allclose(wrist, [0.5 - HIGH.wrist[0], HIGH.wrist[1]], atol=0.004)


def test_performing_twice_gives_the_same_clip_and_another_seed_another() -> None:
    first, second, other = perform(choreography()), perform(choreography()), perform(choreography(), seed=1)
    assert np.array_equal(first.keypoints, second.keypoints)
    assert not np.array_equal(first.keypoints, other.keypoints)


def test_any_rate_gives_the_same_motion() -> None:
    slow, fast = perform(choreography(), fps=12), perform(choreography(), fps=48)
    assert (len(slow), len(fast)) == (48, 192)
    assert np.allclose(slow.keypoints, fast.keypoints[::4])


def test_motion_is_eased() -> None:
    """No jerk: the hands' speed changes by little from frame to frame."""
    speed = hand_motion(perform(choreography(sway=0.0)))
    assert np.abs(np.diff(speed)).max() < 0.35 * speed.max()


@pytest.mark.parametrize("times", [[], [0, 4], [1, 0], [0, 1, 1], [-1]])
def test_keys_out_of_order_or_place_are_refused(times: list[float]) -> None:
    with pytest.raises(PoseError, match="'test'"):
        perform(choreography(keys=[Key(t, LOW, LOW) for t in times]))
