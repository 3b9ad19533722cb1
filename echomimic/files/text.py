"""The one way this project reads text, in the encodings that other programs write."""

from __future__ import annotations

import codecs
import json
import locale
import os
import re
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import EchoMimicError
from .heads import HEAD_BYTES, match_head, recognise_kind

# A table or a keypoint file of more bytes than this is not one.
MAX_TEXT_BYTES = 512 * 2**20

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Two Chinese, Korean or Japanese characters in a row, as other languages have them only now and then.
EASTERN_RUN = re.compile(rb"(?:[\x81-\xfe][\x40-\x7e\x80-\xfe]){2}")
# Capital letters alone of a Cyrillic or Greek code page, which are Chinese characters, too.
CAPITALS = re.compile(rb"[\x00-\x7f\xc0-\xdf]*")
# Of the 2350 syllables of KS X 1001 those that make nine of ten in texts, and those of usual names.
KOREAN_SYLLABLES = frozenset(
    "가각간값강같개거건검게결경계고공과관구굴권그기길김까나남내냅너널녀녕노높뉴는능니님다단당대더데델도동되된됩두드든"
    "들디딕딩따때또라래램량러럼레려력렬령례로록롬료류르른를름리린림립링마막만말메며면명모목무문미민및바박반방배버번베"
    "변별보복본봄부분브블비빠사산상새색샘생서석선설성세셋셔션소속송수숙순스습시식신실십아안않알압야약어얼엄업없었에여"
    "연열영예오옥옵와왕요용우운움워원위유윤율으은을음의이인일임입있자작잠장재저적전접정제져조종주준줄중지직진집차참찾"
    "처철체초최추축출춤치친커컨코크키타태택터텍템통트티틸파패페편포표프플필하학한할함합항해했행향현형혜호홍화확환활황"
    "후훈희히"
)
# First bytes of files that are taken for texts, and what to do about them.
NOT_TEXTS = {
    b"PK\x03\x04": "is an archive or a spreadsheet (.xlsx): unpack it, or save it as CSV (comma separated values)",
    b"\xd0\xcf\x11\xe0": "is an old spreadsheet (.xls): save it as CSV (comma separated values)",
    b"{\\rtf": "is a text with formats (RTF): save it as plain text",
    b"<table": "is a table of a web page: open it in a spreadsheet, and save it as CSV (comma separated values)",
    b"%PDF": "is a PDF document: export it as a text",
}
# What programs on Windows, macOS and older systems write in the languages of the world, usual ones first.
CODE_PAGES = (
    *("cp1252", "cp932", "gb18030", "cp949", "cp950", "big5hkscs", "cp1251", "cp1250", "cp1253", "cp1254", "cp1255"),
    *("cp1256", "cp1257", "cp1258", "cp874", "mac_roman", "mac_cyrillic", "mac_latin2", "mac_greek", "mac_turkish"),
    *("cp850", "cp437", "cp852", "cp866", "koi8_r", "koi8_u", "euc_jp", "iso8859_2", "iso8859_5", "iso8859_7"),
)
FOREIGN_LETTERS = re.compile("[\u0080-\u07ff]+")


def read_text(path: str | os.PathLike[str], error: type[EchoMimicError], page: str = "") -> str:
    """A text file in UTF-8 or UTF-16 with or without a byte order mark, else in a code page of Windows.

    Args:
        path: the file.
        error: the class to raise.
        page: the code page of what is no Unicode; by default the likeliest.

    Raises:
        error: the file is missing, closed to this user, or far too large for a text.
    """
    return decode_text(read_bytes(path, error), page)


def read_bytes(path: str | os.PathLike[str], error: type[EchoMimicError]) -> bytes:
    """The bytes of a text file; raises as `read_text`."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_TEXT_BYTES:
            raise error(f"{path} has {size / 1e9:.1f} GB, too much for a text file")
        content = path.read_bytes()
        reason = match_head(content, NOT_TEXTS) or recognise_kind(content[:HEAD_BYTES], "file")
        if reason:
            raise error(f"{path} {reason}")
        return content
    except FileNotFoundError:
        raise error(f"there is no file {path}") from None
    except IsADirectoryError:
        raise error(f"{path} is a folder; a file is needed here") from None
    except OSError as failure:
        raise error(f"{path} cannot be read ({failure.strerror or failure})") from failure


def decode_text(content: bytes, page: str = "") -> str:
    """Bytes of a text of unknown encoding; where they are no Unicode, in this code page or else the likeliest."""
    text = decode_unicode(content)
    return content.decode(page or code_page(content), errors="replace") if text is None else text


def possible_pages(content: bytes) -> list[str]:
    """The code pages that a text may be in, the likeliest first; none where it is Unicode."""
    if decode_unicode(content) is not None:
        return []
    found = [code_page(content)]
    for page in CODE_PAGES:
        with suppress(UnicodeDecodeError):
            content.decode(page)
            found.append(page)
    return list(dict.fromkeys(found))


def decode_unicode(content: bytes) -> str | None:
    """A text in UTF-8, UTF-16 or UTF-32; None for another encoding."""
    for mark, encoding in MARKS:
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    # UTF-16 without a mark: every other byte of mostly Latin text is zero.
    head = content[:200]
    if len(head) >= 4:
        if head[1::2].count(0) > 0.6 * len(head[1::2]):
            return content.decode("utf-16-le", errors="replace")
        if head[::2].count(0) > 0.6 * len(head[::2]):
            return content.decode("utf-16-be", errors="replace")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    # Some Eastern words happen to be UTF-8 too, of letters that no language puts side by side.
    return None if mixes_scripts(text) and code_page(content) in USUAL else text


def mixes_scripts(text: str) -> bool:
    """Whether letters beyond ASCII stand side by side in different scripts, and none has three bytes in UTF-8."""
    if not text.isascii() and max(text) < "\u0800":
        for word in FOREIGN_LETTERS.findall(text):
            if len({unicodedata.name(letter, "?").split()[0] for letter in word if letter.isalpha()}) > 1:
                return True
    return False


def code_page(content: bytes) -> str:
    """The Windows code page of a text that is not UTF-8, such as a table that a spreadsheet saved.

    This machine's own where it has one, an Eastern language's where most of what is not ASCII is usual there, else
    cp1252.
    """
    own = locale.getpreferredencoding(False)
    if codecs.lookup(own).name not in ("utf-8", "ascii"):
        return own
    if not EASTERN_RUN.search(content) or CAPITALS.fullmatch(content):
        return "cp1252"
    shares = {page: usual_share(content, page) for page in USUAL}
    # Korean bytes are all usual in Chinese, hardly the other way round, and kana are in no other language.
    for page in ("cp932", "cp949", max(("gb18030", "cp950"), key=lambda page: shares[page])):
        if shares[page] > 0.5:
            return page
    return "cp1252"


def usual_share(content: bytes, page: str) -> float:
    """How much of what is not ASCII is usual in the code page's language; 0 for bytes that it does not have."""
    try:
        foreign = [character for character in content.decode(page) if character > "\x7f"]
    except UnicodeDecodeError:
        return 0.0
    return sum(map(USUAL[page], foreign)) / max(1, len(foreign))


def is_kana(character: str) -> bool:
    """Whether this is hiragana or katakana, which only Japanese has; no Western text has their bytes."""
    return "\u3040" <= character <= "\u30fc"


def is_frequent_korean(character: str) -> bool:
    """Whether this is a syllable of everyday Korean."""
    return character in KOREAN_SYLLABLES


def is_frequent_chinese(character: str) -> bool:
    """Whether this is in the half of GB 2312 with frequent characters; accented letters decode into the other half."""
    code = character.encode("gb18030")
    return len(code) == 2 and 0xB0 <= code[0] <= 0xD7 and code[1] >= 0xA1


def is_frequent_traditional(character: str) -> bool:
    """Whether this is in the part of Big5 with frequent characters."""
    code = character.encode("cp950")
    return len(code) == 2 and 0xA4 <= code[0] <= 0xC6


# By code page: whether a character is usual in its language.
USUAL = {
    "cp932": is_kana,
    "cp949": is_frequent_korean,
    "gb18030": is_frequent_chinese,
    "cp950": is_frequent_traditional,
}


def read_json(path: str | os.PathLike[str], error: type[EchoMimicError], page: str = "") -> Any:
    """The content of a JSON file; arguments as for `read_text`.

    Raises:
        error: it cannot be read, or is not JSON; the message says where.
    """
    text = read_text(path, error, page)
    if not text.strip():
        raise error(f"{path} is empty")
    try:
        return json.loads(text)
    except json.JSONDecodeError as failure:
        lines = parse_lines(text) if failure.msg == "Extra data" else None
        if lines is None:
            raise error(f"{path} is not a JSON file ({failure})") from failure
        return lines
    except Exception as failure:  # any bytes, any depth
        raise error(f"{path} is not a JSON file ({failure})") from failure


def parse_lines(text: str) -> list[Any] | None:
    """The values of JSON lines, one a line; None where a line is not JSON."""
    try:
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, RecursionError):
        return None
