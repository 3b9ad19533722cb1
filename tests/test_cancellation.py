"""Cancel is heard while files are read and clips prepared: counted in units of work, not by a clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from echomimic.audio import normalise_loudness, read_audio
from echomimic.audio.spectrum import log_mel
from echomimic.cancellation import cancellable, check_cancelled, run_cancellable
from echomimic.errors import Cancelled
from echomimic.pose import PoseSequence, load_poses, save_poses
from echomimic.pose.drawing.hands import draw_poses
from echomimic.pose.repair import RepairSettings, repair
from echomimic.pose.sources.keypoints import from_pose_keypoints, to_pose_keypoints
from echomimic.pose.timing import loop
from tests.test_media_recordings import encode
from tests.test_media_video_reader import write
from tests.video_frames import read_frames

RATE = 16000
FRAMES = 60


class Stop(Exception):
    """What a host raises."""


class Button:
    """Counts how often it was looked at, and is pressed before the nth look."""

    def __init__(self, after: float = float("inf")) -> None:
        self.looks, self.after = 0, after

    def __call__(self) -> None:
        self.looks += 1
        if self.looks > self.after:
            raise Stop


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * RATE)).astype(np.float32)


def clip(frames: int = FRAMES) -> PoseSequence:
    points = np.random.default_rng(0).uniform(0.3, 0.7, (frames, 134, 2))
    scores = np.ones((frames, 134))
    scores[frames // 2, 92:113] = 0
    return PoseSequence(points, scores)


def sound(folder: Path) -> Callable[[], object]:
    encode(folder / "a.mp3", noise(4)[None], RATE, "mp3")
    return lambda: read_audio(folder / "a.mp3")


def exact_sound(folder: Path) -> Callable[[], object]:
    soundfile.write(folder / "a.wav", noise(70), RATE)
    return lambda: read_audio(folder / "a.wav")


def video(folder: Path) -> Callable[[], object]:
    path = write(folder / "a.mkv", list(range(40)))
    return lambda: list(read_frames(path))


def pose_folder(folder: Path) -> Callable[[], object]:
    save_poses(clip(), folder / "original")
    return lambda: load_poses(folder / "original")


def pose_keypoints(folder: Path) -> Callable[[], object]:
    frames = to_pose_keypoints(clip(), 640, 480)
    return lambda: from_pose_keypoints(frames)


# What is done, and how often it looks at least: never more than a second of work between two looks.
WORK: dict[str, tuple[Callable[[Path], Callable[[], object]], int]] = {
    "compressed sound": (sound, 100),  # frames of 36 ms
    "exact sound": (exact_sound, 2),  # blocks of a million samples
    "video": (video, 40),
    "pose folder": (pose_folder, FRAMES),
    "pose keypoints": (pose_keypoints, FRAMES),
    "loudness": (lambda _: lambda: normalise_loudness(torch.from_numpy(noise(20))[None], RATE), 190),
    "spectrum": (lambda _: lambda: log_mel(torch.from_numpy(noise(100))), 4),  # 30 seconds each
    "loop": (lambda _: lambda: loop(clip(), 50, 0.2), 49),
    "repair": (lambda _: lambda: repair(clip(), RepairSettings()), 3 * FRAMES),
    "drawing": (lambda _: lambda: draw_poses(clip(), range(FRAMES), 64, 64), FRAMES),
}


@pytest.mark.parametrize("name", WORK)
def test_long_work_looks_at_the_button_in_every_unit_and_stops(tmp_path, name):
    prepare, least = WORK[name]
    work = prepare(tmp_path)
    button = Button()
    with cancellable(button):
        work()
    assert button.looks >= least
    pressed = Button(after=button.looks // 2)
    with pytest.raises(Stop), cancellable(pressed):
        work()
    assert pressed.looks == button.looks // 2 + 1, "nothing went on after the button was pressed"


def test_what_cannot_look_is_left_alone_when_the_button_is_pressed():
    """A library that computes for minutes: the caller is free at once, and the work's next look ends it."""
    release, ended = threading.Event(), threading.Event()

    def library() -> None:
        release.wait()
        try:
            check_cancelled()
        except Cancelled:
            ended.set()
            raise

    with pytest.raises(Stop), cancellable(Button(after=1)):
        run_cancellable(library)
    assert not ended.is_set()
    release.set()
    assert ended.wait(60)


def test_results_and_failures_of_work_beside_the_button_come_back():
    with cancellable(Button()):
        assert run_cancellable(lambda: 5) == 5
        with pytest.raises(TimeoutError, match="its own"):
            run_cancellable(lambda: (_ for _ in ()).throw(TimeoutError("its own")))
    assert run_cancellable(threading.current_thread) is threading.current_thread()


def test_a_pose_node_stops_although_a_library_is_busy(pack, monkeypatch):
    release = threading.Event()
    node = pack.nodes["EchoMimicEditPose"]
    edits = pack.part("nodes.pose.time").EDITS
    monkeypatch.setitem(edits, "reverse", lambda *_: release.wait())
    pack.memory.interrupted = True
    try:
        with pytest.raises(pack.memory.InterruptProcessingException):
            node.execute(pose=clip(3), edit={"edit": "reverse"})
    finally:
        release.set()


def test_the_portrait_stops_although_an_attention_takes_seconds(pack):
    """On a CPU one attention of a portrait of 768x768 takes three seconds."""
    model, *_ = pack.run("EchoMimicLoadBundle", bundle="demo_bundle.safetensors").args
    release, network, threads = threading.Event(), model.networks.reference_unet, []

    def attend(*_) -> None:
        threads.append(threading.current_thread())
        pack.memory.interrupted = True
        release.wait(60)

    hook = network.mid_block.register_forward_pre_hook(attend)
    try:
        with pytest.raises(pack.memory.InterruptProcessingException):
            model.encode_reference(torch.zeros(1, 4, 16, 16))
        assert threads[0].is_alive() and threads[0] is not threading.main_thread()
        release.set()
        threads[0].join(10)
        assert not threads[0].is_alive()
    finally:
        release.set()
        hook.remove()
    pack.memory.interrupted = False
    assert model.encode_reference(torch.zeros(1, 4, 16, 16))
    assert not [part for part in network.modules() if part._forward_pre_hooks]


def test_the_voice_stops_before_it_is_encoded(pack):
    _, encoder, _ = pack.run("EchoMimicLoadBundle", bundle="demo_bundle.safetensors").args
    audio = {"waveform": torch.from_numpy(noise(40))[None, None], "sample_rate": RATE}
    pack.memory.interrupted = True
    with pytest.raises(pack.memory.InterruptProcessingException):
        pack.run("EchoMimicEncodeAudio", audio=audio, audio_encoder=encoder)
