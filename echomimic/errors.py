"""The engine's exceptions.

Every message is written for the person at the graph or the command line: what is wrong, with the numbers, and what to
do about it. The command line turns an `EchoMimicError` into one sentence and exit code 2.
"""

import torch

# How MPS, CUDA's libraries and Triton say that memory is full. (cuDNN finds no way to convolve when none has room.)
MEMORY_IS_FULL = ("out of memory", "alloc_failed", "unable to find an engine to execute this computation")


class EchoMimicError(ValueError):
    """Something that was asked for cannot be done; the message says why and what to do."""


class AudioError(EchoMimicError):
    """A sound file or waveform cannot be used."""


class ImageError(EchoMimicError):
    """A picture cannot be used as the reference."""


class VideoError(EchoMimicError):
    """A video file cannot be read."""


class PoseError(EchoMimicError):
    """A pose file or pose sequence cannot be used."""


class WeightsError(EchoMimicError):
    """A weights file is missing, foreign, incomplete, or does not belong with the others."""


class OutputError(EchoMimicError):
    """The result cannot be written."""


class CheckpointError(EchoMimicError):
    """A render's state file is damaged, or belongs to another render."""


class TrainingError(EchoMimicError):
    """A training configuration, data set or run cannot be used."""


class DeviceMemoryError(EchoMimicError):
    """The device has too little memory for the settings; the message names settings that would fit."""


class MissingPackageError(EchoMimicError):
    """An optional package is needed; the message gives the pip command."""


class Cancelled(Exception):
    """The caller's callback asked to stop. Not an error: nothing is wrong and nothing is left behind."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device said that its memory is full: CUDA and ROCm have a class for it, others only words."""
    said = str(error).lower()
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(words in said for words in MEMORY_IS_FULL)
