"""Sampling: windows over the clip, the noise and time steps, and the denoising loop."""

from ..runtime.checkpoint import RenderState
from ..runtime.checkpoint_folder import StateFolder
from ..runtime.distributed import Ranks
from .approximations import FAST_MODES, FastMode
from .conditions import DrawnPose
from .sampler import SamplingProgress, sample
from .schedule import make_noise
from .settings import SamplingSettings
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
