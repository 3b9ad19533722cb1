"""Extracted poses, cached by the content of their source: a detector takes seconds a frame on a CPU."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ...cancellation import check_cancelled
from ...errors import EchoMimicError, OutputError, PoseError
from ..sequence import PoseSequence
from .files import load_poses, save_poses

logger = logging.getLogger("echomimic")

# Part of every name: another way of extracting gives other names.
_VERSION = "2"


def cached(folder: Path | None, key: str, make: Callable[[], PoseSequence]) -> PoseSequence:
    """The clip that is cached under the key, or what `make` returns, which is then cached.

    Args:
        folder: made when it is needed; None caches nothing.
        key: names everything that the poses depend on, see `file_key` and `pictures_key`.
        make: called where nothing usable is cached.
    """
    if folder is None:
        return make()
    entry = folder / f"{key}.safetensors"
    try:
        if entry.is_file():
            found = load_poses(entry)
            logger.info("the poses of these pictures are cached and are read from %s", entry)
            return found
    except (EchoMimicError, OSError) as error:  # damaged, or in a folder that is closed
        logger.warning("cached poses are unusable and are made again: %s", error)
    sequence = make()
    try:
        save_poses(sequence, entry)
    except OutputError as error:
        logger.warning("the extracted poses could not be cached: %s", error)
    return sequence


def file_key(path: Path, *facts: object) -> str:
    """A cache key for a file's content and other values.

    Raises:
        PoseError: the file cannot be read.
    """
    digest = _digest(facts)
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                check_cancelled()
                digest.update(block)
    except OSError as error:
        raise PoseError(f"{path} cannot be read ({error.strerror or error})") from error
    return digest.hexdigest()[:32]


def pictures_key(pictures: Iterable[np.ndarray], *facts: object) -> str:
    """A cache key for pictures, uint8 `[H, W, 3]` each, and other values."""
    digest = _digest(facts)
    for picture in pictures:
        check_cancelled()
        digest.update(repr(picture.shape).encode())
        digest.update(np.ascontiguousarray(picture).data)
    return digest.hexdigest()[:32]


def _digest(facts: tuple[object, ...]) -> hashlib._Hash:
    return hashlib.sha256("|".join([_VERSION, *map(repr, facts), ""]).encode())
