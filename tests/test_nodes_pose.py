"""The pose nodes, over stand-ins for ComfyUI."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import pytest
import torch

from echomimic.pose import PoseSequence, save_poses
from tests.pack import Pack


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


def test_a_clip_that_is_not_listed_is_not_read(pack, tmp_path):
    save_poses(hands(), tmp_path / "outside.safetensors")
    with pytest.raises(ValueError, match=r"is not there: put clips into .*poses or ComfyUI's input folder"):
        pack.run("EchoMimicLoadPose", clip="input/../../outside.safetensors")


def test_a_changed_clip_runs_anew(pack):
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
    with pytest.raises(ValueError, match="person 3 was asked for"):
        pack.run("EchoMimicPoseFromKeypoints", keypoints=keypoints, person=3)


def test_keypoints_of_an_animal_are_refused(pack):
    with pytest.raises(ValueError, match="animal"):
        pack.run("EchoMimicPoseFromKeypoints", keypoints=[{"animals": [[0.0]]}])


@pytest.mark.parametrize("mode", ["back_and_forth", "loop", "hold"])
def test_fit_gives_the_audios_frames_and_rate(pack, mode):
    (fitted,) = pack.run("EchoMimicFitPose", pose=own(pack, hands(fps=30)), audio=Speech(77, 24.0), mode=mode)
    assert (len(fitted), fitted.fps) == (77, 24.0)


def test_preview_draws_every_nth_frame(pack):
    (images,) = pack.run("EchoMimicPreviewPose", pose=own(pack, hands(10)), width=96, height=64, every=4)
    assert images.shape == (3, 64, 96, 3)
    assert 0 < images.max() <= 1


def test_preview_over_an_image_takes_its_size_and_shows_it(pack):
    image = torch.full((2, 128, 128, 4), 0.5)
    (images,) = pack.run("EchoMimicPreviewPose", pose=own(pack, hands(1)), image=image)
    assert images.shape == (1, 128, 128, 3)
    corner = images[0, 0, 0]
    torch.testing.assert_close(corner, torch.full((3,), 0.5), atol=1 / 255, rtol=0)
    assert (images - 0.5).abs().max() > 0.2


def test_preview_with_no_opacity_is_the_image(pack):
    image = torch.rand(1, 64, 64, 3)
    (images,) = pack.run("EchoMimicPreviewPose", pose=own(pack, hands(1)), image=image, opacity=0.0)
    torch.testing.assert_close(images, image, atol=1 / 255, rtol=0)
