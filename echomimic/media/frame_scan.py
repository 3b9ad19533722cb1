"""Where the frames of a raw MP3 or AAC stream lie, by their headers alone.

Such files hold no time stamps. FFmpeg counts frames, so sound after a destroyed header comes too early, and it takes
the good frames up to the next header that it trusts for one large broken packet. Here frames are found by following
their lengths; where the chain is broken, the bytes up to the next two headers in a row give the length of the loss.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..cancellation import check_cancelled

# A longer file is read without a table of its frames: nine hours at 128 kbit/s.
MAX_BYTES = 512 * 2**20
# Limits the time that a file of false headers takes.
MAX_CANDIDATES = 1_000_000

# ISO/IEC 11172-3 and 13818-3: kbit/s by the header's index, for MPEG-1 layers 1 to 3, then for MPEG-2 and 2.5.
BITRATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
MPEG_RATES = (44100, 48000, 32000)
# ISO/IEC 14496-3, table 1.18.
AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
AAC_FRAME_SAMPLES = 1024
INFO_MARKS = (b"Xing", b"Info", b"VBRI")

# A frame's first bytes; reserved values are left out, so that no run of 0xff matches.
MPEG_START = re.compile(rb"\xff[\xe2-\xe7\xf2-\xff][\x10-\xeb]", re.DOTALL)
ADTS_START = re.compile(rb"\xff[\xf0\xf1\xf8\xf9][\x00-\xff]", re.DOTALL)
START = {"mp3": MPEG_START, "aac": ADTS_START}


@dataclass(frozen=True)
class Header:
    """What a frame's header says: its length in bytes, header included, and the seconds that it lasts."""

    size: int
    seconds: float


@dataclass(frozen=True)
class FrameTable:
    """The frames of a file.

    Attributes:
        data: the file.
        places: where each begins, in bytes.
        headers: the length of each, in bytes and seconds.
        times: when each begins, in seconds; what is lost before it is counted.
    """

    data: bytes
    places: list[int]
    headers: list[Header]
    times: list[float]

    @property
    def is_broken(self) -> bool:
        """Whether something is lost between the frames."""
        whole = sum(header.seconds for header in self.headers[:-1])
        return self.times[-1] > whole + 1e-6

    @property
    def begins_with_info(self) -> bool:
        """Whether the first frame holds no sound but facts about the file, as MP3 encoders write them."""
        head = self.data[self.places[0] : self.places[0] + 64]
        return any(mark in head for mark in INFO_MARKS)

    def frames(self, first: int = 0) -> Iterator[tuple[int, bytes]]:
        """The frames' numbers and bytes."""
        for number in range(first, len(self.places)):
            place = self.places[number]
            yield number, self.data[place : place + self.headers[number].size]


def scan_frames(path: Path, form: str) -> FrameTable | None:
    """The frames of a file; None where it is of another kind, too large, or has too few of them.

    Args:
        path: the file.
        form: FFmpeg's name of its format; known are "mp3" and "aac".
    """
    if form not in START:
        return None
    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        data = path.read_bytes()
    except OSError:
        return None
    table = FrameTable(data, [], [], [])
    candidates, place, lost, clock = 0, 0, 0, 0.0
    while place < len(data):
        if len(table.places) % 1024 == 0:
            check_cancelled()
        header = read_header(data, place, form)
        if header is None or (lost and not is_followed(data, place, header, form)):
            after_tag = skip_tag(data, place)
            if after_tag > place:
                place = after_tag
                continue
            candidates += 1
            match = START[form].search(data, place + 1)
            if match is None or candidates > MAX_CANDIDATES:
                break
            lost += match.start() - place
            place = match.start()
            continue
        if lost and table.places:
            # Where the bit rate varies, it is that of the last second or so.
            around = [header, *table.headers[int(table.begins_with_info) :][-32:]]
            clock += round(lost * len(around) / sum(one.size for one in around)) * header.seconds
        lost = 0
        table.places.append(place)
        table.headers.append(header)
        table.times.append(clock)
        clock += header.seconds
        place += header.size
    return table if len(table.places) > 1 else None


def is_followed(data: bytes, place: int, header: Header, form: str) -> bool:
    """Whether another frame of the same rate stands where a frame ends."""
    following = place + header.size
    if read_header(data, following, form) is None:
        return False
    # Version, layer and sample rate; the bit rate and padding may change.
    return data[place + 1] & 0xFE == data[following + 1] & 0xFE and data[place + 2] & 0x0C == data[following + 2] & 0x0C


def read_header(data: bytes, place: int, form: str) -> Header | None:
    """The header of a frame at this byte; None where there is none."""
    head = data[place : place + 7]
    if len(head) < 7 or not START[form].match(head):
        return None
    return mpeg_header(head) if form == "mp3" else adts_header(head)


def mpeg_header(head: bytes) -> Header | None:
    """The header of an MPEG audio frame, layers 1 to 3; None for impossible values and free format."""
    version, layer = {0: 2.5, 2: 2, 3: 1}.get(head[1] >> 3 & 3), 4 - (head[1] >> 1 & 3)
    rate_index, index = head[2] >> 2 & 3, head[2] >> 4
    if version is None or layer == 4 or rate_index == 3 or not 1 <= index <= 14:
        return None
    rate = MPEG_RATES[rate_index] / {1: 1, 2: 2, 2.5: 4}[version]
    bits = BITRATES[1 if version == 1 else 2, layer][index - 1] * 1000
    padding = head[2] >> 1 & 1
    samples = 384 if layer == 1 else 576 if layer == 3 and version != 1 else 1152
    size = (int(12 * bits / rate) + padding) * 4 if layer == 1 else int(samples / 8 * bits / rate) + padding
    return Header(size, samples / rate)


def adts_header(head: bytes) -> Header | None:
    """The header of an ADTS frame of AAC; None for impossible values."""
    rate_index = head[2] >> 2 & 15
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    if rate_index >= len(AAC_RATES) or size < 7:
        return None
    blocks = (head[6] & 3) + 1
    return Header(size, blocks * AAC_FRAME_SAMPLES / AAC_RATES[rate_index])


def skip_tag(data: bytes, place: int) -> int:
    """Where a tag (ID3v2, ID3v1, APE) that begins at this byte ends; it holds no sound. Without one, the same byte."""
    head = data[place : place + 32]
    if head[:3] == b"ID3" and len(head) >= 10:
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        return place + 10 + size
    if head[:3] == b"TAG":
        return place + 128
    if head[:8] == b"APETAGEX" and len(head) >= 16:
        size = int.from_bytes(head[12:16], "little")
        return place + (32 + size if len(head) == 32 and head[23] & 0x20 else 32)
    return place
