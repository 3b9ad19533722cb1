"""Poses: sequences of keypoints, their files, the pose pictures that the model takes, and their fit to a portrait."""

from .canvas import Canvas
from .drawing.hands import draw_poses
from .fitting.retarget import retarget
from .fitting.score import score_fit
from .sequence import PoseSequence
from .sources.files import load_poses, save_poses
from .sources.keypoints import from_pose_keypoints, to_pose_keypoints
from .timing import fit_length, resample

__all__ = [
    "Canvas",
    "PoseSequence",
    "draw_poses",
    "fit_length",
    "from_pose_keypoints",
    "load_poses",
    "resample",
    "retarget",
    "save_poses",
    "score_fit",
    "to_pose_keypoints",
]
