"""What the chunks of a WAV file say that libsndfile and FFmpeg pass over: files one behind another, several chunks of
samples, and samples of fewer bits than they are stored in."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ..cancellation import check_cancelled
from .sound_track import MAX_GAP_SECONDS, Track, check_decoded_size

logger = logging.getLogger("echomimic")

# Limits the time that a file of empty chunks takes.
MAX_CHUNKS = 4096
# Of all silence that a file only names: six minutes of 16 bits at 48 kHz.
MAX_SILENT_BYTES = 2**25
MAX_FORMAT_BYTES = 4096
EXTENSIBLE = 0xFFFE
WHOLE_NUMBERS = (1, EXTENSIBLE)
# Nobody records so quietly: samples of 32 bits that do not go beyond this hold 16.
SHORT_PEAK = 2.0**-16
# Recordings of voices reach this.
USUAL_PEAK = 0.1


@dataclass
class WavePart:
    """One RIFF of a file.

    Attributes:
        begin, end: its bytes.
        form: what its `fmt ` chunk holds.
        samples: bytes of samples, from and to; before 0: so many bytes of silence.
    """

    begin: int
    end: int
    form: bytes = b""
    samples: list[tuple[int, int]] = field(default_factory=list)

    def number(self, place: int, size: int) -> int:
        return int.from_bytes(self.form[place : place + size], "little")

    @property
    def container_bits(self) -> int:
        """Bits that a sample is stored in."""
        channels, block = self.number(2, 2), self.number(12, 2)
        return 8 * block // channels if channels else 0

    @property
    def valid_bits(self) -> int:
        """Bits that a sample has."""
        bits = self.number(14, 2)
        return self.number(18, 2) or bits if self.number(0, 2) == EXTENSIBLE else bits

    @property
    def missing_bits(self) -> int:
        """By how many bits whole-number samples are shorter than what they are stored in."""
        if len(self.form) < 16 or self.number(0, 2) not in WHOLE_NUMBERS or not 0 < self.container_bits <= 32:
            return 0
        return max(0, self.container_bits - self.valid_bits) if self.valid_bits else 0

    @property
    def is_misread(self) -> bool:
        """Whether libsndfile and FFmpeg step by fewer bytes than a sample is stored in; they know 24 bits in 32."""
        return self.missing_bits >= 8 and (self.container_bits, self.valid_bits) != (32, 24)


def wave_parts(path: Path) -> list[WavePart]:
    """The WAV files that were put one behind another in a file; one for a usual WAV, none for anything else."""
    size, place, parts = path.stat().st_size, 0, []
    with path.open("rb") as file:
        while place < size:
            file.seek(place)
            head = file.read(12)
            if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
                break
            length = 8 + int.from_bytes(head[4:8], "little")
            # A size that was never filled in: all that follows belongs to it.
            end = min(place + length, size) if length >= 12 else size
            parts.append(WavePart(place, end))
            read_chunks(file, parts[-1])
            if length < 12:
                break
            place += length + length % 2
    return parts


def read_chunks(file: Any, part: WavePart) -> None:
    """Fill in what the chunks of a part are, up to the first that is none."""
    for name, begin, size in chunks(file, part):
        if name == b"fmt ":
            file.seek(begin)
            part.form = file.read(min(size, MAX_FORMAT_BYTES))
        elif name == b"data":
            part.samples.append((begin, min(begin + size, part.end)))
        elif name == b"slnt":  # so many silent samples, in a list of chunks of samples
            file.seek(begin)
            count = int.from_bytes(file.read(4), "little")
            size = count * part.number(12, 2)
            silent = sum(max(0, -begin) for begin, _ in part.samples)
            # A longer one is damage: eight bytes may claim any length.
            if 0 < count <= MAX_GAP_SECONDS * part.number(4, 4) and silent + size <= MAX_SILENT_BYTES:
                part.samples.append((-size, 0))


def chunks(file: Any, part: WavePart) -> Iterator[tuple[bytes, int, int]]:
    """Name, first byte and size of each chunk; those of a list of samples by themselves."""
    place = part.begin + 12
    for _ in range(MAX_CHUNKS):
        file.seek(place)
        head = file.read(12)
        name, size = head[:4], int.from_bytes(head[4:8], "little")
        if place + 8 > part.end or not name.isascii() or not name.decode("ascii").isprintable():
            return
        yield name, place + 8, size
        place += 12 if name + head[8:] == b"LISTwavl" else 8 + size + size % 2


def needs_rewriting(parts: list[WavePart]) -> bool:
    """Whether libsndfile and FFmpeg would read less than all, or something else: a file with more than one run of
    samples, or with samples that they take for shorter ones than are stored."""
    return len(parts) > 1 or any(len(part.samples) > 1 or part.is_misread for part in parts)


def part_content(file: Any, part: WavePart, path: Path) -> bytes:
    """A part as a WAV file with one chunk of samples, of as many bits as they are stored in.

    Raises:
        AudioError: longer than memory has room for.
    """
    check_decoded_size(sum(end - begin for begin, end in part.samples), path)
    form = part.form
    if part.is_misread:
        form = b"\1\0" + form[2:14] + part.container_bits.to_bytes(2, "little")
    elif len(part.samples) < 2:
        file.seek(part.begin)
        return bytes(file.read(part.end - part.begin))
    body = b"WAVEfmt " + len(form).to_bytes(4, "little") + form + b"\0" * (len(form) % 2)
    samples = []
    for begin, end in part.samples:
        file.seek(max(begin, 0))
        samples.append(bytes(-begin) if begin < 0 else file.read(end - begin))
    data = b"".join(samples)
    body += b"data" + len(data).to_bytes(4, "little") + data
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def read_rewritten(parts: list[WavePart], path: Path) -> tuple[np.ndarray, int]:
    """All samples of a file that `needs_rewriting`.

    Raises:
        AudioError: longer than memory has room for.
        av.error.FFmpegError: one of them cannot be decoded.
    """
    import av  # heavy

    track = Track(path, decoded=False)
    for part in parts:
        check_cancelled()
        with path.open("rb") as file:
            content = BytesIO(part_content(file, part, path))
        with av.open(content, mode="r", format="wav") as container:
            for frame in container.decode(audio=0):
                check_cancelled()
                track.add(frame)
    if len(parts) > 1:
        logger.info("%s is %d WAV files one behind another, and all are read", path, len(parts))
    elif len(parts[0].samples) > 1:
        logger.info("%s holds its samples in %d pieces, and all are read", path, len(parts[0].samples))
    return track.finish()


def narrow_scale(path: Path, subtype: str, peak: float) -> float:
    """What whole-number samples are to be multiplied by, since they have fewer bits than they are stored in, at the
    lower end; 1 for all others.

    Args:
        path: the file.
        subtype: libsndfile's name for how samples are stored.
        peak: of the samples as they were read, 1 being full scale.
    """
    if not 0 < peak <= 0.5 or subtype not in ("PCM_16", "PCM_24", "PCM_32"):
        return 1.0
    parts = wave_parts(path)
    missing = parts[0].missing_bits if len(parts) == 1 else 0
    # Loud enough for a voice on that scale, or else by their lowest bits.
    if missing and peak <= 0.5**missing and (peak >= USUAL_PEAK * 0.5**missing or not ends_in_zeros(path, missing)):
        bits = parts[0].valid_bits
        logger.warning("%s: its samples have %d of %d bits, and are taken as such", path, bits, bits + missing)
        return 2.0**missing
    if subtype == "PCM_32" and peak <= SHORT_PEAK:
        logger.warning("%s: its 32-bit samples reach only %.0f: they are taken as 16 bits", path, peak * 2**31)
        return 2.0**16
    return 1.0


def ends_in_zeros(path: Path, bits: int) -> bool:
    """Whether the lowest so many bits of all samples are 0: they stand at the upper end, as the format wants it."""
    import soundfile  # heavy

    with soundfile.SoundFile(path) as file:
        unused = 32 - {"PCM_16": 16, "PCM_24": 24}.get(file.subtype, 32)  # libsndfile widens all to 32 bits
        for block in file.blocks(2**20, dtype="int32"):
            check_cancelled()
            if (block >> unused & (2**bits - 1)).any():
                return False
    return True
