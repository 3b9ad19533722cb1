"""The engine's exceptions.

Every message is written for the person at the graph or the command line: what is wrong, with the numbers, and what to
do about it. The command line turns an `EchoMimicError` into one sentence and exit code 2.
"""


class EchoMimicError(ValueError):
    """Something that was asked for cannot be done; the message says why and what to do."""


class AudioError(EchoMimicError):
    """A sound file or waveform cannot be used."""


class ImageError(EchoMimicError):
    """A picture cannot be used as the reference."""


class PoseError(EchoMimicError):
    """A pose file or pose sequence cannot be used."""


class WeightsError(EchoMimicError):
    """A weights file is missing, foreign, incomplete, or does not belong with the others."""


class OutputError(EchoMimicError):
    """The result cannot be written."""


class StateError(EchoMimicError):
    """A render's state file is damaged, or belongs to something else."""


class DeviceMemoryError(EchoMimicError):
    """The device has too little memory for the settings; the message names settings that would fit."""


class MissingPackageError(EchoMimicError):
    """An optional package is needed; the message gives the pip command."""


class Cancelled(Exception):
    """The caller's callback asked to stop. Not an error: nothing is wrong and nothing is left behind."""
