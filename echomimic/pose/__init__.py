"""Poses: sequences of keypoints, their files, and the pictures that the model looks at."""

from .drawing import draw_poses
from .files import load_poses, save_poses
from .sequence import Canvas, PoseSequence
from .timing import fit_length, resample

__all__ = ["Canvas", "PoseSequence", "draw_poses", "fit_length", "load_poses", "resample", "save_poses"]
