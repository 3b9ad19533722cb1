"""Tables as spreadsheets and editors save them."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Collection

from ..errors import EchoMimicError
from .text import read_json, read_text

SEPARATORS = ",;\t|"
# DOS's end-of-file mark, and the invisible characters that come along with copied text.
END_OF_FILE = "\x1a"
INVISIBLE = "\ufeff\u200b\u2060"
COMMENT = "#"
# A text that a spreadsheet is to leave as it is (`="007.png"`).
FORMULA_TEXT = re.compile(r'="(.*)"', re.DOTALL)
SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?', re.IGNORECASE)


Table = tuple[list[str], list[tuple[int, dict[str, str]]]]


def read_table(path: str | os.PathLike[str], expected: Collection[str] = (), page: str = "") -> Table:
    """A table with a header line, separated by commas, semicolons, tabs or bars, in any encoding of `read_text`; or
    JSON, see `read_objects`.

    Header names are lower-cased and stripped, fields are stripped, empty lines and comments (`# ...`) are left out.

    Args:
        path: the file.
        expected: columns by which a header is known that begins with `#`.
        page: the code page of a table that is no Unicode; by default the likeliest.

    Returns:
        the columns, and each row with the number of its line and its fields by column.

    Raises:
        EchoMimicError: it cannot be read, has no header, a column twice, or more fields than columns in a row.
    """
    text = read_text(path, EchoMimicError, page).rstrip(END_OF_FILE)
    if text.lstrip()[:1] in ("{", "["):
        return read_objects(path, page)
    header = next((line for line in text.splitlines() if line.strip() and not is_comment(line, expected)), "")
    if "\0" in text:
        raise EchoMimicError(f"{path} is not a table: it holds binary data. Save it as CSV (comma separated values)")
    if not header.strip():
        raise EchoMimicError(f"the table {path} is empty: its first line must name the columns")
    declared = SEPARATOR_LINE.fullmatch(header.strip())
    if declared:  # Excel's own first line
        text = text[text.index(header) + len(header) :].lstrip("\r\n")
        header = text
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
                if is_comment(separator.join(fields), expected):
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


def is_comment(line: str, expected: Collection[str]) -> bool:
    """Whether a line above the header is a comment; a header may begin with `#` as well, and names what is expected."""
    if not line.lstrip(INVISIBLE).lstrip().startswith(COMMENT):
        return False
    words = {word.strip().strip('"').lower() for word in re.split(r"[,;\t|#]", line)}
    return not expected or not words.issuperset(expected)


def read_objects(path: str | os.PathLike[str], page: str = "") -> Table:
    """A table written as JSON: a list of objects, or one object a line; as `read_table`, with the objects' numbers.

    Raises:
        EchoMimicError: it is not JSON, or holds anything but objects of texts and numbers.
    """
    content = read_json(path, EchoMimicError, page)
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
