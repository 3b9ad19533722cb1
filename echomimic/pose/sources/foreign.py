"""Keypoint files of other programs: which program a file is from, and the POSE_KEYPOINT frames inside it, if any."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...cancellation import check_cancelled
from ...errors import PoseError
from ...files.listing import scan
from ...files.text import read_json
from ..timing import check_length

# OpenPose's --write_json names a file after the video and the frame: vid_000000000012_keypoints.json; others keep the
# number alone.
OPENPOSE_FILE = re.compile(r"(?:(?P<name>.*?)_?(?P<number>\d+)_keypoints|(?P<plain>\d+))\.json", re.IGNORECASE)
# Under these keys programs keep the list of frames.
FRAME_KEYS = ("frames", "poses", "pose_keypoint", "pose_keypoints", "POSE_KEYPOINT", "data", "keypoints")
MAX_NESTING = 6
# What a wrapper may say for all its frames.
SHARED_KEYS = ("canvas_width", "canvas_height", "width", "height", "image_width", "image_height")
# With more frames than this many per file, and this many more, the files are not those of one video.
MAX_GAP_SHARE, MAX_GAP_FRAMES = 20, 1000
# Stands where a frame is null or missing: it holds nobody, and keeps its place in time.
GAP: dict[str, Any] = {"people": []}
ADVICE = "give keypoints as ComfyUI's POSE_KEYPOINT (DWPose and SDPose nodes make it) or as OpenPose's --write_json"


def is_frame(value: Any) -> bool:
    """Whether this is one POSE_KEYPOINT frame, or one person of it."""
    return isinstance(value, Mapping) and bool({"people", "animals", "pose_keypoints_2d"} & set(value))


def find_frames(content: Any) -> list[Any]:
    """The POSE_KEYPOINT frames in any nesting of lists, wrappers, arrays and JSON texts.

    Raises:
        PoseError: it is another program's file, which is named, or holds no frames.
    """
    frames = search(content, MAX_NESTING)
    if hold_keypoints(frames):
        return frames
    program = recognise(content)
    if program:
        raise PoseError(f"this is {program}: {ADVICE}")
    raise PoseError(f"there are no keypoint frames in it ({describe(content)}): {ADVICE}")


def hold_keypoints(frames: Sequence[Any]) -> bool:
    """Whether anything but gaps was found."""
    return any(frame is not GAP for frame in frames)


def search(content: Any, depth: int) -> list[Any]:
    """The frames, in order, `GAP` for each that is null; empty where there are none."""
    if depth == 0:
        return []
    if isinstance(content, (str, bytes)):
        try:
            return search(json.loads(content), depth - 1)
        except PoseError:
            raise
        except Exception:  # bytes in no encoding, any depth
            return []
    if isinstance(content, np.ndarray):
        content = content.tolist()
    if content is None:
        return [GAP]
    if is_frame(content):
        return [content]
    if isinstance(content, Mapping):
        if content and all(isinstance(key, str) and key.isdecimal() for key in content):
            return by_number(content, [int(key) for key in content], depth)
        if content and all(one is None or is_frame(one) for one in content.values()):
            numbers = picture_numbers(content)
            if numbers or all(map(is_frame, content.values())):
                return by_number(content, numbers, depth)  # by the names of their pictures
        shared = {key: content[key] for key in SHARED_KEYS if key in content}
        for key in FRAME_KEYS:
            frames = search(content.get(key), depth - 1) if key in content else []
            if hold_keypoints(frames):
                return [{**shared, **frame} for frame in frames]
        return []
    if isinstance(content, Sequence):
        return [frame for item in content for frame in search(item, depth - 1)]
    return []


def by_number(content: Mapping[str, Any], numbers: Sequence[int] | None, depth: int) -> list[Any]:
    """The frames of a dict in their places in time, counted from the first number; gaps where a number is missing.

    Without numbers, and where a number stands for several frames, they follow each other.

    Raises:
        PoseError: see `check_numbers`.
    """
    names = sorted(content, key=by_digits)
    parts = {name: search(content[name], depth - 1) for name in names}
    if not any(map(hold_keypoints, parts.values())):
        return []
    if numbers is None or len(set(numbers)) < len(numbers) or any(len(part) > 1 for part in parts.values()):
        return [frame for part in parts.values() for frame in part]
    check_numbers(numbers, "the dict of keypoints", "keys")
    first = min(numbers)
    frames: list[Any] = [GAP] * (max(numbers) - first + 1)
    for number, name in zip(numbers, content):
        if parts[name]:
            frames[number - first] = parts[name][0]
    return frames


def picture_numbers(names: Iterable[str]) -> list[int] | None:
    """The frame numbers in pictures' names, which must be all that they differ in; None where it is not."""
    split = [re.split(r"(\d+)", str(name)) for name in names]
    if len({len(parts) for parts in split}) > 1:
        return None
    differing = [column for column in zip(*split) if len(set(column)) > 1]
    if len(differing) != 1 or not all(part.isdecimal() for part in differing[0]):
        return None
    return [int(part) for part in differing[0]]


def by_digits(name: Any) -> list[tuple[int, str]]:
    """Sorts "frame_2.png" before "frame_10.png"."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(name))]


def recognise(content: Any) -> str | None:
    """The program that a JSON file is from; None where it is not known."""
    first = content[0] if isinstance(content, list) and content else content
    if not isinstance(first, Mapping):
        return None
    keys = set(first)
    if {"instance_info"} <= keys or {"instances", "frame_id"} <= keys or {"bbox", "keypoint_scores"} <= keys:
        return "a result of MMPose, whose points have another order"
    if {"image_id", "category_id", "keypoints"} <= keys:
        return "a result of AlphaPose or of COCO's format, without hands"
    if {"annotations", "images", "categories"} <= keys:
        return "a data set in COCO's format"
    if {"nodes", "links"} <= keys or ("last_node_id" in keys and "nodes" in keys):
        return "a workflow of ComfyUI: drag it onto ComfyUI; its keypoints come from a node there"
    if keys and all(isinstance(value, Mapping) and "class_type" in value for value in first.values()):
        return "a prompt of ComfyUI in API format"
    if {"poseLandmarks"} & keys or {"pose_landmarks"} & keys or {"landmarks"} & keys or {"faceLandmarks"} & keys:
        return "a result of MediaPipe, whose points have another order"
    if {"width", "height", "keypoints"} <= keys:
        return "the file of a pose editor that keeps only body points, without hands"
    if {"box", "keypoints"} <= keys or {"shapes", "imagePath"} <= keys:
        return "a result of YOLO or of LabelMe, without hands"
    if {"bones", "skeleton"} & keys or {"asset", "scenes"} <= keys:
        return "a 3D skeleton or scene"
    if {"log", "FileName"} & keys or {"dependencies", "scripts"} & keys:
        return "a settings file of another program"
    return None


def describe(content: Any) -> str:
    """What a JSON file holds, for a message."""
    if isinstance(content, Mapping):
        return f"its keys are {', '.join(map(str, list(content)[:5])) or 'none'}"
    if isinstance(content, Sequence) and not isinstance(content, (str, bytes)):
        return f"a list of {len(content)}" if len(content) else "an empty list"
    return f"a single {type(content).__name__}"


def openpose_files(folder: Path) -> dict[int, Path]:
    """The files of OpenPose's --write_json in a folder, by frame number, counted from the first.

    Raises:
        PoseError: it holds files of several videos, or so many are missing that memory has no room for the clip.
    """
    found: dict[int, Path] = {}
    names = set()
    for path in scan(folder, (".json",), depth=1):
        match = OPENPOSE_FILE.fullmatch(path.name)
        if match:
            found[int(match["number"] or match["plain"])] = path
            names.add(match["name"] or "")
    if len(names) > 1:
        some = ", ".join(sorted(names)[:3])
        raise PoseError(f"{folder} holds the keypoints of {len(names)} videos ({some}): give each a folder of its own")
    check_numbers(found, str(folder), "files")
    first = min(found, default=0)
    return {number - first: path for number, path in sorted(found.items())}


def check_numbers(numbers: Collection[int], place: str, numbered: str) -> None:
    """Raises: PoseError where so many frame numbers are missing between the first and the last that they are not those
    of one video, or that memory has no room for the clip."""
    first, last = min(numbers, default=0), max(numbers, default=0)
    check_length(last - first + 1, f"{place}, whose {numbered} count from {first} to {last},")
    if last - first + 1 > MAX_GAP_SHARE * len(numbers) + MAX_GAP_FRAMES:
        raise PoseError(
            f"{place} holds {len(numbers)} of the {last - first + 1:,} frames that its {numbered} count from {first} "
            f"to {last}: take out those that belong to another video"
        )


def read_openpose_folder(folder: Path) -> list[Any]:
    """The frames of OpenPose's --write_json; frames whose file is missing hold nobody.

    Raises:
        PoseError: a file cannot be read, or holds no frame.
    """
    files = openpose_files(folder)
    frames: list[Any] = [GAP] * (max(files, default=-1) + 1)
    for number, path in files.items():
        check_cancelled()
        content = read_json(path, PoseError)
        if not is_frame(content):
            raise PoseError(f"{path} is not a file of OpenPose's --write_json ({describe(content)})")
        frames[number] = content
    return frames
