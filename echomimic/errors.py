"""The engine's exceptions.

Every message is written for the person at the graph or the command line: what is wrong, with the numbers, and what to
do about it. The command line turns an `EchoMimicError` into one sentence and exit code 2.
"""

import torch

# How MPS, CUDA's libraries, Triton and CPUs report full memory. (cuDNN reports that no convolution algorithm has room.)
MEMORY_IS_FULL = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "alloc_failed",
    "unable to find an engine to execute this computation",
)


class EchoMimicError(ValueError):
    """The request cannot be carried out; the message says why and what to do."""


class AudioError(EchoMimicError):
    """A sound file or waveform cannot be used."""


class ImageError(EchoMimicError):
    """A picture cannot be used as the reference."""


class VideoError(EchoMimicError):
    """A video file cannot be read."""


class PoseError(EchoMimicError):
    """A pose file or pose sequence cannot be used."""


class WeightsError(EchoMimicError):
    """A weights file is missing, incomplete, of another model, or does not match the others."""


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
    """The caller's callback stopped the run. Nothing is wrong, and no files are left behind."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device ran out of memory: CUDA and ROCm raise a class of their own, others only a message."""
    message = str(error).lower()
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(words in message for words in MEMORY_IS_FULL)
