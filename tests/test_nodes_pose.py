"""The pose nodes, over stand-ins for ComfyUI."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from echomimic.audio import frames_needed
from echomimic.pose import PoseSequence, load_poses, save_poses, to_pose_keypoints
from tests.pack import ROOT, Pack


def hands(frames: int = 10, fps: float = 24.0) -> PoseSequence:
    """All points present, moving to the right."""
    points = np.random.default_rng(0).uniform(0.3, 0.6, (1, 134, 2)).repeat(frames, 0)
    points[..., 0] += np.linspace(0, 0.1, frames)[:, None]
    return PoseSequence(points, np.ones((frames, 134)), fps)


class Speech:
    """As long and fast as a test wants."""

    def __init__(self, frames: int, fps: float) -> None:
        self.frames, self.fps = frames, fps

    def __len__(self) -> int:
        return self.frames


def clips(pack: Pack) -> list[str]:
    return pack.nodes["EchoMimicLoadPose"].GET_SCHEMA().inputs[0].options["options"]


def own(pack: Pack, sequence: Any) -> Any:
    """The sequence as the pack's own class (ComfyUI imports the pack under another name than tests do)."""
    return pack.part("echomimic.pose").PoseSequence(sequence.keypoints, sequence.scores, sequence.fps)


def test_clips_are_found_in_the_model_and_the_input_folder(pack):
    save_poses(hands(), pack.models / "poses" / "wave.safetensors")
    save_poses(hands(), pack.folder / "input" / "mine.json")
    save_poses(hands(), pack.folder / "input" / "sub" / "original")
    assert {"poses/wave.safetensors", "input/mine.json", "input/sub/original"} <= set(clips(pack))
    assert not [name for name in clips(pack) if name.endswith(".npy")]


@pytest.mark.parametrize("name", ["wave.safetensors", "wave.json", "wave"])
def test_every_kind_of_clip_loads(pack, name):
    save_poses(hands(7), pack.folder / "input" / name)
    pose, frames = pack.run("EchoMimicLoadPose", clip=f"input/{name}")
    assert len(pose) == frames == 7


def test_rate_is_taken_from_the_widget_where_the_file_has_none(pack):
    save_poses(hands(fps=30), pack.folder / "input" / "a.safetensors")
    save_poses(hands(fps=30), pack.folder / "input" / "b.json")
    assert pack.run("EchoMimicLoadPose", clip="input/a.safetensors", fps=25.0)[0].fps == 30
    assert pack.run("EchoMimicLoadPose", clip="input/b.json", fps=25.0)[0].fps == 25


def test_a_rate_that_keypoints_record_counts_instead_of_the_widgets(pack, caplog):
    caplog.set_level("INFO")
    frames = to_pose_keypoints(hands(), 64, 64)
    (pack.folder / "input" / "a.json").write_text(json.dumps({"fps": 30, "frames": frames}))
    (pack.folder / "input" / "b.json").write_text(json.dumps(frames))
    assert pack.run("EchoMimicLoadPose", clip="input/a.json", fps=24.0)[0].fps == 30
    assert "input/a.json records 30 frames a second, which count instead of the node's 24" in caplog.text
    assert pack.run("EchoMimicLoadPose", clip="input/b.json", fps=12.0)[0].fps == 12
    assert "b.json does not record a rate: 12 frames a second are assumed" in caplog.text


def write_openpose(folder: Path) -> Path:
    """OpenPose's --write_json of three frames, which records no canvas."""
    folder.mkdir()
    for number, frame in enumerate(to_pose_keypoints(hands(3), 640, 480)):
        content = {"version": 1.3, "people": frame["people"]}
        (folder / f"vid_{number:012}_keypoints.json").write_text(json.dumps(content))
    return folder


def test_openposes_folder_is_one_clip_and_its_canvas_is_given(pack):
    folder = write_openpose(pack.folder / "input" / "dance")
    save_poses(hands(), folder / "other.json")
    listed = [name for name in clips(pack) if name.startswith("input/")]
    assert listed == ["input/dance", "input/dance/other.json"]
    with pytest.raises(ValueError, match="canvas_width and canvas_height of EchoMimic Load Pose"):
        pack.run("EchoMimicLoadPose", clip="input/dance")
    pose, frames = pack.run("EchoMimicLoadPose", clip="input/dance", canvas_width=640, canvas_height=480)
    assert frames == 3 and pose.canvas.columns == (0, 640)


def test_a_frame_that_an_earlier_list_had_is_still_found(pack):
    write_openpose(pack.folder / "input" / "dance")
    node = pack.nodes["EchoMimicLoadPose"]
    frame = "input/dance/vid_000000000001_keypoints.json"
    assert frame not in clips(pack) and node.validate_inputs(frame) is True
    assert pack.run("EchoMimicLoadPose", clip=frame, canvas_width=640, canvas_height=480)[1] == 1
    assert node.fingerprint_inputs(frame) is not None
    assert "input/gone.json is not there" in node.validate_inputs("input/gone.json")
    assert node.validate_inputs(None) is True


def test_every_form_that_is_read_is_listed(pack):
    inputs = pack.folder / "input"
    frame = json.dumps(to_pose_keypoints(hands(1), 9, 9)[0])
    for ending in ("json", "jsonl", "ndjson", "JSON"):
        (inputs / f"a.{ending}").write_text(frame)
    save_poses(hands(2), inputs / "padded")
    for number in range(2):
        (inputs / "padded" / f"{number}.npy").rename(inputs / "padded" / f"{number:03}.npy")
    (inputs / "numbered").mkdir()
    (inputs / "numbered" / "7.json").write_text(frame)
    (inputs / "numbers").mkdir()
    (inputs / "numbers" / "10.npy").touch()
    listed = [name for name in clips(pack) if name.startswith("input/")]
    files = [f"input/a.{ending}" for ending in ("JSON", "json", "jsonl", "ndjson")]
    # A file with a number alone may be a frame, or a clip.
    assert listed == [*files, "input/numbered", "input/numbered/7.json", "input/padded"]
    for name in listed:
        assert pack.run("EchoMimicLoadPose", clip=name)[1] in (1, 2)


def test_a_clip_of_ones_own_is_shown_moving_and_those_that_ship_have_pictures(pack):
    save_poses(hands(48), pack.folder / "input" / "mine.safetensors")
    output = pack.nodes["EchoMimicLoadPose"].execute(clip="input/mine.safetensors", fps=24.0)
    with Image.open(pack.folder / "temp" / output.ui["echomimic_poses"][0]["filename"]) as picture:
        assert picture.format == "WEBP" and picture.n_frames == 48
    assert pack.nodes["EchoMimicLoadPose"].execute(clip="waving", fps=24.0).ui is None
    shipped = {path.stem for path in (ROOT / "assets" / "clips").glob("*.safetensors")}
    assert {path.stem for path in (ROOT / "web" / "clips").glob("*.webp")} == shipped


def test_previews_that_look_different_are_different_files(pack):
    previews = pack.part("nodes.previews")
    pose = own(pack, hands(24))
    tall = replace(pose, canvas=pack.part("echomimic.pose.canvas").picture_canvas(100, 200))
    poses = [previews.show_poses(one, "key")["key"][0]["filename"] for one in (pose, replace(pose, fps=12.0), tall)]
    blank = [np.zeros(shape, np.uint8) for shape in ((100, 200, 3), (200, 100, 3))]
    pictures = [previews.show_picture(one, "key")["key"][0]["filename"] for one in blank]
    assert len({*poses, *pictures}) == 5
    assert previews.show_poses(pose, "key")["key"][0]["filename"] == poses[0]
    with Image.open(pack.folder / "temp" / pictures[1]) as picture:
        assert picture.size == (100, 200)


def test_a_preview_that_cannot_be_written_stops_no_node(pack, caplog):
    save_poses(hands(), pack.folder / "input" / "mine.safetensors")
    (pack.folder / "temp").rmdir()
    (pack.folder / "temp").touch()  # no folder can be made there
    output = pack.run("EchoMimicLoadPose", clip="input/mine.safetensors")
    assert output[1] == 10 and output.ui is None
    assert pack.run("EchoMimicMarkPortrait", image=torch.zeros(1, 64, 64, 3)).ui is None
    assert caplog.text.count("the node shows no preview") == 2


def test_a_clip_that_is_not_listed_is_not_read(pack, tmp_path):
    save_poses(hands(), tmp_path / "outside.safetensors")
    with pytest.raises(ValueError, match=r"is not there: put clips into .*poses or ComfyUI's input folder"):
        pack.run("EchoMimicLoadPose", clip="input/../../outside.safetensors")


def test_a_changed_clip_runs_again(pack):
    node, path = pack.nodes["EchoMimicLoadPose"], pack.folder / "input" / "a.safetensors"
    save_poses(hands(), path)
    first = node.fingerprint_inputs(clip="input/a.safetensors", fps=24.0)
    assert first == node.fingerprint_inputs(clip="input/a.safetensors", fps=24.0)
    os.utime(path, (1, 1))
    assert first != node.fingerprint_inputs(clip="input/a.safetensors", fps=24.0)
    assert node.fingerprint_inputs(clip=None, fps=24.0) is None  # linked: not known yet


def test_keypoints_come_and_go(pack):
    pose = own(pack, hands())
    (keypoints,) = pack.run("EchoMimicPoseToKeypoints", pose=pose, width=640, height=640)
    assert len(keypoints) == 10 and keypoints[0]["canvas_width"] == 640
    (back,) = pack.run("EchoMimicPoseFromKeypoints", keypoints=json.loads(json.dumps(keypoints)), fps=24.0)
    np.testing.assert_allclose(back.keypoints, pose.keypoints, atol=1e-6)


def test_keypoints_know_the_person(pack):
    pose = own(pack, hands())
    (keypoints,) = pack.run("EchoMimicPoseToKeypoints", pose=pose)
    with pytest.raises(ValueError, match="person 3 was requested"):
        pack.run("EchoMimicPoseFromKeypoints", keypoints=keypoints, person=3)


def test_keypoints_of_an_animal_are_refused(pack):
    with pytest.raises(ValueError, match="animal"):
        pack.run("EchoMimicPoseFromKeypoints", keypoints=[{"animals": [[0.0]]}])


@pytest.mark.parametrize("mode", ["back_and_forth", "loop", "hold"])
def test_fit_gives_the_audios_frames_and_rate(pack, mode):
    (fitted,) = pack.run("EchoMimicFitPose", pose=own(pack, hands(fps=30)), audio=Speech(77, 24.0), mode=mode)
    assert (len(fitted), fitted.fps) == (77, 24.0)


def looking(pack: Pack, key: str, **values: Any) -> dict[str, Any]:
    return pack.choose("EchoMimicPreviewPose", "view", key, **values)


def test_preview_draws_every_nth_frame(pack):
    view = looking(pack, "frames", width=96, height=64, every=4)
    (images,) = pack.run("EchoMimicPreviewPose", pose=own(pack, hands(10)), view=view)
    assert images.shape == (3, 64, 96, 3)
    assert 0 < images.max() <= 1


def test_preview_over_an_image_takes_its_size_and_shows_it(pack):
    image = torch.full((2, 128, 128, 3), 0.5)
    (images,) = pack.run("EchoMimicPreviewPose", pose=own(pack, hands(1)), image=image)
    assert images.shape == (1, 128, 128, 3)
    corner = images[0, 0, 0]
    torch.testing.assert_close(corner, torch.full((3,), 0.5), atol=1 / 255, rtol=0)
    assert (images - 0.5).abs().max() > 0.2


def test_preview_with_no_opacity_is_the_image(pack):
    image = torch.rand(1, 64, 64, 3)
    view = looking(pack, "frames", opacity=0.0)
    (images,) = pack.run("EchoMimicPreviewPose", pose=own(pack, hands(1)), image=image, view=view)
    torch.testing.assert_close(images, image, atol=1 / 255, rtol=0)


def test_contact_sheet_is_one_picture(pack):
    view = looking(pack, "contact sheet", pictures=5, columns=3, side=64)
    (images,) = pack.run("EchoMimicPreviewPose", pose=own(pack, hands(10)), view=view)
    assert images.shape == (1, 128, 192, 3)


def test_hands_and_voice_are_plotted(pack):
    view = looking(pack, "hands and voice", width=640, height=240)
    (images,) = pack.run("EchoMimicPreviewPose", pose=own(pack, hands(48)), audio=voice(2.0), view=view)
    assert images.shape == (1, 240, 640, 3)
    with pytest.raises(ValueError, match="link audio"):
        pack.run("EchoMimicPreviewPose", pose=own(pack, hands(48)), view=view)


@pytest.mark.parametrize(
    ("format", "ending"),
    [("clip (.safetensors)", ".safetensors"), ("keypoints (.json)", ".json"), ("folder (.npy)", "")],
)
def test_what_was_saved_is_listed_and_loaded_again(pack, format, ending):
    pose = own(pack, hands(7))
    (path,) = pack.run("EchoMimicSavePose", pose=pose, format=format)
    assert path == str(pack.folder / "output" / "poses" / f"EchoMimic_00001_{ending}")
    name = f"output/poses/EchoMimic_00001_{ending}"
    assert name in clips(pack)
    loaded, frames = pack.run("EchoMimicLoadPose", clip=name)
    assert frames == 7
    hand_points = slice(92, 134)
    np.testing.assert_allclose(loaded.keypoints[:, hand_points], pose.keypoints[:, hand_points], atol=1e-6)


@pytest.mark.parametrize("prefix", ["poses/v1.2", "poses/%date:dd.MM.yyyy%", "poses/a.json"])
@pytest.mark.parametrize("format", ["clip (.safetensors)", "keypoints (.json)", "folder (.npy)"])
def test_names_may_hold_dots(pack, prefix, format):
    pose = own(pack, hands(3))
    paths = [
        pack.nodes["EchoMimicSavePose"].execute(pose=pose, filename_prefix=prefix, format=format).args[0]
        for _ in range(2)
    ]
    assert [path.rsplit("/", 1)[1].split("_")[1] for path in paths] == ["00001", "00002"]
    for path in paths:
        name = f"output/{Path(path).relative_to(pack.folder / 'output').as_posix()}"
        assert pack.run("EchoMimicLoadPose", clip=name)[1] == 3


def test_saving_again_overwrites_nothing(pack):
    first, second = (pack.run("EchoMimicSavePose", pose=own(pack, hands(n)))[0] for n in (3, 4))
    assert first != second
    assert [len(load_poses(path)) for path in (first, second)] == [3, 4]


def editing(pack: Pack, key: str, frames: int = 12, **values: Any) -> Any:
    """The clip of so many frames after one edit."""
    edit = pack.choose("EchoMimicEditPose", "edit", key, **values)
    edited, count = pack.run("EchoMimicEditPose", pose=own(pack, hands(frames)), edit=edit)
    assert count == len(edited)
    return edited


@pytest.mark.parametrize(
    ("edit", "values", "frames"),
    [
        ("repair", {}, 12),
        ("trim", {"start": 0.125, "duration": 0.25}, 6),
        ("trim", {"start": 0.25}, 6),
        ("reverse", {}, 12),
        ("mirror", {}, 12),
        ("back and forth", {}, 22),
        ("loop", {"times": 3}, 36),
        ("make seamless", {}, 12),
        ("hold", {"before": 0.5, "after": 0.25}, 30),
        ("resample", {"fps": 48.0}, 24),
        ("move", {"scale": 1.2, "right": 0.1}, 12),
    ],
)
def test_every_edit_gives_its_frames(pack, edit, values, frames):
    assert len(editing(pack, edit, **values)) == frames


def test_every_edit_is_tested_here(pack):
    (entry,) = [e for e in pack.nodes["EchoMimicEditPose"].GET_SCHEMA().inputs if e.id == "edit"]
    assert {option.key for option in entry.options["options"]} == set(pack.part("nodes.pose.time").EDITS)


def test_edits_are_the_engines(pack):
    plain = hands(12)
    np.testing.assert_array_equal(editing(pack, "reverse").keypoints, plain.keypoints[::-1])
    moved = editing(pack, "move", right=0.1, down=-0.2)
    np.testing.assert_allclose(moved.keypoints, plain.keypoints + np.array([0.1, -0.2]))
    np.testing.assert_array_equal(editing(pack, "trim", start=0.25).keypoints, plain.keypoints[6:])
    assert editing(pack, "resample", fps=30.0).fps == 30


def test_two_clips_are_joined(pack):
    edit = pack.choose("EchoMimicEditPose", "edit", "join")
    clip, other = own(pack, hands(12)), own(pack, hands(5))
    joined, frames = pack.run("EchoMimicEditPose", pose=clip, then=other, edit=edit)
    assert frames == len(joined) == 17
    np.testing.assert_array_equal(joined.keypoints[0], clip.keypoints[0])
    np.testing.assert_allclose(joined.keypoints[-1], other.keypoints[-1], atol=0.05)
    with pytest.raises(ValueError, match="link the second clip"):
        pack.run("EchoMimicEditPose", pose=clip, edit=edit)


def test_trimming_beyond_the_clip_is_refused(pack):
    with pytest.raises(ValueError, match=r"0\.50 s from 3 s on"):
        editing(pack, "trim", start=3.0)


def voice(seconds: float) -> dict[str, Any]:
    """ComfyUI's AUDIO: bursts of noise, twice a second."""
    time = torch.arange(round(16000 * seconds)) / 16000
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(0))
    return {"waveform": (0.2 * noise * ((time * 2) % 1 < 0.3))[None, None], "sample_rate": 16000}


def test_gestures_have_the_samplers_frames(pack):
    poses, frames = pack.run("EchoMimicGenerateGestures", audio=voice(2.0), speech=Speech(50, 25.0))
    assert (frames, len(poses), poses.fps) == (50, 50, 25.0)


@pytest.mark.parametrize(("seconds", "fps"), [(2.0, 30.0), (1.37, 24.0)])
def test_gestures_of_a_voice_alone_are_as_many_as_its_speech_has_frames(pack, seconds, fps):
    audio = voice(seconds)
    poses, frames = pack.run("EchoMimicGenerateGestures", audio=audio, fps=fps)
    assert (len(poses), poses.fps) == (frames, fps)
    assert frames == frames_needed(audio["waveform"][0], audio["sample_rate"], fps)


def test_gestures_depend_on_seed_and_clips(pack):
    def keypoints(**settings: Any) -> np.ndarray:
        return pack.run("EchoMimicGenerateGestures", audio=voice(3.0), **settings)[0].keypoints

    np.testing.assert_array_equal(keypoints(seed=1), keypoints(seed=1))
    assert np.abs(keypoints(seed=1) - keypoints(seed=2)).max() > 0.01
    assert np.abs(keypoints(clips=["counting"]) - keypoints(clips=["waving"])).max() > 0.01


def test_signs_that_are_chosen_are_used(pack, monkeypatch):
    generate = pack.part("echomimic.pose.gestures.generate")
    build, built = generate.build_motion_graph, []
    monkeypatch.setattr(generate, "build_motion_graph", lambda clips, *more: built.append(clips) or build(clips, *more))
    sign = load_poses(ROOT / "assets" / "clips" / "thumbs_up.safetensors")
    save_poses(sign, pack.folder / "input" / "up.safetensors")
    chosen = ["thumbs_up", "explaining", "input/up.safetensors"]
    pack.run("EchoMimicGenerateGestures", audio=voice(1.0), clips=chosen)
    pack.run("EchoMimicGenerateGestures", audio=voice(1.0))
    assert [clip.info["name"] for clip in built[0]] == chosen
    assert "emblem" not in {clip.info.get("kind") for clip in built[1]}


def test_ones_own_clips_can_be_the_library(pack):
    still = own(pack, hands(48))
    pack.run("EchoMimicSavePose", pose=still, filename_prefix="poses/mine")
    (poses, _) = pack.run("EchoMimicGenerateGestures", audio=voice(2.0), clips=["output/poses/mine_00001_.safetensors"])
    low, high = still.keypoints.min(axis=(0, 1)), still.keypoints.max(axis=(0, 1))
    mirrored_low = np.array([1 - high[0], low[1]])
    assert (poses.keypoints.min(axis=(0, 1)) >= np.minimum(low, mirrored_low) - 0.02).all()


def test_gestures_of_a_clip_that_is_gone_are_refused(pack):
    with pytest.raises(ValueError, match="gone is not there"):
        pack.run("EchoMimicGenerateGestures", audio=voice(1.0), clips=["gone"])


def test_gestures_of_silence_and_of_no_audio(pack):
    silence = {"waveform": torch.zeros(1, 1, 16000), "sample_rate": 16000}
    assert pack.run("EchoMimicGenerateGestures", audio=silence)[1] == 26
    with pytest.raises(ValueError, match="no audio"):
        pack.run("EchoMimicGenerateGestures", audio=None)


def test_an_input_folder_of_40000_files_is_scanned_once_and_no_file_is_examined(pack, monkeypatch):
    inputs = pack.folder / "input"
    for number in range(40_000):
        (inputs / f"{number}.png").touch()
    (inputs / "sub").mkdir()
    (inputs / "sub" / "mine.json").touch()
    for folder in (inputs, inputs / "sub"):  # a folder that changed a moment ago is not remembered
        os.utime(folder, (1e9, 1e9))
    calls: dict[str, list[str]] = {"stat": [], "scandir": []}

    def counted(name: str):
        real = getattr(os, name)

        def call(path=".", *given, **named):
            calls[name].append(os.fspath(path) if isinstance(path, (str, os.PathLike)) else str(path))
            return real(path, *given, **named)

        return call

    for name in calls:
        monkeypatch.setattr(os, name, counted(name))
    for _ in range(2):  # a page of ComfyUI that is opened twice
        for node in pack.nodes.values():
            node.define_schema()
    assert "input/sub/mine.json" in clips(pack)
    inside = {name: [path for path in paths if path.startswith(str(inputs))] for name, paths in calls.items()}
    assert inside["scandir"] == [str(inputs), str(inputs / "sub")]
    # One for each folder and each list: whether it has changed.
    assert set(inside["stat"]) == {str(inputs), str(inputs / "sub")}
    assert len(inside["stat"]) <= 20


def test_a_clip_that_is_put_into_a_folder_is_listed_at_once(pack):
    inputs = pack.folder / "input"
    os.utime(inputs, (1e9, 1e9))
    assert "input/late.json" not in clips(pack)
    (inputs / "late.json").touch()
    assert "input/late.json" in clips(pack)
