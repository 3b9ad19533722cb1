"""An arm and a hand as joints: angles in, points in space out, and back.

Space: x away from the body's middle line, y down, z towards the viewer, the origin at the shoulder, in units of the
aligned square. Both arms are computed in these coordinates; the right arm's x is mirrored when it is placed in the
picture. With the arm hanging and all angles 0 the fingers point down, the thumb forward and the palm to the thigh.

Proportions are those of an adult: phalanges and metacarpals after Buryanov and Kotiuk (2010), a hand of 0.8 and an
upper arm of 1.25 forearm lengths. Ranges of motion are the usual clinical ones (AAOS), a little narrower where a
gesture at the limit would look strained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UPPER_ARM = 0.315
FOREARM = 0.255


@dataclass(frozen=True)
class Joint:
    """One angle: its name and its range in degrees."""

    name: str
    low: float
    high: float


_FINGER_NAMES = ("index", "middle", "ring", "little")
JOINTS = (
    Joint("shoulder_flexion", -40, 150),  # forwards and up
    Joint("shoulder_abduction", -25, 100),  # sideways and up
    Joint("shoulder_rotation", -70, 90),  # positive turns the forearm inwards, across the belly
    Joint("elbow", 5, 150),
    Joint("pronation", -85, 85),  # 0 thumb up, positive palm down, with the elbow bent
    Joint("wrist_flexion", -65, 75),  # positive towards the palm
    Joint("wrist_deviation", -35, 22),  # positive towards the thumb
    *(
        Joint(f"{finger}_{part}", low, high)
        for finger in _FINGER_NAMES
        for part, low, high in (("knuckle", -20, 90), ("middle", 0, 108), ("spread", -16, 16))
    ),
    Joint("thumb_side", 0, 75),  # away from the index finger, in the plane of the palm
    Joint("thumb_front", 0, 60),  # out of the plane of the palm
    Joint("thumb_roll", 0, 90),  # how far its pad faces the palm instead of the index finger
    Joint("thumb_knuckle", -10, 60),
    Joint("thumb_tip", -15, 80),
)
JOINT_INDEX = {joint.name: index for index, joint in enumerate(JOINTS)}
JOINT_LOW = np.array([joint.low for joint in JOINTS], dtype=np.float64)
JOINT_HIGH = np.array([joint.high for joint in JOINTS], dtype=np.float64)

# Knuckles in the hand's frame: x out of the back of the hand, y along the fingers, z towards the thumb. The arch of the
# palm lowers the outer knuckles.
_KNUCKLES = np.array([[-0.002, 0.099, 0.024], [0.001, 0.101, 0.002], [-0.002, 0.095, -0.019], [-0.007, 0.087, -0.038]])
_PHALANGES = np.array([[0.047, 0.028, 0.022], [0.051, 0.032, 0.023], [0.047, 0.031, 0.023], [0.037, 0.022, 0.021]])
_FAN = np.array([3.0, 0.0, -3.0, -7.0])  # where fingers point at spread 0, degrees towards the thumb
_THUMB_BASE = np.array([-0.012, 0.031, 0.029])
_THUMB_BONES = np.array([0.044, 0.035, 0.029])
# The last joint of a finger cannot bend alone: two thirds of the middle joint (Rijpkema and Girard, 1991).
_TIP_COUPLING = 2 / 3


def clamp(angles: np.ndarray) -> np.ndarray:
    """Angles `[..., 24]` in degrees brought into what a human arm can do.

    Beside each joint's own range: a bent knuckle takes away the room to spread, and the little and ring finger cannot
    be bent independently of their neighbours (at most 50 degrees apart at the knuckle).
    """
    angles = np.clip(angles, JOINT_LOW, JOINT_HIGH)
    knuckles = [JOINT_INDEX[f"{finger}_knuckle"] for finger in _FINGER_NAMES]
    for near, far in ((1, 2), (2, 3)):
        reference = angles[..., knuckles[near]]
        angles[..., knuckles[far]] = np.clip(angles[..., knuckles[far]], reference - 50, reference + 50)
    for finger, knuckle in zip(_FINGER_NAMES, knuckles):
        room = 1 - np.clip(angles[..., knuckle], 0, 90) / 90
        spread = JOINT_INDEX[f"{finger}_spread"]
        angles[..., spread] = np.clip(angles[..., spread], JOINT_LOW[spread] * room, JOINT_HIGH[spread] * room)
    return angles


def arm_points(angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Forward kinematics.

    Args:
        angles: `[F, 24]` degrees, in the order of `JOINTS`; clamped first.

    Returns:
        The elbow `[F, 3]` and the 21 hand points `[F, 21, 3]` (0 the wrist, then thumb, index, middle, ring and little
        finger from the palm outwards), relative to the shoulder.
    """
    named = {joint.name: column for joint, column in zip(JOINTS, np.radians(clamp(angles)).T)}
    upper = _upper_arm_frame(named["shoulder_flexion"], named["shoulder_abduction"], named["shoulder_rotation"])
    forearm = upper @ _turn(0, named["elbow"])
    hand = forearm @ _hand_turn(named["pronation"], named["wrist_flexion"], named["wrist_deviation"])
    elbow = upper[:, :, 1] * UPPER_ARM
    wrist = elbow + forearm[:, :, 1] * FOREARM

    points = np.zeros((len(elbow), 21, 3))
    points[:, 1:5] = _thumb(named)
    for number, finger in enumerate(_FINGER_NAMES):
        points[:, 5 + 4 * number : 9 + 4 * number] = _finger(named, finger, number)
    return elbow, wrist[:, None] + np.einsum("fij,fpj->fpi", hand, points)


def solve_arm(wrist: np.ndarray, swivel: float) -> np.ndarray:
    """Shoulder and elbow angles that bring the wrist to a place.

    Args:
        wrist: `[3]`, relative to the shoulder; a place out of reach is approached as far as the arm goes.
        swivel: where the elbow lies on its circle around the line from shoulder to wrist, in degrees: 0 hanging a
            little outwards, positive lifts it away from the body.

    Returns:
        `[4]` degrees: flexion, abduction, rotation, elbow, not yet clamped.
    """
    distance = np.linalg.norm(wrist)
    axis = wrist / max(distance, 1e-9)
    distance = np.clip(distance, UPPER_ARM - FOREARM + 0.02, UPPER_ARM + FOREARM - 1e-4)
    along = (distance**2 + UPPER_ARM**2 - FOREARM**2) / (2 * distance)
    away = np.sqrt(max(UPPER_ARM**2 - along**2, 0))
    down = np.array([0.35, 1.0, -0.35])
    down -= axis * (down @ axis)
    down /= np.linalg.norm(down)
    side = np.cross(down, axis)
    turn = np.radians(swivel)
    elbow = axis * along + away * (np.cos(turn) * down + np.sin(turn) * side * (-1 if side[0] < 0 else 1))

    direction = elbow / UPPER_ARM
    abduction = np.arcsin(np.clip(direction[0], -1, 1))
    flexion = np.arctan2(direction[2], direction[1])
    frame = _upper_arm_frame(np.array([flexion]), np.array([abduction]), np.zeros(1))[0]
    forearm = frame.T @ ((axis * distance - elbow) / FOREARM)
    rotation = np.arctan2(-forearm[0], forearm[2])
    return np.degrees([flexion, abduction, rotation, np.arccos(np.clip(forearm[1], -1, 1))])


def solve_hand(arm: np.ndarray, fingers: np.ndarray, palm: np.ndarray) -> np.ndarray:
    """Forearm and wrist angles that point the fingers and the palm somewhere.

    Args:
        arm: `[4]` degrees, from `solve_arm`.
        fingers: `[3]`, where the fingers shall point.
        palm: `[3]`, where the palm shall face; made perpendicular to `fingers`.

    Returns:
        `[3]` degrees: pronation, flexion, deviation, not yet clamped.
    """
    flexion, abduction, rotation, elbow = (np.array([np.radians(angle)]) for angle in arm)
    forearm = (_upper_arm_frame(flexion, abduction, rotation) @ _turn(0, elbow))[0]
    along = fingers / np.linalg.norm(fingers)
    back = -(palm - along * (palm @ along))
    back /= np.linalg.norm(back)
    wanted = forearm.T @ np.stack([back, along, np.cross(back, along)], axis=1)
    bend = np.arcsin(np.clip(wanted[1, 0], -1, 1))
    pronation = np.arctan2(wanted[2, 0], wanted[0, 0])
    rest = _hand_turn(np.array([pronation]), np.array([bend]), np.zeros(1))[0].T @ wanted
    return np.degrees([pronation, bend, np.arctan2(rest[2, 1], rest[1, 1])])


def _turn(axis: int, angle: np.ndarray) -> np.ndarray:
    """Rotation matrices `[F, 3, 3]` by `angle` `[F]` radians about coordinate axis 0, 1 or 2."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((len(angle), 3, 3))
    matrix[:, axis, axis] = 1
    matrix[:, a, a] = matrix[:, b, b] = np.cos(angle)
    matrix[:, b, a] = np.sin(angle)
    matrix[:, a, b] = -matrix[:, b, a]
    return matrix


def _upper_arm_frame(flexion: np.ndarray, abduction: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    return _turn(0, flexion) @ _turn(2, -abduction) @ _turn(1, -rotation)


def _hand_turn(pronation: np.ndarray, flexion: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    return _turn(1, -pronation) @ _turn(2, flexion) @ _turn(0, deviation)


def _finger(named: dict[str, np.ndarray], finger: str, number: int) -> np.ndarray:
    """Knuckle to tip `[F, 4, 3]` of one finger in the hand's frame."""
    spread = named[f"{finger}_spread"] + np.radians(_FAN[number])
    bend = named[f"{finger}_knuckle"]
    middle = named[f"{finger}_middle"]
    points = [np.broadcast_to(_KNUCKLES[number], (len(bend), 3))]
    for length, more in zip(_PHALANGES[number], (np.zeros_like(bend), middle, middle * _TIP_COUPLING)):
        bend = bend + more
        flat = np.cos(bend)
        direction = np.stack([-np.sin(bend), flat * np.cos(spread), flat * np.sin(spread)], axis=1)
        points.append(points[-1] + length * direction)
    return np.stack(points, axis=1)


def _thumb(named: dict[str, np.ndarray]) -> np.ndarray:
    """Points 1 to 4 of the hand `[F, 4, 3]` in its frame."""
    side, front, roll = named["thumb_side"], named["thumb_front"], named["thumb_roll"]
    along = np.stack([-np.sin(front), np.cos(front) * np.cos(side), np.cos(front) * np.sin(side)], axis=1)
    # The thumb bends towards the index finger, or, rolled inwards, across the palm.
    towards = np.stack([-np.sin(roll), np.zeros_like(roll), -np.cos(roll)], axis=1)
    towards -= along * np.sum(towards * along, axis=1, keepdims=True)
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    points = [np.broadcast_to(_THUMB_BASE, along.shape)]
    bend = np.zeros_like(side)
    for length, more in zip(_THUMB_BONES, (0 * side, named["thumb_knuckle"], named["thumb_tip"])):
        bend = bend + more
        points.append(points[-1] + length * (np.cos(bend)[:, None] * along + np.sin(bend)[:, None] * towards))
    return np.stack(points, axis=1)
