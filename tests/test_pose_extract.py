"""Poses from videos: every frame, in its time, upright; and the detector's decoding against the original's rules."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from echomimic.errors import Cancelled, MissingPackageError, PoseError
from echomimic.pose.canvas import picture_canvas
from echomimic.pose.sequence import HAND_A, HAND_B, POINTS
from echomimic.pose.sources.cache import file_key
from echomimic.pose.sources.dwpose import PERSON_FILE, POSE_FILE, DWPose, decode_points, person_boxes, to_openpose
from echomimic.pose.sources.extract import extract_poses, poses_of_pictures
from echomimic.pose.timing import trim_seconds
from tests.test_pose_keypoints import person_points

WIDTH, HEIGHT = 192, 128


def marked_picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A white square that moves two pixels to the right a frame."""
    picture = np.zeros((height, width, 3), np.uint8)
    left = 10 + 2 * number
    picture[40:60, left : left + 20] = 255
    return picture


class SquareDetector:
    """A person whose nose is the middle of the white square; nobody in black pictures."""

    identity = "square"

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        self.calls += 1
        bright = np.argwhere(picture[..., 0] > 128)
        if not len(bright):
            return np.zeros((0, POINTS, 3))
        y, x = bright.mean(axis=0) + 0.5
        return np.concatenate([person_points(x, y, 15), np.ones((POINTS, 1))], axis=1)[None]


def write_clip(
    path: Path,
    times: list[Fraction] | None = None,
    *,
    count: int = 30,
    rate: Fraction = Fraction(24),
    rotation: int = 0,
) -> Path:
    """A video of marked pictures, at a steady rate or at these times (in ms)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "10", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(len(times) if times is not None else count):
            frame = av.VideoFrame.from_ndarray(marked_picture(number), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = int(times[number]), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def noses(sequence) -> np.ndarray:
    """Where the square was, counted in its own steps: 0 in the first frame of the video, 1 in the second."""
    return (sequence.keypoints[:, 0, 0] * WIDTH - 20) / 2


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov", "webm"])
def test_every_frame_gets_its_pose_in_every_container(tmp_path: Path, ending: str) -> None:
    if ending == "webm":
        path = tmp_path / "clip.webm"
        write_clip(tmp_path / "clip.mkv").rename(path)
    else:
        path = write_clip(tmp_path / f"clip.{ending}")
    sequence = extract_poses(path, SquareDetector(), fps=24)
    assert len(sequence) == 30 and sequence.fps == 24
    np.testing.assert_allclose(noses(sequence), np.arange(30), atol=0.25)
    assert sequence.canvas == picture_canvas(WIDTH, HEIGHT)
    assert sequence.info == {"name": "clip", "source": f"extracted from clip.{ending}"}


@pytest.mark.parametrize(
    ("rate", "fps", "wanted"),
    [
        (Fraction(24000, 1001), 24.0, 30),
        (Fraction(30000, 1001), 24.0, 24),
        (Fraction(60), 24.0, 12),
        (Fraction(12), 24.0, 60),
        (Fraction(25), 25.0, 30),
    ],
)
def test_resampled_to_the_runs_rate_in_time(tmp_path: Path, rate: Fraction, fps: float, wanted: int) -> None:
    sequence = extract_poses(write_clip(tmp_path / "clip.mp4", rate=rate), SquareDetector(), fps=fps)
    assert len(sequence) == wanted and sequence.fps == fps
    expected = np.minimum(np.arange(wanted) / fps * float(rate), 29)
    np.testing.assert_allclose(noses(sequence), expected, atol=0.25)


def test_varying_rate_keeps_its_timing(tmp_path: Path) -> None:
    """20 frames at 40 ms, then 20 at 80 ms, as phones record in the dark."""
    times = [Fraction(40 * i) for i in range(20)] + [Fraction(800 + 80 * i) for i in range(20)]
    sequence = extract_poses(write_clip(tmp_path / "clip.mkv", times), SquareDetector(), fps=25)
    seconds = np.arange(len(sequence)) / 25
    expected = np.interp(seconds, np.array(times, dtype=float) / 1000, np.arange(40))
    np.testing.assert_allclose(noses(sequence), expected, atol=0.3)
    assert len(sequence) in (59, 60), "2.36 seconds, the last frame for a usual while"


@pytest.mark.parametrize(("rate", "ending"), [(24, "h264"), (30, "hevc"), (24, "mjpeg")])
def test_a_bare_stream_has_its_own_rate_or_a_usual_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, rate: int, ending: str
) -> None:
    """Cameras write these; FFmpeg takes 25 frames a second for all of them."""
    codec = {"h264": "libx264", "hevc": "libx265", "mjpeg": "mjpeg"}[ending]
    with av.open(str(tmp_path / f"a.{ending}"), "w", format=ending) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p" if ending == "mjpeg" else "yuv420p"
        for number in range(48):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(marked_picture(number), format="rgb24")))
        container.mux(stream.encode(None))
    known = rate if ending != "mjpeg" else 25
    sequence = extract_poses(tmp_path / f"a.{ending}", SquareDetector(), fps=known)
    assert len(sequence) == 48
    np.testing.assert_allclose(noses(sequence), np.arange(48), atol=0.3)
    assert f"records no times: it is taken as {known} frames a second" in caplog.text


def test_joined_files_of_which_only_the_first_would_be_read_are_refused(tmp_path: Path) -> None:
    content = write_clip(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(content + content)
    with pytest.raises(PoseError, match=r"b\.mp4 is several recordings one behind another, .* FFmpeg's concat"):
        extract_poses(tmp_path / "b.mp4", SquareDetector())


def test_turned_phone_video_is_turned_upright(tmp_path: Path) -> None:
    if not hasattr(av.video.stream.VideoStream, "set_display_rotation"):
        pytest.skip(f"PyAV {av.__version__} reads a turned video but cannot write one")
    path = write_clip(tmp_path / "clip.mp4", rotation=90)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).rotation == 90, "the file itself says so"
    sequence = extract_poses(path, SquareDetector(), fps=24)
    assert sequence.canvas == picture_canvas(HEIGHT, WIDTH)
    # Turned counterclockwise, what moved to the right moves up.
    steps = np.diff(sequence.keypoints[:, 0], axis=0) * [HEIGHT, WIDTH]
    np.testing.assert_allclose(steps.mean(axis=0), [0, -2], atol=0.1)


def test_video_of_one_frame(tmp_path: Path) -> None:
    assert len(extract_poses(write_clip(tmp_path / "clip.mp4", count=1), SquareDetector())) == 1


@pytest.mark.parametrize("fps", [24.0, 30.0, 12.0])
@pytest.mark.parametrize("frame_times", [None, [0, 40, 80, 160, 200, 280, 320, *range(400, 1400, 40)]])
@pytest.mark.parametrize(("start", "duration"), [(0.25, 0.5), (0.0, 0.3), (0.5, None), (0.61, 9.0), (0.25, 0.001)])
def test_a_part_has_the_frames_that_are_cut_out_of_the_whole(
    tmp_path: Path, fps: float, frame_times: list[int] | None, start: float, duration: float | None
) -> None:
    path = write_clip(tmp_path / "clip.mkv", frame_times and [Fraction(time) for time in frame_times])
    whole, detector = trim_seconds(extract_poses(path, SquareDetector(), fps=fps), start, duration), SquareDetector()
    part = extract_poses(path, detector, fps=fps, start=start, duration=duration)
    assert len(part) == len(whole) and part.fps == fps and part.info == whole.info
    # Beyond the part, as beyond a file's ends, its first and last pose are held.
    np.testing.assert_allclose(noses(part)[1:-1], noses(whole)[1:-1], atol=1e-9)
    np.testing.assert_allclose(noses(part), noses(whole), atol=1.01)
    assert detector.calls <= min(duration or 9, 1.4 - start) * 25 + 2


def test_a_part_of_whole_frames_is_exactly_the_wholes(tmp_path: Path) -> None:
    path, seen, detector = write_clip(tmp_path / "clip.mp4"), [], SquareDetector()
    whole = extract_poses(path, SquareDetector())
    part = extract_poses(path, detector, start=0.25, duration=0.5, on_frame=lambda *progress: seen.append(progress))
    np.testing.assert_array_equal(part.keypoints, whole.keypoints[6:18])
    assert detector.calls == 12 and seen == [(i, 12) for i in range(1, 13)]
    with pytest.raises(PoseError, match=r"cannot cut a pose clip of 1\.25 s from 2 s on"):
        extract_poses(path, SquareDetector(), start=2.0)
    with pytest.raises(PoseError, match="cannot take"):
        extract_poses(path, SquareDetector(), duration=0.0)


def test_the_person_is_chosen_in_the_part(tmp_path: Path) -> None:
    """Somebody larger is beside them before it."""

    class Detector(SquareDetector):
        def __call__(self, picture: np.ndarray) -> np.ndarray:
            (one,) = super().__call__(picture)
            away = one.copy()
            away[:, :2] = (away[:, :2] - away[:1, :2]) * 3 + [180, 20]
            return np.stack([away, one] if one[0, 0] < 20 + 2 * 14.5 else [one])

    path, cache = write_clip(tmp_path / "clip.mp4", count=30), tmp_path / "cache"
    assert not extract_poses(path, Detector(), cache=cache).scores[15:].any()
    part = extract_poses(path, Detector(), start=15 / 24, cache=cache)
    np.testing.assert_allclose(noses(part), np.arange(15, 30), atol=0.25)


def test_parts_are_cached_by_themselves_and_the_whole_as_before(tmp_path: Path) -> None:
    path, cache, detector = write_clip(tmp_path / "clip.mp4", count=12), tmp_path / "cache", SquareDetector()
    extract_poses(path, detector, cache=cache)
    assert [entry.stem for entry in cache.iterdir()] == [file_key(path, "square", 24.0, None)]
    for _ in range(2):
        assert len(extract_poses(path, detector, cache=cache, start=0.25)) == 6
        assert len(extract_poses(path, detector, cache=cache, duration=0.125)) == 3
    assert detector.calls == 12 + 6 + 3


def test_progress_and_cancelling(tmp_path: Path) -> None:
    path, seen = write_clip(tmp_path / "clip.mp4"), []
    extract_poses(path, SquareDetector(), on_frame=lambda done, expected: seen.append((done, expected)))
    assert seen == [(i, 30) for i in range(1, 31)]
    detector = SquareDetector()
    with pytest.raises(Cancelled):
        extract_poses(path, detector, on_frame=lambda done, expected: done < 5)
    assert detector.calls == 5


def test_results_are_cached_by_content(tmp_path: Path) -> None:
    path, cache, detector = write_clip(tmp_path / "clip.mp4", count=10), tmp_path / "cache", SquareDetector()
    first = extract_poses(path, detector, cache=cache)
    again = extract_poses(path.rename(tmp_path / "other.mp4"), detector, cache=cache)
    assert detector.calls == 10
    np.testing.assert_array_equal(first.keypoints, again.keypoints)
    extract_poses(tmp_path / "other.mp4", detector, fps=12, cache=cache)
    assert detector.calls == 20, "another rate is another result"
    detector.identity = "other weights"
    extract_poses(tmp_path / "other.mp4", detector, cache=cache)
    assert detector.calls == 30


def test_result_from_the_cache_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, cache = write_clip(tmp_path / "clip.mp4", count=2), tmp_path / "cache"
    with caplog.at_level("INFO", "echomimic"):
        extract_poses(path, SquareDetector(), cache=cache)
        assert not caplog.text
        extract_poses(path, SquareDetector(), cache=cache)
    assert "are cached and are read from" in caplog.text


@pytest.mark.parametrize("arguments", [{"fps": 0.0}, {"fps": float("nan")}, {"person": -1}])
def test_impossible_arguments_are_refused_before_the_first_frame(tmp_path: Path, arguments: dict[str, float]) -> None:
    detector = SquareDetector()
    with pytest.raises(PoseError):
        extract_poses(write_clip(tmp_path / "clip.mp4", count=2), detector, **arguments)
    with pytest.raises(PoseError):
        poses_of_pictures([marked_picture(0)], detector, **arguments)
    assert detector.calls == 0


def test_damaged_cache_is_made_again(tmp_path: Path) -> None:
    path, cache, detector = write_clip(tmp_path / "clip.mp4", count=5), tmp_path / "cache", SquareDetector()
    extract_poses(path, detector, cache=cache)
    (entry,) = cache.iterdir()
    entry.write_bytes(b"damaged")
    assert len(extract_poses(path, detector, cache=cache)) == 5 and detector.calls == 10
    assert len(extract_poses(path, detector, cache=cache)) == 5 and detector.calls == 10


def test_cancelled_extraction_caches_nothing(tmp_path: Path) -> None:
    path, cache = write_clip(tmp_path / "clip.mp4", count=5), tmp_path / "cache"
    with pytest.raises(Cancelled):
        extract_poses(path, SquareDetector(), cache=cache, on_frame=lambda done, expected: False)
    assert not cache.exists()


@pytest.mark.parametrize("content", [b"", b"no video", bytes(5000)])
def test_what_is_not_a_video(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(PoseError, match=r"clip\.mp4"):
        extract_poses(tmp_path / "clip.mp4", SquareDetector())
    with pytest.raises(PoseError, match=r"nothing\.mp4"):
        extract_poses(tmp_path / "nothing.mp4", SquareDetector(), cache=tmp_path)


def test_sound_without_pictures(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "clip.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), format="s16", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(PoseError, match="no picture track"):
        extract_poses(tmp_path / "clip.mkv", SquareDetector())


# ---- pictures


def test_frames_without_a_person_are_gaps(caplog: pytest.LogCaptureFixture) -> None:
    pictures = [marked_picture(0), np.zeros((HEIGHT, WIDTH, 3), np.uint8), marked_picture(1)]
    sequence = poses_of_pictures(pictures, SquareDetector(), 24)
    assert (sequence.scores.any(axis=1) == [True, False, True]).all()
    assert "the person was not found in 1 of 3 pose frames: 1" in caplog.text


@pytest.mark.parametrize("person", [0, 1])
def test_a_numbered_person_is_followed_where_the_order_changes(person: int) -> None:
    """Two people of nearly one size: the detector gives now the one first and now the other, and once one alone."""
    both = [np.append(person_points(x, 120, size), np.ones((POINTS, 1)), axis=1) for x, size in ((150, 60), (450, 59))]
    orders = [(0,), (0, 1), (1, 0), (0, 1), (1, 0)]
    answers = iter([np.stack([both[one] for one in order]) for order in orders])
    clip = poses_of_pictures(np.zeros((5, 480, 640, 3), np.uint8), lambda picture: next(answers), person=person)
    noses = [round(float(x) * 640) for x in clip.keypoints[1:, 0, 0]]
    assert noses == [round(float(both[person][0, 0]))] * 4


def test_nobody_in_any_frame() -> None:
    with pytest.raises(PoseError, match=r"nobody was found in any of the 2 frames \(0 to 1\)"):
        poses_of_pictures([np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 2, SquareDetector())


def test_a_portrait_is_a_list_of_one() -> None:
    assert len(poses_of_pictures([marked_picture(3)], SquareDetector())) == 1
    with pytest.raises(PoseError, match="no pictures"):
        poses_of_pictures([], SquareDetector())


def test_pictures_of_one_shape_only() -> None:
    with pytest.raises(PoseError, match="picture 1 is 128x128, the first is 192x128"):
        poses_of_pictures([marked_picture(0), marked_picture(0, 128)], SquareDetector())


def test_what_a_detector_did_not_find_is_absent() -> None:
    def detect(picture: np.ndarray) -> np.ndarray:
        people = SquareDetector()(picture)
        people[0, 3] = [np.nan, 1, 1]
        people[0, 4, 2] = -0.1
        return people

    sequence = poses_of_pictures([marked_picture(0)], detect)
    assert sequence.scores[0, [3, 4]].tolist() == [0, 0] and sequence.scores[0, 5] == 1


def test_detector_of_other_points_is_refused() -> None:
    with pytest.raises(PoseError, match=r"expected \[people, 134, 3\]"):
        poses_of_pictures([marked_picture(0)], lambda picture: np.zeros((1, 133, 3)))


def test_mislabelled_hands_are_put_on_their_wrists() -> None:
    def detect(picture: np.ndarray) -> np.ndarray:
        people = SquareDetector()(picture)
        people[:, HAND_A], people[:, HAND_B] = people[:, HAND_B].copy(), people[:, HAND_A].copy()
        return people

    right, wrong = (poses_of_pictures([marked_picture(0)], one) for one in (SquareDetector(), detect))
    np.testing.assert_array_equal(right.keypoints, wrong.keypoints)


# ---- DWPose


def test_missing_packages_name_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rtmlib", None)
    with pytest.raises(MissingPackageError, match="pip install onnxruntime"):
        DWPose(tmp_path)


def test_missing_gpu_is_not_replaced_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = SimpleNamespace(get_available_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    monkeypatch.setitem(sys.modules, "rtmlib", SimpleNamespace(YOLOX=pytest.fail, RTMPose=pytest.fail))
    for name in (PERSON_FILE, POSE_FILE):
        (tmp_path / name).touch()
    with pytest.raises(PoseError, match="cannot use an NVIDIA card"):
        DWPose(tmp_path, "cuda")


def test_neck_and_order_are_the_originals() -> None:
    """COCO: 0 nose, 1/2 left and right eye, 3/4 ears, 5/6 shoulders, 7/8 elbows, 9/10 wrists, 11/12 hips, ..."""
    points = np.stack([np.arange(133.0), np.arange(133.0) * 10], axis=1)
    confidence = np.linspace(0.4, 1.2, 133)
    result = to_openpose(points, confidence)
    assert result.shape == (POINTS, 3)
    assert result[:18, 0].tolist() == [0, 5.5, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
    assert result[1, 2] == 1.0, "both shoulders are seen"
    np.testing.assert_array_equal(result[18:, 0], np.arange(17, 133))
    np.testing.assert_array_equal(result[18:, 2], confidence[17:])
    confidence[6] = 0.2
    assert to_openpose(points, confidence)[1, 2] == 0.0


def test_points_are_decoded_at_half_pixels_with_the_smaller_confidence() -> None:
    x_axis, y_axis = np.zeros((133, 576), np.float32), np.zeros((133, 768), np.float32)
    x_axis[:, 144], y_axis[:, 385] = 0.9, 1.1
    points, confidence = decode_points(x_axis, y_axis, np.array([400.0, 300.0]), np.array([288.0, 384.0]))
    np.testing.assert_allclose(points[0], [400 - 144 + 72, 300 - 192 + 192.5])
    np.testing.assert_allclose(confidence, 0.9, rtol=1e-6)


def yolox_answer(*boxes: tuple[float, float, float, float, float, int]) -> np.ndarray:
    """YOLOX's raw answer with these boxes in its first cells (stride 8): centre, size, score and class."""
    answer = np.zeros((1, 8400, 85), np.float32)
    for cell, (x, y, width, height, score, kind) in enumerate(boxes):
        answer[0, cell, :4] = x / 8 - cell, y / 8, np.log(width / 8), np.log(height / 8)
        answer[0, cell, 4], answer[0, cell, 5 + kind] = score, 1.0
    return answer


def test_persons_are_found_largest_first_without_doubles_and_other_things() -> None:
    answer = yolox_answer(
        (100, 100, 80, 80, 0.9, 0),
        (104, 100, 80, 80, 0.8, 0),  # the same person again
        (300, 300, 200, 300, 0.5, 0),
        (300, 300, 400, 400, 0.9, 16),  # a dog
        (500, 500, 50, 50, 0.2, 0),  # hardly anybody
    )
    np.testing.assert_allclose(person_boxes(answer, 0.5), [[400, 300, 800, 900], [120, 120, 280, 280]], atol=1e-3)
    assert person_boxes(yolox_answer(), 1.0).shape == (0, 4)


def constant_network(path: Path, side: tuple[int, int], outputs: dict[str, np.ndarray]) -> None:
    """An ONNX file that answers the same to every picture of that size."""
    from onnx import TensorProto, helper, numpy_helper, save

    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, *side])
    # The input has to be used: it is added, times zero.
    nodes, constants, infos = [], [numpy_helper.from_array(np.zeros(1, np.float32), "zero")], []
    nodes.append(helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0))
    nodes.append(helper.make_node("Mul", ["mean", "zero"], ["nothing"]))
    for name, value in outputs.items():
        constants.append(numpy_helper.from_array(value, f"{name}_value"))
        nodes.append(helper.make_node("Add", [f"{name}_value", "nothing"], [name]))
        infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(value.shape)))
    graph = helper.make_graph(nodes, "constant", [picture], infos, constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def test_real_rtmlib_runs_both_networks(tmp_path: Path) -> None:
    """With rtmlib, onnxruntime and onnx at hand: networks of the real shapes, from the picture to the 134 points."""
    for package in ("rtmlib", "onnxruntime", "onnx"):
        pytest.importorskip(package)
    with pytest.raises(PoseError, match=r"lacks yolox_l\.onnx and dw-ll_ucoco_384\.onnx"):
        DWPose(tmp_path)
    constant_network(tmp_path / "yolox_l.onnx", (640, 640), {"output": yolox_answer((320, 240, 288, 384, 0.9, 0))})
    x_axis, y_axis = np.zeros((1, 133, 576), np.float32), np.zeros((1, 133, 768), np.float32)
    x_axis[:, :, 288], y_axis[:, np.arange(133), 384 + np.arange(133)] = 0.9, 0.8
    constant_network(tmp_path / "dw-ll_ucoco_384.onnx", (384, 288), {"simcc_x": x_axis, "simcc_y": y_axis})
    people = DWPose(tmp_path, "cpu")(np.zeros((480, 640, 3), np.uint8))
    assert people.shape == (1, POINTS, 3)
    # The box has the network's shape; it is widened by a quarter about its middle.
    np.testing.assert_allclose(people[0, 0], [320, 240, 0.8], atol=1e-4)
    np.testing.assert_allclose(people[0, 2, 1], 240 + 6 / 2 * 1.25, atol=1e-4)
    (tmp_path / "yolox_l.onnx").write_bytes(b"damaged")
    with pytest.raises(PoseError, match="cannot be used"):
        DWPose(tmp_path)
