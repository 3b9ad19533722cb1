"""POSE_KEYPOINT, the form in which ComfyUI packs hand keypoints to each other, in every dialect that is in use.

A list of frames, each `{"people": [...], "canvas_width": w, "canvas_height": h}`; a person holds flat lists
`[x, y, c, x, y, c, ...]` under the names of `_PARTS`. Dialects differ in what stands for a missing part (null, [],
zeros, -1), in units (pixels or 0..1, even within one person), in the body's points (18, or 25 as in OpenPose), in the
face's (68, or 70 with the eyes) and in which hand is called left.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...cancellation import check_cancelled
from ...errors import PoseError
from ...files.text import read_json
from ...media.limits import check_room
from ..canvas import picture_canvas, region_in_picture
from ..sequence import BODY, FACE, FEET, HAND_A, HAND_B, POINTS, PoseSequence
from .foreign import find_frames, read_openpose_folder
from .person_tracking import choose_person, hands_to_their_wrists

# Rows 92-112 are the left hand: that is what controlnet_aux and OpenPose call left, and the wrist they hang on is 7.
_PARTS = {
    "pose_keypoints_2d": BODY,
    "foot_keypoints_2d": FEET,
    "face_keypoints_2d": FACE,
    "hand_left_keypoints_2d": HAND_A,
    "hand_right_keypoints_2d": HAND_B,
}
logger = logging.getLogger("echomimic")

# Each may have its own unit.
_UNIT_GROUPS = (BODY, FEET, FACE, slice(HAND_A.start, HAND_B.stop))
# OpenPose's BODY_25 has the middle of the hips as its point 8 and the feet, in our order, at the end.
_BODY_25 = np.array([*range(8), *range(9, 19)])
_FEET_25 = np.arange(19, 25)
# Present for others: the threshold of the detector that the model's own poses came from.
_PRESENT = 0.3
_MAX_CANVAS = 1 << 16
# Under these pairs of keys the canvas lies, the usual one first.
CANVAS_NAMES = (("canvas_width", "canvas_height"), ("width", "height"), ("image_width", "image_height"))
# Coordinates in -1..1 are below zero for the upper half of a picture, where heads are, and none is beyond 1; in
# fractions of the picture, points above it are few.
_SIGNED_SHARE, _SIGNED_EDGE = 0.2, 0.05
# Larger confidences are percents.
_MAX_CONFIDENCE = 1.5
# A byte of JSON, as text and as Python's numbers; a frame as Python's numbers, and as text.
PARSED_BYTES = 10
# Under these keys programs keep the rate; the original's clips, which do not, have 24 frames a second.
RATE_KEYS, MAX_RATE = ("fps", "frame_rate", "framerate", "frameRate"), 1000
# "25 fps", FFmpeg's "30000/1001".
RATE_TEXT = re.compile(r"\s*([\d.]+)\s*(?:/\s*([\d.]+))?\s*(?:fps|hz)?\s*", re.IGNORECASE)
UNRECORDED_FPS = 24.0
FRAME_BYTES = POINTS * 3 * 60


class _Frame(NamedTuple):
    width: int
    height: int
    people: np.ndarray  # [people, 134, 3]: x, y, confidence (0: absent)


def from_pose_keypoints(
    frames: Any, fps: float = 24.0, person: int | None = None, canvas_size: tuple[int, int] | None = None
) -> PoseSequence:
    """A pose clip from POSE_KEYPOINT frames of any dialect.

    Hands are assigned by the wrist that they are attached to, not by their label. Frames without the person become gaps
    (score 0).

    Args:
        frames: a list of frames, or one frame.
        fps: their rate.
        person: index of the person in every frame; None follows the largest over all frames,
            see `choose_person`.
        canvas_size: (width, height) in pixels for frames that do not record it.

    Raises:
        PoseError: not POSE_KEYPOINT, an animal, nobody in any frame, canvas sizes that contradict each other or the
            coordinates.
    """
    listed = find_frames(frames)
    recorded = recorded_rate(frames)
    if recorded is not None and recorded != fps:
        logger.warning("the keypoints record %g frames a second, but are read with %g as requested", recorded, fps)
    for number, frame in enumerate(listed):
        if frame.get("animals"):
            raise PoseError(f"frame {number} holds keypoints of an animal; the model was trained on human hands only")
    known = next((size for frame in listed if (size := canvas_of(frame))), canvas_size)
    if known is None:
        raise PoseError(
            "the keypoints do not record the size of the picture that they were found in, as OpenPose's --write_json "
            "never does: give it (--pose-canvas or --canvas 1280x720; canvas_width and canvas_height of EchoMimic Load "
            "Pose or EchoMimic Pose From Keypoints)"
        )
    parsed = [_parse_frame(frame, number, known) for number, frame in enumerate(listed)]
    _check_canvases(parsed)
    _to_fractions(parsed)
    _to_unit_confidence(parsed)
    chosen = choose_person([frame.people for frame in parsed], person)
    _check_inside(chosen, parsed[0])
    hands_to_their_wrists(chosen, parsed[0].width, parsed[0].height)
    if not (chosen[:, HAND_A, 2].any() or chosen[:, HAND_B, 2].any()):
        logger.warning("the keypoints hold no hands, which are what the model follows: they are left to it")
    return PoseSequence(chosen[..., :2], chosen[..., 2], fps, picture_canvas(parsed[0].width, parsed[0].height))


def to_pose_keypoints(
    sequence: PoseSequence, width: int, height: int, real_scores: bool = False
) -> list[dict[str, Any]]:
    """The clip as POSE_KEYPOINT frames of one person, in pixels; missing parts are zeros, never null.

    Args:
        sequence: the clip.
        width, height: the canvas. As in `draw_poses`, it shows the middle of the clip's square.
        real_scores: write the detector's scores. Otherwise c is 1.0 above 0.3 and 0.0 below, as controlnet_aux has it,
            whose nodes drop every point with c below 1.
    """
    if width < 1 or height < 1:
        raise PoseError(f"a canvas of {width}x{height} pixels cannot hold a pose")
    check_room(
        FRAME_BYTES * len(sequence), f"the keypoints of {len(sequence):,} frames", "trim the clip first", PoseError
    )
    rows, columns = region_in_picture(sequence.canvas, width, height)
    sides = np.array([columns[1] - columns[0], rows[1] - rows[0]])
    pixels = sequence.keypoints * sides + [columns[0], rows[0]]
    confidence = sequence.scores if real_scores else (sequence.scores > _PRESENT).astype(np.float64)
    confidence = np.maximum(confidence, 0)
    values = np.concatenate([pixels, confidence[..., None]], axis=-1) * (confidence > 0)[..., None]
    frames = []
    for points in values:
        check_cancelled()
        person = {name: points[part].reshape(-1).tolist() for name, part in _PARTS.items()}
        # The face of this socket has 70 points; the last two are the body's eyes.
        person["face_keypoints_2d"] += points[14:16].reshape(-1).tolist()
        frames.append({"people": [person], "canvas_width": width, "canvas_height": height})
    return frames


def read_pose_keypoints(
    path: Path,
    fps: float | None = None,
    person: int | None = None,
    canvas_size: tuple[int, int] | None = None,
    unrecorded_fps: float = UNRECORDED_FPS,
) -> PoseSequence:
    """A clip from a JSON file of POSE_KEYPOINT frames, or from a folder of OpenPose's --write_json.

    Arguments as in `from_pose_keypoints`; without a rate it is the one that the file records, else `unrecorded_fps`,
    which is logged.

    Raises:
        PoseError: as `from_pose_keypoints`, or not JSON.
    """
    if path.is_dir():
        frames: Any = read_openpose_folder(path)
    else:
        size = path.stat().st_size
        check_room(PARSED_BYTES * size, f"{size / 1e6:.0f} MB of keypoints in {path}", "split the file", PoseError)
        frames = read_json(path, PoseError)
    if fps is None:
        fps = recorded_rate(frames) or assume_rate(path, unrecorded_fps)
    try:
        return from_pose_keypoints(frames, fps, person, canvas_size)
    except PoseError as error:
        raise PoseError(f"{path}: {error}") from error


def write_pose_keypoints(sequence: PoseSequence, path: Path, real_scores: bool = False) -> None:
    """Write the clip's region as a JSON file of POSE_KEYPOINT frames."""
    (top, bottom), (left, right) = sequence.canvas.rows, sequence.canvas.columns
    whole = PoseSequence(sequence.keypoints, sequence.scores, canvas=picture_canvas(right - left, bottom - top))
    frames = to_pose_keypoints(whole, right - left, bottom - top, real_scores)
    path.write_text(json.dumps(frames), encoding="utf-8")


def assume_rate(path: Path, fps: float) -> float:
    """The rate of a clip that does not record one, which is logged."""
    logger.info(
        "%s does not record a rate: %g frames a second are assumed (--pose-fps, --read-fps, the node's fps)", path, fps
    )
    return fps


def recorded_rate(content: Any) -> float | None:
    """The frames a second that a keypoint file records beside its frames; None without them."""
    if not isinstance(content, Mapping):
        return None
    for key in RATE_KEYS:
        try:
            text = RATE_TEXT.fullmatch(content[key]) if isinstance(content[key], str) else None
            rate = float(text[1]) / float(text[2] or 1) if text else float(content[key])
        except Exception:  # absent, or anything that JSON can hold
            continue
        if 0 < rate <= MAX_RATE:
            return rate
    return None


def canvas_of(frame: Any) -> tuple[int, int] | None:
    """The canvas that a frame records, from numbers, texts, or arrays and tensors of one number; None without one."""
    if not isinstance(frame, Mapping):
        return None
    sizes = []
    for name in next((names for names in CANVAS_NAMES if set(names) <= set(frame)), ()):
        value = frame.get(name)
        value = value.lower().removesuffix("px") if isinstance(value, str) else value
        try:
            number = 0.0 if value is None or value is True else float(value)
        except Exception:  # a foreign object decides what it raises
            number = 0.0
        if not 1 <= number <= _MAX_CANVAS:
            return None
        sizes.append(int(number))
    return (sizes[0], sizes[1]) if sizes else None


def _parse_frame(frame: Any, number: int, canvas_size: tuple[int, int]) -> _Frame:
    check_cancelled()
    if not isinstance(frame, dict):
        raise PoseError(f"frame {number} of the keypoints is a {type(frame).__name__}, not a POSE_KEYPOINT frame")
    people = frame.get("people")
    if people is None and "animals" not in frame and "pose_keypoints_2d" in frame:
        people = [frame]  # an editor that exports the person alone
    if people is None:
        people = []
    if isinstance(people, np.ndarray):
        people = people.tolist()
    if isinstance(people, Mapping):  # one person, or people by number
        people = [people] if "pose_keypoints_2d" in people else list(people.values())
    if not isinstance(people, (list, tuple)):
        raise PoseError(f"frame {number}: 'people' is a {type(people).__name__}, not a list")
    parsed = [_parse_person(person, number) for person in people]
    width, height = canvas_of(frame) or canvas_size
    if not (1 <= width <= _MAX_CANVAS and 1 <= height <= _MAX_CANVAS):
        raise PoseError(f"frame {number}: a canvas of {width}x{height} pixels is impossible")
    return _Frame(int(width), int(height), np.array(parsed).reshape(-1, POINTS, 3))


def _parse_person(person: Any, number: int) -> np.ndarray:
    """x, y and confidence of all 134 points; zeros where absent."""
    if not isinstance(person, dict):
        raise PoseError(f"frame {number}: a person is a {type(person).__name__}, not a set of keypoint lists")
    points = np.zeros((POINTS, 3))
    # OpenPose before version 1.3 has "pose_keypoints" for "pose_keypoints_2d".
    stored = {name: person.get(name, person.get(name.removesuffix("_2d"))) for name in _PARTS}
    if person and not any(name in person or name.removesuffix("_2d") in person for name in _PARTS):
        raise PoseError(
            f"frame {number}: a person holds {', '.join(map(str, list(person)[:5]))}, but no pose_keypoints_2d"
        )
    for name, part in _PARTS.items():
        values = _triples(stored[name], name, number)
        count = part.stop - part.start
        if part is BODY and len(values) == 25:
            points[BODY], points[FEET] = values[_BODY_25], values[_FEET_25]
        elif part is FACE and len(values) == 70:
            points[FACE] = values[:68]
        elif len(values) == count:
            points[part] = values
        elif len(values):
            raise PoseError(f"frame {number}: '{name}' holds {len(values)} points, expected {count}")
    place, confidence = points[:, :2], points[:, 2]
    # NaN fails the first comparison; nothing real lies millions of pixels away.
    absent = ~(np.abs(points) < 1e7).all(axis=1) | (confidence <= 0)
    absent |= (place == -1).all(axis=1) | (place == 0).all(axis=1)
    points[absent] = 0
    return points


def _triples(values: Any, name: str, number: int) -> np.ndarray:
    """[n, 3] from a flat or nested list; null gives no points, null inside gives NaN."""
    if values is None:
        return np.zeros((0, 3))
    try:
        numbers = np.array(values, dtype=np.float64).reshape(-1)
    except Exception as error:  # foreign objects decide what they raise
        raise PoseError(f"frame {number}: '{name}' is not a list of numbers") from error
    if len(numbers) % 3:
        raise PoseError(f"frame {number}: '{name}' holds {len(numbers)} numbers, expected x, y, c for each point")
    return numbers.reshape(-1, 3)


def _check_canvases(frames: list[_Frame]) -> None:
    """Frames may have been scaled, but must show the same picture."""
    first = frames[0]
    for number, frame in enumerate(frames):
        if abs(frame.width * first.height - frame.height * first.width) > 0.01 * first.width * frame.height:
            raise PoseError(
                f"the canvas sizes contradict each other: frame 0 is {first.width}x{first.height}, "
                f"frame {number} is {frame.width}x{frame.height}"
            )


def _to_fractions(frames: list[_Frame]) -> None:
    """Pixels -> fractions of the canvas, in place; coordinates that are fractions already stay.

    Decided for each group of points over the whole clip: points may leave the picture, so one alone says little.
    Fractions may run from -1 to 1 (OpenPose's --keypoint_scale 4).
    """
    fractions = []
    for group in _UNIT_GROUPS:
        everyone = np.concatenate([frame.people[:, group].reshape(-1, 3) for frame in frames])
        everyone = everyone[everyone[:, 2] > 0]
        if not len(everyone):
            continue
        if np.median(np.abs(everyone[:, :2]).max(axis=1)) <= 2:
            fractions.append((group, everyone[:, :2]))
            continue
        for frame in frames:
            frame.people[:, group, :2] /= frame.width, frame.height
    if fractions and _is_signed(np.concatenate([places for _, places in fractions])):
        logger.warning("the keypoints' coordinates run from -1 to 1 and are taken as such")
        for frame in frames:
            for group, _ in fractions:
                seen = frame.people[:, group, 2] > 0
                frame.people[:, group, :2] = np.where(seen[..., None], (frame.people[:, group, :2] + 1) / 2, 0)


def _is_signed(places: np.ndarray) -> bool:
    """Whether coordinates `[n, 2]` run from -1 to 1, and not from 0 to 1."""
    below = (places[:, 1] < -_SIGNED_EDGE).mean()
    beyond = (np.abs(places) > 1 + _SIGNED_EDGE).any(axis=1).mean()
    return bool(below > _SIGNED_SHARE and beyond < _SIGNED_EDGE)


def _to_unit_confidence(frames: list[_Frame]) -> None:
    """Confidences in percent -> 0..1, in place."""
    everyone = np.concatenate([frame.people[..., 2].reshape(-1) for frame in frames])
    everyone = everyone[everyone > 0]
    if len(everyone) and np.median(everyone) > _MAX_CONFIDENCE and everyone.max() <= 100:
        logger.warning("the keypoints' confidences reach %.4g and are taken as percents", everyone.max())
        for frame in frames:
            frame.people[..., 2] /= 100


def _check_inside(points: np.ndarray, frame: _Frame) -> None:
    """Refuse a canvas that does not match the coordinates, as when a picture was resized without its keypoints."""
    seen = points[points[..., 2] > 0, :2]
    middle = np.median(seen, axis=0)
    if (np.abs(middle - 0.5) > 1).any():
        x, y = middle * [frame.width, frame.height]
        raise PoseError(
            f"the canvas contradicts the coordinates: it is {frame.width}x{frame.height}, but most points lie about "
            f"x {x:.0f}, y {y:.0f}"
        )
