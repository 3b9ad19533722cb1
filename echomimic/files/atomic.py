"""The one way this project writes files: whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from ..errors import OutputError

# File systems allow 255 bytes; the temporary name adds the process number and an ending.
MAX_NAME_BYTES = 200
ENDING = ".partial"
# A process that writes shows it within this time.
LEFT_SECONDS = 24 * 3600
WINDOWS = os.name == "nt"
WINDOWS_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f]')


def check_name(path: str | os.PathLike[str]) -> None:
    """Check, before the work, that a file may have this name.

    Raises:
        OutputError: a character that no file name has, or that Windows gives another meaning (after a colon the
            bytes go into an alternate data stream, which nobody sees).
    """
    path = Path(path)
    try:
        if "\0" in os.fspath(path):
            raise ValueError
        os.fsencode(path)
    except ValueError as error:
        raise OutputError(f"{os.fspath(path)!r} holds a character that no file name can have: name another") from error
    forbidden = WINDOWS_FORBIDDEN.findall(os.fspath(path)[len(path.drive) :]) if WINDOWS else []
    if forbidden:
        raise OutputError(f"{path} holds {' '.join(sorted(set(forbidden)))}, which Windows does not allow in names")


def link_end(path: str | os.PathLike[str]) -> Path:
    """The file that a symbolic link leads to, which need not be there; any other path as it is.

    What is written to a link goes where it leads, and the link stays: people lead outputs to another disk so.

    Raises:
        OSError: it leads in a circle, or into a folder that is not there, such as that of a disk that is not mounted.
    """
    path = Path(path)
    if not path.is_symlink():
        return path
    end = Path(os.path.realpath(path))
    reason = errno.ELOOP if end.is_symlink() else 0 if end.parent.is_dir() else errno.ENOENT
    if reason:
        raise OSError(reason, os.strerror(reason), os.fspath(path))
    return end


def temporary_path(path: Path) -> Path:
    """A hidden name beside `path`, of this process; short enough even where the name itself is as long as allowed."""
    name = path.name
    if len(os.fsencode(name)) > MAX_NAME_BYTES:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
    return path.with_name(f".{name}.{os.getpid()}{ENDING}")


def leftovers(path: Path) -> Iterator[Path]:
    """What processes that were killed, or are still writing, have beside `path`."""
    start = temporary_path(path).name.removesuffix(f"{os.getpid()}{ENDING}")
    pattern = re.compile(re.escape(start) + r"\d+" + re.escape(ENDING))
    if path.parent.is_dir():
        yield from (entry for entry in path.parent.iterdir() if pattern.fullmatch(entry.name))


def sweep(path: Path) -> None:
    """Remove what killed processes left beside `path`.

    What has this process's number goes at once (in containers it is often the same), the rest after a day: others may
    be writing right now.
    """
    with suppress(OSError):  # another process may have been quicker
        for entry in leftovers(path):
            if entry == temporary_path(path) or time.time() - entry.stat().st_mtime > LEFT_SECONDS:
                if entry.is_dir():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()


def keep_finished(finished: Path, path: Path, error: OSError) -> OutputError:
    """Keep what may not take the place of `path`, as on Windows while a player has the old video open.

    It gets a free name beside `path`, such as "NAME (1).mp4"; where that is refused, too, it keeps its own.

    Args:
        finished: the file or folder.
        path: where it was to go.
        error: why it could not, which is raised again where nothing is left to keep.

    Returns:
        the error for the user, which names what is kept.
    """
    if not finished.exists():
        raise error
    # Short enough for any file system.
    names = (path.with_name(f"{path.stem[:50]} ({number}){path.suffix}") for number in count(1))
    kept = next(name for name in names if not name.exists())
    try:
        finished.rename(kept)
    except OSError:
        kept = finished
    return OutputError(
        f"{path} cannot be replaced ({error.strerror or error}), perhaps because another program has it open: what was "
        f"made is kept as {kept}"
    )


@contextmanager
def atomic_write(path: str | os.PathLike[str], *, flush: bool = False, keep: bool = False) -> Iterator[Path]:
    """A temporary path to write to; it takes the place of `path` when the block ends without an exception.

    When the block is interrupted, `path` keeps its old content and nothing is left beside it.

    Args:
        path: the file; its folder is made if it is not there, a file of that name is replaced. Of a link the file that
            it leads to.
        flush: wait until the bytes are on the disk before the replacement, so that a power cut leaves a whole file.
        keep: the file took long to make: where it may not take the place of `path` it is kept beside it.

    Raises:
        OSError: as the file system reports it.
        OutputError: the file is kept under another name, see `keep_finished`.
    """
    path = link_end(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        if flush:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    try:
        temporary.replace(path)
    except OSError as error:
        if keep:
            raise keep_finished(temporary, path, error) from error
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_output(path: str | os.PathLike[str]) -> Iterator[Path]:
    """`atomic_write` for a file that the user named.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with atomic_write(path) as temporary:
            yield temporary
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def atomic_folder(path: str | os.PathLike[str], *, replace: bool = False) -> Iterator[Path]:
    """A temporary folder to fill; it takes the place of `path` when the block ends without an exception.

    Args:
        path: absent or an empty folder, unless `replace`; or a link to such a one, which stays.
        replace: a folder of that name goes, with all that it holds, once the new one is whole.

    Raises:
        OSError: as the file system reports it.
        OutputError: the filled folder may not take its place and is kept under another name, see `keep_finished`.
    """
    path = link_end(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    older = temporary_path(path.with_name(f"{path.name}.replaced"))

    def tidy(*unwanted: Path) -> None:
        if older.is_dir() and not path.exists():
            older.rename(path)
        for folder in unwanted:
            shutil.rmtree(folder, ignore_errors=True)

    # A killed process of the same number has left its own; in containers the number is often the same.
    tidy(temporary, older)
    try:
        temporary.mkdir()
        yield temporary
    except BaseException:
        tidy(temporary)
        raise
    try:
        if path.is_dir() and replace:
            path.rename(older)
        elif path.is_dir():
            path.rmdir()
        temporary.rename(path)
    except OSError as error:
        raise keep_finished(temporary, path, error) from error
    finally:
        tidy(older)
