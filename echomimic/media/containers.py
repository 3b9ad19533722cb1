"""Passes paths to FFmpeg's libraries as local files, also where a name looks like a protocol."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer


HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
# Of the files with an `ftyp` at their beginning, those that hold pictures; the others are videos and sounds.
PICTURE_BRANDS = (*HEIC_BRANDS, b"avif", b"avis", b"jp2 ", b"jpx ", b"crx ")
# After this many boxes the search for an MP4's index ends.
MAX_BOXES = 1000
# No system places a byte beyond this.
MAX_FILE_BYTES = 2**63 - 1
JOINED = (
    "is several recordings one behind another, of which programs read the first only: join them with FFmpeg's concat"
)
UNFINISHED = "was not finished: its index, which is written last, is missing. Record, copy or download it again"


def file_url(path: str | os.PathLike[str]) -> str:
    """The path so that nothing in it is taken for a protocol: `take:1.mp4`, `pipe:1.wav` and `concat:a` are files."""
    return f"file:{Path(path).absolute()}"


def open_input(path: str | os.PathLike[str]) -> InputContainer:
    """Open a sound or video file for reading; what it refers to must be local files too.

    Raises:
        av.error.FFmpegError: FFmpeg cannot read it.
    """
    import av  # heavy

    return av.open(file_url(path), options={"protocol_whitelist": "file"}, metadata_errors="replace")


def picture_stream(container: Any) -> Any:
    """The first picture track that is not the cover picture of a song or film; None without one."""
    from av.stream import Disposition  # heavy

    tracks = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    # Some programs put a preview of one picture before the film.
    moving = [stream for stream in tracks if stream.frames != 1]
    return next(iter(moving or tracks), None)


def reason_of(error: BaseException) -> str:
    """What FFmpeg or another library says, in one line, without the numbers and addresses that it adds."""
    sentence = str(getattr(error, "strerror", None) or error).strip().split("\n")[0]
    return sentence or ("memory is full" if isinstance(error, MemoryError) else type(error).__name__)


def holds_picture(path: str | os.PathLike[str]) -> bool:
    """Whether this is a picture in an MP4's kind of file: HEIC, AVIF, JPEG 2000, a camera's CR3."""
    kinds = outer_boxes(path)
    if b"ftyp" not in kinds or b"moov" in kinds:  # with a film's index it moves
        return False
    with Path(path).open("rb") as file:
        return file.read(12)[8:] in PICTURE_BRANDS


def is_unfinished(path: str | os.PathLike[str]) -> bool:
    """Whether this is an MP4 or MOV without the index that is written last, as an interrupted recording leaves it."""
    kinds = outer_boxes(path)
    indexed = b"moov" in kinds or b"moof" in kinds
    return b"ftyp" in kinds and not indexed and not holds_picture(path)


def is_joined(path: str | os.PathLike[str]) -> bool:
    """Whether these are several MP4 or MOV files one behind another, of which every program reads the first only."""
    kinds = outer_boxes(path)
    return kinds.count(b"ftyp") > 1 and kinds.count(b"moov") > 1 and b"moof" not in kinds


def outer_boxes(path: str | os.PathLike[str]) -> list[bytes]:
    """The kinds of an MP4's or MOV's first outer boxes in their order, up to damage; something for any other file."""
    kinds: list[bytes] = []
    try:
        with Path(path).open("rb") as file:
            while len(kinds) < MAX_BOXES and len(head := file.read(16)) >= 8:
                size, kind = int.from_bytes(head[:4], "big"), head[4:8]
                kinds.append(kind)
                if size == 1:  # then a 64-bit size follows the name
                    size = int.from_bytes(head[8:16], "big")
                if not 8 <= size <= MAX_FILE_BYTES:  # damage
                    break
                file.seek(size - len(head), os.SEEK_CUR)
    except OSError:
        return []
    return kinds


def open_output(path: str | os.PathLike[str], format_name: str, options: Mapping[str, str]) -> OutputContainer:
    """Open a video file for writing.

    Raises:
        av.error.FFmpegError: it cannot be opened.
    """
    import av  # heavy

    arguments: dict[str, Any] = {"format": format_name, "options": dict(options)}
    return av.open(file_url(path), "w", **arguments)
