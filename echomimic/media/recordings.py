"""Reading sound from any file."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..cancellation import check_cancelled
from ..errors import AudioError, Cancelled
from .containers import open_input
from .frame_scan import FrameTable, scan_frames
from .limits import input_limit
from .waveform import MAX_FLOAT_PEAK, check_waveform, default_channels, to_stereo

logger = logging.getLogger("echomimic")

# Formats that libsndfile reads exactly; compressed ones go to FFmpeg first.
EXACT_FORMATS = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"caff", b".snd")
# A jump of the time stamps between these is a gap, which stays one; a longer one is a broken stamp.
MIN_GAP_SECONDS, MAX_GAP_SECONDS = 0.1, 60.0
# A reader whose sound is shorter than the file's packets by this share is not trusted.
LENGTH_TOLERANCE = 0.02

Reader = Callable[[Path], tuple[np.ndarray, int]]


def read_audio(path: str | os.PathLike[str]) -> tuple[Tensor, int]:
    """Read a sound file, or the first sound track of a video.

    What is damaged is skipped and what is good keeps its time; how much was skipped goes to the log. Sound of more than
    two channels becomes stereo by the standard weights (`to_stereo`).

    Returns:
        waveform float32 `[1 or 2, samples]` in -1..1, and its sample rate in Hz.

    Raises:
        AudioError: the file is missing, unreadable, without sound, empty, or longer than memory has room for.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise AudioError(f"there is no sound file {path}")
        with path.open("rb") as file:
            exact = file.read(4) in EXACT_FORMATS
    except OSError as error:
        raise AudioError(f"{path} cannot be read ({error.strerror or error})") from error
    readers: list[Reader] = [read_with_soundfile, read_with_ffmpeg]
    enough = (1 - LENGTH_TOLERANCE) * packet_seconds(path)
    found: tuple[np.ndarray, int] | None = None
    failures: list[str] = []
    for reader in readers if exact else reversed(readers):
        try:
            samples, sample_rate = reader(path)
        except Cancelled:
            raise
        except (AudioError, MemoryError) as error:
            failures.append(str(error) or "memory is full")
            continue
        except Exception as error:  # what a damaged file makes a decoder raise is not documented
            failures.append(str(error).strip().split("\n")[0] or type(error).__name__)
            continue
        if found is None or duration(samples, sample_rate) > duration(*found):
            found = samples, sample_rate
        if samples.size and duration(*found) >= enough:
            break
    if found is None:
        raise AudioError(f"{path} cannot be read as sound: {failures[0]}")
    if not found[0].size:
        raise AudioError(f"{path} holds no sound: it is empty")
    samples, sample_rate = found
    return check_waveform(torch.from_numpy(np.ascontiguousarray(samples)), sample_rate), sample_rate


def duration(samples: np.ndarray, sample_rate: int) -> float:
    """Seconds of `[channels, samples]`."""
    return samples.shape[1] / sample_rate


def read_with_soundfile(path: Path) -> tuple[np.ndarray, int]:
    """What libsndfile reads (wav, flac, ogg, opus, mp3, aiff, ...), `[channels, samples]` and the rate.

    Raises:
        AudioError: longer than memory has room for.
        Exception: whatever libsndfile raises.
    """
    import soundfile  # heavy

    with soundfile.SoundFile(path) as file:
        # A stream that was piped does not know its length; then libsndfile reports an absurd one and reads in blocks.
        known = 0 < file.frames < 2**40
        if known:
            check_room(file.frames * file.channels * 4, path)
        blocks, total = [], 0
        while True:
            check_cancelled()
            block = file.read(2**20, dtype="float32", always_2d=True)
            if not len(block):
                break
            if file.subtype not in ("FLOAT", "DOUBLE"):
                silence_noise(block)
            blocks.append(block)
            total += block.nbytes
            check_room(total, path)
        samples = np.concatenate(blocks).T if blocks else np.zeros((file.channels, 0), np.float32)
        return mix(samples, default_channels(file.channels)), int(file.samplerate)


def read_with_ffmpeg(path: Path) -> tuple[np.ndarray, int]:
    """What FFmpeg's libraries read (m4a, aac, wma, mp3, the sound of mp4, mov, webm, mkv, ...).

    Raises:
        AudioError: no sound track, or longer than memory has room for.
        av.error.FFmpegError: nothing of it can be decoded.
    """
    import av  # heavy

    with open_input(path) as container:
        if not container.streams.audio:
            raise AudioError("it has no sound track")
        stream = container.streams.audio[0]
        # Uncompressed samples may be on another scale; what a decoder makes of damage is noise.
        track = Track(path, decoded=not stream.codec_context.name.startswith("pcm_"))
        table = scan_frames(path, container.format.name)
        if table is not None and table.is_broken:
            return read_by_table(table, stream, track)
        failure: Exception | None = None
        for packet in container.demux(stream):
            check_cancelled()
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, ValueError) as error:
                failure = error
                track.skip(float(packet.duration * packet.time_base) if packet.duration and packet.time_base else 0.0)
                continue
            for frame in frames:
                if frame.time is not None:
                    track.fill_gap(float(frame.time), MIN_GAP_SECONDS, int(frame.sample_rate))
                track.add(frame)
        if not track.pieces and failure is not None:
            raise failure
        return track.finish()


def read_by_table(table: FrameTable, stream: Any, track: Track) -> tuple[np.ndarray, int]:
    """A raw MP3 or AAC stream with broken headers, each frame decoded by itself and put where it belongs.

    Args:
        table: the file's frames.
        stream: FFmpeg's, not read from yet; its start time is the delay of the encoder.
        track: to write to.
    """
    import av  # heavy

    delay = float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0
    first = int(table.begins_with_info)
    track.start = table.times[first]
    for number, content in table.frames(first):
        check_cancelled()
        try:
            frames = stream.codec_context.decode(av.Packet(content))
        except (av.error.FFmpegError, ValueError):
            track.damaged += 1
            continue
        for frame in frames:
            track.fill_gap(table.times[number], 0.6 * table.headers[number].seconds, int(frame.sample_rate))
            track.add(frame)
    samples, rate = track.finish()
    return samples[:, round(delay * rate) :], rate


def packet_seconds(path: Path) -> float:
    """How long the sound track's packets last together, in seconds, without decoding them; 0 where that is unknown."""
    try:
        with open_input(path) as container:
            if not container.streams.audio:
                return 0.0
            total = 0.0
            for packet in container.demux(container.streams.audio[0]):
                check_cancelled()
                if packet.duration and packet.time_base:
                    total += float(packet.duration * packet.time_base)
            return total
    except Cancelled:
        raise
    except Exception:  # a second opinion only: the readers' own failures are reported
        return 0.0


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
        check_room(self.bytes, self.path)

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


def check_room(size: int, path: Path) -> None:
    """Raises: AudioError when the decoded sound takes more bytes than memory has room for."""
    limit = input_limit()
    if size > limit:
        raise AudioError(
            f"{path} takes more than {size / 1e9:.1f} GB when decoded, and memory has room for {limit / 1e9:.1f} GB: "
            "cut the recording to the part you need"
        )
