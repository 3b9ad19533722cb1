"""Every mistake at the command line's doors: a sentence, exit code 2, no file made, changed or lost."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from echomimic.cli import inspect
from echomimic.cli.batch import read_jobs
from echomimic.cli.main import main
from echomimic.errors import EchoMimicError
from echomimic.pose import load_poses, save_poses
from tests.test_cli import bundle, facts, weights

__all__ = ["bundle", "weights"]  # fixtures
ASSETS = Path(__file__).resolve().parents[1] / "assets"
LONG = "x" * 300
NO_OPTIONS = argparse.Namespace(seed=0, frames=None, fps=None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Path) -> Path:
    """A folder with good inputs and with what people take for them; it is the current one."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 255, (96, 80, 3), np.uint8)).save("me.png")
    soundfile.write("voice.wav", 0.1 * random.standard_normal(4000), 16000)
    shutil.copy(ASSETS / "clips" / "waving.safetensors", "clip.safetensors")
    shutil.copy(bundle, "bundle.safetensors")
    junk = random.bytes(3000)
    for ending in ("png", "wav", "json", "safetensors", "csv", "mp4", "pth", "yaml"):
        Path(f"junk.{ending}").write_bytes(junk)
    Path("empty").write_bytes(b"")
    Path("deep.json").write_text("[" * 5000)
    Path("page.wav").write_text("<!DOCTYPE html><html>not found</html>")
    Path("pointer.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    Path("full").mkdir()
    Path("full/note.txt").write_text("mine")
    Path("a_folder").mkdir()
    shutil.copy("voice.wav", "voice.mp4")
    return tmp_path


def state(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(folder: Path, capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """The sentence of a command that must be refused and change nothing."""
    before = state(folder)
    try:
        code = main(list(command))
    except SystemExit as stopped:  # argparse's own refusals
        code = int(stopped.code or 0)
    printed = capsys.readouterr()
    assert code == 2
    assert "Traceback" not in printed.err and state(folder) == before
    return printed.err.strip().splitlines()[-1] if printed.err.strip() else printed.out


GENERATE = {"--image": "me.png", "--audio": "voice.wav", "--output": "o.mp4", "--bundle": "bundle.safetensors"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--image": "no.png"}, "there is no image file"),
        ({"--image": "empty"}, "is empty"),
        ({"--image": "junk.png"}, "cannot be read as a picture"),
        ({"--image": "a_folder"}, "there is no image file"),
        ({"--image": "voice.wav"}, "cannot be read as a picture"),
        ({"--image": "http://a/b.png"}, "is a web address: download the image file first"),
        ({"--image": LONG}, "File name too long"),
        ({"--audio": "empty"}, "is empty: record or download it again"),
        ({"--audio": "junk.wav"}, "Invalid data found when processing input. Save it as WAV"),
        ({"--audio": "page.wav"}, "is a web page"),
        ({"--audio": "me.png"}, "has no sound track"),
        ({"--audio": "pipe:0"}, "there is no sound file"),
        ({"--pose": "junk.json"}, "is not a JSON file"),
        ({"--pose": "deep.json"}, "is not a JSON file"),
        ({"--pose": "junk.safetensors"}, "not a readable .safetensors file"),
        ({"--pose": "bundle.safetensors"}, "not a pose clip"),
        ({"--pose": "pointer.safetensors"}, "Git LFS pointer"),
        ({"--pose": "full"}, "no poses in this folder"),
        ({"--pose": "clip.safetensors", "--pose-fps": "x"}, "invalid float value"),
        ({"--bundle": "clip.safetensors"}, "not a bundle"),
        ({"--bundle": "junk.safetensors"}, "not a weights file"),
        ({"--bundle": "pointer.safetensors"}, "Git LFS pointer"),
        ({"--bundle": "a_folder"}, "is a folder"),
        ({"--output": "o.avi"}, "does not end in .mp4"),
        ({"--output": "a_folder"}, "is a folder"),
        ({"--output": "me.png/o.mp4"}, "cannot write"),
        ({"--output": f"{LONG}.mp4"}, "File name too long"),
        ({"--output": "full", "--png": None}, "not an empty folder"),
        ({"--audio": "voice.mp4", "--output": "a_folder/../voice.mp4"}, "is the file of --audio"),
        ({"--resume": "bundle.safetensors"}, "is the file of --bundle"),
        ({"--resume": "a_folder/../o.mp4"}, "is the file of --output"),
        ({"--resume": "full"}, ""),
        ({"--resume": "me.png"}, "is the file of --image"),
        ({"--resume": "junk.pth"}, "cannot be read as a render's state"),
        ({"--width": "0"}, "must be 64 to 16384 pixels"),
        ({"--height": "99999999"}, "must be 64 to 16384 pixels"),
        ({"--fps": "nan"}, "nan"),
        ({"--fps": "1e9"}, "1000"),
        ({"--frames": "0"}, "0 frames"),
        ({"--frames": "99999999999"}, "frames were requested"),
        ({"--steps": "0"}, ""),
        ({"--guidance": "nan"}, "nan"),
        ({"--guidance": "1e30"}, "at most 1000"),
        ({"--window": "99"}, ""),
        ({"--overlap": "99"}, ""),
        ({"--lora": "junk.safetensors"}, "not a weights file"),
        ({"--lora": "clip.safetensors:nan"}, ""),
        ({"--device": "nowhere"}, "cannot be used here"),
        ({"--device": "meta"}, "cannot be used here"),
        ({"--pose": "clip.safetensors", "--pose-fps": "nan"}, "rate must be above 0"),
        ({"--pose-canvas": "0x0"}, "a size is WIDTHxHEIGHT"),
    ],
)
def test_generate(folder: Path, capsys, changes: dict[str, str | None], words: str) -> None:
    given = {**GENERATE, "--width": "64", "--height": "64", "--steps": "1", **changes}
    command = [part for name, value in given.items() for part in (name, value) if part is not None]
    assert words in refused(folder, capsys, "generate", *command, "--quiet")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--output", "o.avi", "does not end in .mp4"),
        ("--steps", "0", "steps"),
        ("--width", "3", "--width must be 64"),
        ("--fps", "nan", "got nan"),
        ("--frames", "999", "999 frames were requested, but the audio lasts"),
        ("--overlap", "12", "below the window length"),
        ("--variant", "standard", "is accelerated"),
        ("--lora", "no.safetensors:0.5", "there is no LoRA no.safetensors"),
    ],
)
def test_generate_reads_gigabytes_last(folder: Path, capsys, monkeypatch, option: str, value: str, words: str) -> None:
    """Output, numbers and LoRAs were looked at when all weights were read."""
    monkeypatch.setattr("echomimic.cli.generate.load_bundle", lambda *_, **__: pytest.fail("the weights were read"))
    command = [part for item in {**GENERATE, option: value}.items() for part in item]
    assert words in refused(folder, capsys, "generate", *command, "--quiet")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("download models", "stopped; the same command resumes"),
        ("batch jobs.csv --bundle bundle.safetensors", "stopped; the same command resumes"),
        ("train lora.yaml", "stopped; the same command resumes"),
        ("generate GENERATE --resume state.safetensors", "stopped; the same command resumes"),
        ("generate GENERATE", "stopped; nothing was left behind"),
    ],
)
def test_what_is_left_of_stopped_work(folder: Path, capsys, monkeypatch, command: str, words: str) -> None:
    """A download's files were kept, and the next line said that nothing was left behind."""

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for name in ("download.download", "batch.read_jobs", "train.read_config", "generate.find_source"):
        monkeypatch.setattr(f"echomimic.cli.{name}", stopped)
    given = " ".join(part for item in GENERATE.items() for part in item)
    assert main(command.replace("GENERATE", given).split()) == 130
    assert capsys.readouterr().err.strip() == f"echomimic: {words}"


HEAD = "image,audio,output\n"
RETARGET = "pose retarget clip.safetensors "


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", "is empty"),
        (HEAD, "has no line below its header"),
        ("[" * 3000, "is not a JSON file"),
        ('{"image": "me.png", "audio": ["voice.wav"]}', "entry 1 of jobs.csv is not a row of a table"),
        ("<html><table>", "is a web page"),
        (HEAD.strip() + ",seed\nme.png,voice.wav,o.mp4,1.5\n", "seed must be a whole number, got '1.5'"),
        (HEAD + "me.png,voice.wav,o.mp4\nme.png,voice.wav,a_folder/../o.mp4\n", "lines 2 and 3 .* the same output"),
        (HEAD + "me.png,voice.wav\0,o.mp4\n", "holds binary data"),
        (HEAD + "me.png,voice.wav,o.mp4,more\n", "has 4 fields"),
        ("image,image\n", "column 'image' twice"),
        (HEAD.strip() + ",fps\nme.png,voice.wav,o.mp4,inf\n", "1 of 1 videos failed: line 2"),
        (HEAD + "me.png,voice.wav,a_folder\n", "line 2 .*a_folder is a folder"),
    ],
)
def test_batch(folder: Path, capsys, table: str, words: str) -> None:
    (folder / "jobs.csv").write_text(table)
    command = ["batch", "jobs.csv", "--bundle", "bundle.safetensors", "--steps", "1", "--quiet"]
    assert re.search(words, refused(folder, capsys, *command))


def test_a_batch_survives_every_line_and_says_which_failed(folder: Path, capsys) -> None:
    """A name that the system refuses once ended the whole batch before its first video."""
    lines = ("o1.mp4", f"{LONG}.mp4", "o2.avi", "me.png/o.mp4", "o3.mp4")
    table = HEAD + "".join(f"me.png,voice.wav,{name}\n" for name in lines) + "me.png,junk.wav,o4.mp4\n"
    (folder / "jobs.csv").write_text(table)
    command = ["batch", "jobs.csv", "--bundle", "bundle.safetensors", "--steps", "1", "--quiet"]
    assert main([*command, "--width", "64", "--height", "64"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "4 of 6 videos failed: line 3 (" in said and all(f"line {line} (" in said for line in (4, 5, 7))
    assert facts(folder / "o1.mp4")[2] == facts(folder / "o3.mp4")[2] > 1
    assert {path.name for path in folder.glob("o*")} == {"o1.mp4", "o3.mp4"}


TABLES = {
    "pandas": ",image,audio,output,seed,frames,pose,fps\n0,me.png,vöice.wav,o.mp4,3.0,24.0,NaN,nan\n",
    "empty cells": "image,,audio,output,seed,frames\nme.png,,vöice.wav,o.mp4,3E0,24\n,,,,,\n\x1a",
    "quotes of Windows": 'image,audio,output,seed,frames\n"""me.png""",\'vöice.wav\',"""o.mp4""",3,24\n',
    "invisible": "\ufeff\ufeffimage,\u200baudio,output\u00a0,seed,frames\nme.png\u200b,vöice.wav,o.mp4,3,24\n",
    "accents apart": "image,audio,output,seed,frames\nme.png,vo\u0308ice.wav,o.mp4,3,24\n",
    "JSON lines": '{"Image":"me.png","audio":"vöice.wav","output":"o.mp4","seed":3,"frames":24.0,"pose":null}\n',
    "JSON": '[{"image":"me.png","audio":"v\\u00f6ice.wav","output":"o.mp4","seed":"3","frames":24}]',
    "Markdown": "|image|audio|output|seed|frames|\n|---|:---|:--:|---|---|\n| me.png | vöice.wav | o.mp4 | 3 | 24 |\n",
    "a title": "My videos,,\n,,,,\nimage,audio,output,seed,frames\nme.png,vöice.wav,o.mp4,3,24\n",
    "joined": "image,audio,output,seed,frames\nme.png,vöice.wav,o.mp4,3,24\nImage,Audio,Output,Seed,Frames\n",
    "quotes of text processors": "image,audio,output,seed,frames\n“me.png”,„vöice.wav“,«o.mp4»,3,24\n",
    "JSON in a dict": '{"jobs": [{"image":"me.png","audio":"vöice.wav","output":"o.mp4","seed":3,"frames":24}]}',
    "lines in quotes": 'image,audio,output,seed,frames\r\n"me.png\n","vöice.wav\r\n",o.mp4,3,24\r\n',
}


@pytest.mark.parametrize("table", TABLES)
def test_tables_of_other_programs(folder: Path, table: str) -> None:
    (folder / "voice.wav").rename(folder / "vöice.wav")
    (folder / "jobs.csv").write_bytes(TABLES[table].encode())
    (job,) = read_jobs(folder / "jobs.csv", argparse.Namespace(seed=0, frames=None, fps=None))
    assert job.image.is_file() and job.audio.is_file() and job.pose is None
    assert (job.output.name, job.seed, job.frames, job.fps) == ("o.mp4", 3, 24, None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gb18030", "cp932"])
def test_a_batch_finds_names_in_every_encoding(folder: Path, capsys, encoding: str) -> None:
    name = {"cp932": "ポートレート"}.get(encoding, "图片")
    (folder / "me.png").rename(folder / f"{name}.png")
    (folder / "jobs.csv").write_bytes(f"sep=;\nImage; AUDIO;output\n{name}.png;voice.wav;o.mp4\n".encode(encoding))
    command = ["batch", "jobs.csv", "--bundle", "bundle.safetensors", "--steps", "1", "--quiet"]
    assert main([*command, "--width", "64", "--height", "64", "--frames", "1"]) == 0
    assert facts(folder / "o.mp4")[2] == 1


NAMES = {
    "cp1251": "привет",
    "cp866": "доброе утро",
    "koi8_r": "привет",
    "cp949": "안녕하세요",
    "cp950": "你好世界",
    "gb18030": "人物",
    "cp932": "顔",
    "cp850": "süß",
    "mac_roman": "größe",
    "cp1250": "łódź",
    "cp1252": "Zoé",
    "cp1253": "γεια",
    "cp1254": "ışık",
    "cp1256": "مرحبا",
    "cp874": "สวัสดี",
}


@pytest.mark.parametrize("encoding", NAMES)
@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_table_is_in_the_encoding_in_which_its_files_are_there(tmp_path: Path, encoding: str, form: str) -> None:
    name = NAMES[encoding]
    (tmp_path / f"{name}.png").touch()
    table = f"image,audio,output\n{name}.png,voice.wav,{name}.mp4\n"
    if form == "json":
        table = f'{{"image": "{name}.png", "audio": "voice.wav", "output": "{name}.mp4"}}\n'
    (tmp_path / "jobs").write_bytes(table.encode(encoding))
    (job,) = read_jobs(tmp_path / "jobs", NO_OPTIONS)
    assert job.image.is_file() and job.output.name == f"{name}.mp4"


@pytest.mark.parametrize(
    ("encoding", "name"), [("cp1251", "привет"), ("cp1251", "ПРИВЕТ"), ("cp1253", "γεια"), ("cp1253", "ΚΑΛΗΜΕΡΑ")]
)
def test_a_table_whose_encoding_nothing_tells_is_refused(tmp_path: Path, encoding: str, name: str) -> None:
    table = f"image,audio,output\nme.png,voice.wav,{name}.mp4\n"
    (tmp_path / "jobs.csv").write_bytes(table.encode(encoding))
    with pytest.raises(EchoMimicError, match=r'jobs\.csv is not in UTF-8, .* save it as UTF-8, .* "CSV UTF-8"'):
        read_jobs(tmp_path / "jobs.csv", NO_OPTIONS)


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("cp949", "김민수 인터뷰"), ("cp949", "안녕하세요"), ("cp950", "測試影片"), ("cp950", "安娜的故事"),
     ("gb18030", "安娜的故事"), ("gb18030", "测试视频"), ("cp932", "こんにちは")],
)  # fmt: skip
def test_the_language_of_a_new_name_tells_the_encoding(tmp_path: Path, caplog, encoding: str, name: str) -> None:
    (tmp_path / "jobs.csv").write_bytes(f"image,audio,output\nme.png,voice.wav,{name}.mp4\n".encode(encoding))
    (job,) = read_jobs(tmp_path / "jobs.csv", NO_OPTIONS)
    assert job.output.name == f"{name}.mp4"
    assert f"is read as {encoding}" in caplog.text


def test_a_western_table_whose_encoding_nothing_tells_is_read_with_a_note(tmp_path: Path, caplog) -> None:
    (tmp_path / "jobs.csv").write_bytes("image,audio,output\nme.png,voice.wav,süß.mp4\n".encode("cp1252"))
    (job,) = read_jobs(tmp_path / "jobs.csv", NO_OPTIONS)
    assert job.output.name == "süß.mp4"
    assert "is read as cp1252 ('süß.mp4')" in caplog.text


HEADS = {
    "comments above": "# made by hand\n#\n\n# image, audio: see below\nimage,audio,output\n",
    "a header that is a comment": "# image,audio,output\n",
    "numbered": "#,image,audio,output\n",
    "Excel's separator": "# a note; with a semicolon\nsep=,\nimage,audio,output\n",
}


@pytest.mark.parametrize("head", HEADS)
def test_comments_of_a_table(folder: Path, head: str) -> None:
    shutil.copy(folder / "me.png", folder / "#1.png")
    first = "{}," if head == "numbered" else ""
    lines = ("#1.png,voice.wav,a.mp4", "me.png,voice.wav,b.mp4")
    rows = "".join(first.format(number) + f"{line}\n" for number, line in enumerate(lines))
    (folder / "jobs.csv").write_text(
        HEADS[head] + rows + "# a, note, of, many, commas\n#me.png,voice.wav,c.mp4\n# end\n"
    )
    jobs = read_jobs(folder / "jobs.csv", NO_OPTIONS)
    assert [(job.image.name, job.output.name) for job in jobs] == [("#1.png", "a.mp4"), ("me.png", "b.mp4")]


def read_seed(folder: Path, seed: str) -> int:
    (folder / "jobs.csv").write_text(f"image;audio;output;seed\nme.png;voice.wav;o.mp4;{seed}\n")
    (job,) = read_jobs(folder / "jobs.csv", NO_OPTIONS)
    return job.seed


@pytest.mark.parametrize(
    ("text", "seed"),
    [("3.0", 3), ("1E+09", 10**9), ("2,5e6", 2_500_000), ("1.23E+02", 123), ("123456789.0", 123456789),
     ("1234567890123456789", 1234567890123456789), ("9007199254740992.0", 2**53), ("100000000000000000000", 10**20)],
)  # fmt: skip
def test_seeds_as_programs_write_them(tmp_path: Path, caplog, text: str, seed: int) -> None:
    assert read_seed(tmp_path, text) == seed
    assert not caplog.text


@pytest.mark.parametrize(
    "text",
    ["1.23457E+18", "1,23457E+18", "1.23E+18", "1.23457E+11", "1.23456789012346E+018", "1.2345678901234568e+18",
     "1.2345678901234568e+16", "12345678901234567.0"],
)  # fmt: skip
def test_a_seed_that_lost_digits_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(EchoMimicError, match=rf"line 2 of .*: seed {re.escape(text)} lost its last digits .* as text"):
        read_seed(tmp_path, text)


@pytest.mark.parametrize("text", ["1,000", "1.000", "1 000", "1'234'567", "1.234.567", "-2,000"])
def test_a_number_in_groups_of_digits_is_refused(tmp_path: Path, text: str) -> None:
    """`1,000` was read as 1."""
    with pytest.raises(EchoMimicError, match="may be thousands or a fraction: write it without separators"):
        read_seed(tmp_path, text)


def test_marks_of_direction_around_a_copied_path_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "me.png").touch()
    (tmp_path / "jobs.csv").write_text("image,audio,output\n\u202ame.png,\u200evoice.wav\u202c,o.mp4\n", "utf-8")
    (job,) = read_jobs(tmp_path / "jobs.csv", NO_OPTIONS)
    assert job.image.is_file() and job.audio.name == "voice.wav"


def test_a_seed_that_ends_as_a_spreadsheet_ends_long_numbers_is_noted(tmp_path: Path, caplog) -> None:
    assert read_seed(tmp_path, "1234567890123450000") == 1234567890123450000
    assert "perhaps a spreadsheet cut seed 1234567890123450000 off after 15 digits" in caplog.text


@pytest.mark.parametrize(
    "cell",
    ['="ä b.png"', '"=""ä b.png"""', "{url}", "{url_with_host}", "'{url}'"],
    ids=lambda cell: cell.strip("\"'{}"),
)
def test_names_that_a_spreadsheet_or_a_browser_has_wrapped(tmp_path: Path, cell: str) -> None:
    (tmp_path / "ä b.png").touch()
    url = (tmp_path / "ä b.png").as_uri()
    cell = cell.format(url=url, url_with_host=url.replace("file://", "file://localhost"))
    (tmp_path / "jobs.csv").write_text(f"image,audio,output\n{cell},voice.wav,{tmp_path.as_uri()}/new%20one.mp4\n")
    (job,) = read_jobs(tmp_path / "jobs.csv", NO_OPTIONS)
    assert job.image.is_file() and job.output == tmp_path / "new one.mp4"


def test_options_take_file_urls(folder: Path, capsys) -> None:
    given = {name: (folder / value).as_uri() for name, value in GENERATE.items()}
    lora = f"{(folder / 'no lora.safetensors').as_uri()}:0.5"
    command = [part for item in {**given, "--lora": lora}.items() for part in item]
    assert f"there is no LoRA {folder / 'no lora.safetensors'}" in refused(folder, capsys, "generate", *command)
    command = [part for item in given.items() for part in item]
    assert (
        main(["generate", *command, "--width", "64", "--height", "64", "--steps", "1", "--frames", "1", "--quiet"]) == 0
    )
    assert facts(folder / "o.mp4")[2] == 1


CLIPS = (
    "no", "empty", "junk.json", "junk.safetensors", "deep.json", "me.png", "a_folder", "full", "bundle.safetensors",
)  # fmt: skip


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize(
    "command",
    [
        "convert CLIP --output o.safetensors",
        "fit CLIP --frames 5 --output o.safetensors",
        "preview CLIP --output o.png",
        "retarget CLIP --portrait clip.safetensors --output o.safetensors",
        "retarget clip.safetensors --portrait CLIP --output o.safetensors",
        "generate --audio CLIP --output o.safetensors",
        "generate --audio voice.wav --library CLIP --output o.safetensors",
    ],
)
def test_pose_inputs(folder: Path, capsys, command: str, clip: str) -> None:
    words = command.replace("CLIP", clip).split()
    assert clip in refused(folder, capsys, "pose", *words, "--quiet")


@pytest.mark.parametrize(
    "options",
    [
        "convert clip.safetensors --output o.txt",
        "convert clip.safetensors --output full",
        "convert clip.safetensors --output ..",
        "convert clip.safetensors --output me.png/o.json",
        f"convert clip.safetensors --output {LONG}",
        f"convert clip.safetensors --output {LONG}.json",
        "convert clip.safetensors --output o.json --fps nan",
        "convert clip.safetensors --output o.json --loop 99999999999999999999",
        "convert clip.safetensors --output o.json --hold 1e30 0",
        "convert clip.safetensors --output o.json --trim nan nan",
        "fit clip.safetensors --output o.json --seconds 1e12",
        "fit clip.safetensors --output o.json --frames 5 --fps 0",
        "preview clip.safetensors --output o.jpg",
        "preview clip.safetensors --output a_folder",
        f"preview clip.safetensors --output {LONG}.png",
        "preview clip.safetensors --output o.png --pictures 0",
        "preview clip.safetensors --output o.png --image junk.png",
        "generate --audio voice.wav --output o.json --energy nan",
        "generate --audio voice.wav --output o.json --clips nobody",
        "generate --audio voice.wav --output o.json --fps 1e9",
        "extract no.mp4 --output o.json",
    ],
)
def test_pose_options(folder: Path, capsys, options: str) -> None:
    assert len(refused(folder, capsys, "pose", *options.split(), "--quiet")) > 20


@pytest.mark.parametrize("file", [*CLIPS[:-1], "junk.pth", "pointer.safetensors", "junk.csv", LONG])
def test_inspect(folder: Path, capsys, file: str) -> None:
    assert len(refused(folder, capsys, "inspect", file)) > 20


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("no.mp4 --output data", "there is no video or folder"),
        ("full --output data", "no video is in"),
        ("junk.mp4 --output data --size 63", "multiple of 8"),
        ("junk.mp4 --output data --size 80000", "at most 4096"),
        ("junk.mp4 --output data --max-seconds inf", "cannot be made"),
        ("junk.mp4 --output data --min-seconds nan", "cannot be made"),
        ("junk.mp4 --output data --workers 99999", "1 to 64"),
        ("--show-curriculum o.txt", "must end in .png"),
        ("--show-curriculum a_folder", "must end in .png"),
        ("--show-curriculum no/o.png --output full", "holds no metadata.jsonl"),
    ],
)
def test_prepare(folder: Path, capsys, options: str, words: str) -> None:
    assert words in refused(folder, capsys, "prepare", *options.split(), "--quiet")


@pytest.mark.parametrize("file", ["no.yaml", "empty", "junk.yaml", "a_folder", "me.png", "deep.json"])
def test_train(folder: Path, capsys, file: str) -> None:
    pytest.importorskip("yaml")
    assert refused(folder, capsys, "train", file).startswith("echomimic: ")


def test_full_memory_is_a_sentence(folder: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(options: object) -> int:
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate memory: you tried 9 GB"
        )

    monkeypatch.setattr(inspect, "weight_files", full)
    assert "memory is full" in refused(folder, capsys, "inspect", "empty")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names there are always Unicode")
def test_names_in_no_encoding(folder: Path, capsys) -> None:
    """Latin-1 names of old archives: what can be read is, and for the rest the sentence says why."""
    name = os.fsdecode(b"caf\xe9")
    for before, after in (("me.png", ".png"), ("voice.wav", ".wav"), ("bundle.safetensors", ".safetensors")):
        Path(before).rename(name + after)
    command = ["generate", "--image", f"{name}.png", "--audio", f"{name}.wav", "--steps", "1", "--frames", "1"]
    refusal = refused(folder, capsys, *command, "--bundle", f"{name}.safetensors", "--output", "o.mp4", "--quiet")
    assert "has a name that is not UTF-8" in refusal
    Path(f"{name}.safetensors").rename("bundle.safetensors")
    made = [*command, "--bundle", "bundle.safetensors", "--output", f"{name}.mp4", "--width", "64", "--height", "64"]
    assert main([*made, "--quiet"]) == 0
    assert main(["pose", "convert", "clip.safetensors", "--output", f"{name}2.json", "--quiet"]) == 0
    assert Path(f"{name}.mp4").is_file() and Path(f"{name}2.json").is_file()


@pytest.mark.skipif(os.name == "nt", reason="a table of Windows elsewhere")
def test_a_batch_reads_the_paths_of_a_table_from_windows(folder: Path) -> None:
    (folder / "me.png").rename(folder / "a_folder" / "me.png")
    (folder / "jobs.csv").write_text(HEAD + "a_folder\\me.png,voice.wav,out\\o.mp4\n")
    command = ["batch", "jobs.csv", "--bundle", "bundle.safetensors", "--steps", "1", "--quiet"]
    assert main([*command, "--width", "64", "--height", "64", "--frames", "1"]) == 0
    assert facts(folder / "out" / "o.mp4")[2] == 1


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("pose preview clip.safetensors --image me.png --output me.png", "--output me.png is the file of --image"),
        ("pose preview clip.safetensors --audio me.png --output a_folder/../me.png", "is the file of --audio"),
        (RETARGET + "--portrait one.json --image me.png --overlay me.png --output o.json", "is the file of --image"),
        (RETARGET + "--portrait one.json --output one.json", "is the file of --portrait"),
        (RETARGET + "--portrait one.safetensors --output one.safetensors", "is the file of --portrait"),
        ("pose retarget one.json --portrait one.safetensors --output one.json", "is the clip that is read"),
        ("pose convert clip.safetensors one.json --output one.json", "is the clip that is read"),
        ("pose fit one.json --frames 9 --output one.json", "is the clip that is read"),
        ("pose generate --audio voice.wav --library lib --output lib/rest.safetensors", "is one of the clips"),
        ("evaluate --made full --truth a_folder --output row.png", "name row.json"),
        ("evaluate --made full --truth a_folder --output a_folder", "is a folder"),
        ("evaluate --made full --truth a_folder --output me.png/row.json", "cannot write me.png/row.json"),
        ("avatar me.png --weights bundle.safetensors --output bundle.safetensors", "is the file of --weights"),
    ],
)
def test_nothing_is_written_over_what_it_is_made_of(folder: Path, capsys, command: str, words: str) -> None:
    """A portrait was replaced by its preview, a plot took the place of the results it showed."""
    one = load_poses("clip.safetensors").take([0])
    save_poses(one, "one.json")
    save_poses(one, "one.safetensors")
    Path("lib").mkdir()
    save_poses(one, "lib/rest.safetensors")
    assert words in refused(folder, capsys, *command.split())
