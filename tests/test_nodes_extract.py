"""The extracting node, over stand-ins for ComfyUI and for the detector."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.pack import Pack
from tests.test_pose_extract import SquareDetector, marked_picture, noses, write_clip


class File:
    """ComfyUI's VIDEO of a file."""

    def __init__(self, source: str | io.BytesIO, trim: tuple[float, float] = (0.0, 0.0)) -> None:
        self.source, self.trim = source, trim

    def get_stream_source(self) -> str | io.BytesIO:
        return self.source

    def get_active_trim_window(self) -> tuple[float, float]:
        return self.trim


@pytest.fixture
def detector(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> SquareDetector:
    """Takes the place of DWPose."""
    found = SquareDetector()
    monkeypatch.setattr(pack.part("nodes.pose.sources"), "DWPose", lambda folder, device: found)
    return found


def images(count: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([marked_picture(number) for number in range(count)])).float() / 255


def extract(pack: Pack, video: Any, **settings: Any) -> Any:
    poses, frames = pack.run("EchoMimicExtractPose", video=video, **settings)
    assert frames == len(poses)
    return poses


def test_images_get_a_pose_each(pack, detector):
    poses = extract(pack, images(5), fps=30.0)
    assert poses.fps == 30
    np.testing.assert_allclose(noses(poses), np.arange(5), atol=0.01)
    assert pack.updates[-1][:2] == (5, 5)


def test_a_video_is_brought_to_the_rate(pack, detector, tmp_path):
    path = write_clip(tmp_path / "driver.mp4", count=24)
    poses = extract(pack, File(str(path)), fps=12.0)
    assert (len(poses), poses.fps) == (12, 12.0)
    np.testing.assert_allclose(noses(poses), 2 * np.arange(12), atol=0.3)


def test_a_video_in_memory_and_a_trimmed_one(pack, detector, tmp_path):
    path = write_clip(tmp_path / "driver.mp4", count=24)
    whole = extract(pack, File(str(path)))
    held = extract(pack, File(io.BytesIO(path.read_bytes())))
    np.testing.assert_array_equal(held.keypoints, whole.keypoints)
    part = extract(pack, File(str(path), (0.25, 0.5)))
    np.testing.assert_array_equal(part.keypoints, whole.keypoints[6:18])
    assert detector.calls == 24 + 12, "of a trimmed video the part alone is analysed"
    assert list((pack.folder / "temp").iterdir()) == []


@pytest.mark.parametrize("kind", ["images", "video"])
def test_what_was_extracted_once_is_kept_by_content(pack, detector, tmp_path, kind):
    path = write_clip(tmp_path / "driver.mp4", count=6)
    video = images(6) if kind == "images" else File(str(path))
    first = extract(pack, video)
    calls = detector.calls
    np.testing.assert_array_equal(extract(pack, video).keypoints, first.keypoints)
    assert detector.calls == calls == 6
    extract(pack, video, fps=12.0)
    assert detector.calls > calls


def test_a_damaged_cache_is_made_again(pack, detector):
    extract(pack, images(3))
    (kept,) = (pack.folder / "user" / "__echomimic" / "poses").iterdir()
    kept.write_bytes(b"half")
    assert len(extract(pack, images(3))) == 3
    assert detector.calls == 6


def test_nobody_in_the_pictures_is_an_error(pack, detector):
    with pytest.raises(ValueError, match="nobody was found in any of the 2 frames"):
        extract(pack, torch.zeros(2, 64, 64, 3))


def test_extraction_can_be_cancelled(pack, detector):
    pack.memory.interrupted = True
    with pytest.raises(pack.memory.InterruptProcessingException):
        extract(pack, images(5))
    assert detector.calls == 1


@pytest.mark.skipif(importlib.util.find_spec("rtmlib") is not None, reason="rtmlib is installed here")
def test_the_missing_package_is_named(pack):
    with pytest.raises(Exception, match="pip install onnxruntime") as raised:
        extract(pack, images(1))
    assert "SDPose" in str(raised.value)


def test_the_detectors_files_are_found_beside_the_models_or_in_a_folder(pack):
    folders = pack.part("nodes.folders")
    assert folders.detector_folder() == pack.models
    folder = Path(pack.models, "dwpose")
    folder.mkdir(parents=True)
    for name in ("yolox_l.onnx", "dw-ll_ucoco_384.onnx"):
        (folder / name).touch()
    assert folders.detector_folder() == folder
