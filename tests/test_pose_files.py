"""Pose clips on disk: what is read, what is refused, and that nothing is ever run or half-written."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from echomimic.errors import EchoMimicError, OutputError, PoseError
from echomimic.pose import Canvas, PoseSequence, load_poses, save_poses
from echomimic.pose.sequence import FEET, POINTS
from echomimic.pose.sources.files import check_clip_name

CLIPS = {"01": 336, "good": 102, "fight": 132, "salute": 97}


def random_clip(frames: int = 3, seed: int = 0, **settings) -> PoseSequence:
    random = np.random.default_rng(seed)
    return PoseSequence(
        random.normal(0.5, 0.3, (frames, POINTS, 2)), random.uniform(0, 1.2, (frames, POINTS)), **settings
    )


def original_frame(**changes) -> dict:
    """A frame as the original's detector writes it."""
    random = np.random.default_rng(7)
    frame = {
        "bodies": {
            "candidate": random.random((18, 2)),
            "subset": np.arange(18.0)[None],
            "score": random.random((1, 18)),
        },
        "hands": random.random((2, 21, 2)),
        "hands_score": random.random((2, 21)),
        "faces": random.random((1, 68, 2)),
        "faces_score": random.random((1, 68)),
        "num": 0,
        "draw_pose_params": [768, 768, 0, 768, 0, 768],
    }
    return frame | changes


def write_frames(folder: Path, *frames: object) -> Path:
    folder.mkdir(exist_ok=True)
    for number, frame in enumerate(frames):
        np.save(folder / f"{number}.npy", np.array(frame, dtype=object), allow_pickle=True)
    return folder


def write_pickle(folder: Path, body: bytes) -> Path:
    """A folder whose only frame is this pickle behind a correct header."""
    folder.mkdir(exist_ok=True)
    with (folder / "0.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(body)
    return folder


# ---- the original's folders


@pytest.mark.parametrize("name", CLIPS)
def test_published_clips_read_as_numpy_reads_them(shared: Path, name: str) -> None:
    clip = load_poses(shared / "assets" / "pose" / name)
    last = CLIPS[name] - 1
    expected = np.load(shared / "assets" / "pose" / name / f"{last}.npy", allow_pickle=True).item()
    assert len(clip) == CLIPS[name] and clip.fps == 24.0 and clip.canvas == Canvas()
    np.testing.assert_array_equal(clip.keypoints[last, :18], expected["bodies"]["candidate"])
    np.testing.assert_array_equal(clip.scores[last, :18], expected["bodies"]["score"][0])
    np.testing.assert_array_equal(clip.keypoints[last, 24:92], expected["faces"][0])
    np.testing.assert_array_equal(clip.scores[last, 24:92], expected["faces_score"][0])
    np.testing.assert_array_equal(clip.keypoints[last, 92:].reshape(2, 21, 2), expected["hands"])
    np.testing.assert_array_equal(clip.scores[last, 92:].reshape(2, 21), expected["hands_score"])
    assert not clip.scores[:, FEET].any()


def test_folder_rate_is_the_callers(tmp_path: Path) -> None:
    assert load_poses(write_frames(tmp_path / "a", original_frame()), fps=29.97).fps == 29.97


def test_missing_frames_are_named(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "a", *[original_frame()] * 9)
    for number in (0, 3, 4, 5):
        (folder / f"{number}.npy").unlink()
    with pytest.raises(PoseError, match=r"4 of 9 frames are missing: 0\.npy, 3\.npy to 5\.npy$"):
        load_poses(folder)


def test_a_frame_with_an_absurd_number_does_not_exhaust_the_memory(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "a", original_frame())
    (folder / "0.npy").rename(folder / "99999999999999999999.npy")
    with pytest.raises(PoseError, match=r"frames are missing: 0\.npy to"):
        load_poses(folder)


def test_folder_without_poses(tmp_path: Path) -> None:
    (tmp_path / "notes.npy").touch()
    with pytest.raises(PoseError, match="no poses in this folder"):
        load_poses(tmp_path)


def test_single_frame_file_points_to_its_folder(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "a", original_frame())
    with pytest.raises(PoseError, match="give the folder"):
        load_poses(folder / "0.npy")


def test_missing_path_and_foreign_ending(tmp_path: Path) -> None:
    with pytest.raises(PoseError, match="no such pose clip"):
        load_poses(tmp_path / "nothing.safetensors")
    (tmp_path / "clip.bvh").touch()
    with pytest.raises(PoseError, match="not a pose clip"):
        load_poses(tmp_path / "clip.bvh")


def test_frames_cut_from_different_squares_are_brought_into_one(tmp_path: Path) -> None:
    wide = original_frame()
    narrow = original_frame(draw_pose_params=[768, 384, 0, 768, 192, 576])
    clip = load_poses(write_frames(tmp_path / "a", wide, narrow))
    assert clip.canvas == Canvas()
    np.testing.assert_allclose(clip.keypoints[1, 0] * [2, 1] - [0.5, 0], clip.keypoints[0, 0])


WRONG_FRAMES = {
    "not a dict": [1, 2, 3],
    "no bodies": {key: value for key, value in original_frame().items() if key != "bodies"},
    "bodies is a list": original_frame(bodies=[1]),
    "hands of three": original_frame(hands=np.zeros((3, 21, 2))),
    "two people": original_frame(faces=np.zeros((2, 68, 2))),
    "hands as a list": original_frame(hands=[[0.0, 1.0]]),
    "array of objects": original_frame(hands=np.full((2, 21, 2), None)),
    "array of texts": original_frame(hands=np.full((2, 21, 2), "a")),
    "array of records": original_frame(hands=np.zeros((2, 21), [("x", "f8"), ("y", "f8")])),
    "complex numbers": original_frame(hands=np.zeros((2, 21, 2), np.complex128)),
    "five parameters": original_frame(draw_pose_params=[768, 768, 0, 768, 0]),
    "parameters contradict": original_frame(draw_pose_params=[768, 500, 0, 768, 0, 768]),
    "negative parameters": original_frame(draw_pose_params=[768, 768, -768, 0, 0, 768]),
    "fractional parameters": original_frame(draw_pose_params=[767.5, 768, 0, 767.5, 0, 768]),
    "huge parameters": original_frame(draw_pose_params=[10**9, 10**9, 0, 10**9, 0, 10**9]),
}


@pytest.mark.parametrize("frame", WRONG_FRAMES.values(), ids=WRONG_FRAMES.keys())
def test_wrong_contents_are_refused_with_the_file_named(tmp_path: Path, frame: object) -> None:
    with pytest.raises(PoseError, match=r"1\.npy"):
        load_poses(write_frames(tmp_path / "a", original_frame(), frame))


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "<i8"])
def test_arrays_of_any_number_type_and_order(tmp_path: Path, dtype: str) -> None:
    hands = np.asfortranarray((np.arange(84).reshape(2, 21, 2) % 7).astype(dtype))
    clip = load_poses(write_frames(tmp_path / "a", original_frame(hands=hands, num=np.int64(3))))
    np.testing.assert_array_equal(clip.keypoints[0, 92:].reshape(2, 21, 2), hands)


def test_not_finite_and_far_points_become_absent(tmp_path: Path) -> None:
    hands = np.full((2, 21, 2), 0.5)
    hands[0, 0, 0], hands[0, 1, 1], hands[1, 0, 0] = np.nan, np.inf, 1e300
    clip = load_poses(write_frames(tmp_path / "a", original_frame(hands=hands, hands_score=np.ones((2, 21)))))
    assert clip.scores[0, 92:].sum() == 39
    assert np.isfinite(clip.keypoints).all()


# ---- files that are up to no good


class MakesAFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_is_refused_by_name_and_not_run(tmp_path: Path, protocol: int) -> None:
    body = pickle.dumps({"num": MakesAFile(tmp_path / "ran")}, protocol=protocol)
    with pytest.raises(PoseError, match=r"refused, the file asks to run '(posix|nt)\.mkdir'"):
        load_poses(write_pickle(tmp_path / "a", body))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "body",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        b"(S'true'\nios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.",
    ],
    ids=["GLOBAL", "STACK_GLOBAL", "INST", "OBJ"],
)
def test_every_way_to_name_a_function_is_refused(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(PoseError, match=r"asks to run 'os\.system'"):
        load_poses(write_pickle(tmp_path / "a", body))


@pytest.mark.parametrize("name", ["builtins\neval", "numpy\nload", "numpy.testing\nrundocs", "numpy\nndarray.tofile"])
def test_names_beside_the_admitted_ones_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PoseError, match=f"asks to run '{name.replace(chr(10), '.')}'"):
        load_poses(write_pickle(tmp_path / "a", b"c" + name.encode() + b"\n."))


def array_pickle(shape: bytes, data: bytes) -> bytes:
    """A frame whose 'hands' claim to be an array of float64 of this pickled shape with this data."""
    return (
        b"\x80\x03cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01)cnumpy\ndtype\n"
        b"X\x02\x00\x00\x00O8\x89\x88\x87R\x89]}X\x05\x00\x00\x00handscnumpy.core.multiarray\n_reconstruct\n"
        b"cnumpy\nndarray\n" + shape + b"C\x01b\x87R(K\x01" + shape + b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x89\x88\x87R"
        b"\x89" + data + b"tbsatb."
    )


HUGE_TUPLE = b"\x8a\x05\x00\x00\x00\x00\x10\x85"  # (2**36,)
BOMBS = {
    "array claims terabytes": array_pickle(HUGE_TUPLE, b"C\x08abcdefgh"),
    "memo of gigabytes": b"\x80\x03]r\xff\xff\xff\x7f.",
    "bytearray of gigabytes": b"\x80\x05\x96" + struct.pack("<Q", 1 << 33) + b"abc.",
    "bytes of gigabytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 33) + b"abc.",
    "text of gigabytes": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 33) + b"abc.",
    "frame of gigabytes": b"\x80\x04\x95" + struct.pack("<Q", 1 << 33) + b"N.",
    "lists in lists": b"\x80\x03" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "lists that share their parts": b"\x80\x03]" + b"q\x00]h\x00ah\x00ah\x00ah\x00a" * 500 + b".",
}


@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS.keys())
def test_bombs_are_refused_without_taking_memory(tmp_path: Path, body: bytes) -> None:
    folder = write_pickle(tmp_path / "a", body)
    tracemalloc.start()
    try:
        with pytest.raises(PoseError):
            load_poses(folder)
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '|O', 'fortran_order': False, 'shape': (1099511627776,), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }",
        b"(" * 900,
        b"{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (), }",
        b"\xff" * 20,
    ],
)
def test_hostile_npy_headers_are_refused(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "0.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n")
    with pytest.raises(PoseError, match=r"0\.npy"):
        load_poses(tmp_path)


def test_large_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "0.npy").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(PoseError, match="too large"):
        load_poses(tmp_path)


def valid_npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array(original_frame(), dtype=object), allow_pickle=True)
    return stream.getvalue()


VALID = valid_npy()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.binary(max_size=6)), min_size=1, max_size=6))
def test_damaged_frames_give_our_errors_only(tmp_path: Path, edits: list[tuple[int, bytes]]) -> None:
    data = bytearray(VALID)
    for place, content in edits:
        data[place : place + len(content)] = content
    (tmp_path / "0.npy").write_bytes(data)
    try:
        clip = load_poses(tmp_path)
    except EchoMimicError:
        return
    assert np.isfinite(clip.keypoints).all() and np.isfinite(clip.scores).all()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=60), protocol=st.booleans())
@example(body=b"(((((", protocol=True)
def test_random_pickles_give_our_errors_only(tmp_path: Path, body: bytes, protocol: bool) -> None:
    with pytest.raises(EchoMimicError):
        load_poses(write_pickle(tmp_path, (b"\x80\x04" if protocol else b"") + body))


# ---- our clips


def test_clip_round_trip_keeps_everything(tmp_path: Path) -> None:
    clip = random_clip(
        5, fps=23.976, canvas=Canvas(1024, (0, 1024), (100, 900)), info={"name": "Gruß", "energy": "0.4"}
    )
    read = load_poses(save_poses(clip, tmp_path / "deep" / "er" / "clip.safetensors"))
    np.testing.assert_array_equal(read.keypoints, clip.keypoints)
    np.testing.assert_array_equal(read.scores, clip.scores)
    assert (read.fps, read.canvas, read.info) == (clip.fps, clip.canvas, clip.info)


def test_clip_in_half_the_size(tmp_path: Path) -> None:
    clip = random_clip(4)
    small, full = (save_poses(clip, tmp_path / f"{name}.safetensors", name) for name in ("float32", "float64"))
    assert small.stat().st_size < 0.6 * full.stat().st_size
    np.testing.assert_allclose(load_poses(small).keypoints, clip.keypoints, atol=1e-7)


def test_folder_round_trip_keeps_all_but_feet(tmp_path: Path) -> None:
    clip = random_clip(3, canvas=Canvas(768, (0, 768), (67, 701)))
    read = load_poses(save_poses(clip, tmp_path / "clip"))
    stored = np.r_[0:18, 24:134]
    np.testing.assert_array_equal(read.keypoints[:, stored], clip.keypoints[:, stored])
    np.testing.assert_array_equal(read.scores[:, stored], clip.scores[:, stored])
    assert read.canvas == clip.canvas and not read.scores[:, FEET].any()


def test_published_clip_survives_the_way_through_our_folder(shared: Path, tmp_path: Path) -> None:
    source = shared / "assets" / "pose" / "good"
    save_poses(load_poses(source), tmp_path / "copy")
    for number in (0, 101):
        ours, theirs = (
            np.load(folder / f"{number}.npy", allow_pickle=True).item() for folder in (tmp_path / "copy", source)
        )
        assert ours["draw_pose_params"] == theirs["draw_pose_params"] and ours["num"] == theirs["num"]
        for group in (ours, ours["bodies"]):
            for key, value in group.items():
                if isinstance(value, np.ndarray):
                    np.testing.assert_array_equal(value, (theirs if group is ours else theirs["bodies"])[key])


def test_folder_names_modules_as_old_numpy_does(tmp_path: Path) -> None:
    data = (save_poses(random_clip(1), tmp_path / "clip") / "0.npy").read_bytes()
    assert b"numpy._core" not in data and b"numpy.core.multiarray" in data


def test_folder_for_the_original_is_in_its_square(tmp_path: Path) -> None:
    save_poses(random_clip(1, canvas=Canvas(512, (0, 512), (64, 448))), tmp_path / "clip")
    frame = np.load(tmp_path / "clip" / "0.npy", allow_pickle=True).item()
    assert frame["draw_pose_params"] == [768, 576, 0, 768, 96, 672]


def test_a_shorter_clip_replaces_a_longer_folder_whole(tmp_path: Path) -> None:
    save_poses(random_clip(5), tmp_path / "clip")
    save_poses(random_clip(2), tmp_path / "clip")
    assert len(load_poses(tmp_path / "clip")) == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip"]


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "diary.txt").write_text("mine")
    with pytest.raises(PoseError, match="will not be replaced"):
        save_poses(random_clip(), tmp_path / "clip")
    assert (tmp_path / "clip" / "diary.txt").read_text() == "mine"


def test_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PoseError, match="ends in"):
        save_poses(random_clip(), tmp_path / "clip.npz")


@pytest.mark.parametrize("name", ["clip.safetensors", "clip"])
def test_nothing_is_left_when_writing_fails(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = save_poses(random_clip(2, seed=1), tmp_path / name)

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("echomimic.pose.sources.files.save_file", full_disk)
    monkeypatch.setattr("echomimic.pose.sources.folders.pickle.dumps", full_disk)
    with pytest.raises(OutputError, match="No space left"):
        save_poses(random_clip(3), kept)
    monkeypatch.undo()
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert len(load_poses(kept)) == 2


def metadata(**changes: str) -> dict[str, str]:
    canvas = json.dumps([768, [0, 768], [0, 768]])
    return {"format": "echomimic-pose", "version": "1", "fps": "24", "canvas": canvas, "info": "{}"} | changes


WRONG_METADATA = {
    "foreign": metadata(format="pt"),
    "newer": metadata(version="2"),
    "rate": metadata(fps="fast"),
    "rate nan": metadata(fps="nan"),
    "canvas": metadata(canvas="[768]"),
    "canvas outside": metadata(canvas="[768, [0, 800], [0, 768]]"),
    "canvas infinite": metadata(canvas="[Infinity, [0, 1], [0, 1]]"),
    "info": metadata(info="[1]"),
    "deep info": metadata(info="[" * 100_000),
}


@pytest.mark.parametrize("settings_", WRONG_METADATA.values(), ids=WRONG_METADATA.keys())
def test_clips_with_wrong_settings(tmp_path: Path, settings_: dict[str, str]) -> None:
    tensors = {"keypoints": np.zeros((2, POINTS, 2)), "scores": np.zeros((2, POINTS))}
    save_file(tensors, tmp_path / "clip.safetensors", settings_)
    with pytest.raises(PoseError, match=r"clip\.safetensors"):
        load_poses(tmp_path / "clip.safetensors")


@pytest.mark.parametrize(
    "tensors",
    [
        {"keypoints": np.zeros((2, POINTS, 2))},
        {"keypoints": np.zeros((2, POINTS, 3)), "scores": np.zeros((2, POINTS))},
        {"keypoints": np.zeros((2, POINTS, 2)), "scores": np.zeros((3, POINTS))},
        {"keypoints": np.zeros((2, POINTS, 2), np.int64), "scores": np.zeros((2, POINTS))},
        {"keypoints": np.zeros((0, POINTS, 2)), "scores": np.zeros((0, POINTS))},
    ],
    ids=["no scores", "three coordinates", "lengths differ", "integers", "no frames"],
)
def test_clips_with_wrong_tensors(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    save_file(tensors, tmp_path / "clip.safetensors", metadata())
    with pytest.raises(PoseError):
        load_poses(tmp_path / "clip.safetensors")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.integers(0, 500), st.binary(max_size=6)), min_size=1, max_size=4),
    cut=st.integers(0, 9000),
)
def test_damaged_clips_give_our_errors_only(tmp_path: Path, edits: list[tuple[int, bytes]], cut: int) -> None:
    path = save_poses(random_clip(2), tmp_path / "clip.safetensors")
    data = bytearray(path.read_bytes())
    for place, content in edits:
        data[place : place + len(content)] = content
    path.write_bytes(data[: len(data) - max(0, cut - 4000)])
    with contextlib.suppress(EchoMimicError):
        load_poses(path)


@pytest.mark.parametrize("name", ["clip.safetensors", "clip.json"])
def test_folder_is_not_replaced_by_a_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "precious.txt").touch()
    for act in (check_clip_name, lambda path: save_poses(random_clip(), path)):
        with pytest.raises(PoseError, match="is a folder"):
            act(tmp_path / name)
    assert [path.name for path in tmp_path.rglob("*.txt")] == ["precious.txt"]


def test_names_are_checked_before_a_clip_is_made(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "0.png").touch()
    for name in ("clip.mp4", "clip.v2", "photos"):
        with pytest.raises(PoseError, match=name):
            check_clip_name(tmp_path / name)
    save_poses(random_clip(), tmp_path / "poses")
    for name in ("clip.safetensors", "CLIP.JSON", "folder", "poses"):
        check_clip_name(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "words"),
    [("a.npy", "give the folder that holds 0.npy, 1.npy"), ("a.mp4", "is a video or picture: find its poses first"),
     ("a.PNG", "is a video or picture: find its poses first")],
)  # fmt: skip
def test_what_is_no_clip_says_what_to_do(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).write_bytes(b"content")
    with pytest.raises(PoseError, match=words):
        load_poses(tmp_path / name)


@pytest.mark.parametrize("fps", [0.0, -24.0, float("nan"), 1e9])
def test_an_impossible_rate_is_refused_for_every_clip(tmp_path: Path, fps: float) -> None:
    with pytest.raises(PoseError, match="rate must be above 0 and at most 1000"):
        load_poses(save_poses(random_clip(), tmp_path / "clip.safetensors"), fps)
