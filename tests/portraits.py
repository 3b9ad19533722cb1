"""Keypoints of the three published portraits, marked by eye in the pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from echomimic.pose import PoseSequence
from echomimic.pose.canvas import picture_canvas
from echomimic.pose.sequence import FACE, HAND_A, HAND_B, POINTS

NAMES = ("0014", "0077", "0222")
_STARTS = {"body": 0, "face": FACE.start, "left_hand": HAND_A.start, "right_hand": HAND_B.start}


def marked_portrait(name: str) -> PoseSequence:
    """One frame; points that were not marked are absent."""
    marks = json.loads(Path(__file__).with_name("portraits.json").read_text())[name]
    points, scores = np.zeros((1, POINTS, 2)), np.zeros((1, POINTS))
    for part, start in _STARTS.items():
        for index, place in marks[part].items():
            points[0, start + int(index)] = np.divide(place, marks["size"])
            scores[0, start + int(index)] = 1.0
    return PoseSequence(points, scores, canvas=picture_canvas(*marks["size"]))
