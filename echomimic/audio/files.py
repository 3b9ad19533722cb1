"""Reading sound from any file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import AudioError


def read_audio(path: str | os.PathLike[str]) -> tuple[Tensor, int]:
    """Read a sound file, or the sound of a video.

    Returns:
        waveform float32 `[channels, samples]` in -1..1, and its sample rate.

    Raises:
        AudioError: the file is missing, unreadable, without sound or empty.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError(f"there is no sound file {path}")
    samples, sample_rate = read_with_librosa(path) or read_with_av(path)
    if not samples.size:
        raise AudioError(f"{path} holds no sound: it is empty")
    return torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32)), sample_rate


def read_with_librosa(path: Path) -> tuple[np.ndarray, int] | None:
    """What libsndfile reads (wav, flac, ogg, mp3, aiff, ...); None for other formats."""
    import librosa
    import soundfile

    try:
        soundfile.info(path)
        samples, sample_rate = librosa.load(path, sr=None, mono=False)
    except (soundfile.LibsndfileError, OSError, RuntimeError):
        return None
    return np.atleast_2d(samples), int(sample_rate)


def read_with_av(path: Path) -> tuple[np.ndarray, int]:
    """What FFmpeg's libraries read (m4a, aac, opus, wma, the sound of mp4, mov, webm, mkv, ...).

    Raises:
        AudioError: not that either.
    """
    import av

    try:
        with av.open(path) as container:
            if not container.streams.audio:
                raise AudioError(f"{path} has no sound track")
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="fltp")
            parts = [
                part.to_ndarray() for frame in (*container.decode(stream), None) for part in resampler.resample(frame)
            ]
            rate = stream.codec_context.sample_rate
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError(f"{path} cannot be read as sound ({error})") from error
    return (np.concatenate(parts, axis=1) if parts else np.zeros((1, 0), np.float32)), int(rate)
