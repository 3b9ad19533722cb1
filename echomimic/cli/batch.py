"""`batch`: many videos with the networks loaded once."""

from __future__ import annotations

import argparse
import logging
import os
import re
import unicodedata
from collections.abc import Callable, Collection
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ..errors import Cancelled, EchoMimicError
from ..files.paths import from_url
from ..files.tables import Table, read_table
from ..files.text import possible_pages, read_bytes
from ..media.containers import reason_of
from .distributed import joined_processes
from .generate import (
    add_settings,
    add_weights,
    check_own_inputs,
    find_source,
    load_networks,
    read_inputs,
    render_with,
)
from .options import file_path

logger = logging.getLogger("echomimic")

# Of programs and of text processors.
QUOTES = "\"'\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb"
# Whole numbers above it are rounded when a program keeps them as a float, and by spreadsheets with fewer digits still.
MAX_EXACT_FLOAT = 2.0**53
SPREADSHEET_DIGITS = 15
# Digits in groups of three, or a fraction of three digits.
GROUPED = re.compile(r"[-+]?\d{1,3}(?:[.,\s'\u2019]\d{3})+")
# What pandas and other programs write into empty cells.
NO_VALUE = ("nan", "none", "null", "n/a", "#n/a")


def whole_number(text: str) -> int:
    """A whole number, also as pandas and spreadsheets write it in a column with empty cells: `24.0`, `1E+09`.

    Raises:
        ValueError: it is not one.
    """
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise
        return int(number)


def lost_digits(text: str) -> bool:
    """Whether a number was shortened to fewer digits than it has (`1.23457E+18`), or to what a float holds."""
    mantissa, _, power = text.lower().partition("e")
    size = abs(float(text))
    if not power:
        return "." in mantissa and size > MAX_EXACT_FLOAT
    digits = sum(character.isdigit() for character in mantissa)
    return digits > 2 and size >= min(10.0**digits, MAX_EXACT_FLOAT)


def ends_like_a_spreadsheets(number: int) -> bool:
    """Whether a long number has zeros from the 16th digit on, as spreadsheets keep only 15."""
    digits = str(abs(number))
    return len(digits) > SPREADSHEET_DIGITS + 1 and 12 < len(digits.rstrip("0")) <= SPREADSHEET_DIGITS


REQUIRED = ("image", "audio", "output")
INPUT_COLUMNS = ("image", "audio", "pose")
# Western words have no four accented letters side by side; those of other alphabets read in their code page have.
FOREIGN_RUN = re.compile("[^\x00-\x7f]{4}")
# Columns that a line may have besides those, and how their texts are read.
OPTIONAL: dict[str, Callable[[str], Any]] = {
    "pose": Path,
    "width": whole_number,
    "height": whole_number,
    "fps": float,
    "frames": whole_number,
    "steps": whole_number,
    "guidance": float,
    "seed": whole_number,
    "window": whole_number,
    "overlap": whole_number,
}

FORMAT = """\
The table has a header line and one line a video:

  image,audio,pose,output,seed
  anna.png,hello.wav,assets/clips/waving.safetensors,out/anna.mp4,1
  ben.png,news.mp3,,out/ben.mp4,2

image, audio and output are needed; pose and any of width, height, fps, frames, steps, guidance, seed,
window and overlap may be there, and empty fields take this command's options. Paths are relative to the
table. A video that exists already is skipped; a line that fails is reported at the end and stops no other.
Commas, semicolons and tabs separate fields, as spreadsheets save them; JSON lines are read as well. Lines that
begin with # are left out.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "batch",
        help="make many videos, one for each line of a table",
        description="Make one video for each line of a table (CSV), loading the weights once.",
        epilog=FORMAT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("jobs", type=file_path, help="the table (.csv)")
    add_weights(parser)
    add_settings(parser)
    parser.set_defaults(run=run, resumes=True, png=False)


def run(options: argparse.Namespace) -> int:
    jobs = read_jobs(options.jobs, options)
    todo = [job for job in jobs if not is_made(job.output)]
    if len(todo) < len(jobs):
        logger.info("%d of %d videos exist already", len(jobs) - len(todo), len(jobs))
    if not todo:
        return 0
    source, _ = find_source(options)
    networks, device = load_networks(options, source)
    processes = joined_processes()
    failed = []
    for number, job in enumerate(todo, 1):
        logger.info("video %d of %d: %s", number, len(todo), job.output)
        try:
            # Else one of several would go on to the next line while the others are in this one.
            with nullcontext() if processes is None else processes.together():
                check_own_inputs(job)
                render_with(networks, read_inputs(job), job, device)
        except Cancelled:
            raise
        except Exception as error:  # one failed job must not end the whole batch
            reason = reason_of(error)
            logger.warning("%s failed: %s", job.output, reason)
            if not isinstance(error, EchoMimicError):
                logger.debug("line %d", job.line, exc_info=True)
            failed.append(f"line {job.line} ({reason})")
    if failed:
        raise EchoMimicError(f"{len(failed)} of {len(todo)} videos failed: {'; '.join(failed)}")
    return 0


def is_made(path: Path) -> bool:
    """Whether the file exists; a name that the system refuses does not, and fails when its turn comes."""
    return is_there(path) and path.is_file()


def read_jobs(path: Path, options: argparse.Namespace) -> list[argparse.Namespace]:
    """The table's lines as options, each with the number of its `line`.

    Raises:
        EchoMimicError: the table cannot be read, lacks a column, has one that is not known, a field of another kind, or
            two lines with one output; all before the first video is begun.
    """
    columns, rows = read_rows(path)
    known = (*REQUIRED, *OPTIONAL)
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise EchoMimicError(f"the table {path} lacks the columns {', '.join(missing)}; it has {shortened(columns)}")
    unknown = [name for name in columns if name not in known]
    if unknown:
        raise EchoMimicError(f"the table {path} has columns {shortened(unknown)}; it may have {', '.join(known)}")
    jobs = [make_job(path, line, row, options) for line, row in rows if not is_left_out(path, line, row)]
    if not jobs:
        raise EchoMimicError(f"the table {path} has no line below its header: there is no video to make")
    lines: dict[str, int] = {}
    for job in jobs:
        # Without ".." and, where the system does not tell them apart, capitals; links are followed.
        output = os.path.normcase(os.path.realpath(job.output))
        if output in lines:
            raise EchoMimicError(
                f"lines {lines[output]} and {job.line} of {path} have the same output {job.output}: one would "
                "overwrite the other"
            )
        lines[output] = job.line
    return jobs


def read_rows(path: Path) -> Table:
    """The table; where its encoding is unknown, in the one in which the files that it names are there.

    Raises:
        EchoMimicError: as `read_table`, or nothing tells the encoding.
    """
    pages = possible_pages(read_bytes(path, EchoMimicError))
    if not pages:
        return read_table(path, REQUIRED)
    tables, found = {}, {}
    for page in pages:
        try:
            tables[page] = read_table(path, REQUIRED, page)
        except EchoMimicError:
            if page == pages[0]:
                raise
            continue
        names = foreign_names(tables[page], INPUT_COLUMNS)
        found[page] = sum(is_there(path.parent / portable(name, path.parent)) for name in names)
        if names and found[page] == len(names):
            return tables[page]
    page = max(found, key=lambda page: found[page])
    odd = next(iter(foreign_names(tables[page], [*INPUT_COLUMNS, "output"])), "")
    if odd and not found[page] and FOREIGN_RUN.search(odd) and page == "cp1252":
        raise EchoMimicError(
            f"{path} is not in UTF-8, and none of its names tells the encoding (is {odd!r} right?): save it as UTF-8, "
            'which spreadsheets call "CSV UTF-8"'
        )
    if odd:
        logger.warning(
            '%s is not in UTF-8 and is read as %s (%r): save it as "CSV UTF-8" if that is wrong', path, page, odd
        )
    return tables[page]


def foreign_names(table: Table, columns: Collection[str]) -> list[str]:
    """The names in these columns that hold more than ASCII, by which encodings differ."""
    return [row[name] for _, row in table[1] for name in columns if not row.get(name, "").isascii()]


def is_left_out(path: Path, line: int, row: dict[str, str]) -> bool:
    """Whether a row is turned off by a `#` before it, and not the name of a file."""
    first = next(iter(row.values()))
    if not first.startswith("#") or is_there(path.parent / portable(first, path.parent)):
        return False
    logger.info("line %d of %s begins with # and is left out", line, path)
    return True


def portable(text: str, base: Path) -> Path:
    """A path of the table as this system has it.

    That is the text itself, or, where there is no such file, without quotes around it (Windows' "Copy as path"), the
    path in a `file:` URL, with Windows' separators turned, in the other Unicode form of accents (macOS decomposes
    them), or below the home folder.
    """
    bare = text[1:-1] if len(text) > 2 and text[0] in QUOTES and text[-1] in QUOTES else text
    bare = from_url(bare)
    turned = bare.replace("\\", "/")
    others = [turned, *(unicodedata.normalize(form, turned) for form in ("NFC", "NFD"))]
    if turned.startswith("~/"):
        others.append(str(Path(turned).expanduser()))
    return Path(next((spelling for spelling in (text, bare, *others) if is_there(base / spelling)), turned))


def is_there(path: Path) -> bool:
    """Whether there is a file or folder of that name; a name that the system refuses is none."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def shortened(names: list[str]) -> str:
    """Column names for a message; a file that is not a table may have long and many ones."""
    shown = ", ".join(name[:30] for name in names[:12])
    return shown + (", ..." if len(names) > 12 else "")


def make_job(table: Path, line: int, row: dict[str, str], options: argparse.Namespace) -> argparse.Namespace:
    """One line's options."""
    job = argparse.Namespace(**{**vars(options), "line": line, "pose": None})
    for name, kind in {**dict.fromkeys(REQUIRED, Path), **OPTIONAL}.items():
        text = row.get(name, "")
        if not text or (name in OPTIONAL and text.lower() in NO_VALUE):
            if name in REQUIRED:
                raise EchoMimicError(f"line {line} of {table} has no {name}")
            continue
        if kind is whole_number and GROUPED.fullmatch(text):
            raise EchoMimicError(
                f"line {line} of {table}: {name} {text} may be thousands or a fraction: write it without separators"
            )
        try:
            if kind is Path:
                value: Any = table.parent / portable(text, table.parent)
            else:
                value = kind(text.replace(",", "."))
        except (ValueError, OverflowError) as error:
            sort = "whole number" if kind is whole_number else "number"
            raise EchoMimicError(f"line {line} of {table}: {name} must be a {sort}, got {text!r}") from error
        if kind is whole_number and lost_digits(text.replace(",", ".")):
            raise EchoMimicError(
                f"line {line} of {table}: {name} {text} lost its last digits when a spreadsheet or program rounded it: "
                "write all digits, in a column that is formatted as text"
            )
        if kind is whole_number and ends_like_a_spreadsheets(value):
            logger.warning(
                "line %d of %s: perhaps a spreadsheet cut %s %s off after 15 digits", line, table, name, text
            )
        setattr(job, name, value)
    return job
