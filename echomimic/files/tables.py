"""Tables as spreadsheets and editors save them."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
from collections import Counter
from collections.abc import Collection

from ..errors import EchoMimicError
from .text import read_json, read_text

logger = logging.getLogger("echomimic")

SEPARATORS = ",;\t|"
# DOS's end-of-file mark, and the invisible characters that come along with copied text, such as the mark of direction
# before a path that was copied from a file's properties in Windows.
END_OF_FILE = "\x1a"
INVISIBLE = "\ufeff\u200b\u2060\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
COMMENT = "#"
LINE_END = re.compile(r"\r\n?|\n")
# A text that a spreadsheet is to leave as it is (`="007.png"`).
FORMULA_TEXT = re.compile(r'="(.*)"', re.DOTALL)
# Under the header of a table in Markdown.
RULE = re.compile(r"(:?-{2,}:?)?")
SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?', re.IGNORECASE)


Table = tuple[list[str], list[tuple[int, dict[str, str]]]]


def read_table(path: str | os.PathLike[str], expected: Collection[str] = (), page: str = "") -> Table:
    """A table with a header line, separated by commas, semicolons, tabs or bars, in any encoding of `read_text`; or
    JSON, see `read_objects`.

    Header names are lower-cased and stripped, fields are stripped, empty lines and comments (`# ...`) are left out.

    Args:
        path: the file.
        expected: columns that it must have, by which a header is known below a title or behind a `#`.
        page: the code page of a table that is no Unicode; by default the likeliest.

    Returns:
        the columns, and each row with the number of its line and its fields by column.

    Raises:
        EchoMimicError: it cannot be read, has no header, a column twice, or more fields than columns in a row.
    """
    text = read_text(path, EchoMimicError, page).rstrip(END_OF_FILE)
    if text.lstrip()[:1] in ("{", "["):
        return read_objects(path, page)
    lines = [line for line in LINE_END.split(text) if line.strip()]
    declared = next((found for line in lines if (found := SEPARATOR_LINE.fullmatch(line.strip()))), None)
    header = next((line for line in lines if names_all(line, expected)), "")
    known = bool(header)
    header = header or next((line for line in lines if not is_above(line)), "")
    if "\0" in text:
        raise EchoMimicError(f"{path} is not a table: it holds binary data. Save it as CSV (comma separated values)")
    if not header.strip():
        raise EchoMimicError(f"the table {path} is empty: its first line must name the columns")
    separator = declared[1] if declared else max(SEPARATORS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    columns: list[str] = []
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        for fields in reader:
            fields = [plain_field(field) for field in fields]
            if not any(fields):
                continue
            if not columns:
                line = separator.join(fields)
                is_header = names_all(line, expected) if known else not is_above(line)
                if not is_header:
                    if not is_above(line):
                        logger.info("%s: the line %r above the header is left out", path, line[:40])
                    continue
                fields[0] = fields[0].lstrip(f"{COMMENT} ")
                while fields and not fields[-1]:
                    fields.pop()  # spreadsheets end lines with separators
                columns = [field.lower() for field in fields]
                twice = [name for name, count in Counter(columns).items() if name and count > 1]
                if twice:
                    raise EchoMimicError(f"the table {path} has the column {twice[0]!r} twice")
                continue
            extra = [field for field in fields[len(columns) :] if field]
            if [field.lower() for field in fields[: len(columns)]] == columns or all(map(RULE.fullmatch, fields)):
                continue  # tables that were put one behind another; the line under a Markdown table's header
            if fields[0].startswith(COMMENT) and (extra or not any(fields[1:]) or not columns[0]):
                continue
            if extra:
                raise EchoMimicError(
                    f"line {reader.line_num} of {path} has {len(fields)} fields, but there are {len(columns)} columns: "
                    f"put fields that contain {separator!r} in double quotes"
                )
            row = dict(zip(columns, [*fields, *[""] * len(columns)]))
            row.pop("", None)  # a column without a name: row numbers, or an empty one between others
            if any(row.values()):
                rows.append((reader.line_num, row))
    except csv.Error as error:
        raise EchoMimicError(f"line {reader.line_num} of {path} cannot be read as a table ({error})") from error
    return [name for name in columns if name], rows


def plain_field(field: str) -> str:
    """A field without blanks and invisible marks around it."""
    field = field.strip(INVISIBLE).strip()
    text = FORMULA_TEXT.fullmatch(field)
    return text[1].replace('""', '"').strip() if text else field


def names_all(line: str, expected: Collection[str]) -> bool:
    """Whether a line names all columns that are expected, if there are any; it may begin with `#`."""
    words = {plain_field(word).strip('"').strip().lower() for word in re.split(rf"[{SEPARATORS}{COMMENT}]", line)}
    return bool(expected) and words.issuperset(expected)


def is_above(line: str) -> bool:
    """Whether a line stands above a header: a comment, or Excel's own first line."""
    line = line.strip(INVISIBLE).strip()
    return line.startswith(COMMENT) or SEPARATOR_LINE.fullmatch(line) is not None


def read_objects(path: str | os.PathLike[str], page: str = "") -> Table:
    """A table written as JSON: a list of objects, or one object a line; as `read_table`, with the objects' numbers.

    Raises:
        EchoMimicError: it is not JSON, or holds anything but objects of texts and numbers.
    """
    content = read_json(path, EchoMimicError, page)
    if isinstance(content, dict) and len(content) == 1:
        content = next((rows for rows in content.values() if isinstance(rows, list)), content)  # {"jobs": [...]}
    objects = content if isinstance(content, list) else [content]
    rows: list[tuple[int, dict[str, str]]] = []
    for number, fields in enumerate(objects, 1):
        if not isinstance(fields, dict) or any(isinstance(value, (dict, list)) for value in fields.values()):
            raise EchoMimicError(
                f"entry {number} of {path} is not a row of a table: name its fields, each with one value"
            )
        texts = {name.strip().lower(): "" if value is None else str(value).strip() for name, value in fields.items()}
        if any(texts.values()):
            rows.append((number, texts))
    columns = list(dict.fromkeys(name for _, fields in rows for name in fields))
    return columns, [(number, {name: fields.get(name, "") for name in columns}) for number, fields in rows]
