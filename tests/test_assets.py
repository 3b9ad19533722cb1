"""What ships in `assets`: the portrait, the voice and the clips are there, sound, small, and made by their scripts."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from echomimic.files.fingerprint import hash_file
from echomimic.media.recordings import read_audio
from echomimic.pose import load_poses
from echomimic.pose.gestures.library import clip_names, load_clip
from echomimic.pose.sequence import FACE, HAND_A, HAND_B, HANDS
from echomimic.pose.sources.extract import extract_poses
from echomimic.pose.timing import hand_motion

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "assets"
CLIPS = clip_names()


def test_portrait_is_a_square_picture_without_alpha() -> None:
    with Image.open(ASSETS / "portrait.png") as picture:
        assert (picture.size, picture.mode) == ((768, 768), "RGB")


def test_every_content_that_a_sample_shipped_with_is_known() -> None:
    """By that, copies of earlier versions in people's input folders are renewed, and nothing else is."""
    for name, versions in json.loads((ASSETS / "samples.json").read_text()).items():
        present = hash_file(ASSETS / name)
        assert versions[-1] == present, f"{name} has changed: append {present} to its list in assets/samples.json"
        assert len(set(versions)) == len(versions)


def test_speech_is_a_few_seconds_of_audible_mono() -> None:
    with wave.open(str(ASSETS / "speech.wav"), "rb") as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
        assert sound.getnchannels() == 1
        assert 3 <= sound.getnframes() / sound.getframerate() <= 5
        assert 0.5 * 32767 < np.abs(samples.astype(int)).max() < 32767


def test_the_driving_video_is_small_speaks_and_its_poses_can_be_extracted() -> None:
    """With a stand-in for the detector, which finds one person whose nose is at the picture's middle."""
    path = ASSETS / "driving.mp4"
    assert path.stat().st_size < 300_000

    class Middle:
        identity = "middle"

        def __call__(self, picture: np.ndarray) -> np.ndarray:
            assert picture.shape == (384, 384, 3) and picture.std() > 10
            return np.full((1, 134, 3), [192.0, 192.0, 1.0])

    poses = extract_poses(path, Middle(), fps=24.0)
    assert len(poses) == 96
    waveform, rate = read_audio(path)
    assert waveform.shape[-1] / rate == pytest.approx(4.0, abs=0.1)
    assert waveform.abs().max() > 0.2
    np.testing.assert_allclose(poses.keypoints[:, 0], 0.5)


def test_the_library_holds_the_promised_gestures() -> None:
    promised = ["idle", "explaining", "counting", "pointing", "open_palms", "waving", "emphasis_beats", "thinking"]
    assert set(promised) <= set(CLIPS)


@pytest.mark.parametrize("name", CLIPS)
def test_clip_describes_itself(name: str) -> None:
    info = load_clip(name).info
    assert info["name"] == name
    assert info["description"].endswith(".")
    assert 0 <= float(info["energy"]) <= 1


@pytest.mark.parametrize("name", CLIPS)
def test_clip_has_a_small_thumbnail(name: str) -> None:
    path = ASSETS / "clips" / f"{name}.jpg"
    assert path.stat().st_size < 20_000
    with Image.open(path) as picture:
        assert picture.size == (192, 192)


@pytest.mark.parametrize("name", CLIPS)
def test_clip_lasts_4_to_10_seconds_at_24_fps(name: str) -> None:
    clip = load_clip(name)
    assert clip.fps == 24
    assert 4 <= clip.seconds <= 10


@pytest.mark.parametrize("name", CLIPS)
def test_clip_loops_without_a_seam(name: str) -> None:
    """The step from the last frame to the first is an ordinary step of the clip, not only a small one."""
    clip = load_clip(name)
    seam = hand_motion(clip.take([-1, 0]))[0]
    assert seam <= np.percentile(hand_motion(clip), 95)


@pytest.mark.parametrize("name", CLIPS)
def test_clip_keeps_its_hands_in_the_picture(name: str) -> None:
    clip = load_clip(name)
    hands = clip.keypoints[:, HAND_A.start : HAND_B.stop]
    inside = ((hands > 0) & (hands < 1)).all(axis=-1)
    assert inside.mean() > 0.995


@pytest.mark.parametrize("name", CLIPS)
def test_clip_is_framed_like_the_published_portraits(name: str) -> None:
    """Medians of the published demo clips: neck 0.42-0.50, shoulders 0.29 and 0.71, face 0.13 to 0.35."""
    clip = load_clip(name)
    body = np.median(clip.keypoints[:, :18], axis=0)
    face = clip.keypoints[:, FACE]
    assert np.allclose(body[1], [0.5, 0.45], atol=0.05)
    assert np.allclose([body[2, 0], body[5, 0]], [0.295, 0.705], atol=0.03)
    assert np.allclose([face[..., 1].min(), face[..., 1].max()], [0.13, 0.33], atol=0.03)


@pytest.mark.parametrize("name", CLIPS)
def test_hands_of_the_clip_hang_on_their_wrists(name: str) -> None:
    clip = load_clip(name)
    for hand, wrist in zip(HANDS, (7, 4)):
        assert np.allclose(clip.keypoints[:, hand][:, 0], clip.keypoints[:, wrist])


@pytest.mark.parametrize("name", CLIPS)
def test_scores_are_a_good_detectors(name: str) -> None:
    hands = load_clip(name).scores[:, HAND_A.start : HAND_B.stop]
    assert hands.min() > 0.7
    assert hands.max() <= 1


def test_clips_share_a_resting_pose_to_change_over_at() -> None:
    first = np.array([load_clip(name).keypoints[0, HAND_A.start : HAND_B.stop] for name in CLIPS])
    assert np.linalg.norm(first - first.mean(axis=0), axis=-1).mean(axis=1).max() < 0.03


def test_clips_are_small() -> None:
    assert sum(path.stat().st_size for path in (ASSETS / "clips").iterdir()) < 4_000_000


def test_the_script_writes_the_clips_that_are_there() -> None:
    """Performed again in a fresh interpreter, a clip agrees with the file to the precision of the file."""
    code = (
        "import json, sys; sys.path.insert(0, 'assets/scripts'); import make_clips as m; "
        "print(json.dumps([len(m.CHOREOGRAPHIES), m.perform(m.waving()).keypoints[::30].tolist()]))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    count, points = json.loads(run.stdout)
    assert count == len(CLIPS)
    assert np.allclose(points, load_poses(ASSETS / "clips" / "waving.safetensors").keypoints[::30], atol=1e-6)
