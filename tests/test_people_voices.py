"""Mouth shapes from phonemes, synthetic speech, and the data folder made of both."""

import ctypes.util
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2")

from assets.scripts.people.visemes import (
    REST,
    TRACK_RATE,
    Phoneme,
    diphthong,
    mouth_at_frames,
    mouth_track,
    shape_of,
)
from assets.scripts.people.voices import (
    HELD_OUT_LANGUAGES,
    HELD_OUT_VARIANTS,
    TRAINING_LANGUAGES,
    TRAINING_VARIANTS,
    Voice,
    random_voice,
    recorded,
    sample_speech,
    speak,
)

needs_espeak = pytest.mark.skipif(ctypes.util.find_library("espeak-ng") is None, reason="needs espeak-ng")


def test_lips_close_on_bilabials_between_open_vowels() -> None:
    for name in "mbp":
        track = mouth_track([Phoneme("a", 0, 0.2), Phoneme(name, 0.2, 0.28), Phoneme("a", 0.28, 0.5)], 0.5)
        middle = track[round(0.21 * TRACK_RATE) : round(0.27 * TRACK_RATE), 0]
        assert middle.max() == 0
        assert track[round(0.1 * TRACK_RATE), 0] > 0.85
    track = mouth_track([Phoneme("a", 0, 0.2), Phoneme("t", 0.2, 0.28), Phoneme("a", 0.28, 0.5)], 0.5)
    assert track[:, 0].min() > 0.2


def test_the_mouth_rests_in_pauses_and_beyond_the_end() -> None:
    track = mouth_track([Phoneme("a", 0.5, 0.7), Phoneme("", 0.7, 1.0)], 1.0)
    assert track[: round(0.4 * TRACK_RATE), 0].max() == 0
    assert track[round(0.75 * TRACK_RATE) :, 0].max() == 0
    assert mouth_at_frames(track, 48, 24.0)[-1].tolist() == list(REST)


def test_vowels_differ_as_lips_do() -> None:
    shapes = {name: shape_of(name) for name in ("ɑː", "iː", "uː", "tʃ", "ʃ", "t", "")}
    assert shapes["ɑː"][0] > 0.8 > 0.4 > shapes["iː"][0]
    assert shapes["iː"][1] > 0.8 and shapes["uː"][1] < 0.3 and shapes["uː"][2] > 0.9
    assert shapes["tʃ"] == shapes["ʃ"] != shapes["t"]
    assert shapes[""] == REST
    assert diphthong("aɪ") == (shape_of("a"), shape_of("ɪ"))
    assert diphthong("tʃ") is None


def test_neighbours_blend() -> None:
    track = mouth_track([Phoneme("i", 0, 0.3), Phoneme("u", 0.3, 0.6)], 0.6)
    steps = np.abs(np.diff(track[40:80, 2]))
    assert steps.max() < 0.1 and track[110, 2] > 0.95


def test_held_out_voices_are_none_of_trainings() -> None:
    assert not set(HELD_OUT_LANGUAGES) & set(TRAINING_LANGUAGES)
    assert not set(HELD_OUT_VARIANTS) & set(TRAINING_VARIANTS)
    voice = random_voice(np.random.default_rng(0), held_out=True)
    assert voice.language in HELD_OUT_LANGUAGES and voice.variant in HELD_OUT_VARIANTS


@needs_espeak
def test_phonemes_and_their_times_are_the_synthesisers() -> None:
    speech = speak("Mama, papa.", Voice())
    names = "".join(phoneme.name for phoneme in speech.phonemes)
    assert names.count("m") == 2 and names.count("p") == 2
    begins = [phoneme.begin for phoneme in speech.phonemes]
    assert begins == sorted(begins) and begins[-1] <= speech.seconds
    # The loudest moment lies in a vowel, with the mouth open; where there is no sound it is closed.
    loudest = np.abs(speech.samples).argmax() / 16000
    assert speech.track[int(loudest * TRACK_RATE), 0] > 0.2
    window = 16000 // 20
    for at in range(0, len(speech.samples) - 3 * window, window):
        if np.abs(speech.samples[at : at + 3 * window]).max() < 1e-3:
            assert speech.track[int((at + 1.5 * window) / 16000 * TRACK_RATE), 0] < 0.1


@needs_espeak
def test_all_voices_are_there() -> None:
    for language in TRAINING_LANGUAGES + HELD_OUT_LANGUAGES:
        assert speak("ba", Voice(language)).seconds > 0.1
    for variant in TRAINING_VARIANTS + HELD_OUT_VARIANTS:
        assert speak("ba", Voice(variant=variant)).seconds > 0.1
    with pytest.raises(RuntimeError, match="no voice xx-none"):
        speak("ba", Voice("xx-none"))


@needs_espeak
def test_speech_is_a_function_of_its_generator() -> None:
    first, again = (sample_speech(np.random.default_rng(3), 2.0) for _ in range(2))
    assert np.array_equal(first.samples, again.samples) and np.array_equal(first.track, again.track)
    assert len(first.samples) == 32000 and len(first.track) == 2 * TRACK_RATE
    other = recorded(first, np.random.default_rng(1))
    assert np.abs(other.samples).max() < 1 and not np.array_equal(other.samples, first.samples)


@needs_espeak
def test_a_data_folder_reads_as_prepared_clips(tmp_path: Path) -> None:
    from assets.scripts.people.dataset import write_dataset
    from echomimic.training.data import read_records

    path = write_dataset(tmp_path, clips=2, size=64, frames=12, headshots=0.5)
    records = read_records(tmp_path)
    assert [record.frames for record in records] == [12, 12]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert all((tmp_path / str(line["mouth"])).is_file() for line in lines)
    before = path.read_bytes()
    stamps = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.mp4")}
    assert write_dataset(tmp_path, clips=2, size=64, frames=12, headshots=0.5).read_bytes() == before
    assert stamps == {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.mp4")}
