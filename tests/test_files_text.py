"""Text and tables as spreadsheets, editors and operating systems save them."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echomimic.errors import EchoMimicError, PoseError
from echomimic.files.listing import scan
from echomimic.files.tables import read_table
from echomimic.files.text import decode_text, read_json, read_text

TABLE = "image,audio,output\nanna é.png,hello.wav,out.mp4\n"
ROW = {"image": "anna é.png", "audio": "hello.wav", "output": "out.mp4"}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_same_text_in_every_encoding(tmp_path, encoding):
    (tmp_path / "a.csv").write_bytes(TABLE.encode(encoding))
    assert read_text(tmp_path / "a.csv", EchoMimicError) == TABLE


# A zero after the mark of UTF-16 makes it that of UTF-32, and stands in no text.
@given(st.text(st.characters(codec="utf-8", exclude_characters="\ufeff\0")))
def test_text_with_a_mark_is_exact(text):
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        assert decode_text(mark + text.encode(encoding)) == text


@given(st.binary())
def test_any_bytes_are_some_text(content):
    assert isinstance(decode_text(content), str)


@pytest.mark.parametrize(
    "text",
    [
        TABLE,
        TABLE.replace(",", ";"),
        TABLE.replace(",", "\t"),
        TABLE.replace(",", ", "),
        TABLE.replace("image,audio,output", "Image,AUDIO,Output"),
        TABLE.replace("\n", "\r\n") + "\r\n,,\r\n",
        TABLE.replace("output\n", "output,,\n").replace("out.mp4\n", "out.mp4,,\n"),
        '"image","audio","output"\n"anna é.png","hello.wav","out.mp4"\n',
        "\n" + TABLE,
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_the_same_table_in_every_dialect(tmp_path, text, encoding):
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    columns, rows = read_table(tmp_path / "a.csv")
    assert columns[:3] == ["image", "audio", "output"]
    assert [fields for _, fields in rows] == [ROW]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("image,image\na,b\n", "column 'image' twice"),
        ("image,audio\na,b,c\n", "line 2 of .* has 3 fields, but there are 2 columns"),
        ("PK\x03\x04\0\0", "archive or a spreadsheet"),
        ("{\\rtf1 image,audio}", "RTF"),
        ("<table><tr><td>image", "is a table of a web page"),
    ],
)
def test_what_is_no_table_is_a_sentence(tmp_path, text, words):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(EchoMimicError, match=words):
        read_table(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "words"), [("gone.json", "there is no file"), ("folder", "is a folder"), ("empty.json", "is empty")]
)
def test_unreadable_text_is_a_sentence(tmp_path, name, words):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.json").write_text(" ")
    with pytest.raises(PoseError, match=words):
        read_json(tmp_path / name, PoseError)


def test_a_broken_json_file_names_the_place(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1,')
    with pytest.raises(PoseError, match=r"a\.json is not a JSON file .*line 1"):
        read_json(tmp_path / "a.json", PoseError)


def test_a_scan_finds_files_by_ending_and_leaves_closed_folders_out(tmp_path, monkeypatch):
    import os

    for name in ("b.JSON", "a.json", "c.png", "sub/d.json", "closed/e.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    scandir = os.scandir

    def closed(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", closed)
    found = [path.relative_to(tmp_path).as_posix() for path in scan(tmp_path, (".json",))]
    assert found == ["a.json", "b.JSON", "sub/d.json"]
    assert list(scan(tmp_path / "gone")) == []


def test_a_scan_asks_the_system_once_a_folder(tmp_path, monkeypatch):
    for number in range(200):
        (tmp_path / f"{number}.json").write_text("")
    examined, stat = [], Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **given: examined.append(path) or stat(path, **given))
    assert len(list(scan(tmp_path, (".json",)))) == 200
    assert examined == [tmp_path]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("图片.png,声音.wav,输出/视频.mp4", "gb18030"),
        ("张三.png", "gb18030"),
        ("图片.png", "gb18030"),  # its bytes are UTF-8, too
        ("ơ ư ș café Ünïcødé привет αβγ.png", "utf-8"),
        ("e\u0301te\u0301.png", "utf-8"),  # as macOS writes names
        ("ポートレート.png,こんにちは.wav", "cp932"),
        ("얼굴.png,목소리.wav,출력/영상.mp4", "cp949"),
        ("圖片.png,聲音.wav,輸出/影片.mp4", "cp950"),
        ("中文字幕.png", "cp950"),
        ("préféré, élève, été à côté.png", "cp1252"),
        ("größe.png,Füße.wav,süß", "cp1252"),
        ("NARRAÇÃO.png", "cp1252"),
        ("ÄÖÜ.png", "cp1252"),
        ("“Zoé” – ‘café’…", "cp1252"),
    ],
)
def test_tables_of_windows_in_other_languages(text, encoding):
    assert decode_text(text.encode(encoding)) == text


def test_a_machines_own_code_page_counts_first(monkeypatch):
    monkeypatch.setattr("locale.getpreferredencoding", lambda do_setlocale=True: "cp1251")
    assert decode_text("привет.png".encode("cp1251")) == "привет.png"
    assert decode_text("привет.png".encode()) == "привет.png"


def test_the_separator_that_excel_names_counts(tmp_path):
    (tmp_path / "a.csv").write_text("sep=;\r\nimage;audio;output\r\na, b.png;c.wav;d.mp4\r\n", encoding="utf-8-sig")
    columns, rows = read_table(tmp_path / "a.csv")
    assert columns == ["image", "audio", "output"]
    assert rows[0][1] == {"image": "a, b.png", "audio": "c.wav", "output": "d.mp4"}


def test_a_row_with_nothing_but_its_number_is_no_row(tmp_path):
    (tmp_path / "t.csv").write_text(",image,audio\n0,a.png,b.wav\n1,,\n")
    assert read_table(tmp_path / "t.csv") == (["image", "audio"], [(2, {"image": "a.png", "audio": "b.wav"})])
