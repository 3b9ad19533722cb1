"""Sampling: windows over the clip, the noise and time steps, and the denoising loop."""

from .conditions import DrawnPose
from .sampler import SamplingProgress, sample
from .schedule import make_noise
from .windows import windows

__all__ = ["DrawnPose", "SamplingProgress", "make_noise", "sample", "windows"]
