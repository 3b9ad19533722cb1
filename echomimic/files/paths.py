"""Paths as other programs write them."""

from __future__ import annotations

import os
from urllib.parse import unquote
from urllib.request import url2pathname

BEGINNING = "file:/"


def from_url(text: str) -> str:
    """The path in a `file:` URL, as browsers and file managers copy it; any other text as it is."""
    if not text.lower().startswith(BEGINNING):
        return text
    rest = text[len(BEGINNING) - 1 :]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        # Only Windows has paths on other machines.
        rest = slash + path if host in ("", "localhost") or os.name != "nt" else rest
    return url2pathname(rest) if os.name == "nt" else unquote(rest, errors="surrogateescape")
