"""The first bytes of a file, and what it is when it is something else under the wanted name."""

from __future__ import annotations

import base64
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from ..errors import EchoMimicError

HEAD_BYTES = 64
# A byte order mark and white space before the first letter of a text.
TEXT_MARGIN = b"\xef\xbb\xbf \t\r\n"
COPIED_AS_TEXT = "was copied as text, which destroyed it: copy or download the {wanted} again, as binary data"
# First bytes, in lower case, that no picture, sound, clip or weights file has, and what to do about them.
FOREIGN = {
    b"version https://git-lfs": "is only a Git LFS pointer of a few lines: run `git lfs pull` where it was cloned",
    b"<!doctype": "is a web page that was saved under this name: save the {wanted} itself",
    b"<html": "is a web page that was saved under this name: save the {wanted} itself",
    b"http/1.": "begins with a web server's answer (curl -i writes it): save the {wanted} without it",
    b"http/2": "begins with a web server's answer (curl -i writes it): save the {wanted} without it",
    b"\x1f\x8b": "is compressed (gzip): unpack it first",
    b"bzh": "is compressed (bzip2): unpack it first",
    b"\xfd7zxz": "is compressed (xz): unpack it first",
    b"7z\xbc\xaf\x27\x1c": "is a 7z archive: take the {wanted} out of it",
    b"rar!": "is a RAR archive: take the {wanted} out of it",
    b"\xef\xbf\xbd": COPIED_AS_TEXT,
    b"\x89png\r\r": COPIED_AS_TEXT,
    b"\x89png\n": COPIED_AS_TEXT,
}
# Base64 in which the first bytes of a sound or picture are hidden, as services answer.
BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{32,}")
# As a path has it, with one slash.
WEB_ADDRESS = re.compile(r"(https?|ftp|s3|gs|hf):/", re.IGNORECASE)
BINARY_STARTS = (b"RIFF", b"\x89PNG", b"\xff\xd8\xff", b"ID3", b"OggS", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"GIF8")


def read_head(path: Path, wanted: str, error: type[EchoMimicError]) -> bytes:
    """The first bytes of a file; none where it is empty.

    Args:
        path: the file.
        wanted: what it should be ("sound file"), for the message.
        error: the class to raise.

    Raises:
        error: there is no such file, it is a folder, a pipe or a link that leads nowhere, or closed to this user.
    """
    if WEB_ADDRESS.match(str(path)):
        raise error(f"{path} is a web address: download the {wanted} first")
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise error(f"there is no {wanted} {path}: it is a folder")
        if not stat.S_ISREG(mode):
            raise error(f"there is no {wanted} {path}: it is a pipe or a device, save its content to a file first")
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        target = link_target(path)
        leads = f": it is a link to {target}, which is not there" if target else ""
        raise error(f"there is no {wanted} {path}{leads}") from None
    except error:
        raise
    except (OSError, ValueError) as failure:  # ValueError: a name that no file system has
        raise error(f"{path} cannot be read ({getattr(failure, 'strerror', None) or failure})") from failure


def link_target(path: Path) -> str | None:
    """Where a symbolic link leads; None for anything else."""
    try:
        return str(path.readlink())
    except (OSError, ValueError):
        return None


def match_head(head: bytes, reasons: Mapping[bytes, str]) -> str | None:
    """The first reason whose bytes a file begins with."""
    return next((reason for beginning, reason in reasons.items() if head.startswith(beginning)), None)


def recognise_kind(head: bytes, wanted: str) -> str | None:
    """As `recognise`, but only what is wrong for a text file too: a web page, a Git LFS pointer, a compressed file."""
    reason = match_head(head.lower(), FOREIGN) or match_head(head.lstrip(TEXT_MARGIN).lower(), FOREIGN)
    return reason.format(wanted=wanted) if reason else None


def recognise(head: bytes, wanted: str) -> str | None:
    """What a file is, and what to do about it, when its first bytes show that it is not what was wanted.

    Args:
        head: as `read_head` gives them.
        wanted: "picture", "sound", "file", for the advice.

    Returns:
        the rest of a sentence that begins with the file's name; None where nothing is known.
    """
    text = head.strip(TEXT_MARGIN)
    reason = recognise_kind(head, wanted)
    if reason:
        return reason
    if text.lower().startswith(b"data:") or is_base64(text):
        return f"holds a {wanted} as text (base64), as web services answer: decode it, and save the bytes"
    if head[:2] == b"\xff\xfe" and head[3:12:2].count(0) >= 3:
        return (
            f"is text in UTF-16, as PowerShell's `>` writes whatever it is given: download the {wanted} with an option "
            "of the program that names the file"
        )
    if head and not any(head):
        return f"begins with nothing but zeros, as a download that was cut off: save the {wanted} again"
    if text.startswith(b"{") and any(word in text.lower() for word in (b'"error', b'"message"', b'"detail"')):
        return f"is a server's error message that was saved under this name: save the {wanted} itself"
    if wanted != "file" and text[:1] in (b"{", b"[") and text.isascii() and text[1:].strip()[:1] in (b'"', b"{", b"["):
        return f"is JSON, perhaps a service's answer with the {wanted} or its address inside: save the {wanted} itself"
    if (
        text
        and text[:1] not in b"{["
        and len(head) < HEAD_BYTES
        and text.isascii()
        and text.decode("ascii").isprintable()
    ):
        # A server's answer instead of the file ("Entry not found").
        return f"holds only the text {text.decode('ascii')!r}, perhaps a server's answer: save the {wanted} again"
    return None


def is_base64(text: bytes) -> bool:
    """Whether a text begins as a sound or picture does in base64."""
    if not BASE64.match(text):
        return False
    begin = text[:32].replace(b"-", b"+").replace(b"_", b"/")  # of addresses, where + and / mean something else
    return base64.b64decode(begin).startswith(BINARY_STARTS)
