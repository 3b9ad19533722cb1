"""Write the gesture clips of `assets/clips`: `python assets/scripts/make_clips.py [NAME ...]`.

Each clip is written down as key poses of two arms (see `assets.scripts.gesture_authoring`), rests with the hands in
front of the belly at its beginning and end, loops without a seam, and is saved with a thumbnail of its widest gesture.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from clip_thumbnail import write_thumbnail  # noqa: E402

from assets.scripts.gesture_authoring import Arm, Choreography, Key, perform  # noqa: E402
from echomimic.pose import save_poses  # noqa: E402

# Where the hands are between gestures: the left in front of the right.
REST_L = Arm((0.150, 0.870, 0.19), (-1, 0.10, 0.15), (0.1, 0.25, -1), "soft", 12)
REST_R = Arm((0.150, 0.880, 0.16), (-1, 0.10, 0.15), (0.1, 0.25, -1), "soft", 12)
SMALL = Arm((0.180, 0.830, 0.24), (-0.6, -0.15, 0.8), (-0.6, -0.5, -0.4), "cup", 8)
BALL = Arm((0.190, 0.760, 0.27), (-0.35, -0.5, 0.7), (-1, 0.1, -0.3), "open", 12)
FACING = Arm((0.175, 0.740, 0.28), (-0.1, -0.6, 0.8), (-1, 0, 0.1), "cup", 0)
OPEN = Arm((0.240, 0.710, 0.25), (0.85, -0.05, 0.7), (0.1, -0.8, 0.6), "open", -30)
OPEN_HIGH = Arm((0.275, 0.675, 0.22), (0.8, -0.3, 0.7), (-0.1, -0.5, 0.9), "open", -20)
OFFER = Arm((0.220, 0.730, 0.28), (0.25, -0.2, 1), (-0.3, -1, 0.2), "cup", -10)
PINCH = Arm((0.200, 0.670, 0.26), (-0.3, -0.8, 0.6), (-0.6, 0, 0.5), "pinch", 5)
CHEST = Arm((0.075, 0.600, 0.14), (-1, -0.2, -0.1), (0, 0, -1), "flat", 20)
CHIN = Arm((0.055, 0.470, 0.17), (-0.25, -1, 0), (-0.2, 0.1, -1), "fist", 12)
CHIN_FINGER = Arm((0.100, 0.500, 0.16), (-0.45, -0.9, 0.1), (-0.2, 0.3, -1), "point", 12)
SUPPORT = Arm((0.060, 0.770, 0.14), (-1, 0.1, 0.1), (0, -0.4, -1), "flat", 5)
WAVE = Arm((0.310, 0.520, 0.14), (0.1, -1, 0.1), (-0.1, 0, 1), "open", 8)
COUNT = Arm((0.290, 0.560, 0.16), (-0.05, -1, 0.1), (-0.4, 0, 1), "one", 0)
POINT_YOU = Arm((0.200, 0.640, 0.30), (-0.25, -0.35, 1), (-0.6, 0.7, 0.1), "point", 15)
POINT_SIDE = Arm((0.310, 0.600, 0.16), (0.8, -0.7, 0.2), (0.3, 0.3, 1), "point", -10)
SHOW_SIDE = Arm((0.275, 0.620, 0.16), (0.95, -0.35, 0.3), (-0.1, -0.5, 1), "open", -12)
THUMB_UP = Arm((0.250, 0.620, 0.24), (-0.8, -0.1, 0.6), (-0.6, 0, -0.8), "thumb_up", 5)


def moved(arm: Arm, out: float = 0.0, down: float = 0.0, front: float = 0.0, shape: str | None = None) -> Arm:
    """The same key with the wrist elsewhere and, if named, another hand shape."""
    wrist = (arm.wrist[0] + out, arm.wrist[1] + down, arm.wrist[2] + front)
    return replace(arm, wrist=wrist, shape=shape or arm.shape)


def idle() -> Choreography:
    keys = [
        Key(0.0, REST_L, REST_R),
        Key(2.4, moved(REST_L, 0.004, -0.006), moved(REST_R, 0.005, -0.004), (2, 0, 1)),
        Key(4.6, moved(REST_L, -0.004, 0.004), moved(REST_R, 0.0, 0.006), (-2, 1, -1)),
        Key(6.4, moved(REST_L, 0.006, 0.0, shape="relaxed"), moved(REST_R, 0.004, 0.002), (0, 1, 0)),
    ]
    return Choreography("idle", "Hands rest in front of the belly; breathing and small shifts only.", 0.05, 8, keys)


def small_talk() -> Choreography:
    up = moved(SMALL, 0.015, -0.035)
    keys = [
        Key(0.0, REST_L, REST_R),
        Key(0.7, SMALL, SMALL, (0, 1, 0)),
        Key(1.0, moved(SMALL, 0.02, 0.02), moved(SMALL, 0.015, 0.02), (0, 3, 0)),
        Key(1.7, up, SMALL, (3, 0, 1)),
        Key(2.0, moved(up, 0.03, 0.035), SMALL, (4, 3, 1)),
        Key(2.9, moved(SMALL, -0.02), up, (-2, 0, -1)),
        Key(3.2, moved(SMALL, -0.02, 0.01), moved(up, 0.035, 0.035, shape="open"), (-4, 3, -2)),
        Key(4.0, SMALL, moved(SMALL, 0.01), (0, 0, 0)),
        Key(4.3, moved(SMALL, 0.025, 0.02, shape="open"), moved(SMALL, 0.03, 0.02, shape="open"), (0, 3, 0)),
        Key(5.4, moved(SMALL, 0.02, 0.025), moved(SMALL, 0.025, 0.025), (1, 1, 0)),
        Key(6.3, REST_L, REST_R),
        Key(6.9, REST_L, REST_R),
    ]
    return Choreography("small_talk", "Low, easy movements of both hands for quiet speech.", 0.3, 7, keys)


def explaining() -> Choreography:
    wide = moved(BALL, 0.06, 0.01, shape="spread")
    keys = [
        Key(0.0, REST_L, REST_R),
        Key(0.7, BALL, BALL, (0, -1, 0)),
        Key(1.05, moved(BALL, 0.0, 0.05), moved(BALL, 0.0, 0.05), (0, 4, 0)),
        Key(1.6, moved(BALL, 0.01, -0.02), moved(BALL, 0.01, -0.02), (0, 0, 0)),
        Key(2.0, wide, wide, (0, 3, 0)),
        Key(2.7, moved(wide, 0.005, 0.005), moved(wide, 0.005, 0.005), (-1, 1, 0)),
        Key(3.2, moved(FACING, -0.01, -0.02), moved(FACING, 0.03, 0.03), (4, 0, 1)),
        Key(3.55, moved(FACING, 0.0, 0.05), moved(FACING, 0.03, 0.06), (5, 4, 1)),
        Key(4.2, moved(FACING, 0.03, 0.03), moved(FACING, -0.01, -0.02), (-4, 0, -1)),
        Key(4.55, moved(FACING, 0.03, 0.06), moved(FACING, 0.0, 0.05), (-5, 4, -1)),
        Key(5.2, OFFER, OFFER, (0, 0, 0)),
        Key(5.6, moved(OPEN, -0.01, 0.01), moved(OPEN, -0.01, 0.01), (0, 3, 0)),
        Key(6.4, moved(OPEN, -0.005, 0.015), moved(OPEN, -0.005, 0.02), (1, 1, 0)),
        Key(7.3, REST_L, REST_R),
        Key(7.9, REST_L, REST_R),
    ]
    return Choreography("explaining", "Both hands shape an idea, weigh two sides of it and hand it over.", 0.6, 8, keys)


def counting() -> Choreography:
    low = moved(COUNT, -0.02, 0.05)
    keys = [Key(0.0, REST_L, REST_R), Key(0.8, REST_L, moved(low, shape="fist"), (2, 0, 0))]
    for number, shape in enumerate(("one", "two", "three")):
        begin = 1.15 + 1.75 * number
        turn = (3 - 2 * number, 3, -1)
        keys += [
            Key(begin, moved(REST_L, 0.0, -0.003 * number), moved(COUNT, 0.005 * number, shape=shape), turn),
            Key(begin + 0.9, REST_L, moved(COUNT, 0.005 * number, 0.006, shape=shape), (turn[0], 1, -1)),
            Key(begin + 1.35, REST_L, moved(low, 0.005 * number, 0.0, shape=shape), (turn[0], 0, 0)),
        ]
    keys += [Key(7.1, REST_L, REST_R), Key(7.7, REST_L, REST_R)]
    return Choreography("counting", "The right hand counts one, two, three.", 0.5, 8, keys, emblem=True)


def pointing() -> Choreography:
    keys = [
        Key(0.0, REST_L, REST_R),
        Key(0.6, REST_L, moved(POINT_YOU, -0.02, 0.06, -0.05), (1, 0, 0)),
        Key(0.95, REST_L, POINT_YOU, (2, 4, 1)),
        Key(1.8, REST_L, moved(POINT_YOU, 0.0, 0.01), (2, 2, 1)),
        Key(2.5, REST_L, moved(POINT_SIDE, -0.06, 0.04), (-4, 0, 0)),
        Key(2.85, REST_L, POINT_SIDE, (-9, 2, -2)),
        Key(3.9, moved(REST_L, 0.003, 0.002), moved(POINT_SIDE, 0.004, 0.006), (-7, 1, -2)),
        Key(4.9, REST_L, REST_R),
        Key(5.4, REST_L, REST_R),
    ]
    return Choreography(
        "pointing", "The right hand points at the viewer, then to the side.", 0.5, 5.5, keys, emblem=True
    )


def open_palms() -> Choreography:
    keys = [
        Key(0.0, REST_L, REST_R),
        Key(0.7, OFFER, OFFER, (0, -1, 0)),
        Key(1.1, OPEN, OPEN, (0, 3, 0)),
        Key(2.0, moved(OPEN, 0.004, 0.006), moved(OPEN, 0.006, 0.004), (2, 1, 1)),
        Key(2.5, moved(OFFER, 0.0, 0.02), moved(OFFER, 0.0, 0.02), (0, 0, 0)),
        Key(2.9, OPEN_HIGH, OPEN_HIGH, (0, 3, -1)),
        Key(4.0, moved(OPEN_HIGH, 0.004, 0.01), moved(OPEN_HIGH, 0.004, 0.008), (-2, 1, -1)),
        Key(5.2, REST_L, REST_R),
        Key(5.8, REST_L, REST_R),
    ]
    return Choreography(
        "open_palms", "Both palms open towards the viewer, twice, the second time wider.", 0.55, 6, keys
    )


def waving() -> Choreography:
    keys = [Key(0.0, REST_L, REST_R), Key(0.9, REST_L, WAVE, (3, -1, 2))]
    for swing in range(6):
        side = 1 if swing % 2 == 0 else -1
        tilt = replace(
            moved(WAVE, 0.03 * side, 0.008),
            fingers=(0.1 + 0.45 * side, -1, 0.1),
            shape="spread" if side > 0 else "open",
        )
        keys.append(Key(1.2 + 0.3 * swing, REST_L, tilt, (3, 0, 2 + 2 * side)))
    keys += [
        Key(3.1, REST_L, WAVE, (2, 1, 2)),
        Key(4.3, REST_L, REST_R),
        Key(4.9, REST_L, REST_R),
    ]
    return Choreography("waving", "The right hand waves hello.", 0.7, 5, keys, emblem=True)


def emphasis_beats() -> Choreography:
    keys = [Key(0.0, REST_L, REST_R), Key(0.6, moved(PINCH, 0.0, 0.05), moved(PINCH, 0.0, 0.05), (0, -1, 0))]
    beats = ((1.0, 0.0, "beat"), (1.6, 0.02, "pinch"), (2.4, 0.0, "beat"), (3.0, 0.03, "beat"), (3.6, 0.05, "cup"))
    for number, (moment, out, shape) in enumerate(beats):
        top = moved(PINCH, out, 0.03 - 0.008 * number, shape=shape)
        bottom = moved(top, 0.012, 0.085, 0.02)
        other = moved(bottom, -0.01, 0.01)
        keys += [Key(moment, top, moved(top, 0.0, 0.01), (0, -1, 0)), Key(moment + 0.2, bottom, other, (1, 5, 0))]
    keys += [
        Key(4.1, moved(BALL, 0.02, 0.0, shape="cup"), moved(BALL, 0.02, 0.0, shape="cup"), (0, 1, 0)),
        Key(5.2, REST_L, REST_R),
        Key(5.8, REST_L, REST_R),
    ]
    return Choreography("emphasis_beats", "Both hands beat time to stressed words.", 0.8, 6, keys)


def one_hand_beats() -> Choreography:
    keys = [Key(0.0, REST_L, REST_R), Key(0.6, REST_L, moved(FACING, 0.02, -0.02), (2, 0, 0))]
    beats = ((0.6, 0.02, "beat"), (1.3, 0.05, "cup"), (2.1, 0.03, "beat"), (2.75, 0.06, "open"))
    for moment, out, shape in beats:
        top = moved(FACING, out, -0.03, shape=shape)
        keys += [
            Key(moment + 0.3, REST_L, top, (2, -1, 0)),
            Key(moment + 0.52, REST_L, moved(top, 0.015, 0.08), (3, 4, 1)),
        ]
    keys += [
        Key(3.7, REST_L, moved(FACING, 0.05, 0.03, shape="open"), (1, 1, 0)),
        Key(4.5, REST_L, REST_R),
        Key(4.9, REST_L, REST_R),
    ]
    return Choreography("one_hand_beats", "The right hand beats time; the left rests.", 0.5, 5, keys)


def weighing() -> Choreography:
    up, low = moved(OFFER, 0.0, -0.02), moved(OFFER, 0.01, 0.07)
    keys = [Key(0.0, REST_L, REST_R), Key(0.7, moved(OFFER, 0.0, 0.05), moved(OFFER, 0.0, 0.05), (0, 0, 0))]
    for number, moment in enumerate((1.0, 1.5, 2.1, 2.6)):
        left, right = (low, up) if number % 2 == 0 else (up, low)
        tilt = 3 if number % 2 == 0 else -3
        keys += [Key(moment, left, right, (tilt, 2, tilt / 2))]
    keys += [
        Key(3.15, moved(OPEN, 0.0, 0.03), moved(OPEN, 0.0, 0.03), (0, 3, 0)),
        Key(3.9, moved(OPEN, 0.0, 0.035), moved(OPEN, 0.0, 0.035), (0, 1, 0)),
        Key(4.8, REST_L, REST_R),
        Key(5.4, REST_L, REST_R),
    ]
    return Choreography(
        "weighing", "The palms go up and down in turn, weighing one thing against another.", 0.6, 5.5, keys
    )


def reaching_out() -> Choreography:
    out = moved(OFFER, 0.02, -0.04, 0.02, shape="open")
    keys = [
        Key(0.0, REST_L, REST_R),
        Key(0.7, REST_L, moved(FACING, 0.0, 0.02), (1, 0, 0)),
        Key(1.05, REST_L, out, (2, 4, 1)),
        Key(1.7, REST_L, moved(out, 0.0, 0.012), (2, 1, 1)),
        Key(2.1, REST_L, moved(FACING, 0.01, 0.0), (0, 0, 0)),
        Key(2.45, REST_L, moved(OPEN, 0.01, -0.01), (-3, 3, -1)),
        Key(3.1, REST_L, moved(OPEN, 0.012, 0.0), (-3, 1, -1)),
        Key(3.55, REST_L, moved(FACING, 0.04, 0.05, shape="beat"), (0, 3, 0)),
        Key(4.4, REST_L, REST_R),
        Key(4.9, REST_L, REST_R),
    ]
    return Choreography(
        "reaching_out", "The right hand offers a thought to the viewer and sweeps it aside.", 0.5, 5, keys
    )


def thinking() -> Choreography:
    keys = [
        Key(0.0, REST_L, REST_R),
        Key(1.1, SUPPORT, moved(CHIN, 0.01, 0.03), (-3, 2, -2)),
        Key(1.6, SUPPORT, CHIN, (-4, 2, -3)),
        Key(2.8, moved(SUPPORT, 0.0, 0.004), moved(CHIN, 0.0, 0.005), (-6, 0, -4)),
        Key(3.4, SUPPORT, CHIN_FINGER, (-2, -2, -2)),
        Key(3.8, SUPPORT, moved(CHIN_FINGER, 0.012, 0.012), (-1, -1, -2)),
        Key(4.2, SUPPORT, CHIN_FINGER, (-2, -2, -2)),
        Key(5.2, moved(SUPPORT, 0.0, 0.004), moved(CHIN_FINGER, 0.0, 0.004), (3, 1, -1)),
        Key(6.4, REST_L, REST_R),
        Key(6.9, REST_L, REST_R),
    ]
    return Choreography(
        "thinking", "The right hand goes to the chin while the left arm supports it.", 0.3, 7, keys, emblem=True
    )


def hand_on_heart() -> Choreography:
    keys = [
        Key(0.0, REST_L, REST_R),
        Key(0.9, REST_L, moved(CHEST, 0.01, 0.0, 0.03), (0, 1, 1)),
        Key(1.2, REST_L, CHEST, (0, 4, 2)),
        Key(2.8, REST_L, moved(CHEST, 0.0, 0.004), (1, 2, 2)),
        Key(3.5, moved(SMALL, 0.02), OFFER, (0, 0, 0)),
        Key(3.9, moved(OPEN, 0.0, 0.08), moved(OPEN, 0.0, 0.06), (0, 3, 0)),
        Key(4.5, moved(OPEN, 0.0, 0.085), moved(OPEN, 0.0, 0.065), (0, 2, 0)),
        Key(5.4, REST_L, REST_R),
        Key(5.9, REST_L, REST_R),
    ]
    return Choreography(
        "hand_on_heart", "The right hand goes to the heart, then both hands open.", 0.4, 6, keys, emblem=True
    )


def presenting() -> Choreography:
    keys = [
        Key(0.0, REST_L, REST_R),
        Key(0.7, moved(FACING, 0.02, 0.02), REST_R, (3, 0, 0)),
        Key(1.15, SHOW_SIDE, REST_R, (10, 2, 2)),
        Key(2.3, moved(SHOW_SIDE, 0.004, 0.008), moved(REST_R, 0.004), (7, 1, 2)),
        Key(3.0, moved(FACING, 0.03, 0.04), moved(FACING, 0.02, 0.02), (0, 0, 0)),
        Key(3.45, moved(SMALL, 0.03, -0.01), SHOW_SIDE, (-10, 2, -2)),
        Key(4.6, moved(SMALL, 0.03, 0.0), moved(SHOW_SIDE, 0.004, 0.008), (-7, 1, -2)),
        Key(5.6, REST_L, REST_R),
        Key(6.2, REST_L, REST_R),
    ]
    return Choreography(
        "presenting", "The left hand shows something on one side, the right on the other.", 0.6, 6.5, keys
    )


def thumbs_up() -> Choreography:
    keys = [
        Key(0.0, REST_L, REST_R),
        Key(0.75, REST_L, moved(THUMB_UP, -0.02, 0.06, shape="fist"), (1, -1, 0)),
        Key(1.1, REST_L, THUMB_UP, (2, 5, 1)),
        Key(1.5, REST_L, moved(THUMB_UP, 0.0, 0.015, 0.01), (2, 1, 1)),
        Key(1.85, REST_L, moved(THUMB_UP, 0.0, -0.01), (2, 4, 1)),
        Key(2.7, REST_L, moved(THUMB_UP, 0.002, 0.0), (1, 1, 1)),
        Key(3.7, REST_L, REST_R),
        Key(4.1, REST_L, REST_R),
    ]
    return Choreography("thumbs_up", "The right hand gives a thumbs up.", 0.45, 4.5, keys, emblem=True)


CHOREOGRAPHIES = (
    idle,
    small_talk,
    explaining,
    counting,
    pointing,
    open_palms,
    waving,
    emphasis_beats,
    one_hand_beats,
    weighing,
    reaching_out,
    thinking,
    hand_on_heart,
    presenting,
    thumbs_up,
)


def main(names: list[str]) -> None:
    """Write the named clips, or all of them."""
    folder = ROOT / "assets" / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    for choreography in CHOREOGRAPHIES:
        if names and choreography.__name__ not in names:
            continue
        clip = perform(choreography())
        save_poses(clip, folder / f"{choreography.__name__}.safetensors", precision="float32")
        write_thumbnail(clip, folder / f"{choreography.__name__}.jpg")


if __name__ == "__main__":
    main(sys.argv[1:])
