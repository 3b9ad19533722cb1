"""Sampling: windows over the clip, the noise and time steps, and the denoising loop."""

from .conditions import DrawnPose
from .fast import FAST_MODES, FastMode
from .parallel import Ranks
from .sampler import SamplingProgress, sample
from .schedule import make_noise
from .settings import SamplingSettings
from .state import RenderState
from .state_folder import StateFolder
from .windows import windows

__all__ = [
    "FAST_MODES",
    "DrawnPose",
    "FastMode",
    "Ranks",
    "RenderState",
    "SamplingProgress",
    "SamplingSettings",
    "StateFolder",
    "make_noise",
    "sample",
    "windows",
]
