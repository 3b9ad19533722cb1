"""Measures of renders against hand-computed values, what is left out and why, and the paper's row step by step."""

from __future__ import annotations

import csv
import json
import sys
import tracemalloc
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from echomimic.audio import frames_needed, read_audio
from echomimic.cli.main import main
from echomimic.errors import TrainingError
from echomimic.training.clip_files import write_wav
from echomimic.training.evaluate import as_table, evaluate, find_pairs, plot_results, read_pair, stacked, write_results
from echomimic.training.metrics import (
    Unavailable,
    VideoPair,
    as_tensor,
    hand_measures,
    identity_measure,
    measure_all,
    ratio_measure,
    similarity_measure,
    sync_measure,
)
from echomimic.training.similarity import ssim
from tests.training_data import DrawnPersonDetector, person_frames, voice, write_data, write_person_video


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    made, truth = tmp_path / "made", tmp_path / "truth"
    for number, name in enumerate(("a", "b")):
        frames = person_frames(8, radius=13)
        write_person_video(truth / f"{name}.mp4", frames)
        write_person_video(made / f"{name}.mp4", np.clip(frames.astype(int) + 20 * number, 0, 255).astype(np.uint8))
    return made, truth


def pair(made: np.ndarray, truth: np.ndarray) -> VideoPair:
    return VideoPair("x", made, truth, Path("x.mp4"))


def test_psnr_is_the_mean_of_the_frames() -> None:
    truth = np.full((2, 32, 32, 3), 100, np.uint8)
    made = truth.copy()
    made[0] += 10
    made[1] += 20
    expected = np.mean([20 * np.log10(255 / 10), 20 * np.log10(255 / 20)])
    assert ratio_measure(pair(made, truth))["PSNR"] == pytest.approx(expected, abs=1e-3)


def test_equal_videos_have_similarity_1() -> None:
    frames = person_frames(3)
    assert similarity_measure("cpu")(pair(frames, frames))["SSIM"] == pytest.approx(1, abs=1e-3)


def test_similarity_of_flat_pictures_is_that_of_their_light() -> None:
    a, b = torch.full((1, 3, 32, 32), 0.2), torch.full((1, 3, 32, 32), 0.6)
    assert ssim(a, b) == pytest.approx((2 * 0.2 * 0.6 + 0.01**2) / (0.2**2 + 0.6**2 + 0.01**2), abs=1e-3)


def test_similarity_is_the_mean_of_the_frames_however_they_are_divided() -> None:
    # Nine frames, taken eight at a time; the last differs most.
    truth = as_tensor(person_frames(9))
    made = torch.cat([truth[:8], truth[8:].flip(-2)])
    each = [ssim(made[f : f + 1], truth[f : f + 1]) for f in range(9)]
    assert each[8] < 0.95
    assert ssim(made, truth) == pytest.approx(np.mean(each))
    measure = similarity_measure("cpu")
    whole = measure(
        pair(*((frames.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8) for frames in (made, truth)))
    )
    assert whole["SSIM"] == pytest.approx(np.mean(each), abs=1e-5)


def test_hands_confidence_and_movement() -> None:
    moving = iter(range(4))

    def detect(picture: np.ndarray) -> np.ndarray:
        points = np.zeros((1, 134, 3))
        points[0, 92:113] = 10 + 2 * next(moving), 20, 0.8  # x of 10, 12, 14, 16: variance 5
        points[0, 113:] = 50, 50, 0.4
        return points

    found = hand_measures(detect)(pair(np.zeros((4, 64, 768, 3), np.uint8), np.zeros((4, 64, 768, 3), np.uint8)))
    assert found["HKC"] == pytest.approx((0.8 + 0.4) / 2)
    # 21 points of variance 5 along x, 21 points that rest, two axes.
    assert found["HKV"] == pytest.approx(np.sqrt(21 * 5 / (42 * 2)))


def test_frames_without_a_person_have_no_confidence() -> None:
    detect = DrawnPersonDetector()
    frames = person_frames(4)
    frames[2:] = 200
    assert hand_measures(detect)(pair(frames, frames))["HKC"] == pytest.approx(0.5)


def test_videos_are_paired_and_measured(folders: tuple[Path, Path]) -> None:
    measures = evaluate(*folders)
    assert list(measures.videos) == ["a", "b"]
    assert measures.videos["a"]["PSNR"] > 35
    assert measures.videos["b"]["PSNR"] < 28
    assert measures.means()["PSNR"] == pytest.approx(np.mean([one["PSNR"] for one in measures.videos.values()]))


def test_each_measure_that_is_left_out_names_what_it_needs(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echomimic.training.metrics.find_spec", lambda name: None)
    for package in ("lpips", "insightface.app", "syncnet_python", "cdfvd.fvd", "torch_fidelity"):
        monkeypatch.setitem(sys.modules, package, None)
    measures = evaluate(*folders)
    assert measures.skipped.keys() == {"SSIM", "LPIPS", "CSIM", "Sync-C", "Sync-D", "HKC", "HKV", "FID", "FVD"}
    assert measures.skipped["SSIM"] == "pip install torchmetrics"
    assert measures.skipped["FVD"] == "pip install cd-fvd"
    assert measures.skipped["LPIPS"] == "pip install lpips torchvision"
    assert "--models must name the folder" in measures.skipped["HKC"]
    assert "torch-fidelity" in measures.skipped["FID"]


def test_table_file_and_plot(folders: tuple[Path, Path], tmp_path: Path) -> None:
    measures = evaluate(*folders)
    table = as_table(measures)
    assert "| FID ↓ | FVD ↓ | PSNR ↑ |" in table.splitlines()[0]
    assert f"{measures.means()['PSNR']:.3f}" in table.splitlines()[2]
    content = json.loads(write_results(measures, tmp_path / "row.json").read_text())
    assert content["mean"]["SSIM"] == measures.means()["SSIM"]
    assert "FVD" in content["skipped"]
    assert plot_results(measures, tmp_path / "row.png").stat().st_size > 1000


def test_a_shorter_render_is_compared_with_the_beginning(tmp_path: Path) -> None:
    frames = person_frames(10)
    write_person_video(tmp_path / "made.mp4", frames[:6])
    write_person_video(tmp_path / "truth.mp4", frames)
    found = read_pair(tmp_path / "made.mp4", tmp_path / "truth.mp4")
    assert found.made.shape == found.truth.shape == (6, 128, 128, 3)
    assert ratio_measure(found)["PSNR"] > 35


def test_reading_a_pair_holds_each_frame_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def frames(path: Path, fps: float, begin: int = 0, end: int | None = None) -> Iterator[np.ndarray]:
        return (np.full((64, 64, 3), number, np.uint8) for number in range(min(48, end or 48)))

    monkeypatch.setattr("echomimic.training.evaluate.frames_at_rate", frames)
    tracemalloc.start()
    try:
        found = read_pair(Path("made.mp4"), Path("truth.mp4"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.truth[:, 0, 0, 0].tolist() == list(range(48))
    assert peak < 1.2 * (found.made.nbytes + found.truth.nbytes)


def test_a_pair_that_memory_has_no_room_for_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("made", "truth"):
        write_person_video(tmp_path / f"{name}.mp4", person_frames(6))
    monkeypatch.setattr("echomimic.media.limits.available_bytes", lambda: 2 * 6 * 128 * 128 * 3)
    words = "6 frames of 128x128 of made.mp4 and as many of its truth take .* GB: cut both videos into parts"
    with pytest.raises(TrainingError, match=words):
        read_pair(tmp_path / "made.mp4", tmp_path / "truth.mp4")


def test_frames_of_another_size_than_the_first_are_refused() -> None:
    with pytest.raises(TrainingError, match="frame 1 is 8x4, the first 8x8: one size is needed"):
        stacked([np.zeros((8, 8, 3), np.uint8), np.zeros((4, 8, 3), np.uint8)], (2, 8, 8, 3))


def test_one_pair_is_in_memory_at_a_time() -> None:
    read: list[weakref.ref[VideoPair]] = []

    def make() -> VideoPair:
        assert all(before() is None for before in read)
        one = pair(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8, 3), np.uint8))
        read.append(weakref.ref(one))
        return one

    measure_all({"a": make, "b": make}, {"PSNR": lambda: ratio_measure}, {})
    assert len(read) == 2


def test_folders_without_a_common_name(tmp_path: Path) -> None:
    for folder, name in (("made", "x"), ("truth", "y")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.mp4").touch()
    with pytest.raises(TrainingError, match=r"no video has the same name in .*\(x\) and .*\(y\)"):
        find_pairs(tmp_path / "made", tmp_path / "truth")
    with pytest.raises(TrainingError, match="there is no folder"):
        find_pairs(tmp_path / "made", tmp_path / "nothing")


def test_identity_is_the_cosine_with_the_truths_first_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    class FaceAnalysis:
        def __init__(self, **_: object) -> None: ...

        def prepare(self, **_: object) -> None: ...

        def get(self, picture: np.ndarray) -> list[SimpleNamespace]:
            angle = float(picture[0, 0, 0]) / 255  # blue first: the last channel of RGB
            embedding = np.array([np.cos(angle), np.sin(angle)])
            box = np.array([0, 0, 10, 10])
            return [SimpleNamespace(bbox=box, normed_embedding=embedding)]

    module = ModuleType("insightface.app")
    module.FaceAnalysis = FaceAnalysis  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "insightface", ModuleType("insightface"))
    monkeypatch.setitem(sys.modules, "insightface.app", module)
    truth, made = np.zeros((1, 8, 8, 3), np.uint8), np.zeros((2, 8, 8, 3), np.uint8)
    made[1, ..., 2] = 255
    assert identity_measure("cpu")(pair(made, truth))["CSIM"] == pytest.approx((1 + np.cos(1)) / 2)


@pytest.fixture
def syncnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for syncnet-python, which answers as the video is called; the folder of its files."""

    class Pipeline:
        def __init__(self, files: dict[str, str], device: str) -> None: ...

        def inference(self, video_path: str, audio_path: str | None) -> tuple:
            if Path(video_path).stem == "damaged":
                raise RuntimeError("FFmpeg video conversion failed")
            if Path(video_path).stem == "nobody":
                return [], [], [], 0.0, 0.0, "", False
            return [0, 1], [6.5, 2.0], [7.25, 9.0], 6.5, 7.25, "", True

    module = ModuleType("syncnet_python")
    module.SyncNetPipeline = Pipeline  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "syncnet_python", module)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    return tmp_path


def test_synchrony_needs_its_files(syncnet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match=r"syncnet_v2\.model and sfd_face\.pth"):
        sync_measure(syncnet, "cpu")
    for name in ("syncnet_v2.model", "sfd_face.pth"):
        (syncnet / name).touch()
    frames = np.zeros((1, 8, 8, 3), np.uint8)
    assert sync_measure(syncnet, "cpu")(pair(frames, frames)) == {"Sync-C": 6.5, "Sync-D": 7.25}
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(Unavailable, match="the program ffmpeg"):
        sync_measure(syncnet, "cpu")


@pytest.mark.parametrize("name", ["nobody", "damaged"])
def test_a_video_without_synchrony_is_left_out_of_it(
    syncnet: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    for file in ("syncnet_v2.model", "sfd_face.pth"):
        (syncnet / file).touch()
    frames = np.zeros((1, 8, 8, 3), np.uint8)
    assert sync_measure(syncnet, "cpu")(VideoPair(name, frames, frames, Path(f"{name}.mp4"))) == {}
    assert f"{name} has no Sync-C and Sync-D" in caplog.text


@pytest.mark.parametrize(
    ("device", "places"), [("cpu", {"cpu", -1}), ("cuda", {"cuda", 0, None}), ("cuda:1", {"cuda:1", 1, None})]
)
def test_every_network_that_measures_is_where_the_device_says(
    folders: tuple[Path, Path], syncnet: Path, monkeypatch: pytest.MonkeyPatch, device: str, places: set
) -> None:
    for file in ("syncnet_v2.model", "sfd_face.pth"):
        (syncnet / file).touch()
    asked: list[object] = []

    class FaceAnalysis:
        def __init__(self, **_: object) -> None: ...

        def prepare(self, ctx_id: int) -> None:
            asked.append(ctx_id)

    module = ModuleType("insightface.app")
    module.FaceAnalysis = FaceAnalysis  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "insightface", ModuleType("insightface"))
    monkeypatch.setitem(sys.modules, "insightface.app", module)
    monkeypatch.setattr(sys.modules["syncnet_python"], "SyncNetPipeline", lambda files, device: asked.append(device))
    monkeypatch.setattr("echomimic.training.evaluate.DWPose", lambda folder, device: asked.append(device))
    # With a GPU there, which the device decides whether to use; the measures that torch computes are not at issue.
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(
        "echomimic.training.evaluate.measure_all", lambda _, all_, *more: [one() for one in all_.values()]
    )
    for name in ("similarity_measure", "lpips_measure"):
        monkeypatch.setattr(f"echomimic.training.evaluate.{name}", lambda device: None)
    evaluate(*folders, models=syncnet, syncnet=syncnet, device=device)
    assert set(asked) == places


def test_measures_over_all_videos_see_each_once() -> None:
    from echomimic.training.metrics import OverAll

    class Count(OverAll):
        def __init__(self) -> None:
            self.seen: list[str] = []

        def add(self, one: VideoPair) -> None:
            self.seen.append(one.name)

        def result(self) -> dict[str, float]:
            return {"FID": float(len(self.seen))}

    frames = np.zeros((1, 8, 8, 3), np.uint8)
    measures = measure_all({name: lambda: pair(frames, frames) for name in "abc"}, {}, {"FID": Count})
    assert measures.means() == {"FID": 3.0}


def test_what_fails_late_costs_no_other_measure() -> None:
    from echomimic.training.metrics import OverAll

    class Failing(OverAll):
        names = ("FID",)

        def add(self, one: VideoPair) -> None: ...

        def result(self) -> dict[str, float]:
            raise RuntimeError("More than one sample is required\nmore words")

    def unreadable() -> VideoPair:
        raise TrainingError("b.mp4 is 8x8, its truth 8x9: one shape is needed")

    frames = np.zeros((1, 8, 8, 3), np.uint8)
    pairs = {"a": lambda: pair(frames, frames), "b": unreadable}
    measures = measure_all(pairs, {"PSNR": lambda: ratio_measure}, {"FID": Failing})
    assert (list(measures.videos), list(measures.means())) == (["a"], ["PSNR"])
    assert measures.skipped["FID"] == "More than one sample is required"
    assert "b was left out: b.mp4 is 8x8, its truth 8x9" in as_table(measures)
    with pytest.raises(TrainingError, match="one shape is needed"):
        measure_all({"b": unreadable, "c": unreadable}, {}, {})


def test_the_command_prints_the_row(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    made, truth = folders
    output = tmp_path / "row.json"
    arguments = ["evaluate", "--made", str(made), "--truth", str(truth), "--output", str(output), "--device", "cpu"]
    assert main([*arguments, "--quiet"]) == 0
    assert "PSNR ↑" in capsys.readouterr().out
    assert output.is_file()
    assert output.with_suffix(".png").is_file()
    assert main(["evaluate"]) == 2


def test_reproducing_the_paper_prints_the_steps_and_lists_the_renders(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["evaluate", "--reproduce", "emtd"]) == 0
    steps = capsys.readouterr().out
    assert "--truth emtd/clips" in steps
    assert "download models/echomimic --variant standard" in steps and steps.count("--variant standard") == 2
    data = write_data(tmp_path / "data", clips=2, frames=8, size=64)
    write_wav(data / "clips" / "person-1.wav", voice(2 / 24))  # it ends before the pictures
    assert main(["evaluate", "--reproduce", "emtd", "--data", str(data), "--made", str(tmp_path / "made")]) == 0
    with (data / "renders.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["output"]).name for row in rows] == ["person-0.mp4", "person-1.mp4"]
    assert all((data / row[name]).is_file() for row in rows for name in ("image", "audio", "pose"))
    sound = frames_needed(*read_audio(data / "clips" / "person-1.wav"), 24.0)
    assert sound < 8
    assert [int(row["frames"]) for row in rows] == [8, sound]
