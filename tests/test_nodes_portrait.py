"""The nodes that bring poses and portraits together, over stand-ins for ComfyUI."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from echomimic.pose import PoseSequence
from echomimic.pose.canvas import picture_canvas
from echomimic.pose.gestures import load_clip
from tests.pack import Pack


def own(pack: Pack, sequence: PoseSequence) -> Any:
    """The sequence as the pack's own class (ComfyUI imports the pack under another name than tests do)."""
    part = pack.part("echomimic.pose")
    canvas = part.Canvas(sequence.canvas.size, sequence.canvas.rows, sequence.canvas.columns)
    return part.PoseSequence(sequence.keypoints, sequence.scores, sequence.fps, canvas)


@pytest.fixture(scope="module")
def clip() -> PoseSequence:
    return load_clip("explaining")


def picture(width: int = 320, height: int = 320, batch: int = 1) -> torch.Tensor:
    """IMAGE with a smooth pattern, so that resizing changes little."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([x, y, 1 - x], dim=-1)[None].repeat(batch, 1, 1, 1)


def test_marks_are_where_they_were_typed(pack):
    portrait, preview = pack.run("EchoMimicMarkPortrait", image=picture(400, 200), nose_x=25.0, nose_y=75.0)
    np.testing.assert_allclose(portrait.keypoints[0, 0], [0.25, 0.75])
    assert portrait.canvas.columns == (0, 400) and portrait.canvas.rows == (100, 300)
    assert preview.shape == (1, 200, 400, 3)
    changed = (preview - picture(400, 200)).abs().amax(dim=-1)[0]
    assert changed[150, 100] > 0.1  # the mark on the nose
    assert changed.mean() < 0.2  # the picture can still be seen


def test_the_wrist_belongs_to_the_nearer_shoulder(pack):
    right, _ = pack.run("EchoMimicMarkPortrait", image=picture(), wrist_x=20.0)
    left, _ = pack.run("EchoMimicMarkPortrait", image=picture(), wrist_x=80.0)
    assert (right.scores[0, [4, 7]] > 0).tolist() == [True, False]
    assert (left.scores[0, [4, 7]] > 0).tolist() == [False, True]


def test_shoulders_in_one_place_are_refused(pack):
    with pytest.raises(ValueError, match="one place"):
        pack.run("EchoMimicMarkPortrait", image=picture(), right_shoulder_x=68.0)


def test_retargeting_to_its_own_first_frame_changes_nothing_and_fits(pack, clip):
    pose = own(pack, clip)
    portrait = pose.take([0])
    fitted, overlay, score, report = pack.run(
        "EchoMimicRetargetPose", pose=pose, portrait=portrait, image=picture(), pictures=4
    )
    seen = fitted.scores > 0
    np.testing.assert_allclose(fitted.keypoints[seen], pose.keypoints[seen], atol=1e-6)
    assert overlay.shape == (4, 320, 320, 3)
    assert score > 90
    assert report.splitlines()[0] == f"The pose fits well ({score:.0f}%)."
    assert len(report.splitlines()) >= 5


def test_a_clip_that_is_far_off_scores_low_and_retargeting_helps(pack, clip):
    portrait = own(pack, clip).take([0])
    far = own(pack, replace(clip, keypoints=clip.keypoints * 0.5 + 0.4))
    _, _, before, report = pack.run("EchoMimicRetargetPose", pose=far, portrait=portrait, method="none")
    assert before < 40 and "does not fit" in report
    for method in ("retarget", "linear"):
        _, _, after, _ = pack.run("EchoMimicRetargetPose", pose=far, portrait=portrait, method=method)
        assert after > 90


def test_scale_and_offset_come_on_top(pack, clip):
    portrait = own(pack, clip).take([0])
    plain = pack.run("EchoMimicRetargetPose", pose=own(pack, clip), portrait=portrait)[0]
    moved = pack.run("EchoMimicRetargetPose", pose=own(pack, clip), portrait=portrait, right=0.1, down=-0.05)[0]
    np.testing.assert_allclose(moved.keypoints - plain.keypoints, np.broadcast_to([0.1, -0.05], plain.keypoints.shape))


def test_a_picture_cut_to_another_shape_takes_the_keypoints_middle(pack, clip):
    """Keypoints of a wide portrait, the picture its middle square: the person is larger in it."""
    wide = replace(clip.take([0]), canvas=picture_canvas(600, 300))
    fitted = pack.run("EchoMimicRetargetPose", pose=own(pack, clip), portrait=own(pack, wide), image=picture(300, 300))[
        0
    ]
    width = np.median(fitted.keypoints[:, 5, 0] - fitted.keypoints[:, 2, 0])
    assert width == pytest.approx(2 * (clip.keypoints[0, 5, 0] - clip.keypoints[0, 2, 0]), rel=0.02)


def test_without_a_picture_the_overlay_is_on_black_in_the_portraits_shape(pack, clip):
    tall = own(pack, replace(clip.take([0]), canvas=picture_canvas(300, 600)))
    overlay = pack.run("EchoMimicRetargetPose", pose=own(pack, clip), portrait=tall)[1]
    assert overlay.shape == (6, 512, 256, 3)
    assert overlay.max() > 0.9 and overlay.median() == 0


def test_a_portrait_without_shoulders_is_refused(pack, clip):
    scores = clip.scores.copy()
    scores[:, [2, 5]] = 0
    portrait = own(pack, replace(clip, scores=scores)).take([0])
    with pytest.raises(ValueError, match="shoulders are not known"):
        pack.run("EchoMimicRetargetPose", pose=own(pack, clip), portrait=portrait)


def test_align_and_paste_back_give_the_picture_again(pack, clip):
    """The person stands at the right of a wide picture; the cut is put back where it was."""
    full = picture(640, 320)
    marked = clip.take([0]).keypoints * [0.35, 0.7] + [0.55, 0.2]
    portrait = own(pack, replace(clip.take([0]), keypoints=marked, canvas=picture_canvas(640, 320)))
    image, aligned, box, report = pack.run(
        "EchoMimicAlignPortrait", image=full, portrait=portrait, pose=own(pack, clip), width=256, height=256
    )
    assert image.shape == (1, 256, 256, 3)
    # One scale over both axes: the 0.35 of 640 pixels and the 0.7 of 320 are alike, 224 pixels.
    assert box["width"] == box["height"] == pytest.approx(224, abs=2)
    assert "pixels of the portrait" in report
    np.testing.assert_allclose(aligned.keypoints[0, 1], np.median(clip.keypoints[:, 1], axis=0), atol=0.02)
    (pasted,) = pack.run("EchoMimicPasteBack", images=image.repeat(3, 1, 1, 1), picture=full, crop_box=box)
    assert pasted.shape == (3, 320, 640, 3)
    torch.testing.assert_close(pasted, full.repeat(3, 1, 1, 1), atol=0.03, rtol=0)


def test_paste_back_changes_the_box_only(pack):
    box = [[{"x": 40, "y": 60, "width": 100, "height": 100}]]  # as detectors give boxes
    (pasted,) = pack.run("EchoMimicPasteBack", images=torch.ones(1, 64, 64, 3), picture=picture(), crop_box=box)
    assert (pasted[0, 110, 90] > 0.99).all()
    outside = pasted.clone()
    outside[:, 60:160, 40:140] = 0
    expected = picture()
    expected[:, 60:160, 40:140] = 0
    torch.testing.assert_close(outside, expected, atol=1 / 255, rtol=0)


def seam_steps(image: torch.Tensor, box: dict[str, int]) -> torch.Tensor:
    """Steps in levels of 0..255 between the pixels on both sides of a box's four edges, along the edges."""
    levels = image * 255
    left, top = box["x"], box["y"]
    right, bottom = left + box["width"], top + box["height"]
    rows, columns = slice(top, bottom), slice(left, right)
    steps = [levels[rows, edge] - levels[rows, edge - 1] for edge in (left, right)]
    steps += [levels[edge, columns] - levels[edge - 1, columns] for edge in (top, bottom)]
    return torch.cat([step.abs().amax(dim=-1) for step in steps])


def test_the_seam_of_a_full_body_picture_cannot_be_seen(pack):
    """Frames come back from the networks lighter here and darker there, and with noise: twelve levels would be a line.

    Along all four edges no step is larger than in the picture itself by more than one level, and none inside.
    """
    full = picture(480, 960)
    image, _, box, _, _ = pack.run("EchoMimicFitPortrait", image=full, width=384, height=384, scale=1.3, down=-0.1)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(1)) * 0.004
    signs = torch.sin(torch.arange(384) / 10 + 1).sign()
    rendered = (image + 12 / 255 * signs[:, None, None] * signs[:, None] + noise).clamp(0, 1)
    (pasted,) = pack.run("EchoMimicPasteBack", images=rendered, picture=full, crop_box=box)
    before, after = seam_steps(full[0], box), seam_steps(pasted[0], box)
    assert box["x"] > 0 and box["y"] > 0 and box["x"] + box["width"] < 480
    assert (after - before).max() <= 1.01
    hard = pack.run("EchoMimicPasteBack", images=rendered, picture=full, crop_box=box, feather=0.0)[0]
    assert (seam_steps(hard[0], box) - before).median() > 4


def test_a_background_that_came_back_lighter_does_not_show_as_a_box(pack):
    full = picture(480, 960)
    image, _, box, _, _ = pack.run("EchoMimicFitPortrait", image=full, width=384, height=384, scale=1.3, down=-0.1)
    lighter = (image * 0.9 + 0.1).clamp(0, 1).repeat(3, 1, 1, 1)
    assert (lighter - image).mean() * 255 > 8
    for pictures in (full, full.repeat(3, 1, 1, 1)):
        (pasted,) = pack.run("EchoMimicPasteBack", images=lighter, picture=pictures, crop_box=box)
        assert ((pasted - full) * 255).abs().mean() < 2


@pytest.mark.parametrize("box", [None, [], [[]], {"x": 1}])
def test_an_empty_crop_box_is_refused(pack, box):
    with pytest.raises(ValueError, match=r"the crop box is .* must be a box with x, y, width, height"):
        pack.run("EchoMimicPasteBack", images=picture(), picture=picture(), crop_box=box)


def test_a_crop_box_without_area_or_beside_the_picture_is_refused(pack):
    flat = {"x": 0, "y": 0, "width": 10, "height": 0}
    with pytest.raises(ValueError, match="10x0 pixels"):
        pack.run("EchoMimicPasteBack", images=picture(), picture=picture(), crop_box=flat)
    beside = {"x": 1000, "y": 0, "width": 10, "height": 10}
    with pytest.raises(ValueError, match="does not touch"):
        pack.run("EchoMimicPasteBack", images=picture(), picture=picture(), crop_box=beside)


def test_pasting_can_be_cancelled(pack):
    pack.memory.interrupted = True
    box = {"x": 0, "y": 0, "width": 64, "height": 64}
    with pytest.raises(pack.memory.InterruptProcessingException):
        pack.run("EchoMimicPasteBack", images=picture(batch=5), picture=picture(), crop_box=box)


def test_clicked_marks_count_instead_of_the_portrait_input(pack, clip):
    marks = pack.choose("EchoMimicFitPortrait", "marks", "by click", nose_x=40.0, nose_y=10.0)
    other = replace(clip.take([0]), canvas=picture_canvas(400, 600))
    framed = pack.run("EchoMimicFitPortrait", image=picture(400, 600), portrait=own(pack, other), marks=marks)
    box, portrait = framed[2], framed[1]
    nose = portrait.keypoints[0, 0] * [box["width"], box["height"]] + [box["x"], box["y"]]
    np.testing.assert_allclose(nose, [0.4 * 400, 0.1 * 600], atol=1e-6)


@pytest.mark.parametrize("node_id", ["EchoMimicFitPortrait", "EchoMimicMarkPortrait"])
def test_the_picture_to_click_on_comes_with_the_run(pack, node_id):
    shown = pack.run(node_id, image=picture(2000, 1000)).ui["echomimic_marked"]
    with Image.open(pack.folder / "temp" / shown[0]["filename"]) as opened:
        assert opened.size == (1024, 512)  # the same shape: marks are per cents
    assert shown[0]["type"] == "temp"


def test_people_are_pasted_one_after_the_other_each_within_a_mask(pack):
    """Boxes that overlap: the second person's frames, in step with the first's, do not cover the first."""
    full, box = picture(80, 40), {"x": 10, "y": 0, "width": 60, "height": 40}
    left = torch.zeros(1, 40, 80)
    left[:, :, :40] = 1.0
    black, white = torch.zeros(3, 20, 30, 3), torch.ones(3, 20, 30, 3)
    (first,) = pack.run("EchoMimicPasteBack", images=black, picture=full, crop_box=box, mask=left, feather=0.0)
    (both,) = pack.run("EchoMimicPasteBack", images=white, picture=first, crop_box=box, mask=1 - left, feather=0.0)
    assert both.shape == (3, 40, 80, 3)
    assert both[:, :, 12:38].max() == 0 and both[:, :, 42:68].min() == 1
    np.testing.assert_allclose(both[2, :, :9], full[0, :, :9], atol=1 / 255)


def test_another_number_of_full_pictures_than_frames_is_refused(pack):
    box = {"x": 0, "y": 0, "width": 10, "height": 10}
    with pytest.raises(ValueError, match="3 frames but 2 full pictures"):
        pack.run("EchoMimicPasteBack", images=picture(10, 10, 3), picture=picture(20, 20, 2), crop_box=box)


def test_a_mask_a_frame_counts_for_its_frame(pack):
    full, box = torch.zeros(1, 40, 40, 3), {"x": 0, "y": 0, "width": 40, "height": 40}
    masks = torch.zeros(3, 40, 40)
    masks[1, :, :20], masks[2] = 1, 1
    given = {"images": torch.ones(3, 40, 40, 3), "picture": full, "crop_box": box}
    (pasted,) = pack.run("EchoMimicPasteBack", **given, mask=masks)
    torch.testing.assert_close(pasted, masks[..., None].expand(3, 40, 40, 3))
    with pytest.raises(ValueError, match="3 frames but 2 masks: give one mask, or one a frame"):
        pack.run("EchoMimicPasteBack", **given, mask=masks[:2])


def test_a_mask_of_another_size_is_refused(pack):
    box = {"x": 0, "y": 0, "width": 10, "height": 10}
    with pytest.raises(ValueError, match="mask has 5x5 pixels, the full picture 20x20"):
        pack.run(
            "EchoMimicPasteBack",
            images=picture(10, 10),
            picture=picture(20, 20),
            crop_box=box,
            mask=torch.ones(1, 5, 5),
        )
