"""Every reader with a strategy of files for it, and what it promises about whatever it accepts."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from echomimic.audio import load_audio_encoder, read_audio
from echomimic.cli.batch import read_jobs
from echomimic.errors import EchoMimicError
from echomimic.files.tables import read_table
from echomimic.files.tensors import read_metadata, read_state_dict
from echomimic.media.frame_scan import scan_frames
from echomimic.media.pictures import read_image
from echomimic.media.waveform import MAX_FLOAT_PEAK
from echomimic.pose import PoseSequence, load_poses, save_poses
from echomimic.pose.sources.keypoints import from_pose_keypoints
from echomimic.runtime.checkpoint import RenderCheckpoint
from echomimic.training.clip_files import frames_at_rate, read_clip_frames
from echomimic.training.config import read_config
from echomimic.training.records import ClipRecord, read_records
from echomimic.training.video_results import read_result
from echomimic.vae import load_vae
from echomimic.weights import load_bundle
from echomimic.weights.inspect import inspect_file
from echomimic.weights.lora import apply_lora
from tests.video_frames import read_frames

from . import seeds
from .mutate import Edit, dump_json, edit_bytes, edit_header, edit_json, edits, json_edits

# A reader may take so much more memory than before; its inputs here are at most a few megabytes.
MAX_GROWTH_BYTES = 700 * 2**20

Files = Mapping[str, bytes]  # by their names in a folder


@dataclass(frozen=True)
class Reader:
    """A reader under test.

    Attributes:
        files: what to write into a fresh folder.
        read: called with that folder; raises AssertionError for a broken promise.
    """

    files: st.SearchStrategy[Files]
    read: Callable[[Path], None]


def damaged(paths: list[Path]) -> st.SearchStrategy[Files]:
    """One of these files with its bytes edited, or the beginning of one before the end of another."""
    contents = {path: path.read_bytes() for path in paths}

    def make(path: Path, wanted: list[Edit], start: bool) -> Files:
        return {path.name: edit_bytes(contents[path], wanted, start)}

    def splice(path: Path, other: Path, share: int) -> Files:
        begin, end = contents[path], contents[other]
        return {path.name: begin[: share * len(begin) >> 8] + end[share * len(end) >> 8 :]}

    one = st.sampled_from(paths)
    return st.one_of(st.builds(make, one, edits, st.booleans()), st.builds(splice, one, one, st.integers(0, 256)))


def only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


# ---- sound, pictures, videos ----


def read_sound(folder: Path) -> None:
    path = only(folder)
    waveform, rate = read_audio(path)
    assert waveform.dtype == torch.float32 and waveform.ndim == 2 and len(waveform) in (1, 2) and waveform.shape[1]
    assert waveform.isfinite().all() and float(waveform.abs().max()) <= MAX_FLOAT_PEAK
    assert rate > 0
    # Even the lowest bit rate gives less than a minute for a kilobyte; gaps are a minute each at most.
    assert waveform.shape[1] / rate <= 60 * (2 + path.stat().st_size / 1024) * 60


def scan_sound(folder: Path) -> None:
    path = only(folder)
    for form in ("mp3", "aac"):
        table = scan_frames(path, form)
        if table is not None:
            assert len(table.places) == len(table.headers) == len(table.times)
            assert (np.diff(table.places) > 0).all() and (np.diff(table.times) > 0).all()
            assert all(content for _, content in table.frames())


def read_picture(folder: Path) -> None:
    picture = read_image(only(folder))
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    assert min(picture.shape[:2]) >= 32


def read_video(folder: Path) -> None:
    path = only(folder)
    times, sizes = [], set()
    for number, frame in enumerate(read_frames(path)):
        assert frame.picture.dtype == np.uint8 and frame.picture.shape[2] == 3
        times.append(frame.time)
        sizes.add(frame.picture.shape)
        if number > 200:
            break
    assert times[0] == 0 and (np.diff(times) > 0).all() and np.isfinite(times).all()
    if times[-1] < 60:
        assert sum(1 for _ in frames_at_rate(path, 24.0, end=2000)) >= 1
    read_clip_frames(path, [0, 2])


# ---- poses ----


def check_poses(found: PoseSequence, again: Path | None = None) -> None:
    assert np.isfinite(found.keypoints).all() and np.isfinite(found.scores).all()
    assert len(found) >= 1 and 0 < found.fps <= 1000
    if again is not None:
        save_poses(found, again)
        same = load_poses(again)
        assert (same.keypoints == found.keypoints).all() and same.canvas == found.canvas and same.fps == found.fps


def read_clip(folder: Path) -> None:
    check_poses(load_poses(only(folder)), folder / "again.safetensors")


def read_json_keypoints(folder: Path) -> None:
    check_poses(load_poses(only(folder), canvas_size=(640, 480)), folder / "again.safetensors")


def read_pose_folder(folder: Path) -> None:
    check_poses(load_poses(folder, canvas_size=(640, 480)))


def keypoint_files(frames: list[dict[str, Any]]) -> st.SearchStrategy[Files]:
    text = json.dumps(frames).encode()
    shapes: list[Any] = [frames, {"frames": frames}, [frames], frames[0], frames[0]["people"][0], json.dumps(frames)]
    broken = st.builds(lambda wanted: {"k.json": edit_bytes(text, wanted)}, edits)
    changed = st.builds(
        lambda tree, wanted: {"k.json": dump_json(edit_json(tree, wanted))}, st.sampled_from(shapes), json_edits
    )
    encoded = st.builds(
        lambda wanted, encoding: {"k.json": json.dumps(edit_json(frames, wanted)).encode(encoding, "replace")},
        json_edits,
        st.sampled_from(seeds.ENCODINGS),
    )
    return st.one_of(changed, changed, broken, encoded)


def read_values(value: Any) -> None:
    check_poses(from_pose_keypoints(value, canvas_size=(640, 480)))


def openpose_folder(frames: list[dict[str, Any]]) -> st.SearchStrategy[Files]:
    bare = [{"version": 1.3, "people": frame["people"]} for frame in frames]
    names = st.sampled_from(["v_{:012d}_keypoints.json", "{}_keypoints.json", "a_b_{}_KEYPOINTS.JSON", "{}.json"])
    numbers = st.lists(st.integers(0, 10**9), min_size=1, max_size=4, unique=True)
    near = st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True)

    def make(name: str, listed: list[int], wanted: list[tuple[str, int, int]]) -> Files:
        return {
            name.format(number): dump_json(edit_json(bare[i % 3], wanted) if i == 1 else bare[i % 3])
            for i, number in enumerate(listed)
        }

    return st.builds(make, names, st.one_of(near, numbers), json_edits)


def npy_folder(folder: Path) -> st.SearchStrategy[Files]:
    save_poses(seeds.poses(), folder / "original")
    contents = {path.name: path.read_bytes() for path in (folder / "original").iterdir()}
    one = contents["0.npy"]
    return st.builds(
        lambda name, wanted, start: {**contents, name: edit_bytes(contents.get(name, one), wanted, start)},
        st.sampled_from(["0.npy", "1.npy", "2.npy", "3.npy", "0x.npy", "\u0663.npy"]),
        edits,
        st.booleans(),
    )


# ---- weights ----


def read_tensors(folder: Path) -> None:
    path = only(folder)
    for plain in (True, False):
        state = read_state_dict(path, plain=plain)
        assert state and all(isinstance(name, str) and torch.is_tensor(tensor) for name, tensor in state.items())
        stored = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
        assert stored <= 8 * path.stat().st_size, "more numbers than the file can hold"
    read_metadata(path)
    inspect_file(path)


def read_bundle(folder: Path) -> None:
    networks = load_bundle(only(folder))
    for network in networks.modules():
        assert all(weight.isfinite().all() for weight in network.parameters())


def read_inspection(folder: Path) -> None:
    inspect_file(only(folder))


@cache
def target() -> Any:
    return seeds.networks()


def read_lora(folder: Path) -> None:
    before = {name: weight.clone() for name, weight in target().denoiser.named_parameters()}
    try:
        applied = apply_lora(target(), only(folder), 0.5)
        assert applied.layers >= 1
        applied.remove()
    finally:  # a file that is refused changes nothing either
        assert all(torch.equal(weight, before[name]) for name, weight in target().denoiser.named_parameters())


def read_encoder(folder: Path) -> None:
    assert all(weight.isfinite().all() for weight in load_audio_encoder(only(folder)).parameters())


def read_vae(folder: Path) -> None:
    assert all(weight.isfinite().all() for weight in load_vae(folder).parameters())


def read_render_state(folder: Path) -> None:
    latents, step = RenderCheckpoint(only(folder)).begin({"seed": 1}, torch.zeros(2, 4, 4, 4))
    assert latents.shape == (2, 4, 4, 4) and step >= 0


def headers(path: Path) -> st.SearchStrategy[Files]:
    content = path.read_bytes()
    by_header = st.builds(
        lambda wanted, keep: {path.name: edit_header(content, wanted, keep)}, json_edits, st.booleans()
    )
    return st.one_of(by_header, by_header, damaged([path]))


# ---- tables and settings ----


def table_files() -> st.SearchStrategy[Files]:
    def make(encoding: str, separator: str, end: str, wanted: list[Edit]) -> Files:
        text = seeds.TABLE.replace(",", separator).replace("\n", end)
        return {"jobs.csv": edit_bytes(text.encode(encoding, "replace"), wanted)}

    def in_a_code_page(head: str, encoding: str, there: bool, wanted: list[Edit]) -> Files:
        text = head + seeds.TABLE.replace("anna é", seeds.NAMES[encoding])
        files = {"jobs.csv": edit_bytes(text.encode(encoding), wanted)}
        return {**files, f"{seeds.NAMES[encoding]}.png": b""} if there else files

    return st.one_of(
        st.builds(
            make,
            st.sampled_from(seeds.ENCODINGS),
            st.sampled_from(",;\t|"),
            st.sampled_from(["\n", "\r\n", "\r"]),
            edits,
        ),
        st.builds(in_a_code_page, st.sampled_from(seeds.HEADS), st.sampled_from([*seeds.NAMES]), st.booleans(), edits),
    )


def read_jobs_table(folder: Path) -> None:
    table = folder / "jobs.csv"
    columns, rows = read_table(table)
    assert len(set(columns)) == len(columns)
    numbers = [line for line, _ in rows]
    assert numbers == sorted(set(numbers))
    assert all(list(fields) == columns and any(fields.values()) for _, fields in rows)
    jobs = read_jobs(table, argparse.Namespace(seed=0, fps=None, pose=None))
    assert len({job.output for job in jobs}) == len(jobs)
    assert all(job.fps is None or math.isfinite(job.fps) for job in jobs)


def read_training_config(folder: Path) -> None:
    config = read_config(only(folder))
    assert config.stage and config.window >= 1


def config_files() -> st.SearchStrategy[Files]:
    import yaml

    tree = yaml.safe_load(seeds.CONFIG_TEXT)
    changed = st.builds(lambda wanted: {"c.yaml": dump_json(edit_json(tree, wanted))}, json_edits)
    broken = st.builds(lambda wanted: {"c.yaml": edit_bytes(seeds.CONFIG_TEXT.encode(), wanted)}, edits)
    return st.one_of(changed, broken)


def record_files() -> st.SearchStrategy[Files]:
    record = ClipRecord("clips/a.mp4", "clips/a.wav", "clips/a.safetensors", 24, 24.0, 512)
    tree = json.loads(record.to_json())
    line = st.builds(lambda wanted: dump_json(edit_json(tree, wanted)), json_edits)
    broken = st.builds(lambda wanted: edit_bytes(record.to_json().encode(), wanted), edits)
    return st.builds(lambda one, two: {"metadata.jsonl": one + b"\n" + two}, st.one_of(line, broken), line)


def read_records_file(folder: Path) -> None:
    for record in read_records(folder):
        assert record.frames > 0 and record.fps > 0 and record.size > 0


def result_files() -> st.SearchStrategy[Files]:
    record = ClipRecord("clips/a.mp4", "clips/a.wav", "clips/a.safetensors", 24, 24.0, 512)
    refusal = {"video": "a.mp4", "seconds": [0.0, 1.0], "reason": "dark"}
    tree = {"video": "a.mp4", "clips": [json.loads(record.to_json())], "refusals": [refusal]}
    changed = st.builds(lambda wanted: {"r.json": dump_json(edit_json(tree, wanted))}, json_edits)
    broken = st.builds(lambda wanted: {"r.json": edit_bytes(dump_json(tree), wanted)}, edits)
    return st.one_of(changed, broken)


def read_video_result(folder: Path) -> None:
    result = read_result(only(folder))
    assert result is None or isinstance(result.clips, list)


def all_readers(folder: Path) -> dict[str, Callable[[], Reader]]:
    """The readers by name; each makes its seeds in `folder` when it is called."""

    def inside(name: str) -> Path:
        path = folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    @cache
    def weights() -> dict[str, Path]:
        return seeds.weights(inside("weights"))

    def vae_files() -> st.SearchStrategy[Files]:
        place = weights()["vae"]
        config = json.loads((place / "config.json").read_text())
        content = (place / "diffusion_pytorch_model.safetensors").read_bytes()
        name = "diffusion_pytorch_model.safetensors"
        return st.one_of(
            st.builds(lambda w: {name: content, "config.json": dump_json(edit_json(config, w))}, json_edits),
            st.builds(lambda w: {name: edit_header(content, w), "config.json": dump_json(config)}, json_edits),
        )

    def clip_file() -> Path:
        return save_poses(seeds.poses(), inside("clip") / "clip.safetensors")

    return {
        "sound": lambda: Reader(damaged(seeds.sounds(inside("sound"))), read_sound),
        "sound frames": lambda: Reader(damaged(seeds.sounds(inside("scan"))), scan_sound),
        "picture": lambda: Reader(damaged(seeds.pictures(inside("picture"))), read_picture),
        "video": lambda: Reader(damaged(seeds.videos(inside("video"))), read_video),
        "keypoints": lambda: Reader(keypoint_files(seeds.keypoint_frames(inside("keys"))), read_json_keypoints),
        "openpose folder": lambda: Reader(openpose_folder(seeds.keypoint_frames(inside("open"))), read_pose_folder),
        "npy folder": lambda: Reader(npy_folder(inside("npy")), read_pose_folder),
        "pose clip": lambda: Reader(headers(clip_file()), read_clip),
        "tensors": lambda: Reader(
            damaged([weights()[name] for name in ("state", "float8", "old", "lora", "pose_encoder")]), read_tensors
        ),
        "tensor header": lambda: Reader(headers(weights()["float8"]), read_tensors),
        "bundle": lambda: Reader(headers(weights()["bundle"]), read_bundle),
        "inspect": lambda: Reader(headers(weights()["bundle"]), read_inspection),
        "LoRA": lambda: Reader(headers(weights()["lora"]), read_lora),
        "audio encoder": lambda: Reader(damaged([weights()["whisper"]]), read_encoder),
        "VAE": lambda: Reader(vae_files(), read_vae),
        "render state": lambda: Reader(headers(weights()["state.render"]), read_render_state),
        "table": lambda: Reader(table_files(), read_jobs_table),
        "configuration": lambda: Reader(config_files(), read_training_config),
        "records": lambda: Reader(record_files(), read_records_file),
        "prepared video": lambda: Reader(result_files(), read_video_result),
    }


def run_once(reader: Reader, files: Files, folder: Path) -> None:
    """Write the files into an empty folder and read them; raises what is no sentence of ours, or breaks a promise."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    before = peak_memory()
    try:
        reader.read(folder)
    except EchoMimicError as error:
        sentence = str(error)
        assert len(sentence) > 10 and len(sentence) < 5000, f"no sentence: {sentence[:100]!r}"
    growth = peak_memory() - before
    assert growth <= MAX_GROWTH_BYTES, f"{growth / 2**20:.0f} MB more than before"


def peak_memory() -> int:
    """The most bytes that this process has had; 0 where the system does not say."""
    try:
        import resource  # not on Windows
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
