"""Option values and checks that several commands share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import OutputError
from ..files.paths import from_url


def file_path(text: str) -> Path:
    """A file or folder, also as the `file:` URL that browsers and file managers copy."""
    return Path(from_url(text))


def picture_size(text: str) -> tuple[int, int]:
    """`1280x720` as width and height.

    Raises:
        argparse.ArgumentTypeError: it is not a size.
    """
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"a size is WIDTHxHEIGHT in pixels, such as 1280x720, not {text!r}")
    return int(width), int(height)


def check_not_inputs(options: argparse.Namespace, written: Sequence[str], read: Sequence[str]) -> None:
    """Check, before the work, that nothing would be written over what it is made of.

    Args:
        options: the command's; those that it does not have or that were not given are left out.
        written, read: names of options that hold a path.

    Raises:
        OutputError: two of them lead to one file or folder.
    """
    for name in written:
        target = getattr(options, name, None)
        for source_name in read:
            source = getattr(options, source_name, None)
            if target is not None and source is not None and is_same_file(target, source):
                raise OutputError(f"--{name} {target} is the file of --{source_name}: name another one")


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two names lead to one file or folder, there or not."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):  # not there, or a name that no file can have
        return os.path.normpath(one.absolute()) == os.path.normpath(other.absolute())
