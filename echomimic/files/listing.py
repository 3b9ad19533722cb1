"""What is in a folder: one scan, which never raises."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator
from pathlib import Path

logger = logging.getLogger("echomimic")

# Links may lead in circles.
MAX_DEPTH = 8


def scan(folder: str | os.PathLike[str], suffixes: Collection[str] = (), depth: int = MAX_DEPTH) -> Iterator[Path]:
    """Files below a folder, sorted by name, folder by folder.

    Folders that cannot be read (`lost+found` of a mounted disk) are skipped, which is logged. Entries are
    not examined one by one: the directory itself says which are folders.

    Args:
        folder: where to search; a missing folder gives no files.
        suffixes: keep files with these endings, in any case (".json"); none: all.
        depth: how many levels of folders to search.
    """
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    except OSError as error:
        logger.info("%s cannot be looked into (%s) and is left out", folder, error.strerror or error)
        return
    wanted = tuple(suffix.lower() for suffix in suffixes)
    for entry in listed:
        try:
            is_folder = entry.is_dir()
        except OSError:
            continue
        if is_folder:
            if depth > 1:
                yield from scan(entry.path, suffixes, depth - 1)
        elif not wanted or entry.name.lower().endswith(wanted):
            yield Path(entry.path)
