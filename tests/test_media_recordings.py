"""Sound as people have it: joined, damaged, mislabelled, on another scale, in many channels."""

from __future__ import annotations

import struct
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from av.stream import Disposition
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from echomimic.errors import AudioError
from echomimic.media import recordings
from echomimic.media import waveform as waveform_module
from echomimic.media.frame_scan import scan_frames
from echomimic.media.recordings import read_audio, read_video_sound
from echomimic.media.waveform import check_waveform, mono_16khz, to_stereo
from tests.sound_files import encode

ROOT = Path(__file__).parents[1]
RATE = 22050


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    """The repository's own voice, mono at 22050 Hz."""
    samples, rate = soundfile.read(ROOT / "assets" / "speech.wav", dtype="float32")
    assert rate == RATE
    return samples


def seconds(path: Path) -> float:
    waveform, rate = read_audio(path)
    return waveform.shape[1] / rate


def loudness(samples: Tensor | np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(np.square(np.asarray(samples))))))


@pytest.mark.parametrize(("codec", "suffix"), [("mp3", "mp3"), ("libopus", "ogg"), ("aac", "aac")])
def test_joined_files_are_read_to_their_end(tmp_path, voice, codec, suffix):
    """Speech servers send a file for each sentence, and people put them one behind another."""
    rate = 48000 if codec == "libopus" else RATE
    samples = np.tile(voice, 2)[:rate] if codec == "libopus" else voice
    one = encode(tmp_path / f"one.{suffix}", samples[None], rate, codec).read_bytes()
    (tmp_path / f"joined.{suffix}").write_bytes(one + one)
    assert seconds(tmp_path / f"joined.{suffix}") == pytest.approx(2 * len(samples) / rate, abs=0.25)


def test_joined_wavs_are_read_to_their_end(tmp_path, voice, caplog):
    """Speech servers that stream send a header with every sentence; players stop at the second."""
    caplog.set_level("INFO")
    contents = []
    for number, (rate, channels, subtype) in enumerate(
        [(RATE, 1, "PCM_16"), (2 * RATE, 2, "PCM_24"), (RATE, 1, "FLOAT")]
    ):
        samples = np.repeat(voice[:4411], rate // RATE)
        soundfile.write(tmp_path / f"{number}.wav", np.stack([samples] * channels, 1), rate, subtype=subtype)
        contents.append((tmp_path / f"{number}.wav").read_bytes())
    (tmp_path / "joined.wav").write_bytes(b"".join(content + bytes(len(content) % 2) for content in contents))
    waveform, rate = read_audio(tmp_path / "joined.wav")
    assert rate == RATE and waveform.shape[1] == pytest.approx(3 * 4411, abs=4)
    np.testing.assert_allclose(waveform[0, -4000:].numpy(), voice[411:4411], atol=1e-3)
    np.testing.assert_allclose(waveform[0, :4000].numpy(), voice[:4000], atol=1e-3)
    assert "is 3 WAV files one behind another" in caplog.text


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def write_riff(path: Path, *chunks: bytes) -> Path:
    path.write_bytes(chunk(b"RIFF", b"WAVE" + b"".join(chunks)))
    return path


PLAIN_FORMAT = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16))
NOTES = chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"abc"))


@pytest.mark.parametrize("between", [b"", NOTES, chunk(b"junk", bytes(33))])
def test_every_chunk_of_samples_of_a_wav_is_read(tmp_path, voice, between):
    """Recorders that split a take write several; libsndfile and FFmpeg stop at the first."""
    data = (voice * 32767).astype("<i2").tobytes()
    half = len(data) // 4 * 2
    pieces = chunk(b"data", data[:half]), between, chunk(b"data", data[half:])
    waveform, rate = read_audio(write_riff(tmp_path / "a.wav", PLAIN_FORMAT, *pieces))
    assert rate == RATE
    np.testing.assert_allclose(waveform[0].numpy(), voice, atol=1e-4)


def test_silence_between_chunks_of_samples_stays_silence(tmp_path, voice):
    data = chunk(b"data", (voice[:5000] * 32767).astype("<i2").tobytes())
    pieces = b"wavl" + data + chunk(b"slnt", struct.pack("<I", 3000)) + data
    waveform, _ = read_audio(write_riff(tmp_path / "a.wav", PLAIN_FORMAT, chunk(b"LIST", pieces)))
    assert waveform.shape[1] == 13000 and not waveform[0, 5000:8000].any()
    np.testing.assert_allclose(waveform[0, 8000:].numpy(), voice[:5000], atol=1e-4)


@pytest.mark.parametrize("count", [61 * RATE, 2**32 - 1])
def test_silence_of_a_damaged_length_is_left_out(tmp_path, voice, count):
    data = chunk(b"data", (voice[:5000] * 32767).astype("<i2").tobytes())
    pieces = b"wavl" + data + chunk(b"slnt", struct.pack("<I", count)) + data
    waveform, _ = read_audio(write_riff(tmp_path / "a.wav", PLAIN_FORMAT, chunk(b"LIST", pieces)))
    assert waveform.shape[1] == 10000


def extensible(container: int, valid: int) -> bytes:
    """The format of whole numbers of which a sample has fewer bits than it is stored in."""
    size = container // 8
    plain = struct.pack("<HHIIHH", 0xFFFE, 1, RATE, size * RATE, size, container)
    guid = bytes.fromhex("0100000000001000800000aa00389b71")
    return chunk(b"fmt ", plain + struct.pack("<HHI", 22, valid, 4) + guid)


@pytest.mark.parametrize("level", [1.0, 0.01])
@pytest.mark.parametrize(
    ("container", "valid", "upper"),
    [
        *[(container, valid, upper) for container, valid in ((32, 24), (16, 12), (24, 20)) for upper in (True, False)],
        (32, 20, True),  # libsndfile and FFmpeg step by three bytes
        (32, 16, True),
        (24, 16, True),
    ],
)
def test_samples_of_fewer_bits_than_they_are_stored_in(tmp_path, voice, container, valid, upper, level):
    """The format wants them at the upper end; some converters write them at the lower one, 24 to 72 dB too quiet."""
    sound = voice[: RATE // 2] + 0.01 * np.random.default_rng(0).standard_normal(RATE // 2).clip(-3, 3)
    numbers = np.round(level * sound * 0.9 * 2 ** (valid - 1)).astype("<i4")
    stored = numbers << (container - valid) if upper else numbers
    data = chunk(b"data", stored.view(np.uint8).reshape(-1, 4)[:, : container // 8].tobytes())
    waveform, _ = read_audio(write_riff(tmp_path / "a.wav", extensible(container, valid), data))
    np.testing.assert_allclose(waveform[0].numpy(), numbers / 2 ** (valid - 1), atol=1e-6)


def test_sixteen_bits_in_a_wav_of_thirty_two(tmp_path, voice, caplog):
    soundfile.write(tmp_path / "a.wav", np.round(voice * 32767).astype(np.int32), RATE, subtype="PCM_32")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav")[0][0].numpy(), voice, atol=1e-4)
    assert "they are taken as 16 bits" in caplog.text


@pytest.mark.parametrize(
    "tail", [b"RIFF", b"RIFF\0\0\0\0WAVE", b"RIFF\x40\0\0\0WAVEfmt ", b"RIFF\xff\xff\xff\xffWAVE", b"ID3"]
)
def test_what_stands_behind_a_wav_costs_nothing(tmp_path, voice, tail):
    soundfile.write(tmp_path / "a.wav", voice, RATE)
    with (tmp_path / "a.wav").open("ab") as file:
        file.write(tail)
    assert seconds(tmp_path / "a.wav") == pytest.approx(len(voice) / RATE, abs=0.001)


def test_chained_vorbis_is_read_to_its_end(tmp_path, voice):
    soundfile.write(tmp_path / "one.ogg", voice, RATE)
    one = (tmp_path / "one.ogg").read_bytes()
    (tmp_path / "chained.ogg").write_bytes(one + one)
    assert seconds(tmp_path / "chained.ogg") == pytest.approx(2 * len(voice) / RATE, abs=0.25)


def wav(path: Path, samples: np.ndarray, size: int) -> Path:
    """16-bit mono WAV whose data chunk claims `size` bytes."""
    data = (samples * 32767).astype("<i2").tobytes()
    head = b"RIFF" + struct.pack("<I", size) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    path.write_bytes(head + b"data" + struct.pack("<I", size) + data)
    return path


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 2 * RATE])
def test_a_wav_is_as_long_as_its_bytes_whatever_its_size_field_says(tmp_path, voice, size):
    path = wav(tmp_path / "a.wav", voice, size)
    assert seconds(path) == pytest.approx(len(voice) / RATE if size != 2 * RATE else 1.0, abs=0.01)


def test_a_flac_without_a_sample_count_is_read_whole(tmp_path, voice):
    soundfile.write(tmp_path / "a.flac", voice, RATE)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0  # STREAMINFO's count of samples: 36 bits from here on
    content[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(bytes(content))
    assert seconds(tmp_path / "a.flac") == pytest.approx(len(voice) / RATE, abs=0.01)


def test_a_rate_that_changes_in_mid_stream_keeps_the_speed(tmp_path, voice):
    first = encode(tmp_path / "a.aac", np.repeat(voice, 2)[None], 2 * RATE, "aac").read_bytes()
    second = encode(tmp_path / "b.aac", voice[None], RATE, "aac").read_bytes()
    (tmp_path / "c.aac").write_bytes(first + second)
    assert seconds(tmp_path / "c.aac") == pytest.approx(2 * len(voice) / RATE, abs=0.2)


def test_a_layout_that_changes_in_mid_stream_keeps_the_speed(tmp_path, voice):
    first = encode(tmp_path / "a.aac", np.stack([voice, voice]), RATE, "aac", "stereo").read_bytes()
    second = encode(tmp_path / "b.aac", voice[None], RATE, "aac").read_bytes()
    (tmp_path / "c.aac").write_bytes(first + second)
    waveform, rate = read_audio(tmp_path / "c.aac")
    assert waveform.shape[0] == 2
    assert waveform.shape[1] / rate == pytest.approx(2 * len(voice) / RATE, abs=0.2)


def samples_by_ffmpeg(path: Path) -> int:
    """How many samples FFmpeg decodes when it goes on after each error, as its command line does."""
    total = 0
    with av.open(str(path)) as container:
        for packet in container.demux(audio=0):
            with suppress(av.error.FFmpegError):
                total += sum(frame.samples for frame in packet.decode())
    return total


@settings(deadline=None, max_examples=25)
@given(places=st.lists(st.integers(600, 17000), min_size=1, max_size=4))
@example(places=[4320])  # silence in AAC: frames of 11 bytes beside one of 601
@example(places=[4366])
@example(places=[9641])  # a frame's header: FFmpeg takes what follows for one large broken packet
@pytest.mark.parametrize("codec", ["mp3", "aac"])
def test_damage_costs_only_what_is_damaged(tmp_path_factory, codec, places):
    folder = tmp_path_factory.mktemp("damage")
    samples, _ = soundfile.read(ROOT / "assets" / "speech.wav", dtype="float32")
    path = encode(folder / f"a.{codec}", samples[None], RATE, codec)
    whole = read_audio(path)[0][0].numpy()
    content = bytearray(path.read_bytes())
    for place in places:
        content[place : place + 200] = bytes(200)
    path.write_bytes(bytes(content))
    waveform = read_audio(path)[0][0].numpy()
    # Frames last 26 to 46 ms; 200 bytes touch at most three; those after them may take bits from what was lost.
    frame = 1024 if codec == "aac" else 576
    lost = abs(len(waveform) - len(whole))
    if codec == "aac":
        # Its frames have from 11 bytes (silence) to 774, and nothing says how many a hole held: no reader can do
        # better for sure, and none may do worse than FFmpeg.
        assert lost <= max(2 * frame * len(places), len(whole) - samples_by_ffmpeg(path))
        return
    assert lost <= 2 * frame * len(places)
    shared = min(len(waveform), len(whole))
    changed = np.abs(waveform[:shared] - whole[:shared]) > 0.01
    blocks = [changed[i : i + frame].any() for i in range(0, shared, frame)]
    assert sum(blocks) <= 12 * len(places)


def test_noise_that_a_decoder_makes_of_damage_does_not_change_the_scale(tmp_path, voice):
    path = encode(tmp_path / "a.mp3", voice[None], RATE, "mp3")
    content = bytearray(path.read_bytes())
    content[4103:4303] = bytes(200)  # the frame after decodes to a peak of 200
    path.write_bytes(bytes(content))
    assert loudness(read_audio(path)[0]) == pytest.approx(loudness(voice), abs=1)


def test_a_damaged_header_that_claims_forty_channels_costs_its_frame(tmp_path, voice):
    """FFmpeg's AAC decoder believes it, and PyAV reads beyond such a frame's memory."""
    path = encode(tmp_path / "a.aac", voice[None], RATE, "aac")
    content = bytearray(path.read_bytes())
    for place in (14644, 14343, 8460, 6559):
        content[place : place + 200] = bytes(200)
    path.write_bytes(bytes(content))
    assert seconds(path) == pytest.approx(len(voice) / RATE, abs=0.3)


def test_more_channels_than_a_frame_has_planes_for(tmp_path, voice):
    soundfile.write(tmp_path / "a.wav", np.repeat(voice[:, None], 24, 1), RATE)
    samples, _ = recordings.read_with_ffmpeg(tmp_path / "a.wav")
    assert samples.shape[1] == len(voice)
    assert loudness(samples) == pytest.approx(loudness(voice), abs=0.1)


def test_a_tag_between_joined_files_takes_no_time(tmp_path, voice):
    one = encode(tmp_path / "a.mp3", voice[None], RATE, "mp3").read_bytes()
    tag = b"ID3\x04\0\0" + bytes([0, 0, 40, 0]) + b"\xff\xe3" * 2560  # a picture with what looks like headers
    (tmp_path / "b.mp3").write_bytes(one + tag + one)
    table = scan_frames(tmp_path / "b.mp3", "mp3")
    assert table is not None and not table.is_broken


@pytest.mark.parametrize("content", [b"", b"\xff" * 100000, b"\xff\xfb\x90\x00" * 3, bytes(5000), b"ID3" + b"\x7f" * 7])
@pytest.mark.parametrize("form", ["mp3", "aac", "ogg"])
def test_what_has_no_frames_has_no_table(tmp_path, content, form):
    (tmp_path / "a").write_bytes(content)
    assert scan_frames(tmp_path / "a", form) is None


def test_a_gap_between_time_stamps_stays_a_gap(tmp_path):
    tone = np.sin(np.arange(16000) * 0.1).astype(np.float32) * 0.5
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        for start in (0, 48000):
            frame = av.AudioFrame.from_ndarray((tone * 32767).astype(np.int16)[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    waveform, rate = read_audio(path)
    assert waveform.shape[1] / rate == pytest.approx(4, abs=0.1)
    assert float(waveform[0, 20000:44000].abs().max()) == 0
    assert float(waveform[0, 50000:60000].abs().max()) > 0.4


def test_any_failure_of_a_library_is_a_sentence_and_the_next_reader_is_tried(tmp_path, voice, monkeypatch, caplog):
    soundfile.write(tmp_path / "a.wav", voice, RATE)

    def broken(path):
        raise RuntimeError("an error that no documentation names")

    monkeypatch.setattr(recordings, "read_with_soundfile", broken)
    assert seconds(tmp_path / "a.wav") == pytest.approx(len(voice) / RATE, abs=0.01)
    monkeypatch.setattr(recordings, "read_with_ffmpeg", broken)
    with pytest.raises(AudioError, match=r"a\.wav cannot be read as sound: an error that no documentation names"):
        read_audio(tmp_path / "a.wav")


def test_more_sound_than_memory_has_room_for_is_refused_with_the_sizes(tmp_path, voice, monkeypatch):
    soundfile.write(tmp_path / "a.wav", voice, RATE)
    monkeypatch.setattr("echomimic.media.sound_track.input_limit", lambda: 100_000)
    with pytest.raises(AudioError, match="cut the recording"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["take:1.mp3", "-y.mp3", "pipe:1.mp3", "concat:a|b.mp3", "100%d.mp3", "http:x.mp3"])
def test_names_are_never_taken_for_protocols(tmp_path, voice, monkeypatch, name):
    encode(tmp_path / "a.mp3", voice[None], RATE, "mp3").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert seconds(Path(name)) == pytest.approx(len(voice) / RATE, abs=0.2)


@pytest.mark.parametrize(
    ("convert", "words"),
    [
        (lambda x: x * 32767, "whole numbers up to 32768"),
        (lambda x: x * 8388607, "whole numbers up to 8388608"),
        (lambda x: (x * 32767).to(torch.int16), ""),
        (lambda x: (x * 32767).to(torch.int32), "taken as up to 32768"),
        (lambda x: (x * (2**31 - 1)).to(torch.int32), ""),
        (lambda x: (x * 32767).to(torch.int64), "taken as up to 32768"),
        (lambda x: ((x + 1) * 127.5).round().to(torch.uint8), ""),
        (lambda x: x.double(), ""),
        (lambda x: x.T.expand(-1, 2), "is transposed"),
    ],
)
def test_every_scale_and_type_is_the_same_sound(voice, convert, words, caplog):
    given_sound = torch.from_numpy(voice)[None]
    waveform = check_waveform(convert(given_sound), RATE)
    assert waveform.dtype == torch.float32
    assert float((waveform[0] - given_sound[0]).norm() / given_sound.norm()) < 0.06
    assert words in caplog.text


def test_a_mix_that_goes_a_little_beyond_full_scale_is_left_alone(voice):
    loud = torch.from_numpy(voice)[None] * 3
    assert torch.equal(check_waveform(loud, RATE), loud)


@pytest.mark.parametrize("peak", [6.0, 10.0, 60.0])
def test_a_recording_beyond_full_scale_is_made_quieter_not_silent(voice, peak, caplog):
    """Recorders of 32-bit floats let loud sound go far beyond 1."""
    whole = torch.from_numpy(voice)[None] / float(np.abs(voice).max())
    waveform = check_waveform(whole * peak, RATE)
    torch.testing.assert_close(waveform, whole, atol=1e-5, rtol=0)
    assert f"its peak is {peak:g}" in caplog.text


@pytest.mark.parametrize("value", [100.0, 3e38, float("nan"), float("-inf")])
@pytest.mark.parametrize("scale", [1.0, 32768.0])
def test_a_single_bad_sample_costs_itself_only(tmp_path, voice, value, scale, caplog):
    samples = voice * scale
    samples[3000] = value
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    waveform = read_audio(tmp_path / "a.wav")[0][0]
    rest = np.arange(len(voice)) != 3000
    np.testing.assert_allclose(waveform.numpy()[rest], voice[rest], atol=1e-6)
    assert abs(float(waveform[3000])) <= waveform_module.MAX_FLOAT_PEAK
    if not 0 < value < scale:
        assert "1 samples" in caplog.text


def test_a_quiet_recording_on_the_scale_of_whole_numbers_is_told_from_a_loud_one(voice):
    quiet = torch.from_numpy(voice)[None] * 32768 / 100  # -40 dB
    assert loudness(check_waveform(quiet, RATE)) == pytest.approx(loudness(voice) - 40, abs=0.5)


def test_a_rate_that_makes_a_day_of_a_sentence_is_refused_before_memory_is_full(voice, monkeypatch):
    monkeypatch.setattr(waveform_module, "input_limit", lambda: 2 * 2**30)
    with pytest.raises(AudioError, match=r"98,168 samples at 1 Hz last 27\.3 hours.*check the sample rate"):
        mono_16khz(torch.from_numpy(voice)[None], 1)


def test_opposite_channels_do_not_cancel(voice, caplog):
    mono = mono_16khz(torch.from_numpy(np.stack([voice, -voice])), 16000)
    assert loudness(mono) == pytest.approx(loudness(voice), abs=0.1)
    assert "opposite" in caplog.text


def test_ordinary_stereo_is_the_mean_of_its_channels(voice):
    stereo = torch.from_numpy(np.stack([voice, np.roll(voice, 500) * 0.7]))
    torch.testing.assert_close(mono_16khz(stereo, 16000), stereo.mean(dim=0))


@pytest.mark.parametrize("channel", range(6))
def test_surround_is_mixed_by_the_standard_weights(voice, channel):
    surround = torch.zeros(6, len(voice))
    surround[channel] = torch.from_numpy(voice)
    left, right = (float(side.norm() / surround.norm()) for side in to_stereo(surround))
    half = 0.5**0.5
    assert (left, right) == pytest.approx(
        [(1, 0), (0, 1), (half, half), (0, 0), (half, 0), (0, half)][channel], abs=1e-4
    )


def test_a_voice_in_the_centre_of_surround_keeps_its_loudness(tmp_path, voice):
    surround = np.zeros((6, len(voice)), np.float32)
    surround[2] = voice
    path = encode(tmp_path / "a.m4a", surround, 48000, "aac", "5.1", "mp4")
    mono = mono_16khz(*read_audio(path))
    assert loudness(mono) == pytest.approx(loudness(voice) - 3, abs=1)


CASES = {
    "streamed.flac": (4.45, -23.6),
    "aac_rate_44_22.aac": (8.99, -23.7),
    "aac_second_frame_bad.aac": (4.46, -23.8),
    "mp3_hole.mp3": (4.47, -24.3),  # FFmpeg makes 4.18 s of it: the hole would be missing, and the rest too early
    "mp3_concat_id3.mp3": (8.99, -24.1),
    "datasize0.wav": (2.0, -23.9),
    "float_int16range.wav": (2.0, -23.9),
    "invphase.wav": (2.0, -23.9),
    "surround_5_1_voice_in_centre.m4a": (4.46, -26.7),
}


@pytest.mark.parametrize("name", CASES)
def test_reported_recordings(shared, name):
    length, level = CASES[name]
    waveform, rate = read_audio(shared / "cases" / "audio" / name)
    assert waveform.shape[1] / rate == pytest.approx(length, abs=0.08)
    assert loudness(mono_16khz(waveform, rate)) == pytest.approx(level, abs=0.5)


def test_a_container_that_ends_in_damage_keeps_what_came_before(tmp_path, voice, caplog):
    """WavPack's reader fails at a cut-off block, where others just end."""
    whole = encode(tmp_path / "whole.wv", voice[None], RATE, "wavpack").read_bytes()
    (tmp_path / "cut.wv").write_bytes(whole[: len(whole) * 6 // 10])
    assert 0.3 * len(voice) / RATE < seconds(tmp_path / "cut.wv") < 0.8 * len(voice) / RATE
    assert "cut.wv is damaged" in caplog.text


@pytest.mark.parametrize("failure", [TypeError("odd"), AssertionError(), KeyError("layout"), OSError(5, "odd")])
def test_whatever_a_decoder_raises_costs_its_packet_only(tmp_path, voice, monkeypatch, failure):
    encode(tmp_path / "a.mka", voice[None], RATE, "aac")
    whole = seconds(tmp_path / "a.mka")
    add, count = recordings.Track.add, iter(range(10**6))

    def fail_once(track, frame):
        if next(count) == 20:
            raise failure
        add(track, frame)

    monkeypatch.setattr(recordings.Track, "add", fail_once)
    monkeypatch.setattr(recordings, "read_with_soundfile", recordings.read_with_ffmpeg)
    assert seconds(tmp_path / "a.mka") == pytest.approx(whole, abs=0.06)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty: record or download it again"),
        (b"<!DOCTYPE html><html>404</html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\n\r\nRIFF", "begins with a web server's answer"),
        (b"MThd\0\0\0\6\0\1\0\1\0\x60", "is a MIDI file"),
        (b"\xef\xbb\xbf\n <!doctype html>", "is a web page"),
        (b"Entry not found", "holds only the text 'Entry not found', perhaps a server's answer"),
        (b'{"error": "Invalid credentials"}', "a server's error message"),
        (b'{"audioContent": "UklGRiT"}' + bytes(50), "is JSON, perhaps a service's answer with the sound"),
        (b"UklGRiT/AABXQVZFZm10IBAAAAABAAEAIlYAAESsAAACABAA", "holds a sound as text (base64)"),
        (b"\xff\xfeR\0I\0F\0F\0", "is text in UTF-16"),
        (b"Rar!\x1a\x07\x00" + bytes(90), "is a RAR archive: take the sound out of it"),
        (bytes(9000), "begins with nothing but zeros"),
        (b"no sound " * 300, "Invalid data found when processing input. Save it as WAV, MP3 or M4A"),
    ],
)
def test_what_people_take_for_sounds_is_named(tmp_path, content, words):
    (tmp_path / "a.mp3").write_bytes(content)
    with pytest.raises(AudioError) as refused:
        read_audio(tmp_path / "a.mp3")
    assert words in str(refused.value) and "Errno" not in str(refused.value) and "file:" not in str(refused.value)


def test_sound_that_begins_after_its_pictures_keeps_its_time(tmp_path, voice):
    """As players play it: or a clip for training has its lips elsewhere."""
    with av.open(str(tmp_path / "late.mkv"), "w") as container:
        video = container.add_stream("mpeg4", rate=24)
        video.width = video.height = 64
        audio = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for number in range(96):
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 24)
            container.mux(video.encode(picture))
        sound = av.AudioFrame.from_ndarray((voice[None, :RATE] * 32767).astype(np.int16), format="s16", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = RATE, 2 * RATE, Fraction(1, RATE)
        container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    waveform, rate = read_audio(tmp_path / "late.mkv")
    assert waveform.shape[1] / rate == pytest.approx(3, abs=0.02)
    assert float(waveform[:, : int(1.98 * rate)].abs().max()) == 0
    np.testing.assert_allclose(waveform[0, -RATE:].numpy(), voice[:RATE], atol=1e-3)


def tracks(path: Path, sounds: list[np.ndarray], default: int = 0) -> Path:
    """A file of several mono sound tracks."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=RATE, layout="mono") for _ in sounds]
        for number, stream in enumerate(streams):
            stream.disposition = Disposition.default if number == default else Disposition(0)
        for stream, samples in zip(streams, sounds):
            frame = av.AudioFrame.from_ndarray((samples[None] * 32767).astype(np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, 0
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("order", "default", "taken"), [("vt", 0, 1), ("tv", 1, 2), ("sv", 0, 2), ("vs", 1, 1), ("ss", 0, 0)]
)
def test_the_track_that_players_choose_is_read_or_one_that_is_not_silent(
    tmp_path, voice, caplog, order, default, taken
):
    """Recorders leave a track for a second microphone that nobody connected; films put the commentary first."""
    caplog.set_level("INFO")
    tone = 0.1 * np.sin(np.arange(len(voice)) * 0.1).astype(np.float32)
    sounds = {"v": voice, "t": tone, "s": voice * 0}
    path = tracks(tmp_path / "a.mkv", [sounds[name] for name in order], default)
    samples = read_audio(path)[0][0].numpy()
    np.testing.assert_allclose(samples, voice if taken else voice * 0, atol=1e-3)
    assert (f"has 2 sound tracks: number {taken} is used" in caplog.text) == bool(taken)


def test_a_track_that_no_decoder_knows_is_passed_over(tmp_path, voice):
    """Phones put spatial sound of their own kind beside the stereo."""
    content = tracks(tmp_path / "a.mov", [voice, voice]).read_bytes()
    assert content.count(b"sowt") == 2
    (tmp_path / "a.mov").write_bytes(content.replace(b"sowt", b"apac", 1))
    np.testing.assert_allclose(read_audio(tmp_path / "a.mov")[0][0].numpy(), voice, atol=1e-3)


def test_the_sound_of_a_video_whose_pictures_begin_later_is_cut_to_them(tmp_path, voice):
    """Or a clip for training has its lips elsewhere; as a voice by itself all of it counts."""
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        video = container.add_stream("mpeg4", rate=24)
        video.width = video.height = 64
        audio = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        sound = av.AudioFrame.from_ndarray((voice[None] * 32767).astype(np.int16), format="s16", layout="mono")
        sound.sample_rate, sound.pts = RATE, 0
        container.mux(audio.encode(sound))
        for number in range(24, 72):
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 24)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    np.testing.assert_allclose(read_audio(tmp_path / "a.mkv")[0][0].numpy(), voice, atol=1e-3)
    np.testing.assert_allclose(read_video_sound(tmp_path / "a.mkv")[0][0].numpy(), voice[RATE:], atol=1e-3)


@pytest.mark.parametrize("reader", [recordings.read_with_soundfile, recordings.read_with_ffmpeg])
def test_five_channels_are_mixed_by_the_layout_that_the_file_names(tmp_path, voice, reader):
    """4.1 has its low frequencies where 5.0 has a corner; without a layout the usual one counts."""
    samples = np.zeros((5, len(voice)), np.float32)
    samples[3] = voice
    encode(tmp_path / "a.wav", samples, RATE, "pcm_s16le", layout="4.1")
    assert float(np.abs(reader(tmp_path / "a.wav")[0]).max()) == 0
    soundfile.write(tmp_path / "b.wav", samples.T, RATE)
    assert loudness(reader(tmp_path / "b.wav")[0][0]) == pytest.approx(loudness(voice) - 3, abs=0.1)


def test_four_channels_are_mixed_by_the_layout_that_the_file_names(tmp_path, voice):
    """Four corners, or front, centre and back: a WAV says which, and libsndfile does not."""
    samples = np.stack([voice * 0, voice * 0, voice, voice * 0])
    encode(tmp_path / "a.wav", samples, RATE, "pcm_s16le", layout="4.0")
    assert loudness(mono_16khz(*read_audio(tmp_path / "a.wav"))) == pytest.approx(loudness(voice) - 3, abs=0.5)


def test_a_sound_that_was_copied_as_text_is_refused(tmp_path, voice):
    """FTP in text mode: libsndfile would read noise of it."""
    soundfile.write(tmp_path / "a.wav", voice, RATE)
    (tmp_path / "b.wav").write_bytes((tmp_path / "a.wav").read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(AudioError, match=r"b\.wav was copied as text .* download it again, as binary data"):
        read_audio(tmp_path / "b.wav")
    assert seconds(tmp_path / "a.wav") == pytest.approx(len(voice) / RATE, abs=0.001)


@pytest.mark.parametrize("name", ["a.pcm", "a.RAW"])
def test_samples_without_a_header_are_named(tmp_path, voice, name):
    (tmp_path / name).write_bytes((voice * 32767).astype("<i2").tobytes())
    with pytest.raises(AudioError, match=r"holds samples without a header, .*ffmpeg -f s16le"):
        read_audio(tmp_path / name)


def test_joined_m4a_files_of_which_programs_read_the_first_only_are_refused(tmp_path, voice):
    encode(tmp_path / "a.m4a", voice[None], RATE, "aac")
    content = (tmp_path / "a.m4a").read_bytes()
    (tmp_path / "b.m4a").write_bytes(content + content)
    with pytest.raises(AudioError, match=r"b\.m4a is several recordings one behind another"):
        read_audio(tmp_path / "b.m4a")
