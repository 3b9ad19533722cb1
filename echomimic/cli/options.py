"""Option values that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

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
