"""Reading sound from any file."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import AudioError

if TYPE_CHECKING:
    from av.container import InputContainer

logger = logging.getLogger("echomimic")


def read_audio(path: str | os.PathLike[str]) -> tuple[Tensor, int]:
    """Read a sound file, or the first sound track of a video. Of a file that is cut off, what is there is read.

    Returns:
        waveform float32 `[channels, samples]` in -1..1, and its sample rate.

    Raises:
        AudioError: the file is missing, unreadable, without sound or empty.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError(f"there is no sound file {path}")
    samples, sample_rate = read_with_soundfile(path) or read_with_av(path)
    if not samples.size:
        raise AudioError(f"{path} holds no sound: it is empty")
    return torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32)), sample_rate


def read_with_soundfile(path: Path) -> tuple[np.ndarray, int] | None:
    """What libsndfile reads, librosa's own reader (wav, flac, ogg, opus, mp3, aiff, ...); None for other formats."""
    import soundfile

    try:
        samples, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, TypeError):  # the last for a name that ends in .raw
        return None
    return samples.T, int(sample_rate)


def read_with_av(path: Path) -> tuple[np.ndarray, int]:
    """What FFmpeg's libraries read (m4a, aac, wma, the sound of mp4, mov, webm, mkv, ...).

    Raises:
        AudioError: not that either.
    """
    import av

    try:
        # Absolute, or FFmpeg would take what stands before a colon for a protocol.
        with av.open(path.absolute()) as container:
            if not container.streams.audio:
                raise AudioError(f"{path} has no sound track")
            return decode_sound(container, path)
    except (av.error.FFmpegError, OSError) as error:
        raise AudioError(f"{path} cannot be read as sound ({error})") from error


def decode_sound(container: InputContainer, path: Path) -> tuple[np.ndarray, int]:
    """The first sound track; where it breaks off, what came before.

    Raises:
        FFmpegError: nothing of it can be decoded.
    """
    import av

    stream = container.streams.audio[0]
    # The layout and rate of the first frame are kept to the end, whatever the stream does.
    resampler = av.AudioResampler(format="fltp")
    parts: list[np.ndarray] = []

    def take(frame: Any) -> None:
        parts.extend(piece.to_ndarray() for piece in resampler.resample(frame))

    try:
        for frame in container.decode(stream):
            take(frame)
    except av.error.FFmpegError as error:
        if not parts:
            raise
        logger.warning("%s is damaged (%s); what comes before the damage is used", path, error)
    if not parts:
        return np.zeros((1, 0), np.float32), 1
    take(None)
    return np.concatenate(parts, axis=1), int(stream.codec_context.sample_rate)
