"""Sampling: windows over the clip, noise and schedule, and the denoising loop."""

from .approximations import FAST_MODES, FastMode
from .conditions import DrawnPose, audio_source
from .frames import sample_frames
from .inputs import check_clip, clip_frames
from .noise import make_noise
from .sampler import sample
from .schedule import Schedule, make_schedule
from .settings import SamplingSettings
from .windows import windows

__all__ = [
    "FAST_MODES",
    "DrawnPose",
    "FastMode",
    "SamplingSettings",
    "Schedule",
    "audio_source",
    "check_clip",
    "clip_frames",
    "make_noise",
    "make_schedule",
    "sample",
    "sample_frames",
    "windows",
]
