"""From videos to training clips: what is kept, what is refused and why, and that nothing is done twice."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import threading
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
import yaml

from echomimic.audio import SpeechFeatures, read_audio
from echomimic.errors import MissingPackageError, OutputError, PoseError, TrainingError
from echomimic.pose import PoseSequence, load_poses
from echomimic.pose.sequence import BODY, FACE, POINTS
from echomimic.pose.sources.extract import extract_poses
from echomimic.training.clip_files import frames_at_rate, read_clip_frames
from echomimic.training.clip_filters import CountingDetector, PrepareSettings, refuse_poses
from echomimic.training.clip_maker import make_clip_from_frames
from echomimic.training.config import read_config
from echomimic.training.curriculum_picture import AUDIO_COLOUR, draw_curriculum, tinted
from echomimic.training.data_report import write_report
from echomimic.training.prepare import find_videos, prepare
from echomimic.training.records import read_records
from echomimic.training.video_results import read_result
from tests.training_data import DrawnPersonDetector, draw_person, person_frames, skeleton, write_person_video

SETTINGS = PrepareSettings(size=128)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory):
    """A folder with one video of each kind, prepared once."""
    folder = tmp_path_factory.mktemp("videos")
    two_scenes = np.concatenate([person_frames(36), person_frames(30, background=(30, 90, 40))])
    write_person_video(folder / "a_good.mp4", two_scenes)
    write_person_video(folder / "b_two_people.mp4", person_frames(30, people=2))
    write_person_video(folder / "c_no_sound.mp4", person_frames(30), sound=False)
    write_person_video(folder / "d_silent.mp4", person_frames(30), loud=0.0)
    write_person_video(folder / "e_nobody.mp4", np.full((30, 128, 128, 3), 200, np.uint8))
    write_person_video(folder / "f_three_frames.mp4", person_frames(3))
    (folder / "g_broken.mp4").write_bytes(b"this is no video" * 100)
    write_person_video(folder / "h_far_away.mp4", person_frames(30, size=192, radius=4))
    write_person_video(folder / "i_thirty_fps.mp4", person_frames(45), fps=30.0)
    output = folder / "data"
    results = prepare(find_videos([folder]), output, DrawnPersonDetector(), SETTINGS, workers=2)
    return output, {result.video[0]: result for result in results}, results


def reasons(prepared, video: str) -> str:
    return "; ".join(refusal.reason for refusal in prepared[1][video].refusals)


def test_a_cut_divides_a_video_into_clips(prepared) -> None:
    clips = prepared[1]["a"].clips
    assert [clip.frames for clip in clips] == [36, 30]
    assert [clip.source for clip in clips] == ["a_good.mp4 0.00-1.50 s", "a_good.mp4 1.50-2.75 s"]


def test_a_clip_has_frames_sound_and_poses_of_one_length(prepared) -> None:
    output, results, _ = prepared
    clip = results["a"].clips[1]
    frames = read_clip_frames(output / clip.file_name, range(30))
    assert frames[0].shape == (128, 128, 3)
    waveform, rate = read_audio(output / clip.audio)
    assert (rate, waveform.shape) == (16000, (1, 20000))
    assert len(load_poses(output / clip.poses)) == 30


def test_poses_lie_on_the_cropped_person(prepared) -> None:
    output, results, _ = prepared
    clip = results["a"].clips[0]
    poses = load_poses(output / clip.poses)
    (picture,) = read_clip_frames(output / clip.file_name, [20])
    x, y = (poses.keypoints[20, 0] * 128).round().astype(int)
    assert picture[y, x, 0] > 180
    assert picture[y, x, 1] < 90


def test_another_rate_becomes_24(prepared) -> None:
    (clip,) = prepared[1]["i"].clips
    assert (clip.frames, clip.fps) == (36, 24.0)


@pytest.mark.parametrize(
    ("video", "words"),
    [
        ("b", "more than one person is seen in 30 of 30 frames"),
        ("c", "no usable sound"),
        ("d", "the sound is silent"),
        ("e", "nobody was found in any of the 30 frames"),
        ("f", r"the scene lasts 0\.12 s, 1 s are needed"),
        ("g", "this is not a video, or a damaged one"),
        ("h", "the person is too far away"),
    ],
)
def test_each_refusal_has_its_reason(prepared, video: str, words: str) -> None:
    assert not prepared[1][video].clips
    assert re.search(words, reasons(prepared, video)), reasons(prepared, video)


def test_metadata_name_the_clips_and_refusals_lie_beside(prepared) -> None:
    output, _, _ = prepared
    assert [record.frames for record in read_records(output)] == [36, 30, 36]
    refused = [json.loads(line) for line in (output / "refused.jsonl").read_text().splitlines()]
    assert {one["video"][0] for one in refused} == set("bcdefgh")


def test_a_second_run_looks_at_no_picture(prepared, tmp_path: Path) -> None:
    output, _, first = prepared
    detector = DrawnPersonDetector()
    again = prepare(
        find_videos([output.parent / f"{name}.mp4" for name in ("a_good", "b_two_people")]), output, detector, SETTINGS
    )
    assert detector.calls == 0
    assert again == first[:2]
    prepare(find_videos([output.parent]), output, detector, SETTINGS)


@pytest.mark.parametrize("lost", ["file_name", "audio", "poses"])
def test_a_clip_that_lost_a_file_is_made_again(tmp_path: Path, lost: str) -> None:
    video, output = write_person_video(tmp_path / "a.mp4", person_frames(26)), tmp_path / "data"
    (clip,) = prepare([video], output, DrawnPersonDetector(), SETTINGS)[0].clips
    (output / getattr(clip, lost)).unlink()
    with pytest.raises(TrainingError, match="is not there: prepare the data again"):
        read_records(output)
    prepare([video], output, DrawnPersonDetector(), SETTINGS)
    assert read_records(output) == [clip]


def test_a_video_counts_once(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    video = write_person_video(tmp_path / "x" / "a.mp4", person_frames(26))
    shutil.copy(video, tmp_path / "y" / "b.mp4")
    videos = find_videos([video, tmp_path, tmp_path / "y" / ".." / "x" / "a.mp4"])
    assert [path.name for path in videos] == ["a.mp4", "b.mp4"]
    for _ in range(2):  # made, and taken from the run before
        one, other = prepare(videos, tmp_path / "data", DrawnPersonDetector(), SETTINGS, workers=2)
        (refusal,) = one.refusals + other.refusals
        assert re.search(r"it is a copy of .*[ab]\.mp4", refusal.reason)
        assert len(read_records(tmp_path / "data")) == 1


def test_a_sound_that_ends_before_its_pictures_goes_on_in_silence(tmp_path: Path, monkeypatch) -> None:
    video = write_person_video(tmp_path / "a.mp4", person_frames(36))
    samples = 0.5 * torch.ones(1, 16000)
    monkeypatch.setattr("echomimic.training.prepare.read_video_sound", lambda path: (samples, 16000))
    (clip,) = prepare([video], tmp_path / "data", DrawnPersonDetector(), SETTINGS)[0].clips
    waveform, _ = read_audio(tmp_path / "data" / clip.audio)
    assert (clip.frames, waveform.shape) == (36, (1, 24000))
    assert waveform[:, :16000].min() > 0.4 and not waveform[:, 16000:].any()


def test_an_interrupted_run_resumes_with_the_next_video(tmp_path: Path) -> None:
    for name in "abc":
        write_person_video(tmp_path / f"{name}.mp4", person_frames(26, radius=13 + ord(name) % 3))
    videos = find_videos([tmp_path])

    def stop(done: int, total: int, result: object) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(videos, tmp_path / "data", DrawnPersonDetector(), SETTINGS, on_video=stop)
    detector = DrawnPersonDetector()
    results = prepare(videos, tmp_path / "data", detector, SETTINGS)
    assert detector.calls <= 26
    assert [len(result.clips) for result in results] == [1, 1, 1]


def test_clips_of_other_videos_that_the_list_leaves_out_are_told_of(tmp_path: Path, caplog) -> None:
    for name, radius in (("a", 13), ("b", 14)):
        write_person_video(tmp_path / f"{name}.mp4", person_frames(26, radius=radius))
    (first,) = prepare([tmp_path / "a.mp4"], tmp_path / "data", DrawnPersonDetector(), SETTINGS)
    assert not caplog.records
    prepare([tmp_path / "b.mp4"], tmp_path / "data", DrawnPersonDetector(), SETTINGS)
    assert [record.source[0] for record in read_records(tmp_path / "data")] == ["b"]
    assert f"no longer lists 1 of its clips ({first.clips[0].file_name} first)" in caplog.text
    caplog.clear()
    prepare(find_videos([tmp_path]), tmp_path / "data", DrawnPersonDetector(), SETTINGS)
    assert [record.source[0] for record in read_records(tmp_path / "data")] == ["a", "b"] and not caplog.records


def test_without_hands_a_clip_is_a_headshot_with_a_black_frame_around(tmp_path: Path) -> None:
    frames = np.full((26, 128, 128, 3), 220, np.uint8)
    for frame in frames:
        draw_person(frame, 64, 60, 40)
    write_person_video(tmp_path / "head.mp4", frames)
    (result,) = prepare([tmp_path / "head.mp4"], tmp_path / "data", DrawnPersonDetector(hands=False), SETTINGS)
    (clip,) = result.clips
    assert clip.headshot
    left, top, right, bottom = clip.head_box
    (picture,) = read_clip_frames(tmp_path / "data" / clip.file_name, [10])
    assert picture[:, : int(left * 128) - 2].max() < 20
    assert picture[int((top + bottom) / 2 * 128), int((left + right) / 2 * 128)].max() > 100
    poses = load_poses(tmp_path / "data" / clip.poses)
    face = poses.keypoints[10, 24:92]
    assert np.ptp(face[:, 1]) == pytest.approx(0.18, abs=0.01)
    assert (face.min(axis=0) + face.max(axis=0)) / 2 == pytest.approx([0.5, 0.215], abs=0.01)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("points", [0, 1])
def test_a_clip_with_neither_hands_nor_face_is_a_sentence(tmp_path: Path, points: int) -> None:
    scores = np.zeros((8, POINTS))
    scores[:, BODY] = scores[:, FACE.start : FACE.start + points] = 1
    poses = PoseSequence(np.full((8, POINTS, 2), 0.5), scores, 24.0)
    speech = SpeechFeatures(torch.zeros(20, 5, 384), 24.0)
    with pytest.raises(PoseError, match=f"the 8 frames .* no face for a headshot .{8 * points} points"):
        make_clip_from_frames(tmp_path, "clip", [], poses, speech, lambda pictures: pictures, 64)
    # Where no face is required, its height is not measured.
    counting = CountingDetector(DrawnPersonDetector())
    assert refuse_poses(poses, counting, replace(SETTINGS, min_found=0.0)) is None


def test_headshots_can_be_left_out(tmp_path: Path) -> None:
    write_person_video(tmp_path / "head.mp4", person_frames(26))
    settings = PrepareSettings(size=128, headshots=False)
    (result,) = prepare([tmp_path / "head.mp4"], tmp_path / "data", DrawnPersonDetector(hands=False), settings)
    assert "headshots are not wanted" in result.refusals[0].reason


def test_frames_at_another_rate_are_those_shown_at_that_time(tmp_path: Path) -> None:
    shades = np.arange(12, dtype=np.uint8) * 20
    frames = np.broadcast_to(shades[:, None, None, None], (12, 64, 64, 3))
    write_person_video(tmp_path / "v.mp4", np.ascontiguousarray(frames), fps=12.0)
    shown = [round(float(frame.mean()) / 20) for frame in frames_at_rate(tmp_path / "v.mp4", 24.0)]
    assert shown == [i // 2 for i in range(24)]
    part = [round(float(frame.mean()) / 20) for frame in frames_at_rate(tmp_path / "v.mp4", 24.0, 5, 9)]
    assert part == [2, 3, 3, 4]


def write_numbered(path: Path, count: int, rate: Fraction, shown: int | None = None) -> Path:
    """A video whose frames count in binary, claimed to have this rate, and shown every so many of its frames."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(count):
            bars = 255 * (number >> np.arange(8) & 1).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.tile(bars.repeat(8)[None, :, None], (64, 1, 3)), format="rgb24")
            if shown is not None:
                frame.pts, frame.time_base = number * shown, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbers_shown(path: Path, fps: float) -> list[int]:
    """The numbers of `write_numbered`'s frames that are read at this rate."""
    middles = (frame[32, 4::8, 1] > 128 for frame in frames_at_rate(path, fps))
    return [int((bits << np.arange(8)).sum()) for bits in middles]


@pytest.mark.parametrize(
    ("rate", "fps"),
    [(Fraction(24), 24), (Fraction(30), 30), (Fraction(24000, 1001), 24), (Fraction(30), 24), (Fraction(60), 24)],
)
def test_stamps_in_whole_milliseconds_give_the_same_frames(tmp_path: Path, rate: Fraction, fps: int) -> None:
    exact, rounded = (numbers_shown(write_numbered(tmp_path / name, 60, rate), fps) for name in ("v.mp4", "v.mkv"))
    assert rounded == exact
    if rate == fps:
        assert exact == list(range(60))


def test_a_container_that_claims_another_rate_has_a_picture_for_every_pose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_numbered(tmp_path / "v.mkv", 11, Fraction(1000), shown=33)
    detect = DrawnPersonDetector()
    monkeypatch.setattr(DrawnPersonDetector, "__call__", lambda *given: skeleton(32, 16, 8)[None])
    poses = extract_poses(path, detect, fps=60.0)
    assert len(numbers_shown(path, 60)) >= len(poses) == 22
    assert numbers_shown(write_numbered(tmp_path / "one.mkv", 1, Fraction(1000)), 24) == [0]


def test_a_video_is_decoded_three_times_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once to find cuts and count frames, then twice side by side: one looks, one cuts."""
    from echomimic.media import video_reader

    write_person_video(tmp_path / "v.mp4", person_frames(30))
    decoded, upright = [], video_reader.upright
    monkeypatch.setattr(video_reader, "upright", lambda *given: decoded.append(1) or upright(*given))
    (result,) = prepare([tmp_path / "v.mp4"], tmp_path / "data", DrawnPersonDetector(), SETTINGS)
    assert result.clips and len(decoded) <= 3 * 30


def test_reading_frames_by_number_finds_those_very_frames(tmp_path: Path) -> None:
    shades = (np.arange(60) * 4).astype(np.uint8)
    frames = np.broadcast_to(shades[:, None, None, None], (60, 64, 64, 3))
    write_person_video(tmp_path / "v.mp4", np.ascontiguousarray(frames), sound=False)
    found = read_clip_frames(tmp_path / "v.mp4", [57, 0, 31, 31], size=32)
    assert [round(float(frame.mean()) / 4) for frame in found] == [57, 0, 31, 31]
    assert found[0].shape == (32, 32, 3)
    with pytest.raises(TrainingError, match="has no frame 60"):
        read_clip_frames(tmp_path / "v.mp4", [60])


def test_the_page_shows_every_clip_and_every_reason(prepared) -> None:
    output, _, results = prepared
    page = write_report(output, results).read_text(encoding="utf-8")
    assert page.count("<figure>") == 3
    # Three kept clips, and one picture of each refused video but the broken one, which has none.
    refused = [refusal for result in results for refusal in result.refusals]
    assert len(refused) == 7
    assert [refusal.video for refusal in refused if not refusal.picture] == ["g_broken.mp4"]
    assert page.count("data:image/jpeg;base64,") == 3 + 6
    assert "more than one person is seen in 30 of 30 frames" in page
    assert "<li>1 x more than one person is seen in … of … frames</li>" in page


def test_the_curriculum_is_drawn(tmp_path: Path, prepared) -> None:
    from PIL import Image

    poses = load_poses(prepared[0] / prepared[1]["a"].clips[0].poses)
    path = draw_curriculum(tmp_path / "curriculum.png", poses)
    assert min(Image.open(path).size) > 400


def test_a_mask_colours_the_curriculums_pictures_where_it_is() -> None:
    white, mask = np.full((16, 16, 3), 255, np.uint8), np.array([[0.0, 1.0], [0.0, 0.0]])
    drawn = tinted(white, mask)
    assert (drawn[:, :8] == 153).all()  # dimmed to 60 %
    assert (drawn[:8, 8:] == (np.array([153, 153, 153]) * 0.15 + AUDIO_COLOUR * 0.85).astype(np.uint8)).all()
    assert (drawn[8:, 8:] == 153).all()


def test_a_refused_part_shows_what_was_wrong(tmp_path: Path) -> None:
    # One person for 20 frames, then two: the picture is one with both.
    frames = np.concatenate([person_frames(20, people=1), person_frames(30, people=2)])
    path = write_person_video(tmp_path / "a.mp4", frames)
    result = prepare([path], tmp_path / "data", DrawnPersonDetector(), replace(SETTINGS, scene_threshold=1000))[0]
    assert "more than one person" in result.refusals[0].reason
    picture = cv2.imread(str(tmp_path / "data" / result.refusals[0].picture))[..., ::-1]
    assert len(DrawnPersonDetector()(picture)) == 2


def test_the_card_names_every_clip_of_the_metadata(prepared) -> None:
    output = prepared[0]
    head = (output / "README.md").read_text(encoding="utf-8").split("---")[1]
    (split,) = yaml.safe_load(head)["configs"][0]["data_files"]
    files = {path.relative_to(output).as_posix() for pattern in split["path"] for path in output.glob(pattern)}
    lines = (output / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    assert files == {"metadata.jsonl", *(json.loads(line)["file_name"] for line in lines)}


def test_datasets_reads_the_folder_as_it_is(prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = datasets.load_dataset(str(prepared[0]), split="train", cache_dir=str(tmp_path))
    assert isinstance(found.features["video"], datasets.Video)
    undecoded = found.cast_column("video", datasets.Video(decode=False))  # decoding needs torchcodec
    lines = (prepared[0] / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    for row, line in zip(undecoded, map(json.loads, lines), strict=True):
        assert Path(row["video"]["path"]) == prepared[0] / line.pop("file_name")
        assert {name: row[name] for name in line} == line


def test_a_card_of_ones_own_stays(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "README.md").write_text("mine")
    video = write_person_video(tmp_path / "a.mp4", person_frames(4))
    prepare([video], tmp_path / "data", DrawnPersonDetector())
    assert (tmp_path / "data" / "README.md").read_text() == "mine"


def test_without_scenedetect_a_sentence_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    with pytest.raises(MissingPackageError, match="pip install scenedetect"):
        prepare([tmp_path / "x.mp4"], tmp_path / "data", DrawnPersonDetector())


def test_no_video_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no video is in"):
        find_videos([tmp_path])
    with pytest.raises(TrainingError, match="there is no video or folder"):
        find_videos([tmp_path / "nothing"])


def test_latents_are_those_of_the_pictures(tmp_path: Path) -> None:
    from diffusers import AutoencoderKL

    from echomimic.files.tensors import read_state_dict
    from echomimic.training.latent_cache import cache_latents
    from echomimic.training.objective import encode_pictures
    from tests.training_data import write_data

    data = write_data(tmp_path, frames=5, size=64)
    vae = AutoencoderKL(
        block_out_channels=(8,) * 4, layers_per_block=1, norm_num_groups=4, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    ).eval()  # fmt: skip

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, segment: torch.Tensor, output_hidden_states: bool):
            from types import SimpleNamespace

            return SimpleNamespace(hidden_states=[segment[:, :8, ::2].transpose(1, 2)] * 5)

    (record,) = cache_latents(data, vae, Encoder())
    stored = read_state_dict(data / record.latents)
    pictures = torch.from_numpy(np.stack(read_clip_frames(data / record.file_name, range(5)))).permute(0, 3, 1, 2)
    assert torch.allclose(stored["latents"], encode_pictures(vae, pictures), atol=1e-5)
    assert stored["steps"].shape == (10, 5, 8)
    assert read_records(data) == [record]


def test_the_command_prepares_caches_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from echomimic.cli.main import main
    from echomimic.models import UNetConfig
    from tests.published import write_published

    monkeypatch.setattr("echomimic.cli.prepare.DWPose", lambda folder, device: DrawnPersonDetector())
    config = UNetConfig((32, 64), layers_per_block=1, attention_heads=8, norm_num_groups=32, audio_dim=64)
    weights = write_published(tmp_path / "weights", config, variants=("",))
    write_person_video(tmp_path / "videos.mp4", person_frames(26))
    data = tmp_path / "data"
    command = ["prepare", str(tmp_path / "videos.mp4"), "--output", str(data), "--size", "64", "--quiet"]
    assert main([*command, "--cache-latents"]) == 2  # which weights?
    assert main([*command, "--cache-latents", "--weights", str(weights), "--device", "cpu"]) == 0
    (record,) = read_records(data)
    assert (data / record.latents).is_file()
    assert (data / "report.html").is_file()
    # The latents stay when the same videos are prepared again.
    assert main(command) == 0
    assert read_records(data) == [record]
    assert main(["prepare", "--show-curriculum", str(tmp_path / "c.png"), "--output", str(data), "--quiet"]) == 0
    assert (tmp_path / "c.png").is_file()
    assert main(["prepare", "--show-curriculum", str(tmp_path / "demo.png"), "--quiet"]) == 0
    assert (tmp_path / "demo.png").is_file()


def test_caching_needs_vae_and_audio_encoder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from echomimic.cli.main import main
    from tests.published import whisper_checkpoint, write_vae

    monkeypatch.setattr("echomimic.cli.prepare.DWPose", lambda folder, device: DrawnPersonDetector())
    write_person_video(tmp_path / "a.mp4", person_frames(26))
    data, weights = tmp_path / "data", tmp_path / "weights"
    command = ["prepare", str(tmp_path / "a.mp4"), "--output", str(data), "--size", "64", "--quiet"]
    command += ["--cache-latents", "--weights", str(weights), "--device", "cpu"]
    assert main(command) == 2
    assert f"there is no weights folder or bundle {weights}" in capsys.readouterr().err
    write_vae(weights / "v2" / "sd-vae-ft-mse", {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1})
    assert main(command) == 2
    assert "weights has no audio encoder (tiny.pt): `python -m echomimic download" in capsys.readouterr().err
    assert not data.exists(), "hours of work before a refusal"
    torch.save(whisper_checkpoint(384, layers=4), weights / "tiny.pt")
    assert main(command) == 0
    (record,) = read_records(data)
    assert (data / record.latents).is_file()


RECORD = {"file_name": "a.mp4", "audio": "a.wav", "poses": "a.json", "frames": 24, "fps": 24.0, "size": 64}


@pytest.mark.parametrize(
    "content",
    [
        b"\xfb" + json.dumps(RECORD).encode(),
        json.dumps({**RECORD, "file_name": {"data": "a.mp4"}}).encode(),
        json.dumps({**RECORD, "fps": float("inf")}).encode(),
        b"[" * 100_000,
    ],
)
def test_a_damaged_list_of_clips_names_the_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metadata.jsonl").write_bytes(content)
    with pytest.raises(TrainingError, match=r"line 1 of .*metadata\.jsonl"):
        read_records(tmp_path)


@pytest.mark.parametrize("content", [b"", b"null", b"{}", b"\xfb{}", b'{"video": "a", "clips": [5], "refusals": []}'])
def test_a_video_whose_result_was_damaged_is_prepared_again(tmp_path: Path, content: bytes, caplog) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert read_result(tmp_path / "a.json") is None
    assert "damaged and left out" in caplog.text


def test_a_configuration_of_impossible_numbers_or_bytes_is_a_sentence(tmp_path: Path) -> None:
    for content in (b"stage: lora\nseed: .inf\n", b"\x80\x00\x01", b"[" * 5000, b"stage: &a [*a]\n"):
        (tmp_path / "c.yaml").write_bytes(content)
        with pytest.raises(TrainingError):
            read_config(tmp_path / "c.yaml")


def test_a_video_with_as_long_a_name_as_may_be_is_prepared(tmp_path: Path) -> None:
    video = write_person_video(tmp_path / f"{'é' * 120}.mp4", person_frames(36))
    (result,) = prepare([video], tmp_path / "data", DrawnPersonDetector(), SETTINGS)
    (clip,) = result.clips
    assert (tmp_path / "data" / clip.file_name).is_file() and clip.file_name.startswith("clips/é")
    assert len(read_records(tmp_path / "data")) == 1


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names there are always Unicode")
def test_a_video_whose_name_is_in_no_encoding_is_prepared(tmp_path: Path) -> None:
    made = write_person_video(tmp_path / "a.mp4", person_frames(36))
    video = made.rename(tmp_path / os.fsdecode(b"caf\xe9.mp4"))
    results = prepare([video], tmp_path / "data", DrawnPersonDetector(), SETTINGS)
    write_report(tmp_path / "data", results)
    again = prepare([video], tmp_path / "data", DrawnPersonDetector(), SETTINGS)
    assert [clip.file_name for clip in again[0].clips] == [clip.file_name for clip in results[0].clips]
    assert len(read_records(tmp_path / "data")) == 1


def test_an_interrupt_stops_the_videos_that_are_being_done_and_keeps_the_others(tmp_path: Path) -> None:
    short = write_person_video(tmp_path / "a.mp4", person_frames(26))
    long = write_person_video(tmp_path / "b.mp4", person_frames(60, background=(9, 9, 9)))
    interrupted = threading.Event()

    class Slow(DrawnPersonDetector):
        slow = 0

        def __call__(self, picture):
            if picture[0, -1].max() < 60:
                self.slow += 1
                interrupted.wait(60)
                time.sleep(0.2)
            return super().__call__(picture)

    def interrupt(*_) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    output, detector = tmp_path / "data", Slow()
    with pytest.raises(KeyboardInterrupt):
        prepare([short, long], output, detector, SETTINGS, workers=2, on_video=interrupt)
    assert detector.slow < 60
    assert len(read_records(output)) == 1
    assert len(list((output / ".prepared").iterdir())) == 1
    again = DrawnPersonDetector()
    first, second = prepare([short, long], output, again, SETTINGS)
    assert (again.calls, [clip.frames for clip in (*first.clips, *second.clips)]) == (60, [26, 60])
    assert not second.refusals


def test_whatever_fails_in_one_video_leaves_the_others_and_is_tried_again(tmp_path: Path) -> None:
    videos = [
        write_person_video(tmp_path / "a.mp4", person_frames(36)),
        write_person_video(tmp_path / "b.mp4", person_frames(36, background=(9, 9, 9))),
    ]

    class Failing(DrawnPersonDetector):
        def __call__(self, picture):
            if picture[0, -1].max() < 60:
                raise RuntimeError("CUDA error: an illegal memory access")
            return super().__call__(picture)

    first, second = prepare(videos, tmp_path / "data", Failing(), SETTINGS)
    assert first.clips and not second.clips
    assert "it failed (RuntimeError: CUDA error" in second.refusals[0].reason
    _, second = prepare(videos, tmp_path / "data", DrawnPersonDetector(), SETTINGS)
    assert second.clips, "what was not the video's fault is not remembered"


def test_a_full_disk_ends_the_run_and_no_video_is_refused_for_it(tmp_path: Path, monkeypatch) -> None:
    video = write_person_video(tmp_path / "a.mp4", person_frames(36))

    def full(*_, **__):
        raise OutputError("cannot write: No space left on device")

    monkeypatch.setattr("echomimic.training.prepare.write_video", full)
    with pytest.raises(OutputError, match="No space left"):
        prepare([video], tmp_path / "data", DrawnPersonDetector(), SETTINGS)
    assert not list((tmp_path / "data" / ".prepared").iterdir())
