"""Tables as spreadsheets and editors save them."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter

from ..errors import EchoMimicError
from .text import read_text

SEPARATORS = ",;\t|"
SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?', re.IGNORECASE)


def read_table(path: str | os.PathLike[str]) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """A table with a header line, separated by commas, semicolons, tabs or bars, in any encoding of `read_text`.

    Header names are lower-cased and stripped, fields are stripped, empty lines are left out.

    Returns:
        the columns, and each row with the number of its line and its fields by column.

    Raises:
        EchoMimicError: it cannot be read, has no header, a column twice, or more fields than columns in a row.
    """
    text = read_text(path, EchoMimicError)
    lines = text.splitlines()
    header = next((line for line in lines if line.strip()), "")
    if "\0" in text:
        raise EchoMimicError(f"{path} is no table: it holds binary data. Save it as CSV (comma separated values)")
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
            fields = [field.strip() for field in fields]
            if not any(fields):
                continue
            if not columns:
                while fields and not fields[-1]:
                    fields.pop()  # spreadsheets end lines with separators
                columns = [field.lower() for field in fields]
                twice = [name for name, count in Counter(columns).items() if count > 1]
                if twice:
                    raise EchoMimicError(f"the table {path} has the column {twice[0]!r} twice")
                continue
            extra = [field for field in fields[len(columns) :] if field]
            if extra:
                raise EchoMimicError(
                    f"line {reader.line_num} of {path} has {len(fields)} fields, but there are {len(columns)} columns: "
                    f"put fields that contain {separator!r} in double quotes"
                )
            rows.append((reader.line_num, dict(zip(columns, [*fields, *[""] * len(columns)]))))
    except csv.Error as error:
        raise EchoMimicError(f"line {reader.line_num} of {path} cannot be read as a table ({error})") from error
    return columns, rows
