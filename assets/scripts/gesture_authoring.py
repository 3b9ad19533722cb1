"""Writing gestures down: key poses of two arms and a head become a seamless clip of keypoints.

A key says where the wrists are in the picture, where palms and fingers point, and the shape of the hand. Keys are
solved into joint angles once, clamped to what an arm can do, and everything between them happens to the angles: eased
by monotone cubic curves that close on themselves, hands and fingers trailing the shoulder as they do in people, small
irregular sways that fit the loop, and breath. Then the arm is computed forwards and projected.

Only clips are made here (`assets/scripts/make_clips.py`); generating gestures from a voice works with finished clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from echomimic.errors import PoseError
from echomimic.pose.sequence import BODY, FACE, HAND_A, HAND_B, POINTS, PoseSequence

from .gesture_skeleton import JOINT_INDEX, JOINTS, arm_points, clamp, solve_arm, solve_hand

# The framing of the published model's portraits: medians over its demo clips, in units of the aligned square.
NECK = np.array([0.5, 0.440])
SHOULDER = np.array([0.203, 0.438])  # out from the middle line, down
HIP = np.array([0.128, 1.06])
HEAD_PIVOT = np.array([0.5, 0.36, -0.03])
CAMERA_DISTANCE = 2.4  # from the shoulders to the camera, in sides of the square: hands held out grow by a tenth

# Frames by which the hand and the fingers trail the shoulder at 24 fps.
_WRIST_LAG, _FINGER_LAG = 1.0, 2.0


@dataclass(frozen=True)
class Shape:
    """A hand shape, degrees. `knuckle` and `middle` are for index, middle, ring and little finger."""

    knuckle: tuple[float, float, float, float] = (12, 14, 17, 20)
    middle: tuple[float, float, float, float] = (18, 22, 25, 26)
    spread: float = 0.0  # 1 spreads the fingers as far as they go
    thumb: tuple[float, float, float, float, float] = (38, 28, 35, 8, 12)

    def angles(self) -> np.ndarray:
        """The 17 angles of the fingers, in the order of `JOINTS`."""
        fan = [16 * self.spread, 2 * self.spread, -9 * self.spread, -16 * self.spread]
        fingers = [value for finger in zip(self.knuckle, self.middle, fan) for value in finger]
        return np.array([*fingers, *self.thumb])


SHAPES = {
    "relaxed": Shape(),
    "soft": Shape((20, 24, 28, 32), (28, 32, 35, 36), thumb=(32, 30, 35, 12, 15)),
    "open": Shape((2, 0, 2, 4), (8, 7, 9, 12), 0.55, (55, 22, 25, 2, 5)),
    "flat": Shape((2, 3, 4, 6), (5, 5, 6, 8), 0.05, (30, 18, 20, 2, 4)),
    "spread": Shape((-4, -6, -4, -2), (4, 4, 5, 7), 1.0, (65, 15, 20, -4, 0)),
    "cup": Shape((24, 26, 30, 34), (26, 28, 30, 32), 0.25, (45, 35, 40, 10, 15)),
    "beat": Shape((30, 36, 42, 46), (32, 40, 46, 50), 0.1, (36, 36, 45, 15, 25)),
    "pinch": Shape((46, 30, 24, 18), (48, 34, 28, 24), 0.1, (34, 44, 55, 18, 28)),
    "fist": Shape((74, 80, 84, 86), (94, 98, 98, 96), 0.0, (22, 46, 62, 34, 48)),
    "one": Shape((2, 76, 82, 84), (5, 94, 96, 94), 0.0, (22, 46, 62, 34, 48)),
    "two": Shape((2, 2, 80, 84), (5, 5, 96, 94), 0.45, (22, 46, 70, 36, 50)),
    "three": Shape((2, 0, 2, 80), (5, 5, 6, 94), 0.5, (24, 46, 78, 40, 50)),
    "thumb_up": Shape((74, 80, 84, 86), (94, 98, 98, 96), 0.0, (62, 8, 15, -8, -12)),
    "point": Shape((6, 60, 72, 76), (10, 82, 90, 90), 0.0, (30, 40, 55, 25, 40)),
}


@dataclass(frozen=True)
class Arm:
    """A key pose of one arm, the same for both sides.

    Attributes:
        wrist: where the wrist is seen: out from the picture's middle line, down from its top edge, and how far in front
            of the shoulders it is, all in sides of the square.
        fingers, palm: directions (outwards, down, towards the viewer); any length.
        shape: a name in `SHAPES`.
        swivel: degrees by which the elbow is lifted away from the body.
    """

    wrist: tuple[float, float, float]
    fingers: tuple[float, float, float]
    palm: tuple[float, float, float]
    shape: str = "relaxed"
    swivel: float = 0.0

    def angles(self) -> np.ndarray:
        """The `[24]` joint angles, clamped."""
        out, down, front = self.wrist
        shrink = (CAMERA_DISTANCE - front) / CAMERA_DISTANCE
        target = np.array([out * shrink - SHOULDER[0], 0.5 + (down - 0.5) * shrink - SHOULDER[1], front])
        arm = clamp(np.concatenate([solve_arm(target, self.swivel), np.zeros(len(JOINTS) - 4)]))[:4]
        hand = solve_hand(arm, np.array(self.fingers, float), np.array(self.palm, float))
        return clamp(np.concatenate([arm, hand, SHAPES[self.shape].angles()]))


@dataclass(frozen=True)
class Key:
    """What the person does at a moment: both arms, and the head turned by (yaw, pitch, roll) degrees."""

    seconds: float
    left: Arm
    right: Arm
    head: tuple[float, float, float] = (0, 0, 0)


@dataclass(frozen=True)
class Choreography:
    """A gesture clip as it is written down.

    Attributes:
        name, description: for people.
        energy: 0 (still) to 1 (large and fast), for people and for choosing clips.
        seconds: length; the last moment leads back to the first.
        keys: in order of time, from 0; at least one.
        sway: how much the body and hands drift by themselves; 1 is a calm speaker.
        emblem: it means something by itself (hello, three, well done), so it is not made up for any speech.
    """

    name: str
    description: str
    energy: float
    seconds: float
    keys: Sequence[Key] = field(default_factory=tuple)
    sway: float = 1.0
    emblem: bool = False


def perform(choreography: Choreography, fps: float = 24.0, seed: int = 0) -> PoseSequence:
    """The clip that a choreography describes, in the framing of the published portraits.

    Args:
        choreography: what to do.
        fps: frames a second.
        seed: of the small sways.

    Raises:
        PoseError: no keys, or keys outside the clip or out of order.
    """
    times = [key.seconds for key in choreography.keys]
    if not times or times != sorted(set(times)) or times[0] < 0 or times[-1] >= choreography.seconds:
        raise PoseError(f"gesture {choreography.name!r}: keys must rise from 0 to below {choreography.seconds} s")
    frames = round(choreography.seconds * fps)
    moments = np.arange(frames) / fps
    rng = np.random.default_rng([seed, *choreography.name.encode()])

    def eased(values: np.ndarray, lag: float) -> np.ndarray:
        return _closed_curve(np.array(times), values, choreography.seconds, moments - lag / 24)

    def sway(amount: float, cycles: tuple[int, ...] = (1, 2, 3)) -> np.ndarray:
        return choreography.sway * amount * _sway(rng, moments / choreography.seconds, cycles)

    breath_cycles = max(1, round(choreography.seconds / 4))
    breath = np.sin(2 * np.pi * breath_cycles * moments / choreography.seconds)
    head = eased(np.array([key.head for key in choreography.keys], float), 0)
    head = head + np.stack([sway(1.6), sway(1.0), sway(0.9)], axis=1)
    drift = np.stack([sway(0.0022), 0.0018 * breath + sway(0.0008)], axis=1)

    hands = []
    for side, arms in ((1, [key.left for key in choreography.keys]), (-1, [key.right for key in choreography.keys])):
        angles = np.array([arm.angles() for arm in arms])
        wrist, fingers = slice(JOINT_INDEX["pronation"], JOINT_INDEX["index_knuckle"]), JOINT_INDEX["index_knuckle"]
        track = eased(angles, 0)
        track[:, wrist] = eased(angles, _WRIST_LAG)[:, wrist]
        track[:, fingers:] = eased(angles, _FINGER_LAG)[:, fingers:]
        track[:, :4] += np.stack([sway(0.8) for _ in range(4)], axis=1)
        track[:, wrist] += np.stack([sway(2.0), sway(1.6), sway(1.0)], axis=1)
        track[:, fingers:] += np.stack([sway(1.4) for _ in range(fingers, len(JOINTS))], axis=1)
        elbow, points = arm_points(track)
        hands.append(_place(np.concatenate([elbow[:, None], points], axis=1), side, drift))
    points, scores = _assemble(hands, head, drift)
    info = {
        "name": choreography.name,
        "description": choreography.description,
        "energy": f"{choreography.energy:.2f}",
        "kind": "emblem" if choreography.emblem else "co-speech",
        "source": "authored by assets/scripts/make_clips.py",
        "licence": "Apache-2.0",
    }
    return PoseSequence(points, scores, fps=fps, info=info)


def _closed_curve(times: np.ndarray, values: np.ndarray, period: float, moments: np.ndarray) -> np.ndarray:
    """Monotone cubic interpolation of `values [K, n]` at `times [K]`, repeating after `period`, at `moments [F]`."""
    from scipy.interpolate import PchipInterpolator

    turns = np.arange(-2, 3)
    knots = (turns[:, None] * period + times).ravel()
    return PchipInterpolator(knots, np.tile(values, (len(turns), 1)), axis=0)(moments)


def _sway(rng: np.random.Generator, phase: np.ndarray, cycles: tuple[int, ...]) -> np.ndarray:
    """A wandering signal of about unit size that closes on itself; `phase` runs over 0..1."""
    weights = rng.normal(size=len(cycles)) / np.sqrt(np.arange(1, len(cycles) + 1))
    waves = np.sin(2 * np.pi * (np.outer(phase, cycles) + rng.uniform(size=len(cycles))))
    return waves @ weights


def _project(points: np.ndarray) -> np.ndarray:
    """`[..., 3]` (x right, y down, z towards the viewer, in the square) to the picture `[..., 2]`."""
    grow = CAMERA_DISTANCE / (CAMERA_DISTANCE - points[..., 2:])
    return 0.5 + (points[..., :2] - 0.5) * grow


def _place(points: np.ndarray, side: int, drift: np.ndarray) -> np.ndarray:
    """An arm's points `[F, n, 3]` relative to its shoulder, to the picture; `side` 1 is the person's left."""
    placed = points * np.array([side, 1, 1])
    placed[..., :2] += np.array([0.5 + side * SHOULDER[0], SHOULDER[1]]) + drift[:, None]
    return _project(placed)


def _assemble(hands: list[np.ndarray], head: np.ndarray, drift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All 134 points and their scores from the arms (elbow and 21 hand points each), head angles and body drift."""
    frames = len(head)
    points, scores = np.zeros((frames, POINTS, 2)), np.zeros((frames, POINTS))
    left, right = hands
    points[:, HAND_A], points[:, HAND_B] = left[:, 1:], right[:, 1:]
    body = points[:, BODY]
    body[:, 1] = NECK + drift
    for shoulder, hip, arm, side in ((2, 8, right, -1), (5, 11, left, 1)):
        body[:, shoulder] = np.array([0.5 + side * SHOULDER[0], SHOULDER[1]]) + drift
        body[:, shoulder + 1 : shoulder + 3] = arm[:, :2]
        body[:, hip] = np.array([0.5 + side * HIP[0], HIP[1]]) + 0.3 * drift
    skull = _turned_head(head) + drift[:, None]
    points[:, FACE] = skull[:, :68]
    body[:, [0, 14, 15, 16, 17]] = skull[:, 68:]

    scores[:, [0, 1, 2, 3, 4, 5, 6, 7, 14, 15, 16, 17]] = 0.95
    scores[:, [8, 11]] = 0.85
    scores[:, FACE] = 0.95
    for hand in (HAND_A, HAND_B):
        # A detector is less sure of a hand that moves; the model has seen its bones grow dim.
        speed = np.linalg.norm(points[:, hand] - np.roll(points[:, hand], 1, axis=0), axis=-1).mean(axis=1)
        speed = (np.roll(speed, 1) + speed + np.roll(speed, -1)) / 3
        scores[:, hand] = (0.97 - np.minimum(4 * speed, 0.2))[:, None]
    return points, scores


def _turned_head(angles: np.ndarray) -> np.ndarray:
    """The head's 68 face points, nose, eyes (right, left) and ears `[F, 73, 2]`, turned by `angles [F, 3]` degrees."""
    head = _head_points() - HEAD_PIVOT
    yaw, pitch, roll = np.radians(angles).T[:, :, None]
    x, y, z = head[:, 0], head[:, 1], head[:, 2]
    x, z = x * np.cos(yaw) + z * np.sin(yaw), z * np.cos(yaw) - x * np.sin(yaw)
    y, z = y * np.cos(pitch) + z * np.sin(pitch), z * np.cos(pitch) - y * np.sin(pitch)
    x, y = x * np.cos(roll) - y * np.sin(roll), y * np.cos(roll) + x * np.sin(roll)
    return np.stack([x, y], axis=-1) + HEAD_PIVOT[:2]


def _head_points() -> np.ndarray:
    """A plain face in the 68-point convention, then nose, eyes and ears as body points: `[73, 3]`."""
    turn = np.linspace(-np.pi / 2, np.pi / 2, 17)
    jaw = np.stack([0.098 * np.sin(turn), 0.172 + 0.150 * np.cos(turn) ** 0.85, 0.06 * np.cos(turn)], axis=1)
    along = np.linspace(0, 1, 5)
    right_brow = np.stack([-0.078 + 0.056 * along, 0.138 - 0.012 * np.sin(np.pi * (0.15 + 0.75 * along))], axis=1)
    bridge = np.stack([np.zeros(4), np.linspace(0.150, 0.193, 4), np.linspace(0.07, 0.10, 4)], axis=1)
    base = np.stack([np.linspace(-0.018, 0.018, 5), 0.207 - 0.003 * np.abs(np.linspace(-1, 1, 5))], axis=1)

    def ring(x: float, y: float, width: float, height: float, count: int) -> np.ndarray:
        """`count` points around an ellipse, from its left corner over the top."""
        phase = np.pi - 2 * np.pi * np.arange(count) / count
        return np.stack([x + width * np.cos(phase), y - height * np.sin(phase)], axis=1)

    eyes = [ring(x, 0.153, 0.0165, 0.0065, 6) for x in (-0.042, 0.042)]
    mouth = [ring(0, 0.252, 0.034, 0.013, 12), ring(0, 0.252, 0.026, 0.003, 8)]
    flat = [
        (right_brow, 0.07),
        (right_brow[::-1] * [-1, 1], 0.07),
        (base, 0.085),
        (eyes[0], 0.06),
        (eyes[1], 0.06),
        (mouth[0], 0.08),
        (mouth[1], 0.08),
    ]
    brow_a, brow_b, base_3d, eye_a, eye_b, lips, inner = (
        np.concatenate([part, np.full((len(part), 1), depth)], axis=1) for part, depth in flat
    )
    points = np.concatenate([jaw, brow_a, brow_b, bridge, base_3d, eye_a, eye_b, lips, inner])
    ears = np.array([[-0.102, 0.188, 0.0], [0.102, 0.188, 0.0]])
    points = np.concatenate([points, bridge[3:], eye_a.mean(axis=0)[None], eye_b.mean(axis=0)[None], ears])
    return points + np.array([0.5, 0, 0])
