"""The one way this project reads text, in the encodings that other programs write."""

from __future__ import annotations

import codecs
import json
import os
from pathlib import Path
from typing import Any

from ..errors import EchoMimicError

# A table or a keypoint file of more bytes than this is not one.
MAX_TEXT_BYTES = 512 * 2**20

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: str | os.PathLike[str], error: type[EchoMimicError]) -> str:
    """A text file in UTF-8 or UTF-16 with or without a byte order mark, else in Windows' cp1252.

    Raises:
        error: the file is missing, closed to this user, or far too large for a text.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_TEXT_BYTES:
            raise error(f"{path} has {size / 1e9:.1f} GB, which is no text file")
        return decode_text(path.read_bytes())
    except FileNotFoundError:
        raise error(f"there is no file {path}") from None
    except IsADirectoryError:
        raise error(f"{path} is a folder; a file is needed here") from None
    except OSError as failure:
        raise error(f"{path} cannot be read ({failure.strerror or failure})") from failure


def decode_text(content: bytes) -> str:
    """Bytes of a text of unknown encoding."""
    for mark, encoding in MARKS:
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    # UTF-16 without a mark: every other byte of mostly Latin text is zero.
    head = content[:200]
    if len(head) >= 4:
        if head[1::2].count(0) > 0.6 * len(head[1::2]):
            return content.decode("utf-16-le", errors="replace")
        if head[::2].count(0) > 0.6 * len(head[::2]):
            return content.decode("utf-16-be", errors="replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def read_json(path: str | os.PathLike[str], error: type[EchoMimicError]) -> Any:
    """The content of a JSON file.

    Raises:
        error: it cannot be read, or is no JSON; the message says where.
    """
    text = read_text(path, error)
    if not text.strip():
        raise error(f"{path} is empty")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as failure:
        raise error(f"{path} is no JSON file ({failure})") from failure
