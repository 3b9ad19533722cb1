"""Decoded pieces of a recording put one after another: one rate, stereo at most, gaps as silence."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import AudioError
from .limits import input_limit
from .waveform import MAX_FLOAT_PEAK, to_stereo

logger = logging.getLogger("echomimic")

# A jump of the time stamps between these is a gap, which stays one; a longer one is a broken stamp.
MIN_GAP_SECONDS, MAX_GAP_SECONDS = 0.1, 60.0


@dataclass
class Track:
    """Decoded frames put one after another at the first frame's rate, in stereo at most.

    Attributes:
        path: for messages.
        decoded: whether the samples come from a codec, whose full scale is 1.
        rate: the first frame's, in Hz; 0 before it.
        pieces: `[channels, n]`, channels 1 or 2.
        written: samples so far.
        skipped: seconds of damaged packets and gaps, which became silence.
        bytes: of the pieces together.
        pictures_begin: the time stamp of a video's pictures, in seconds; None without pictures.
    """

    path: Path
    decoded: bool = True
    rate: int = 0
    pieces: list[np.ndarray] = field(default_factory=list)
    written: int = 0
    skipped: float = 0.0
    damaged: int = 0
    bytes: int = 0
    start: float | None = None
    kind: tuple[Any, ...] = ()
    resampler: Any = None
    channels: tuple[str, ...] = ()
    pictures_begin: float | None = None

    def add(self, frame: Any) -> None:
        """A decoded frame; its own rate, format and layout count, whatever the stream's header says."""
        import av  # heavy

        self.rate = self.rate or int(frame.sample_rate)
        kind = (frame.sample_rate, frame.format.name, frame.layout.name)
        if kind != self.kind:
            self.drain()
            self.kind, self.channels = kind, tuple(channel.name for channel in frame.layout.channels)
            # Packed: PyAV reads beyond the frame where there are more than eight planes.
            self.resampler = av.AudioResampler(format="flt", layout=frame.layout.name, rate=self.rate)
        frame.pts = None  # the resampler would fill what it takes for gaps
        for piece in self.resampler.resample(frame):
            self.put(piece)

    def fill_gap(self, time: float, tolerance: float, rate: int) -> None:
        """Silence where the next frame, of this rate, begins more than `tolerance` later than the last one ended: a
        lost part of a recording keeps the rest in time. All in seconds."""
        self.rate = self.rate or rate
        if self.start is None:
            self.start = time - self.written / self.rate
            late = 0.0 if self.pictures_begin is None else time - self.pictures_begin
            if MIN_GAP_SECONDS < late < MAX_GAP_SECONDS:
                logger.info("%s: the sound begins %.2f s after the pictures", self.path, late)
                self.start -= late
                self.append(np.zeros((1, round(late * self.rate)), np.float32))
            return
        gap = time - self.start - self.written / self.rate
        if tolerance < gap < MAX_GAP_SECONDS:
            self.silence(gap)
        elif abs(gap) >= MIN_GAP_SECONDS:
            self.start = time - self.written / self.rate  # stamps that start over, or make no sense

    def skip(self, seconds: float) -> None:
        """A packet that cannot be decoded."""
        self.damaged += 1
        if self.rate:
            self.silence(min(seconds, MAX_GAP_SECONDS))

    def silence(self, seconds: float) -> None:
        self.drain()
        self.skipped += seconds
        channels = len(self.pieces[-1]) if self.pieces else 1
        self.append(np.zeros((channels, round(seconds * self.rate)), np.float32))

    def put(self, piece: Any) -> None:
        packed = piece.to_ndarray().reshape(-1, len(self.channels))  # [samples, channels]
        samples = mix(np.ascontiguousarray(packed.T), self.channels)
        if self.decoded and silence_noise(samples):
            self.damaged += 1
            samples[:] = 0  # the rest of the frame is noise as well
        self.append(samples)

    def append(self, samples: np.ndarray) -> None:
        self.pieces.append(samples)
        self.written += samples.shape[1]
        self.bytes += samples.nbytes
        check_decoded_size(self.bytes, self.path)

    def drain(self) -> None:
        """What the resampler still holds."""
        if self.resampler is not None:
            for piece in self.resampler.resample(None):
                self.put(piece)
            self.resampler, self.kind = None, ()

    def finish(self) -> tuple[np.ndarray, int]:
        """All pieces as `[channels, samples]` and the rate; mono parts of a stereo recording sound on both sides."""
        self.drain()
        if self.damaged or self.skipped:
            logger.warning(
                "%s is damaged: %d packets could not be decoded, and %.2f s became silence",
                self.path,
                self.damaged,
                self.skipped,
            )
        if not self.pieces:
            return np.zeros((1, 0), np.float32), self.rate or 1
        channels = max(len(piece) for piece in self.pieces)
        return np.concatenate([np.broadcast_to(p, (channels, p.shape[1])) for p in self.pieces], axis=1), self.rate


def silence_noise(samples: np.ndarray) -> bool:
    """Samples that no decoder makes of sound become 0, in place; whether there were any.

    Damage inside a frame comes out as a burst of huge numbers, by which the scale of the recording would be misjudged.
    """
    noise = ~(np.abs(samples) <= MAX_FLOAT_PEAK)  # also NaN
    if not noise.any():
        return False
    samples[noise] = 0
    return True


def mix(samples: np.ndarray, channels: tuple[str, ...]) -> np.ndarray:
    """Float samples `[channels, n]` as they are up to two channels, else in stereo."""
    if len(samples) <= 2:
        return samples
    return to_stereo(torch.from_numpy(np.ascontiguousarray(samples)), channels).numpy()


def check_decoded_size(size: int, path: Path) -> None:
    """Raises: AudioError when the decoded sound takes more bytes than memory has room for."""
    limit = input_limit()
    if size > limit:
        raise AudioError(
            f"{path} takes more than {size / 1e9:.1f} GB when decoded, and memory has room for {limit / 1e9:.1f} GB: "
            "cut the recording to the part you need"
        )
