"""Gestures from a voice: what the voice says, how clips are cut, and what comes of them."""

from __future__ import annotations

import shutil
import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echomimic.errors import AudioError, PoseError
from echomimic.pose import PoseSequence, load_poses, save_poses
from echomimic.pose.canvas import Canvas
from echomimic.pose.fitting.portrait import fit_to_portrait
from echomimic.pose.gestures import (
    GestureSettings,
    analyse_voice,
    build_motion_graph,
    choose_clips,
    clip_names,
    generate_gestures,
    load_clip,
    load_library,
    strokes,
)
from echomimic.pose.gestures.generate import gestures_for
from echomimic.pose.gestures.graph import MotionGraph
from echomimic.pose.gestures.library import SHIPPED_CLIPS
from echomimic.pose.gestures.planner import MAX_STRETCH, gesture_targets, plan
from echomimic.pose.gestures.prosody import RATE, Prosody
from echomimic.pose.sequence import HAND_A, HAND_B, POINTS
from echomimic.pose.timing import hand_motion, resampled_length

ROOT = Path(__file__).resolve().parents[1]
BOTH_HANDS = slice(HAND_A.start, HAND_B.stop)
SAMPLE_RATE = 16000


def syllables(times: list[float], seconds: float, loud: list[float] | None = None) -> np.ndarray:
    """A hum of 150 ms, sharp at its beginning, at each time; the rest is silent."""
    voice = np.zeros(round(seconds * SAMPLE_RATE))
    time = np.arange(round(0.15 * SAMPLE_RATE)) / SAMPLE_RATE
    hum = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 12)) * np.exp(-time / 0.06) * (1 - time / 0.15)
    for begin, level in zip(times, loud or [0.3] * len(times)):
        at = round(begin * SAMPLE_RATE)
        part = voice[at : at + len(hum)]
        part += level * hum[: len(part)]
    return voice


@pytest.fixture(scope="module")
def speech() -> tuple[np.ndarray, int]:
    with wave.open(str(ROOT / "assets" / "speech.wav"), "rb") as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / 32768
        return samples.astype(np.float32), sound.getframerate()


@pytest.fixture(scope="module")
def library() -> list[PoseSequence]:
    return load_library()


@pytest.fixture(scope="module")
def graph(library: list[PoseSequence]) -> MotionGraph:
    return build_motion_graph(choose_clips(library, None))


def voice_of(times: list[float], seconds: float, loud: list[float] | None = None) -> Prosody:
    return analyse_voice(syllables(times, seconds, loud), SAMPLE_RATE)


def reach(sequence: PoseSequence) -> np.ndarray:
    """How far the hands are from the resting pose of the library, per frame."""
    rest = load_clip("idle").keypoints[:, BOTH_HANDS].mean(axis=0)
    return np.linalg.norm(sequence.keypoints[:, BOTH_HANDS] - rest, axis=-1).mean(axis=1)


def alignment(times: np.ndarray, onsets: np.ndarray, width: float = 0.1) -> float:
    """Mean of exp(-d^2 / 2 width^2) over the strokes, d from each to its nearest onset (as in AIST++ and BEAT)."""
    distance = np.abs(times[:, None] - onsets[None]).min(axis=1)
    return float(np.exp(-(distance**2) / (2 * width**2)).mean())


# The voice ----------------------------------------------------------------------------------------------------------


def test_onsets_are_found_where_syllables_begin() -> None:
    times = [0.5, 0.9, 1.3, 1.9, 2.3]
    assert np.allclose(voice_of(times, 3).onsets, times, atol=0.04)


def test_phrases_are_parted_by_pauses() -> None:
    phrases = voice_of([0.5, 0.7, 0.9, 2.0, 2.2], 3).phrases
    assert np.allclose(phrases, [(0.5, 1.05), (2.0, 2.35)], atol=0.08)


def test_louder_syllables_are_more_stressed() -> None:
    voice = voice_of([0.5, 0.8, 1.1, 1.4, 1.7], 2.4, [0.1, 0.1, 0.6, 0.1, 0.1])
    assert np.argmax(voice.stress) == 2


def test_pitch_rises_with_the_voice() -> None:
    time = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    glide = 0.3 * np.sign(np.sin(2 * np.pi * (110 * time + 20 * time**2)))
    pitch = analyse_voice(glide, SAMPLE_RATE).pitch
    middle = pitch[10:-10]
    assert middle[-1] - middle[0] == pytest.approx(12 * np.log2(230 / 110), abs=2.5)


@pytest.mark.parametrize("level", [0.5, 3.0])
def test_prosody_does_not_depend_on_the_level(level: float) -> None:
    samples = syllables([0.5, 0.9, 1.5], 2.2)
    voice, other = analyse_voice(samples, SAMPLE_RATE), analyse_voice(samples * level, SAMPLE_RATE)
    assert np.array_equal(voice.speaking, other.speaking)


def test_silence_has_no_phrases_and_no_onsets() -> None:
    voice = analyse_voice(np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    assert (voice.phrases, len(voice.onsets), voice.seconds) == ([], 0, 1)


def test_an_empty_recording_is_refused() -> None:
    with pytest.raises(AudioError):
        analyse_voice(np.zeros(0), SAMPLE_RATE)


# The motion graph ---------------------------------------------------------------------------------------------------


def test_movements_fill_each_clip_without_gap(graph: MotionGraph) -> None:
    for number, clip in enumerate(graph.clips):
        mine = graph.clip == number
        assert graph.begin[mine][0] == 0
        assert graph.end[mine][-1] == pytest.approx(clip.seconds)
        assert np.allclose(graph.begin[mine][1:], graph.end[mine][:-1])


def test_movements_part_where_the_hands_are_slow(graph: MotionGraph) -> None:
    for number, clip in enumerate(graph.clips):
        motion = np.append(hand_motion(clip), 0) * clip.fps
        cuts = np.round(graph.begin[graph.clip == number][1:] * clip.fps).astype(int)
        if len(cuts):
            assert np.median(motion[cuts]) < 0.3 * max(motion.max(), 0.3)


def test_what_follows_in_a_clip_costs_nothing(graph: MotionGraph) -> None:
    followers = np.flatnonzero(np.diff(graph.clip) == 0)
    assert (graph.distance[followers, followers + 1] == 0).all()


def test_the_hands_rest_where_the_calmest_clip_has_them(graph: MotionGraph) -> None:
    begin = round(graph.begin[graph.rest] * 24)
    pose = graph.clips[graph.clip[graph.rest]].take([begin])
    assert reach(pose)[0] < 0.03


def test_strokes_land_where_beats_were_written() -> None:
    """`emphasis_beats` strikes downwards at 1.2, 1.8, 2.6, 3.2 and 3.8 s."""
    landings, _ = strokes(load_clip("emphasis_beats"))
    assert all(np.abs(landings - beat).min() < 0.13 for beat in (1.2, 1.8, 2.6, 3.2, 3.8))


def test_an_idle_clip_has_no_strokes() -> None:
    assert len(strokes(load_clip("idle"))[0]) == 0


def test_clips_without_hands_are_left_out(library: list[PoseSequence]) -> None:
    blind = library[0].with_points(library[0].keypoints, np.zeros_like(library[0].scores))
    assert len(build_motion_graph([blind, library[1]], mirrored=False).clips) == 1
    with pytest.raises(PoseError, match="hands"):
        build_motion_graph([blind])


def test_clips_on_two_canvases_are_refused(library: list[PoseSequence]) -> None:
    other = library[0].with_points(library[0].keypoints, canvas=Canvas(512, (0, 512), (0, 512)))
    with pytest.raises(PoseError, match="canvases"):
        build_motion_graph([library[1], other])


# The plan -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_plan_fills_the_time_and_stretches_within_the_limit(
    graph: MotionGraph, speech: tuple[np.ndarray, int], seed: int
) -> None:
    steps = plan(graph, gesture_targets(analyse_voice(*speech), 0.5, 0.5, seed), 107, 24)
    assert steps[0].begin == 0
    assert all(a.end == b.begin for a, b in pairwise(steps))
    assert steps[-2].end < 107 <= steps[-1].end
    stretch = np.array([(step.end - step.begin) / 24 / graph.seconds[step.movement] for step in steps])
    assert np.abs(stretch - 1).max() <= MAX_STRETCH + 1e-9


def test_changes_happen_where_the_hands_are_close(graph: MotionGraph, speech: tuple[np.ndarray, int]) -> None:
    for seed in range(5):
        steps = plan(graph, gesture_targets(analyse_voice(*speech), 0.7, 0.7, seed), 107, 24)
        gaps = [graph.distance[a.movement, b.movement] for a, b in pairwise(steps)]
        assert max(gaps) <= 0.09


# The result ---------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(seconds=st.floats(0.02, 5), fps=st.sampled_from([12.0, 23.976, 24.0, 25.0, 30.0, 60.0]), seed=st.integers(0, 99))
def test_any_length_and_rate_is_filled_exactly(seconds: float, fps: float, seed: int) -> None:
    samples = np.random.default_rng(seed).normal(scale=0.1, size=max(1, round(seconds * SAMPLE_RATE)))
    result = generate_gestures(samples, SAMPLE_RATE, fps, LIBRARY, GestureSettings(seed=seed))
    assert len(result) == resampled_length(len(samples), SAMPLE_RATE, fps)
    assert result.fps == fps
    assert np.isfinite(result.keypoints).all()


LIBRARY = [load_clip(name) for name in ("idle", "explaining", "one_hand_beats")]


def test_the_same_seed_gives_the_same_gestures(speech: tuple[np.ndarray, int]) -> None:
    first, second = (generate_gestures(*speech, settings=GestureSettings(seed=3)) for _ in range(2))
    assert np.array_equal(first.keypoints, second.keypoints)
    assert np.array_equal(first.scores, second.scores)


def test_another_seed_gives_other_gestures(speech: tuple[np.ndarray, int]) -> None:
    results = [generate_gestures(*speech, settings=GestureSettings(seed=seed)).keypoints for seed in range(4)]
    assert any(not np.allclose(results[0], other) for other in results[1:])


def test_a_silent_recording_is_warned_of_where_the_fit_is_read(speech: tuple[np.ndarray, int]) -> None:
    portrait = load_clip("idle").take([0])
    silent, spoken = (generate_gestures(sound, SAMPLE_RATE, frames=12) for sound in (np.zeros(SAMPLE_RATE), speech[0]))
    assert fit_to_portrait(silent, portrait).report.splitlines()[0].startswith("The recording holds no voice")
    assert "no voice" not in fit_to_portrait(spoken, portrait).report


def test_hands_rest_in_silence() -> None:
    result = generate_gestures(np.zeros(6 * SAMPLE_RATE), SAMPLE_RATE)
    assert reach(result).max() < 0.04


def test_hands_rest_in_a_long_pause_and_gesture_around_it(graph: MotionGraph) -> None:
    times = [0.5, 0.8, 1.1, 1.5, 1.8, 2.1, 2.5, 2.8, 8.0, 8.3, 8.6, 9.0, 9.3, 9.6, 10.0, 10.4]
    for seed in range(3):
        far = reach(gestures_for(voice_of(times, 12), graph, 24, GestureSettings(seed=seed)))
        assert far[round(4.8 * 24) : round(7.2 * 24)].max() < 0.05
        assert far[round(0.8 * 24) : round(2.8 * 24)].max() > 0.08
        assert far[round(8.5 * 24) : round(10.4 * 24)].max() > 0.08


def test_louder_phrases_get_larger_gestures(graph: MotionGraph) -> None:
    """The mean over seeds: one choice may go the other way."""
    times = [0.4 + 0.3 * i for i in range(10)] + [5.4 + 0.3 * i for i in range(10)]
    loud = [0.02] * 10 + [0.6] * 10
    quiet_part, loud_part = [], []
    for seed in range(6):
        chosen = GestureSettings(expressiveness=1.0, energy=0.4, seed=seed)
        far = reach(gestures_for(voice_of(times, 9, loud), graph, 24, chosen))
        quiet_part.append(far[round(0.8 * 24) : round(3.4 * 24)].mean())
        loud_part.append(far[round(5.8 * 24) : round(8.4 * 24)].mean())
    assert np.mean(loud_part) > 1.3 * np.mean(quiet_part)


def test_more_energy_gives_more_motion(graph: MotionGraph, speech: tuple[np.ndarray, int]) -> None:
    voice = analyse_voice(*speech)
    motion = [
        np.mean(
            [hand_motion(gestures_for(voice, graph, 24, GestureSettings(e, seed=seed))).mean() for seed in range(4)]
        )
        for e in (0.0, 0.35, 0.8)
    ]
    assert motion[0] < 0.6 * motion[1]
    assert motion[1] < motion[2]


def test_strokes_land_on_syllables(graph: MotionGraph) -> None:
    """Far better than the same strokes at other times, by a measure that knows nothing of the plan."""
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.uniform(0.22, 0.75, 40))
    voice = voice_of(times.tolist(), float(times[-1]) + 1)
    real, shuffled = [], []
    for seed in range(3):
        landings, _ = strokes(gestures_for(voice, graph, 24, GestureSettings(seed=seed)))
        real.append(alignment(landings, times, 0.06))
        shifts = rng.uniform(0, voice.seconds, 50)
        shuffled.append(np.mean([alignment((landings + shift) % voice.seconds, times, 0.06) for shift in shifts]))
    assert np.mean(real) > np.mean(shuffled) + 0.25


def test_there_are_no_jumps(graph: MotionGraph, speech: tuple[np.ndarray, int], library: list[PoseSequence]) -> None:
    """Nothing in the result is faster than the fastest clip, stretched as far as it may be."""
    fastest = max(hand_motion(clip).max() for clip in choose_clips(library, None)) / (1 - MAX_STRETCH)
    for seed in range(5):
        result = gestures_for(analyse_voice(*speech), graph, 24, GestureSettings(energy=0.8, seed=seed))
        assert hand_motion(result).max() <= fastest


def test_half_the_rate_halves_the_frames_of_the_same_plan(graph: MotionGraph, speech: tuple[np.ndarray, int]) -> None:
    voice = analyse_voice(*speech)
    result = gestures_for(voice, graph, 48, GestureSettings())
    assert len(result) == resampled_length(len(speech[0]), speech[1], 48)
    assert hand_motion(result).max() < 0.03


@pytest.mark.parametrize("frames", [1, 80, 130])
def test_the_requested_number_of_frames(speech: tuple[np.ndarray, int], frames: int) -> None:
    usual = len(generate_gestures(*speech))
    assert 80 < usual < 130, "one number is shorter than the recording, one longer"
    assert len(generate_gestures(*speech, frames=frames)) == frames


def test_no_frames_at_all_are_refused(speech: tuple[np.ndarray, int]) -> None:
    with pytest.raises(PoseError, match="cannot have 0 frames"):
        generate_gestures(*speech, frames=0)


# Clips to choose from -----------------------------------------------------------------------------------------------


def test_emblems_are_not_made_up(library: list[PoseSequence]) -> None:
    names = {clip.info["name"] for clip in choose_clips(library, None)}
    assert "explaining" in names
    assert not names & {"waving", "thumbs_up", "counting", "pointing", "thinking"}


def test_only_allowed_clips_are_used(speech: tuple[np.ndarray, int], library: list[PoseSequence]) -> None:
    """Allowed the clip of one hand only, unmirrored, the other hand rests throughout."""
    chosen = GestureSettings(energy=0.8, clips=("one_hand_beats", "idle"), mirrored=False)
    result = generate_gestures(*speech, library=library, settings=chosen)
    travelled = [np.ptp(result.keypoints[:, hand], axis=0).max() for hand in (HAND_A, HAND_B)]
    assert travelled[0] < 0.06
    assert travelled[1] > 0.15


def test_an_emblem_may_be_requested(library: list[PoseSequence]) -> None:
    assert [clip.info["name"] for clip in choose_clips(library, ["waving"])] == ["waving"]


@pytest.mark.parametrize("names", [("dancing",), ()])
def test_unknown_or_no_clips_are_refused_with_the_choices(library: list[PoseSequence], names: tuple[str, ...]) -> None:
    with pytest.raises(PoseError, match="explaining"):
        choose_clips(library, names)


def test_clips_of_ones_own_are_a_library(shared: Path, speech: tuple[np.ndarray, int]) -> None:
    clips = [load_poses(shared / "assets" / "pose" / name) for name in ("01", "good", "salute")]
    result = generate_gestures(*speech, library=clips, settings=GestureSettings(energy=0.7))
    fastest = max(hand_motion(clip).max() for clip in clips)
    assert len(result) == 107
    assert hand_motion(result).max() <= fastest / (1 - MAX_STRETCH)


def test_a_folder_of_ones_own_is_read(tmp_path: Path) -> None:
    clip = load_clip("idle").take(np.arange(48))
    nameless = clip.with_points(clip.keypoints, info={})
    save_poses(nameless, tmp_path / "mine.safetensors")
    save_poses(nameless, tmp_path / "frames")
    save_poses(nameless.take(np.arange(2)), tmp_path / "padded")
    for number in range(2):
        (tmp_path / "padded" / f"{number}.npy").rename(tmp_path / "padded" / f"{number:03}.npy")
    (tmp_path / "padded").rename(tmp_path / "padded.v2")
    (tmp_path / "notes.json").write_text("{}")
    names = ["frames", "mine", "padded.v2"]
    assert clip_names(tmp_path) == names
    assert [clip.info["name"] for clip in load_library(folder=tmp_path)] == names


def test_a_folder_of_frames_may_have_a_dot_in_its_name(tmp_path: Path) -> None:
    """It was listed without what follows the dot, and then was not found."""
    for name in ("take.1", "take.2"):
        save_poses(load_clip("idle").take([0]), tmp_path / "frames")
        (tmp_path / "frames").rename(tmp_path / name)
    assert clip_names(tmp_path) == ["take.1", "take.2"]
    assert len(load_library(folder=tmp_path)) == 2


def test_a_renamed_clip_goes_by_both_names(tmp_path: Path) -> None:
    for name, source in (("mine", "idle"), ("idle", "explaining")):
        shutil.copy(SHIPPED_CLIPS / f"{source}.safetensors", tmp_path / f"{name}.safetensors")
    library = load_library(folder=tmp_path)
    recorded = [clip.info["name"] for clip in choose_clips(library, ["mine", "explaining", "idle"])]
    assert recorded == ["idle", "explaining", "explaining"], "a file's name comes before what another recorded"


def test_a_folder_without_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PoseError, match="no gesture clips"):
        load_library(folder=tmp_path)
    with pytest.raises(PoseError, match="no folder"):
        load_library(folder=tmp_path / "missing")


def test_a_library_of_one_short_clip_is_enough(speech: tuple[np.ndarray, int]) -> None:
    clip = load_clip("explaining").take(np.arange(2))
    assert len(generate_gestures(*speech, library=[clip])) == 107


def test_points_that_come_and_go_do_no_harm(speech: tuple[np.ndarray, int]) -> None:
    clip = load_clip("explaining")
    rng = np.random.default_rng(0)
    scores = clip.scores * (rng.random((len(clip), POINTS)) > 0.3)
    scores[:, HAND_A] = 0
    result = generate_gestures(*speech, library=[clip.with_points(clip.keypoints, scores)])
    assert np.isfinite(result.keypoints).all()


@pytest.mark.parametrize(
    "settings", [{"energy": 1.5}, {"expressiveness": -0.1}, {"seed": -1}, {"energy": float("nan")}]
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(PoseError, match="gestures"):
        GestureSettings(**settings)  # type: ignore[arg-type]


def test_the_voice_is_timed_in_its_own_seconds() -> None:
    """Any sample rate gives the same phrases."""
    samples = syllables([0.5, 0.9, 1.5], 2.2)
    half = analyse_voice(samples[::2], SAMPLE_RATE // 2)
    assert np.allclose(half.phrases, analyse_voice(samples, SAMPLE_RATE).phrases, atol=2 / RATE)
