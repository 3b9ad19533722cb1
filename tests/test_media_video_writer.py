"""The written file is opened again: size, frames, rate and sound, and what is left after a failure."""

from __future__ import annotations

import errno
import json
import os
import threading
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from echomimic.errors import AudioError, OutputError
from echomimic.files.atomic import atomic_folder, temporary_path
from echomimic.media.video_writer import (
    check_output,
    exact_rate,
    write_behind,
    write_picture,
    write_pictures,
    write_video,
)
from echomimic.pose import PoseSequence, save_poses

ROOT_MAY_WRITE_ANYWHERE = not hasattr(os, "geteuid") or os.geteuid() == 0


def moving(frames=30, height=64, width=48, chunk=8):
    """Chunks of a bright bar that moves one column a frame."""
    for begin in range(0, frames, chunk):
        part = np.zeros((min(chunk, frames - begin), height, width, 3), np.uint8)
        for i, picture in enumerate(part):
            picture[:, (begin + i) % width] = 255
        yield part


def tone(seconds: float, sample_rate: int, channels: int = 1) -> torch.Tensor:
    time = torch.arange(int(seconds * sample_rate)) / sample_rate
    return (0.5 * torch.sin(2 * torch.pi * 440 * time)).expand(channels, -1)


def decoded(path: Path):
    """Pictures, sound `[channels, samples]`, and the streams' facts."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        facts = {
            "rate": stream.average_rate,
            "size": (stream.width, stream.height),
            "metadata": dict(container.metadata),
        }
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    with av.open(path) as container:
        sound = [frame.to_ndarray() for frame in container.decode(audio=0)] if container.streams.audio else []
        facts["sample_rate"] = container.streams.audio[0].rate if container.streams.audio else None
    return np.stack(pictures), np.concatenate(sound, axis=1) if sound else None, facts


@pytest.mark.parametrize("fps", [24, 25, 30, 23.976, 29.97, 12.5])
def test_size_frames_and_rate(tmp_path, fps):
    path = write_video(tmp_path / "a.mp4", moving(), fps, audio=(tone(3, 16000), 16000))
    pictures, sound, facts = decoded(path)
    assert pictures.shape == (30, 64, 48, 3)
    assert facts["rate"] == exact_rate(fps)
    assert facts["size"] == (48, 64)
    assert sound.shape[1] / facts["sample_rate"] == pytest.approx(30 / fps, abs=2 * 1024 / 16000)


@pytest.mark.parametrize(
    ("fps", "rate"),
    [(24, Fraction(24)), (23.976, Fraction(24000, 1001)), (29.97, Fraction(30000, 1001)), (12.5, Fraction(25, 2))],
)
def test_exact_rate(fps, rate):
    assert exact_rate(fps) == rate


def test_colours_are_those_of_bt709(tmp_path):
    """Brightness and colour differences as ITU-R BT.709 defines them, and tagged so, whoever decodes."""
    colours = np.array([[200, 30, 40], [20, 180, 60], [30, 50, 220], [128, 128, 128]], np.uint8)
    chunk = np.tile(colours[:, None, None], (1, 64, 64, 1))
    path = write_video(tmp_path / "a.mp4", [chunk], 24, crf=1)
    with av.open(path) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        planes = [frame.to_ndarray() for frame in container.decode(video=0)]  # yuv420p: [96, 64]
    for colour, plane in zip(colours / 255, planes):
        luma = colour @ (0.2126, 0.7152, 0.0722)
        blue, red = (colour[2] - luma) / 1.8556, (colour[0] - luma) / 1.5748
        seen = plane[30, 30], plane[64:80].ravel()[500], plane[80:].ravel()[500]
        assert seen == pytest.approx((16 + 219 * luma, 128 + 224 * blue, 128 + 224 * red), abs=1.5)


@pytest.mark.parametrize(("sample_rate", "channels"), [(16000, 1), (44100, 2), (12345, 1), (96000, 2), (8000, 2)])
def test_sound_is_cut_to_the_frames_and_keeps_its_pitch(tmp_path, sample_rate, channels):
    path = write_video(tmp_path / "a.mp4", moving(48), 24, audio=(tone(5, sample_rate, channels), sample_rate))
    _, sound, facts = decoded(path)
    assert len(sound) == channels
    assert sound.shape[1] / facts["sample_rate"] == pytest.approx(2, abs=2 * 1024 / facts["sample_rate"])
    spectrum = np.abs(np.fft.rfft(sound[0, : 2 * facts["sample_rate"]]))
    peak = spectrum.argmax() * facts["sample_rate"] / min(sound.shape[1], 2 * facts["sample_rate"])
    assert peak == pytest.approx(440, abs=2)


def test_the_centre_of_surround_sound_is_in_the_stereo_mix(tmp_path):
    surround = torch.zeros(6, 32000)
    surround[2] = tone(2, 16000)[0]
    _, sound, _ = decoded(write_video(tmp_path / "a.mp4", moving(48), 24, audio=(surround, 16000)))
    assert len(sound) == 2 and np.abs(sound).max() > 0.05


@pytest.mark.parametrize(
    ("waveform", "message"),
    [(torch.zeros(1, 0), "is empty"), (torch.full((1, 99), float("nan")), "99 samples that are NaN")],
)
def test_sound_that_is_none_is_refused_and_leaves_nothing(tmp_path, waveform, message):
    with pytest.raises(AudioError, match=message):
        write_video(tmp_path / "a.mp4", moving(), 24, audio=(waveform, 16000))
    assert not list(tmp_path.iterdir())


def test_sound_that_is_too_short_is_followed_by_silence(tmp_path):
    _, sound, facts = decoded(write_video(tmp_path / "a.mp4", moving(48), 24, audio=(tone(1, 16000), 16000)))
    rate = facts["sample_rate"]
    assert sound.shape[1] / rate == pytest.approx(2, abs=2 * 1024 / rate)
    assert np.abs(sound[0, : int(0.9 * rate)]).max() > 0.3
    assert np.abs(sound[0, int(1.2 * rate) :]).max() < 0.01


def test_no_sound_no_stream(tmp_path):
    _, sound, _ = decoded(write_video(tmp_path / "a.mp4", moving(), 24))
    assert sound is None


def test_metadata_survives(tmp_path):
    workflow = json.dumps({"nodes": ["Gesten für ein Porträt", "手势"]})
    path = write_video(tmp_path / "a.mp4", moving(), 24, metadata={"workflow": workflow, "prompt": "{}"})
    metadata = decoded(path)[2]["metadata"]
    assert (metadata["workflow"], metadata["prompt"]) == (workflow, "{}")


def test_frames_are_written_as_they_come(tmp_path):
    """The writer takes a chunk only when it is done with the one before: it never holds the clip."""
    alive = []

    def chunks():
        import weakref

        for _ in range(5):
            chunk = np.zeros((4, 64, 64, 3), np.uint8)
            alive.append(weakref.ref(chunk))
            yield chunk
            del chunk
            assert sum(reference() is not None for reference in alive) <= 1

    write_video(tmp_path / "a.mp4", chunks(), 24)
    assert len(alive) == 5


def test_the_next_frames_are_made_while_frames_are_written():
    asked, written = threading.Event(), []

    def chunks():
        yield 1
        asked.set()
        yield 2

    def write(chunk):
        # Would wait for ever if nobody asked for the second chunk before the first one is written.
        assert asked.wait(timeout=60)
        written.append(chunk)

    write_behind(chunks(), write)
    assert written == [1, 2]


def test_failures_of_either_side_pass_through_once_nothing_is_written_any_more():
    started, written = threading.Event(), []

    def broken():
        yield 1
        started.wait(timeout=60)
        raise KeyboardInterrupt

    def write(chunk):
        started.set()
        written.append(chunk)

    with pytest.raises(KeyboardInterrupt):
        write_behind(broken(), write)
    assert written == [1]

    def refuse(chunk):
        written.append(chunk)
        raise OutputError("full")

    for chunks in ([2], [2, 3], [2, 3, 4]):
        del written[:]
        with pytest.raises(OutputError, match="full"):
            write_behind(chunks, refuse)
        assert written == [2]


def test_folder_is_made_and_old_file_replaced(tmp_path):
    path = tmp_path / "new" / "folder" / "a.mp4"
    write_video(path, moving(10), 24)
    write_video(path, moving(20), 24)
    assert len(decoded(path)[0]) == 20
    assert [file.name for file in path.parent.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("decoder"), OutputError("message")])
def test_whatever_interrupts_nothing_is_left_and_the_old_file_stays(tmp_path, error):
    path = write_video(tmp_path / "a.mp4", moving(10), 24)
    before = path.read_bytes()

    def failing():
        yield from moving(8)
        raise error

    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        write_video(path, failing(), 24)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_full_disk_is_one_sentence(tmp_path):
    def failing():
        yield from moving(8)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match=r"cannot write .*a\.mp4: No space left on device\. Free space"):
        write_video(tmp_path / "a.mp4", failing(), 24)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_disk_that_is_really_full(tmp_path, monkeypatch):
    from echomimic.media import video_writer

    monkeypatch.setattr(video_writer.Path, "with_name", lambda self, name: Path("/dev/full"))
    monkeypatch.setattr(video_writer.Path, "unlink", lambda self, missing_ok=False: None)
    with pytest.raises(OutputError, match=r"cannot write .*a\.mp4"):
        write_video(tmp_path / "a.mp4", moving(), 24)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([(63, 64)], "even width and height, the frames are 64x63"),
        ([(64, 64), (64, 80)], "frame 2 is 80x64, but those before are 64x64"),
    ],
)
def test_frames_that_make_no_video_are_refused_and_leave_nothing(tmp_path, sizes, message):
    with pytest.raises(OutputError, match=message):
        write_video(tmp_path / "a.mp4", [np.zeros((2, *size, 3), np.uint8) for size in sizes], 24)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "chunk", [np.zeros((2, 64, 64, 4), np.uint8), np.zeros((64, 64, 3), np.uint8), np.zeros((1, 64, 64, 3))]
)
def test_arrays_that_are_no_frames_are_named(tmp_path, chunk):
    with pytest.raises(OutputError, match=r"uint8 \[n, height, width, 3\], got"):
        write_video(tmp_path / "a.mp4", [chunk], 24)


def test_a_chunk_without_frames_is_passed_over(tmp_path):
    nothing, frames = np.zeros((0, 64, 64, 3), np.uint8), np.zeros((24, 64, 64, 3), np.uint8)
    sound = torch.zeros(1, 16000), 16000
    path = write_video(tmp_path / "a.mp4", [nothing, frames, nothing], 24, audio=sound)
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) == 24


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 5000])
def test_impossible_rates_are_refused(tmp_path, fps):
    with pytest.raises(OutputError, match=r"0\.1 to 1000 frames a second, not"):
        write_video(tmp_path / "a.mp4", moving(), fps)


def test_failure_of_the_encoder_is_one_sentence(tmp_path, monkeypatch):
    from echomimic.media import video_writer

    def failing(self, chunk):
        raise av.error.ExternalError(542398533, "Generic error in an external library")

    monkeypatch.setattr(video_writer.StreamWriter, "write", failing)
    with pytest.raises(OutputError, match=r"cannot write .*a\.mp4: the encoder failed"):
        write_video(tmp_path / "a.mp4", moving(), 24)


def test_no_frames_is_an_error_and_leaves_nothing(tmp_path):
    with pytest.raises(OutputError, match="no frames"):
        write_video(tmp_path / "a.mp4", iter(()), 24)
    assert not list(tmp_path.iterdir())


def test_png_pictures_are_lossless_and_numbered(tmp_path):
    folder = write_pictures(tmp_path / "frames", moving(11))
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f"{i:05d}.png" for i in range(11)]
    assert np.array_equal(np.stack([np.asarray(Image.open(file)) for file in files]), np.concatenate(list(moving(11))))
    assert [file.name for file in tmp_path.iterdir()] == ["frames"]


def test_png_failure_leaves_nothing(tmp_path):
    def failing():
        yield from moving(8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pictures(tmp_path / "frames", failing())
    assert not list(tmp_path.iterdir())


def test_pictures_are_not_mixed_into_a_full_folder(tmp_path):
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "holiday.png").touch()
    with pytest.raises(OutputError, match="not an empty folder"):
        write_pictures(tmp_path / "frames", moving())


@pytest.mark.parametrize(
    ("name", "message"),
    [("video.avi", r"does not end in \.mp4"), ("folder", "is a folder: name a file"), ("video", "does not end")],
)
def test_output_names_are_checked_before_the_work(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=message):
        check_output(tmp_path / name)


def test_checking_makes_the_folder_and_leaves_no_file(tmp_path):
    check_output(tmp_path / "new" / "a.mp4")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(OutputError, match="cannot write"):
        check_output(tmp_path / "taken" / "a.mp4")


@pytest.mark.skipif(ROOT_MAY_WRITE_ANYWHERE, reason="the superuser may write to read-only folders")
def test_folder_that_cannot_be_written_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        check_output(tmp_path / "a.mp4")


def test_one_picture_replaces_the_one_before(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    path = tmp_path / "new" / "a.png"
    write_picture(path, np.zeros((5, 5, 3), np.uint8))
    write_picture(path, picture)
    assert np.array_equal(np.asarray(Image.open(path)), picture)
    assert [file.name for file in path.parent.iterdir()] == ["a.png"]


def test_picture_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path = write_picture(tmp_path / "a.png", np.zeros((5, 5, 3), np.uint8))
    before = path.read_bytes()

    def full(image, target, **settings):
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OutputError, match="No space left"):
        write_picture(path, np.zeros((5, 5, 3), np.uint8))
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["a.png"]


def streams_of(path: Path) -> tuple[list[tuple[float, np.ndarray]], np.ndarray, int, dict[str, Fraction]]:
    """A file's pictures with their times, its sound from second 0 on with its rate, and how long each track lasts."""
    with av.open(str(path)) as container:
        seconds = {stream.type: stream.duration * stream.time_base for stream in container.streams}
        pictures = [(frame.time, frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    rate = frames[0].sample_rate
    sound = np.zeros(round(frames[-1].time * rate) + frames[-1].samples, np.float32)
    for frame in frames:
        begin = round(frame.time * rate)
        sound[begin : begin + frame.samples] = frame.to_ndarray()[0]
    # What an encoder adds to fill its last packet lies beyond the track's end.
    return pictures, sound[: round(seconds["audio"] * rate)], rate, seconds


@pytest.mark.parametrize("frame", [1, 12, 40])
@pytest.mark.parametrize("rate", [16000, 22050, 37000, 44100, 48000])
def test_a_click_sounds_with_its_flash_in_the_written_file(tmp_path, frame, rate):
    pictures = np.zeros((48, 64, 64, 3), np.uint8)
    pictures[frame] = 255
    waveform = torch.zeros(1, 2 * rate)
    start = round((frame + 0.5) / 24 * rate)
    waveform[0, start : start + 20] = 0.9
    path = write_video(tmp_path / "a.mp4", [pictures[:20], pictures[20:]], 24, audio=(waveform, rate))
    shown, sound, written_rate, _ = streams_of(path)
    flash = max(shown, key=lambda pair: float(pair[1].mean()))[0]
    click = float(np.abs(sound).argmax()) / written_rate
    # The click was put into the middle of the flash's frame; AAC moves the largest sample by less than 2 ms.
    assert click - flash == pytest.approx(0.5 / 24, abs=0.002)


@pytest.mark.parametrize("frames", [1, 47, 48])
@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
@pytest.mark.parametrize("given", [0.5, 1.0, 3.0])
def test_sound_lasts_exactly_as_long_as_the_pictures(tmp_path, frames, rate, given):
    """Too little sound is followed by silence, too much is cut off: `given` is its share of the pictures' time."""
    waveform = torch.full((1, max(1, round(given * frames / 24 * rate))), 0.5)
    path = write_video(tmp_path / "a.mp4", [np.zeros((frames, 64, 64, 3), np.uint8)], 24, audio=(waveform, rate))
    shown, sound, _, seconds = streams_of(path)
    assert len(shown) == frames and seconds["video"] == Fraction(frames, 24)
    assert abs(seconds["audio"] - seconds["video"]) <= Fraction(1, 1000)  # the file's clock counts milliseconds
    assert len(sound) == round(seconds["audio"] * rate)


@pytest.mark.parametrize("crf", [0, 1, 18, 51])
def test_every_quality_is_written_in_a_profile_that_players_show(tmp_path, crf, caplog):
    caplog.set_level("INFO")
    noise = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), np.uint8)
    with av.open(str(write_video(tmp_path / "a.mp4", [noise], 24, crf=crf))) as container:
        context = container.streams.video[0].codec_context
        assert (context.profile, context.pix_fmt) == ("High", "yuv420p")
    assert caplog.text.count("crf 0 is written as 1") == (crf == 0)


@pytest.mark.parametrize("name", ["take:1.mp4", "-y.mp4", "pipe:1.mp4", "100%d.mp4", "模型 é.mp4", "a" * 240 + ".mp4"])
def test_any_legal_name_is_checked_and_written(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    check_output(name)
    assert not list(tmp_path.iterdir())
    write_video(name, [np.zeros((2, 64, 64, 3), np.uint8)], 24)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_name_that_is_too_long_is_a_sentence(tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        check_output(tmp_path / ("a" * 252 + ".mp4"))


def test_what_stands_in_the_way_of_an_output_is_named(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "far.mp4").symlink_to("gone/a.mp4")
    (tmp_path / "round").symlink_to("round")
    for name, words in (
        ("file/a.mp4", "file is not a folder: name another place"),
        ("round/a.mp4", "round is not a folder"),
        ("loop.mp4", "It is a link to loop.mp4"),
        ("far.mp4", "It is a link to gone/a.mp4"),
        ("x" * 252 + ".mp4", "Choose a shorter name"),
        (".mp4", "has nothing before its ending"),
    ):
        with pytest.raises(OutputError) as refused:
            check_output(tmp_path / name)
        assert words in str(refused.value) and "Free space" not in str(refused.value)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["far.mp4", "file", "loop.mp4", "round"]


def test_what_a_killed_process_of_the_same_number_left_is_in_nobodys_way(tmp_path):
    folder = tmp_path / "frames"
    for write in (
        lambda: check_output(folder, True),
        lambda: write_pictures(folder, [np.zeros((2, 8, 8, 3), np.uint8)]),
    ):
        temporary_path(folder).mkdir()
        (temporary_path(folder) / "00007.png").touch()
        write()
    assert sorted(path.name for path in folder.iterdir()) == ["00000.png", "00001.png"]
    # It was killed between taking the old folder away and putting the new one there: the old one is back.
    folder.rename(temporary_path(tmp_path / "frames.replaced"))
    with suppress(KeyError), atomic_folder(folder, replace=True):
        assert len(list(folder.iterdir())) == 2
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]


def test_what_killed_processes_left_goes_after_a_day(tmp_path):
    """But nobody's backup, and nothing of another file whose name begins alike."""
    names = (".a.mp4.7.partial", ".a.mp4.8.partial", ".a.mp4.replaced.7.partial", ".a.mp4.mov.7.partial", ".a.mp4.7")
    for name in names:
        (tmp_path / name).touch()
        if ".8." not in name:
            os.utime(tmp_path / name, (0, 0))
    check_output(tmp_path / "a.mp4")
    assert {path.name for path in tmp_path.iterdir()} == set(names[1:])


def test_processes_that_check_one_output_at_once_are_not_in_each_others_way(tmp_path, monkeypatch):
    """torchrun's do. One saw the file of another's check, and the other removed it."""
    output, touch = tmp_path / "a.mp4", Path.touch

    def and_another_process_cleans_up(path, *arguments, **settings):
        touch(path, *arguments, **settings)
        assert not output.exists(), "`batch` would take it for a video that is made"
        output.unlink(missing_ok=True)

    monkeypatch.setattr(Path, "touch", and_another_process_cleans_up)
    check_output(output)
    check_output(tmp_path / "frames", True)
    assert not list(tmp_path.iterdir())


def refuse(monkeypatch, name: str, refused: Path) -> None:
    """Let this method of `Path` fail as on Windows, where a program has the file open."""
    method = getattr(Path, name)

    def refusing(path, target):
        if Path(target) == refused:
            raise PermissionError(errno.EACCES, "Access is denied")
        return method(path, target)

    monkeypatch.setattr(Path, name, refusing)


def test_a_video_that_a_player_holds_open_is_refused_before_the_work(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    check_output(path)
    refuse(monkeypatch, "rename", path)
    with pytest.raises(OutputError, match=r"a\.mp4 cannot be replaced \(Access is denied\): close the program"):
        check_output(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.mp4"] and path.read_bytes() == b"old"


@pytest.mark.parametrize("name", ["a.mp4", "é" * 120 + ".mp4"])
def test_a_finished_video_that_may_not_replace_the_old_one_is_kept_beside_it(tmp_path, monkeypatch, name):
    """Hours of work were deleted with it."""
    path = tmp_path / name
    path.write_bytes(b"old")
    refuse(monkeypatch, "replace", path)
    for number in (1, 2):
        kept = tmp_path / f"{path.stem[:50]} ({number}).mp4"
        with pytest.raises(OutputError) as refused:
            write_video(path, [np.zeros((2, 64, 64, 3), np.uint8)], 24)
        assert "Access is denied" in str(refused.value) and str(refused.value).endswith(f"is kept as {kept}")
        assert kept.stat().st_size > 500
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 3


def test_finished_pictures_whose_folder_was_filled_in_the_meantime_are_kept_beside_it(tmp_path):
    folder = tmp_path / "frames"

    def chunks():
        yield np.zeros((2, 8, 8, 3), np.uint8)
        folder.mkdir()
        (folder / "holiday.png").touch()

    with pytest.raises(OutputError, match=r"is kept as .*frames \(1\)$"):
        write_pictures(folder, chunks())
    assert sorted(path.name for path in (tmp_path / "frames (1)").iterdir()) == ["00000.png", "00001.png"]
    assert [path.name for path in folder.iterdir()] == ["holiday.png"] and len(list(tmp_path.iterdir())) == 2


def test_what_no_free_name_takes_keeps_the_name_that_it_has(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    refuse(monkeypatch, "replace", path)
    refuse(monkeypatch, "rename", tmp_path / "a (1).mp4")
    with pytest.raises(OutputError) as refused:
        write_video(path, [np.zeros((2, 64, 64, 3), np.uint8)], 24)
    (kept,) = tmp_path.iterdir()
    assert str(refused.value).endswith(f"is kept as {kept}")


def test_a_small_file_that_may_not_replace_the_old_one_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    refuse(monkeypatch, "replace", path)
    with pytest.raises(OutputError, match="Access is denied"):
        write_picture(path, np.zeros((5, 5, 3), np.uint8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path, there):
    """People lead outputs to another disk by a link."""
    disk = tmp_path / "disk"
    disk.mkdir()
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    writers = {
        "a.mp4": lambda path: write_video(path, [frames], 24),
        "a.png": lambda path: write_picture(path, frames[0]),
        "a.json": lambda path: save_poses(standing(), path),
        "a.safetensors": lambda path: save_poses(standing(), path),
        "poses": lambda path: save_poses(standing(), path),
        "pictures": lambda path: write_pictures(path, [frames]),
    }
    for name, write in writers.items():
        (tmp_path / name).symlink_to(disk / name)
        if there and "." in name:
            (disk / name).write_bytes(b"old")
        elif there:
            (disk / name).mkdir()
        if name == "a.mp4":
            check_output(tmp_path / name)
            assert (disk / name).is_file() == there, "the check leaves all as it was"
        write(tmp_path / name)
        assert (tmp_path / name).readlink() == disk / name
        assert (disk / name).is_dir() if "." not in name else (disk / name).stat().st_size > 50
    left = {path.name for folder in (tmp_path, disk) for path in folder.iterdir()}
    assert left == {*writers, "disk"}


def standing() -> PoseSequence:
    return PoseSequence(np.full((2, 134, 2), 0.5), np.ones((2, 134)))
