"""The command line on whole runs and on every mistake it must refuse: a sentence, exit code 2, nothing left behind."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from echomimic import pipeline
from echomimic.cli import generate
from echomimic.cli.main import main
from echomimic.pose import PoseSequence, load_poses, save_poses
from echomimic.weights import load_weights, save_bundle
from tests.published import write_published

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_published(tmp_path_factory.mktemp("weights"), suffix=".safetensors")


@pytest.fixture(scope="module")
def bundle(weights, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "small.safetensors"
    save_bundle(path, load_weights(weights, "accelerated"))
    return path


@pytest.fixture
def inputs(tmp_path) -> dict[str, Path]:
    """A portrait, half a second of voice and a clip of five frames."""
    generator = np.random.default_rng(0)
    image, audio, pose = tmp_path / "me.png", tmp_path / "voice.wav", tmp_path / "clip.safetensors"
    Image.fromarray(generator.integers(0, 255, (96, 80, 3), np.uint8)).save(image)
    soundfile.write(audio, 0.1 * generator.standard_normal(8000), 16000)
    save_poses(PoseSequence(generator.random((5, 134, 2)), np.ones((5, 134)), 24), pose)
    return {"image": image, "audio": audio, "pose": pose}


def arguments(inputs: dict[str, Path], output: Path, source: list[str], *more: str) -> list[str]:
    named = [part for name, path in inputs.items() for part in (f"--{name}", str(path))]
    small = ["--width", "64", "--height", "64", "--steps", "2", "--device", "cpu"]
    return ["generate", *named, *source, "--output", str(output), *small, *more]


def facts(path: Path) -> tuple[int, int, int, float, float]:
    """Width, height, frames, rate and seconds of sound."""
    with av.open(path) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        frames = sum(1 for _ in container.decode(video))
        return video.width, video.height, frames, float(video.average_rate), float(sound.duration * sound.time_base)


def refusal(capsys, *command: str) -> str:
    """Run a command that must be refused; returns its sentence."""
    assert main(list(command)) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("echomimic: ")
    return message


def test_published_files_to_a_video(tmp_path, weights, inputs):
    output = tmp_path / "new folder" / "out.mp4"
    assert main(arguments(inputs, output, ["--weights", str(weights)])) == 0
    width, height, frames, rate, seconds = facts(output)
    # Half a second: 25 steps; the original's last frame is the first whose step, int(i * 50 / 24), lies beyond 25.
    assert (width, height, frames, rate) == (64, 64, 14, 24)
    assert seconds == pytest.approx(14 / 24, abs=0.13)
    assert [file.name for file in output.parent.iterdir()] == ["out.mp4"]


def test_bundle_gives_the_same_pictures_as_its_files(tmp_path, weights, bundle, inputs):
    pictures = []
    for name, source in (("files", ["--weights", str(weights)]), ("bundle", ["--bundle", str(bundle)])):
        assert main(arguments(inputs, tmp_path / name, source, "--png", "--quiet", "--frames", "2")) == 0
        pictures.append(np.stack([np.asarray(Image.open(path)) for path in sorted((tmp_path / name).iterdir())]))
    # Tensors lie elsewhere in memory, so kernels may round otherwise in the last place.
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() <= 2


def test_frames_and_rate(tmp_path, bundle, inputs):
    made = arguments(inputs, tmp_path / "a.mp4", ["--bundle", str(bundle)], "--frames", "4", "--fps", "25", "--quiet")
    assert main(made) == 0
    assert facts(tmp_path / "a.mp4")[2:4] == (4, 25)


def test_the_seed_decides_the_pictures(tmp_path, bundle, inputs):
    """Of pictures, not of videos: x264's assembler reads memory that it has not written (its macroblock tree), so the
    same pictures may give other bytes."""
    pictures = {}
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        made = arguments(inputs, tmp_path / name, ["--bundle", str(bundle)], "--seed", seed, "--frames", "2")
        assert main([*made, "--png", "--quiet"]) == 0
        pictures[name] = [file.read_bytes() for file in sorted((tmp_path / name).iterdir())]
    assert pictures["a"] == pictures["b"] != pictures["c"]


def test_variant_decides_steps_and_guidance(tmp_path, weights, inputs, caplog):
    command = arguments(
        inputs, tmp_path / "a.mp4", ["--weights", str(weights)], "--variant", "standard", "--frames", "1"
    )
    where = command.index("--steps")
    with caplog.at_level("INFO", "echomimic"):
        assert main(command[:where] + command[where + 2 :]) == 0
    assert "standard weights: 30 steps, guidance 2.5" in caplog.text


def test_pictures_instead_of_a_video(tmp_path, bundle, inputs):
    command = arguments(inputs, tmp_path / "frames", ["--bundle", str(bundle)], "--png", "--frames", "3", "--quiet")
    assert main(command) == 0
    assert sorted(file.name for file in (tmp_path / "frames").iterdir()) == ["00000.png", "00001.png", "00002.png"]


def test_short_clip_goes_back_and_forth_and_that_is_logged(tmp_path, bundle, inputs, caplog):
    with caplog.at_level("INFO", "echomimic"):
        assert main(arguments(inputs, tmp_path / "a.mp4", ["--bundle", str(bundle)])) == 0
    assert "the pose clip lasts 0.2 s and the video 0.6 s: it goes back and forth" in caplog.text


def test_without_poses_the_hands_are_left_to_the_model(tmp_path, bundle, inputs, caplog):
    del inputs["pose"]
    with caplog.at_level("INFO", "echomimic"):
        assert main(arguments(inputs, tmp_path / "a.mp4", ["--bundle", str(bundle)], "--frames", "2")) == 0
    assert "the hands are left to the model" in caplog.text


def test_odd_sizes_are_rounded_and_that_is_logged(tmp_path, bundle, inputs, caplog):
    command = arguments(inputs, tmp_path / "a.mp4", ["--bundle", str(bundle)], "--frames", "2")
    command[command.index("--width") + 1] = "77"
    with caplog.at_level("INFO", "echomimic"):
        assert main(command) == 0
    assert "77x64 is rounded to 80x64" in caplog.text
    assert facts(tmp_path / "a.mp4")[:2] == (80, 64)


def test_silence_works_and_is_logged(tmp_path, bundle, inputs, caplog):
    soundfile.write(inputs["audio"], np.zeros(8000), 16000)
    with caplog.at_level("INFO", "echomimic"):
        assert main(arguments(inputs, tmp_path / "a.mp4", ["--bundle", str(bundle)], "--frames", "2")) == 0
    assert "silent" in caplog.text


def test_quiet_prints_nothing(tmp_path, bundle, inputs, capfd):
    command = [sys.executable, "-m", "echomimic"]
    command += arguments(inputs, tmp_path / "a.mp4", ["--bundle", str(bundle)], "--quiet", "--frames", "2")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_console_of_one_code_page_shows_any_name(tmp_path):
    command = [sys.executable, "-m", "echomimic", "inspect", str(tmp_path / "声音.wav")]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, env=environment, check=False)
    assert done.returncode == 2
    assert not done.stderr and rb"\u58f0\u97f3.wav" in done.stdout


class Evil:
    """Runs a command when it is unpickled by the ordinary reader."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return os.system, (f"touch '{self.witness}'",)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def spoil_weights(folder: Path, copy: Path, stem: str, change) -> Path:
    """A copy of the weights folder in which one file's tensors are changed."""
    copy.mkdir()
    for item in folder.iterdir():
        (copy / item.name).symlink_to(item)
    tensors = load_file(folder / f"{stem}.safetensors")
    change(tensors)
    (copy / f"{stem}.safetensors").unlink()
    save_file(tensors, copy / f"{stem}.safetensors")
    return copy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: i.update(image=i["image"].with_name("no.png")), "there is no image file"),
        (lambda i: i.update(audio=i["audio"].with_name("no.wav")), "there is no sound file"),
        (lambda i: i.update(pose=i["pose"].with_name("no.safetensors")), "no.safetensors"),
        (lambda i: empty(i["image"]), "me.png cannot be read as a picture"),
        (lambda i: empty(i["audio"]), "voice.wav"),
        (lambda i: empty(i["pose"]), "clip.safetensors"),
        (lambda i: soundfile.write(i["audio"], np.zeros(0), 16000), "holds no sound"),
        (lambda i: i.update(pose=i["image"]), "me.png"),
        (lambda i: Image.new("RGB", (8, 8)).save(i["image"]), "is 8x8 pixels, too small"),
    ],
)
def test_bad_inputs_are_refused(tmp_path, bundle, inputs, capsys, change, message):
    change(inputs)
    output = tmp_path / "out" / "a.mp4"
    assert message in refusal(capsys, *arguments(inputs, output, ["--bundle", str(bundle)]))
    assert not output.exists()


def test_pose_frame_that_carries_code_is_named_refused_and_not_run(tmp_path, bundle, inputs, capsys):
    witness = tmp_path / "ran"
    folder = tmp_path / "evil"
    folder.mkdir()
    np.save(folder / "0.npy", np.array(Evil(witness), dtype=object), allow_pickle=True)
    inputs["pose"] = folder
    message = refusal(capsys, *arguments(inputs, tmp_path / "a.mp4", ["--bundle", str(bundle)]))
    assert "0.npy" in message and "system" in message
    assert not witness.exists()


def test_weights_that_carry_code_are_named_refused_and_not_run(tmp_path, weights, inputs, capsys):
    witness = tmp_path / "ran"
    copy = spoil_weights(weights, tmp_path / "copy", "pose_encoder", lambda tensors: None)
    (copy / "pose_encoder.safetensors").unlink()
    (copy / "pose_encoder.pth").write_bytes(pickle.dumps(Evil(witness)))
    assert "pose_encoder.pth" in refusal(capsys, *arguments(inputs, tmp_path / "a.mp4", ["--weights", str(copy)]))
    assert not witness.exists()


def test_missing_pose_frames_are_named(tmp_path, bundle, inputs, capsys):
    save_poses(load_poses(inputs["pose"]), tmp_path / "folder")
    (tmp_path / "folder" / "2.npy").unlink()
    inputs["pose"] = tmp_path / "folder"
    assert "2.npy" in refusal(capsys, *arguments(inputs, tmp_path / "a.mp4", ["--bundle", str(bundle)]))


@pytest.mark.parametrize(
    ("stem", "change", "message"),
    [
        ("reference_unet", lambda t: t.pop("conv_in.bias"), "conv_in.bias"),
        ("reference_unet", lambda t: t.update({"conv_in.bias": torch.ones(7)}), "[7]"),
        ("pose_encoder", lambda t: t.update({"conv_in.bias": torch.full((16,), float("nan"))}), "conv_in.bias"),
    ],
)
def test_bad_weights_are_refused_with_file_and_tensor(tmp_path, weights, inputs, capsys, stem, change, message):
    copy = spoil_weights(weights, tmp_path / "copy", stem, change)
    sentence = refusal(capsys, *arguments(inputs, tmp_path / "a.mp4", ["--weights", str(copy)]))
    assert f"{stem}.safetensors" in sentence and message in sentence
    assert not (tmp_path / "a.mp4").exists()


def test_missing_files_and_mixed_variants_are_refused(tmp_path, weights, inputs, capsys):
    copy = spoil_weights(weights, tmp_path / "copy", "pose_encoder", lambda tensors: None)
    (copy / "motion_module_acc.safetensors").unlink()
    source = ["--weights", str(copy), "--variant", "accelerated"]
    assert "motion_module_acc" in refusal(capsys, *arguments(inputs, tmp_path / "a.mp4", source))
    assert "there is no weights folder" in refusal(
        capsys, *arguments(inputs, tmp_path / "a.mp4", ["--weights", str(tmp_path / "gone")])
    )


def test_bundle_of_the_other_variant_is_refused(tmp_path, bundle, inputs, capsys):
    source = ["--bundle", str(bundle), "--variant", "standard"]
    assert "small.safetensors is accelerated" in refusal(capsys, *arguments(inputs, tmp_path / "a.mp4", source))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--frames", "15", "15 frames were requested, but the audio lasts 14 frames at 24"),
        ("--frames", "0", "0 frames were requested"),
        ("--window", "33", "must be 1 to 32 frames, got 33"),
        ("--overlap", "12", "below the window length, got 12 of 12"),
        ("--width", "16", "--width must be 64 to 16384 pixels, got 16"),
        ("--fps", "0", "got 0"),
        ("--device", "abacus", "'abacus' cannot be used here"),
        ("--output", "a.avi", "does not end in .mp4"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, bundle, inputs, capsys, option, value, message):
    output = tmp_path / "a.mp4"
    value = str(tmp_path / value) if option == "--output" else value
    assert message in refusal(capsys, *arguments(inputs, output, ["--bundle", str(bundle)], option, value))
    assert not output.exists()


def test_output_that_cannot_be_written_is_refused_before_the_work(tmp_path, bundle, inputs, capsys, monkeypatch):
    monkeypatch.setattr(pipeline, "encode_speech", lambda *_: pytest.fail("the work began"))
    (tmp_path / "file").touch()
    message = refusal(capsys, *arguments(inputs, tmp_path / "file" / "a.mp4", ["--bundle", str(bundle)]))
    assert "cannot write" in message


def test_out_of_memory_names_settings_that_would_fit(tmp_path, bundle, inputs, capsys, monkeypatch):
    from echomimic.models import DenoisingUNet

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(DenoisingUNet, "predict", full)
    message = refusal(capsys, *arguments(inputs, tmp_path / "a.mp4", ["--bundle", str(bundle)]))
    assert "a window of 12 frames at 64x64 takes about" in message and "a window length of" in message


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("moment", ["sample", "decode"])
def test_interrupt_stops_and_leaves_nothing(tmp_path, bundle, inputs, moment):
    soundfile.write(inputs["audio"], 0.1 * np.random.default_rng(0).standard_normal(16000 * 20), 16000)
    output = tmp_path / "out" / "a.mp4"
    steps = "500" if moment == "sample" else "1"
    command = [sys.executable, "-m", "echomimic"]
    command += arguments(inputs, output, ["--bundle", str(bundle)], "--steps", steps)
    # A suite that a shell started in the background inherits that SIGINT is ignored; a terminal's user has it.
    running = subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    seen = ""
    while f"{moment} " not in seen:
        seen += running.stderr.read(1)
    running.send_signal(signal.SIGINT)
    message = running.communicate(timeout=120)[1]
    assert running.returncode == 130, message
    assert "stopped; nothing was left behind" in message
    assert list(output.parent.iterdir()) == []


def test_help_of_every_command_names_its_options(capsys):
    for command in ("generate", "demo", "pose", "download", "bundle", "inspect"):
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"])
        assert stopped.value.code == 0
        assert "--" in capsys.readouterr().out


@pytest.mark.parametrize("native", [True, False])
def test_a_cpu_with_native_bfloat16_is_logged(monkeypatch, caplog, native):
    monkeypatch.setattr(generate, "compute_dtype", lambda dtype, device: dtype if native else torch.float32)
    with caplog.at_level("INFO", "echomimic"):
        assert generate.pick_dtype("auto", torch.device("cpu")) == torch.float32
    assert ("--dtype bfloat16 is several times faster" in caplog.text) == native
