"""Videos as cameras and editors write them: turned, mirrored, with bad time stamps, damaged."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from echomimic.errors import AudioError, VideoError
from echomimic.media import video_reader
from echomimic.media.colours import compress_highlights
from echomimic.media.containers import is_unfinished, open_input
from echomimic.media.recordings import read_audio
from echomimic.media.video_reader import LOOKAHEAD, apply_matrix, place_in_time, upright
from echomimic.pose.sequence import POINTS
from echomimic.pose.sources.extract import extract_poses
from tests.sound_files import encode
from tests.video_frames import read_frames

ONE = 65536
CORNERS = np.arange(6, dtype=np.uint8).reshape(2, 3)[..., None].repeat(3, 2)  # [2, 3, 3]


def write(path: Path, stamps: list[int], rate: int = 24) -> Path:
    """A video whose frame i is grey 5 i, at these time stamps in frames; Matroska keeps any."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        stream.time_base = Fraction(1, rate)
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * number, np.uint8), format="rgb24")
            frame = frame.reformat(format="yuvj420p")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            for packet in stream.encode(frame):
                packet.pts = packet.dts = stamp
                packet.time_base = Fraction(1, rate)
                container.mux(packet)
    return path


def test_frames_come_in_their_order(tmp_path):
    frames = list(read_frames(write(tmp_path / "a.mkv", list(range(10)))))
    assert [round(float(frame.picture.mean()) / 5) for frame in frames] == list(range(10))
    assert [frame.time for frame in frames] == pytest.approx([number / 24 for number in range(10)], abs=0.001)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((ONE, 0, 0, ONE), CORNERS),
        ((-ONE, 0, 0, ONE), CORNERS[:, ::-1]),
        ((ONE, 0, 0, -ONE), CORNERS[::-1]),
        ((-ONE, 0, 0, -ONE), np.rot90(CORNERS, 2)),
        ((0, ONE, -ONE, 0), np.rot90(CORNERS, -1)),  # a phone held upright: a quarter turn clockwise
        ((0, -ONE, ONE, 0), np.rot90(CORNERS, 1)),
        ((0, ONE, ONE, 0), CORNERS.transpose(1, 0, 2)),
    ],
)
def test_a_display_matrix_turns_and_mirrors(matrix, expected):
    assert (apply_matrix(CORNERS, matrix) == expected).all()


def frame_times(stamps: list[float | None], rate: float) -> np.ndarray:
    """Where the reader places frames of these time stamps, `[F]` in seconds."""
    return np.array([time for _, time in place_in_time(stamps, lambda stamp: stamp, rate)])


@given(
    count=st.integers(2, 60),
    bad=st.lists(st.tuples(st.integers(0, 59), st.sampled_from(["repeat", "none", "back", "far", "nan"])), max_size=8),
)
def test_bad_time_stamps_cost_nothing(count, bad):
    true = np.arange(count) / 24
    stamps: list[float | None] = list(true)
    for place, kind in sorted(bad):  # from the left: a repeated stamp is the one that the file holds before it
        if 0 < place < count:
            before = stamps[place - 1]
            stamps[place] = {"repeat": before, "none": None, "back": -5.0, "far": 1e6, "nan": float("nan")}[kind]
    times = frame_times(stamps, 24.0)
    assert len(times) == count and (np.diff(times) > 0).all()
    np.testing.assert_allclose(times, true, atol=1e-6)


def test_a_varying_rate_is_kept():
    stamps = [0.0, 0.1, 0.15, 0.5, 0.52]
    np.testing.assert_allclose(frame_times(stamps, 24.0), stamps)


def test_without_stamps_the_nominal_rate_counts():
    np.testing.assert_allclose(frame_times([None] * 4, 10.0), [0, 0.1, 0.2, 0.3])
    np.testing.assert_allclose(frame_times([5.0] * 4, 10.0), [0, 0.1, 0.2, 0.3])


def test_times_continue_where_a_clock_starts_over():
    stamps = [i / 24 for i in range(48)] + [i / 12 for i in range(48)]
    times = frame_times(stamps, 24.0)
    assert (np.diff(times) > 0).all()
    # Until the new clock is believed frames follow at their usual distance; then at its own.
    np.testing.assert_allclose(np.diff(times)[:58], 1 / 24, atol=1e-9)
    np.testing.assert_allclose(np.diff(times)[62:], 1 / 12, atol=1e-9)


def test_placing_in_time_holds_few_frames():
    held = 0

    def items():
        nonlocal held
        for number in range(200):
            held += 1
            yield number

    for _ in place_in_time(items(), lambda _: None, 24.0):
        held -= 1
        assert held <= LOOKAHEAD


def test_a_video_is_opened_once_for_its_poses(tmp_path, monkeypatch):
    path, opened = write(tmp_path / "a.mkv", list(range(8))), []
    monkeypatch.setattr(video_reader, "open_input", lambda path: opened.append(path) or open_input(path))
    extract_poses(path, Somebody())
    assert opened == [path]


class Somebody:
    identity = "somebody"

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        return np.random.default_rng(0).uniform(5, 40, (1, POINTS, 3))


@pytest.mark.parametrize("aspect", [Fraction(60000, 1), Fraction(1, 60000)])
def test_an_impossible_shape_of_pixels_is_ignored(aspect):
    frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
    assert upright(frame, aspect).shape == (48, 64, 3)
    assert upright(frame, Fraction(3, 2)).shape == (48, 96, 3)


def test_a_frame_larger_than_memory_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mkv", [0, 1])
    monkeypatch.setattr(video_reader, "LARGE_PICTURE", 1)
    monkeypatch.setattr(video_reader, "input_limit", lambda: 1000)
    with pytest.raises(VideoError, match=r"frames of 64x48 pixels.*scale it down"):
        list(read_frames(path))


def test_a_damaged_packet_costs_its_frame_only(tmp_path, caplog):
    path = write(tmp_path / "a.mkv", list(range(20)))
    with av.open(str(path)) as container:
        packet = bytes(list(container.demux(video=0))[10])
    content = bytearray(path.read_bytes())
    place = content.index(packet) + len(packet) // 2
    content[place : place + 60] = bytes(60)
    path.write_bytes(bytes(content))
    assert len(list(read_frames(path))) >= 17


@pytest.mark.parametrize("content", [b"", b"no video", b"\x1a\x45\xdf\xa3" + bytes(50)])
def test_what_is_no_video_is_a_sentence(tmp_path, content):
    (tmp_path / "a.mkv").write_bytes(content)
    with pytest.raises(VideoError, match=r"a\.mkv"):
        list(read_frames(tmp_path / "a.mkv"))


def test_a_mirrored_video_is_shown_as_players_do(shared):
    frame = next(read_frames(shared / "cases" / "video" / "hflip.mp4"))
    y, x = np.nonzero(frame.picture[..., 0].astype(int) - frame.picture[..., 1] > 50)
    assert x.mean() / frame.picture.shape[1] == pytest.approx(0.91, abs=0.02)
    assert y.mean() / frame.picture.shape[0] == pytest.approx(0.20, abs=0.02)


def test_the_cover_of_a_sound_file_is_no_video(tmp_path):
    """Music players' files hold a picture as a track."""
    encode(tmp_path / "plain.mp3", np.zeros((1, 8000), np.float32), 16000, "mp3")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "cover.jpg")
    picture = (tmp_path / "cover.jpg").read_bytes()
    body = b"\0image/jpeg\0\3\0" + picture
    frame = b"APIC" + len(body).to_bytes(4, "big") + b"\0\0" + body
    size = bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0))
    tagged = b"ID3\3\0\0" + size + frame + (tmp_path / "plain.mp3").read_bytes()
    (tmp_path / "song.mp3").write_bytes(tagged)
    with av.open(str(tmp_path / "song.mp3")) as container:
        assert container.streams.video, "the cover is there"
    with pytest.raises(VideoError, match="has no picture track"):
        list(read_frames(tmp_path / "song.mp3"))


def test_a_recording_that_was_interrupted_is_named(tmp_path):
    """An MP4's index is written last."""
    path = write(tmp_path / "a.mp4", list(range(30)))
    whole = path.read_bytes()
    assert not is_unfinished(path)
    path.write_bytes(whole[: whole.index(b"moov") - 4])
    with pytest.raises(VideoError, match="was not finished: its index"):
        list(read_frames(path))
    with pytest.raises(AudioError, match="was not finished: its index"):
        read_audio(path)
    path.write_bytes(b"no video " * 9)
    assert not is_unfinished(path) and not is_unfinished(tmp_path / "gone.mp4")


@pytest.mark.parametrize("size", [2**63, 2**64 - 1, 2**63 - 1, 7])
def test_a_box_of_an_impossible_size_ends_the_search_for_the_index(tmp_path, size):
    box = b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\1wide" + size.to_bytes(8, "big")
    (tmp_path / "a.mov").write_bytes(box + bytes(64))
    with pytest.raises(VideoError):
        list(read_frames(tmp_path / "a.mov"))


def test_an_avi_with_frames_out_of_order_keeps_its_even_times(tmp_path):
    """AVI stores no times of showing; what FFmpeg makes of B-frames jumps to and fro."""
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"x264-params": "bframes=3:b-adapt=0:scenecut=0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(36):
            picture = np.full((48, 64, 3), 5 * number, np.uint8)
            picture[:, number : number + 20] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    frames = list(read_frames(tmp_path / "a.avi"))
    assert len(frames) == 36
    assert np.diff([frame.time for frame in frames]) == pytest.approx(1 / 24, abs=0.001)


def test_a_preview_before_the_film_is_not_the_film(tmp_path):
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        streams = [container.add_stream("mjpeg", rate=24) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for stream, count in zip(streams, (1, 10)):
            for number in range(count):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 9 * count, np.uint8), format="rgb24")
                frame = frame.reformat(format="yuvj420p")
                frame.pts, frame.time_base = number, Fraction(1, 24)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    frames = list(read_frames(tmp_path / "a.mov"))
    assert len(frames) == 10 and float(frames[0].picture.mean()) == pytest.approx(90, abs=3)


COLOURS = np.array([[220, 40, 40], [40, 160, 40], [60, 60, 200], [150, 150, 150]], np.uint8)


def encode_pq(light: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084 of light in cd/m^2."""
    power = (light / 10000).clip(0) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def encode_hlg(light: np.ndarray) -> np.ndarray:
    """ITU-R BT.2100's hybrid log-gamma of light in cd/m^2 on a display of 1000."""
    display = light / 1000
    luminance = display @ np.array([0.2627, 0.6780, 0.0593])
    scene = display * luminance[:, None] ** (1 / 1.2 - 1)
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene.clip(0)), bright)


@pytest.mark.parametrize(("transfer", "encode_light"), [(16, encode_pq), (18, encode_hlg)])
def test_phones_high_dynamic_range_comes_out_in_sRGBs_colours(tmp_path, transfer, encode_light):  # noqa: N802
    """Taken as it is, it is grey and dark: skin for training, hands for finding."""
    value = COLOURS / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    # ITU-R BT.2087: BT.709 to BT.2020.
    wide = light @ np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]).T
    stored = np.round(65535 * encode_light(203 * wide)).astype(np.uint16)  # [4, 3]
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, transfer, 9, 1
        picture = np.repeat(np.repeat(stored[None], 48, 0), 16, 1)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb48le")
        frame = frame.reformat(format="yuv444p10le", dst_colorspace=9, dst_color_range="MPEG")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (shown,) = read_frames(tmp_path / "a.mov")
    found = shown.picture[24, 8::16].astype(int)
    assert np.abs(found - COLOURS).max() <= 6, found


@pytest.mark.parametrize(("width", "height", "matrix"), [(1280, 720, 1), (640, 480, 5)])
def test_a_video_that_names_no_colour_matrix_is_taken_as_players_take_it(tmp_path, width, height, matrix):
    colour = np.array([40, 200, 40])
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        picture = np.broadcast_to(colour.astype(np.uint8), (height, width, 3))
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame = frame.reformat(format="yuv444p", dst_colorspace=matrix, dst_color_range="MPEG")
        frame.colorspace = 2
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (shown,) = read_frames(tmp_path / "a.mp4")
    assert np.abs(shown.picture[9, 9].astype(int) - colour).max() <= 3


def test_light_below_the_knee_stays_and_the_peak_is_white():
    light = np.linspace(0, 4.9, 500)[:, None].repeat(3, 1)
    squeezed = compress_highlights(light, 4.9)[:, 0]
    assert squeezed[light[:, 0] <= 0.8] == pytest.approx(light[light[:, 0] <= 0.8, 0])
    assert (np.diff(squeezed) > 0).all() and squeezed[-1] == pytest.approx(1)
