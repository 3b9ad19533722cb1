"""Lists folders: without raising, and without scanning a folder again that has not changed."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger("echomimic")

# Links may lead in circles.
MAX_DEPTH = 8
# A folder that changed this recently may change again without a new time stamp.
SETTLED_SECONDS = 5.0
# Folders whose entries are cached.
MAX_CACHED = 2000

_cached: dict[str, tuple[int, list[Entry]]] = {}
_lock = threading.Lock()


class Entry(NamedTuple):
    """Something in a folder."""

    path: str
    name: str
    is_folder: bool


def list_folder(folder: str | os.PathLike[str]) -> list[Entry]:
    """What is in a folder, sorted by name; nothing where it is missing.

    A folder that cannot be read (`lost+found` of a mounted disk) counts as empty, which is logged.
    Entries are not examined one by one: the directory itself says which are folders. A folder whose modification time
    is the same as before is not scanned again.
    """
    place = os.fspath(folder)
    try:
        changed = Path(place).stat().st_mtime_ns
        with _lock:
            known = _cached.get(place)
        if known is not None and known[0] == changed:
            return known[1]
        with os.scandir(place) as found:
            listed = sorted(Entry(entry.path, entry.name, is_folder(entry)) for entry in found)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:  # ValueError: a name that no file system has
        logger.info("%s cannot be read (%s) and is left out", folder, getattr(error, "strerror", None) or error)
        return []
    with _lock:
        if len(_cached) >= MAX_CACHED:
            _cached.clear()
        if time.time() - changed / 1e9 > SETTLED_SECONDS:
            _cached[place] = (changed, listed)
        else:
            _cached.pop(place, None)
    return listed


def is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to a place that this user may not read
        return False


def scan(folder: str | os.PathLike[str], suffixes: Collection[str] = (), depth: int = MAX_DEPTH) -> Iterator[Path]:
    """Files below a folder, sorted by name, folder by folder, see `list_folder`.

    Args:
        folder: where to search; a missing folder gives no files.
        suffixes: keep files with these endings, in any case (".json"); none: all.
        depth: how many levels of folders to search.
    """
    wanted = tuple(suffix.lower() for suffix in suffixes)
    for entry in list_folder(folder):
        if entry.is_folder:
            if depth > 1:
                yield from scan(entry.path, suffixes, depth - 1)
        elif not wanted or entry.name.lower().endswith(wanted):
            yield Path(entry.path)
