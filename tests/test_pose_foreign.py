"""Keypoint files of other programs: any nesting of frames is read, other programs are named."""

from __future__ import annotations

import contextlib
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from echomimic.errors import PoseError
from echomimic.pose import load_poses, save_poses
from echomimic.pose.gestures import load_clip
from echomimic.pose.sources.foreign import find_frames
from echomimic.pose.sources.keypoints import from_pose_keypoints, to_pose_keypoints
from echomimic.pose.timing import MAX_FRAMES, fit_length, hold_seconds, loop, resample

CLIP = load_clip("idle").take(np.arange(3))
FRAMES = to_pose_keypoints(CLIP, 768, 768)
EXPECTED = from_pose_keypoints(FRAMES)


WRAPPERS = {
    "list": lambda content: [content],
    "frames": lambda content: {"frames": content, "version": 2},
    "data": lambda content: {"data": content},
    "json": json.dumps,
}


def wrap(content: Any, layers: list[str]) -> Any:
    for layer in layers:
        content = WRAPPERS[layer](content)
    return content


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(sorted(WRAPPERS)), max_size=4))
def test_frames_are_found_in_any_nesting(layers):
    np.testing.assert_allclose(from_pose_keypoints(wrap(FRAMES, layers)).keypoints, EXPECTED.keypoints)


@pytest.mark.parametrize("number", [768, 768.0, "768", np.int64(768), np.array(768), torch.tensor(768)])
def test_the_canvas_is_a_number_in_any_form(number):
    frames = [{**frame, "canvas_width": number, "canvas_height": number} for frame in FRAMES]
    np.testing.assert_allclose(from_pose_keypoints(frames).keypoints, EXPECTED.keypoints)


def test_people_may_be_an_array_and_a_null_frame_holds_nobody():
    frames = [{**frame, "people": np.array(frame["people"], dtype=object)} for frame in FRAMES]
    np.testing.assert_allclose(from_pose_keypoints(frames).keypoints, EXPECTED.keypoints)
    gap = from_pose_keypoints([FRAMES[0], None, FRAMES[2]])
    assert len(gap) == 3 and not gap.scores[1].any()


def present(content: Any) -> list[bool]:
    """Which frames of a clip hold anybody."""
    return [bool(scores.any()) for scores in from_pose_keypoints(content).scores]


@pytest.mark.parametrize(
    "content",
    [
        [None, None, *FRAMES],
        [[None], [None, FRAMES[0]], FRAMES[1:]],
        {"frames": [None, None, *FRAMES]},
        {"frames": None, "data": [None, None, *FRAMES]},
        {str(number): frame for number, frame in enumerate([None, None, *FRAMES])},
        {f"f_{number}.png": frame for number, frame in enumerate([None, None, *FRAMES])},
    ],
)
def test_null_frames_at_the_beginning_keep_their_time(content):
    assert present(content) == [False, False, True, True, True]


@pytest.mark.parametrize("content", [[None, None], {"0": None}, {"frames": [None]}])
def test_nulls_alone_are_no_keypoints(content):
    with pytest.raises(PoseError, match="no keypoint frames"):
        from_pose_keypoints(content)


@pytest.mark.parametrize("name", ["{}", "{:06}", "f_{}.png", "video2_{:03}_rendered1.png"])
def test_a_missing_number_of_a_dict_is_a_gap_in_time(name):
    content = {name.format(number): frame for number, frame in zip((10, 11, 8), FRAMES)}
    assert present(content) == [True, False, True, True]
    assert present({name.format(number): frame for number, frame in zip((9, 10, 11), FRAMES)}) == [True] * 3


def test_pictures_whose_names_differ_in_more_than_a_number_follow_each_other():
    assert present(dict(zip(("a_1.png", "a_7.png", "b_2.png"), FRAMES))) == [True] * 3
    assert present({"keypoints": FRAMES[0], "error": None}) == [True]


def test_a_dict_whose_numbers_are_not_those_of_frames_is_refused():
    with pytest.raises(PoseError, match="holds 3 of the 100,001 frames that its keys count from 0 to 100000"):
        from_pose_keypoints(dict(zip(("0", "1", "100000"), FRAMES)))


def write_openpose(folder: Path, numbers: list[int], name: str = "my video 2") -> Path:
    folder.mkdir()
    for number, frame in zip(numbers, FRAMES):
        content = {"version": 1.3, "people": frame["people"]}
        (folder / f"{name}_{number:012d}_keypoints.json").write_text(json.dumps(content))
    return folder


def test_openposes_folder_is_read_in_its_order_with_a_canvas(tmp_path):
    folder = write_openpose(tmp_path / "out", [9, 10, 11])
    np.testing.assert_allclose(load_poses(folder, canvas_size=(768, 768)).keypoints, EXPECTED.keypoints)


def test_a_missing_file_of_openposes_folder_is_a_gap_in_time(tmp_path):
    clip = load_poses(write_openpose(tmp_path / "out", [0, 1, 4]), canvas_size=(768, 768))
    assert len(clip) == 5
    assert [bool(scores.any()) for scores in clip.scores] == [True, True, False, False, True]


def test_openposes_folder_without_a_canvas_explains_how_to_give_it(tmp_path):
    with pytest.raises(PoseError, match="--pose-canvas or --canvas 1280x720"):
        load_poses(write_openpose(tmp_path / "out", [0, 1, 2]))


def test_keypoints_of_two_videos_in_one_folder_are_refused(tmp_path):
    folder = write_openpose(tmp_path / "out", [0, 1, 2])
    (folder / "other_000000000000_keypoints.json").write_text("{}")
    with pytest.raises(PoseError, match="2 videos"):
        load_poses(folder, canvas_size=(768, 768))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"meta_info": {}, "instance_info": [{"frame_id": 1, "instances": []}]}, "MMPose"),
        ([{"image_id": "0.jpg", "category_id": 1, "keypoints": [1.0] * 51}], "AlphaPose"),
        ({"images": [], "annotations": [], "categories": []}, "COCO"),
        ({"nodes": [], "links": [], "version": 0.4}, "workflow of ComfyUI"),
        ({"3": {"class_type": "KSampler", "inputs": {}}}, "prompt of ComfyUI"),
        ({"width": 768, "height": 768, "keypoints": [[[1, 2]]]}, "pose editor"),
        ([{"poseLandmarks": []}], "MediaPipe"),
        ({"dependencies": {}, "scripts": {}}, "settings file"),
        ({"hello": 1}, "its keys are hello"),
        ([], "an empty list"),
        (7, "a single int"),
        ("no json", "a single str"),
        ({"animals": [[1]]}, "animal"),
    ],
)
def test_other_files_are_named(tmp_path, content, words):
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(PoseError, match=words):
        load_poses(tmp_path / "a.json")


@settings(deadline=None, max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["frames", "people", "canvas_width", "canvas_height", "pose_keypoints_2d", "animals", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_clip_or_a_sentence(content):
    with contextlib.suppress(PoseError):
        from_pose_keypoints(content, canvas_size=(64, 64))


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (lambda: loop(CLIP, 10**6), "looping 3 frames so often would make a clip of 3,000,000 frames"),
        (lambda: hold_seconds(CLIP, 86400, 0), "holding"),
        (lambda: fit_length(CLIP, MAX_FRAMES + 1), "at most 432,000 fit"),
        (lambda: resample(fit_length(CLIP, 400_000), 1000), "1000 frames a second"),
    ],
)
def test_lengths_that_would_fill_the_memory_are_refused_before_the_work(monkeypatch, work, words):
    monkeypatch.setattr("echomimic.pose.timing.input_limit", lambda: 2**40)
    with pytest.raises(PoseError, match=words):
        work()


CASES = ("good_reference", "bom", "utf16", "canvas_strings", "list_of_list", "frames_wrapped")


@pytest.mark.parametrize("name", CASES)
def test_reported_files_mean_the_same(shared, name):
    folder = shared / "cases" / "pose"
    expected = load_poses(folder / "good_reference.json")
    np.testing.assert_allclose(load_poses(folder / f"{name}.json").keypoints, expected.keypoints)


def test_find_frames_keeps_a_shared_canvas():
    bare = [{"people": frame["people"]} for frame in FRAMES]
    frames = find_frames({"canvas_width": 768, "canvas_height": 768, "frames": bare})
    assert all(frame["canvas_width"] == 768 for frame in frames)


def test_a_few_openpose_files_of_a_long_video_are_refused(tmp_path):
    for number in (241, 322, 1451, 245_695):
        (tmp_path / f"v_{number:012d}_keypoints.json").write_text(json.dumps({"people": FRAMES[0]["people"]}))
    with pytest.raises(PoseError, match="holds 4 of the 245,455 frames"):
        load_poses(tmp_path, canvas_size=(768, 768))


def test_openpose_files_whose_numbers_lie_far_apart_are_refused_before_memory_is_full(tmp_path):
    for number in (3, 999_999_999):
        (tmp_path / f"v_{number:012d}_keypoints.json").write_text(json.dumps({"people": FRAMES[0]["people"]}))
    with pytest.raises(PoseError, match="count from 3 to 999999999, would make a clip of 999,999,997 frames"):
        load_poses(tmp_path, canvas_size=(768, 768))


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(map(json.dumps, FRAMES)) + "\n",
        json.dumps({str(number): frame for number, frame in enumerate(FRAMES)}),
        json.dumps({"frames": {f"{number:06}": frame for number, frame in reversed(list(enumerate(FRAMES)))}}),
        json.dumps([{**frame, "canvas_width": "768px", "canvas_height": "768 PX"} for frame in FRAMES]),
        json.dumps([{"people": frame["people"], "width": 768, "height": 768} for frame in FRAMES]),
    ],
)
def test_frames_as_lines_by_number_and_with_other_names_for_the_canvas(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    found = load_poses(tmp_path / "a.json")
    np.testing.assert_allclose(found.keypoints, load_text(tmp_path, FRAMES).keypoints)


def load_text(folder, frames):
    (folder / "plain.json").write_text(json.dumps(frames))
    return load_poses(folder / "plain.json")


def test_numbered_files_of_frames_are_a_clip(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(FRAMES, 1):
        (folder / f"{number:05}.json").write_text(json.dumps(frame))
    np.testing.assert_allclose(load_poses(folder).keypoints, load_text(tmp_path, FRAMES).keypoints)


def test_frames_of_the_original_may_have_padded_numbers(tmp_path):
    save_poses(CLIP, tmp_path / "clip")
    wanted = load_poses(tmp_path / "clip")
    for number in range(len(CLIP)):
        (tmp_path / "clip" / f"{number}.npy").rename(tmp_path / "clip" / f"{number:04}.npy")
    np.testing.assert_array_equal(load_poses(tmp_path / "clip").keypoints, wanted.keypoints)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(b"[]", mtime=0), "is compressed"),
        (b"PK\3\4 sheet", "is an archive or a spreadsheet"),
        (b"%PDF-1.7", "PDF"),
    ],
    ids=["gzip", "spreadsheet", "pdf"],
)
def test_what_is_no_text_is_named(tmp_path, content, words):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(PoseError, match=words):
        load_poses(tmp_path / "a.json")


def changed(convert) -> list[dict[str, Any]]:
    """The frames with each point's x, y and confidence converted; absent ones stay zeros."""
    frames = json.loads(json.dumps(FRAMES))
    for frame in frames:
        for person in frame["people"]:
            for name, values in person.items():
                triples = np.array(values).reshape(-1, 3)
                seen = triples[:, 2] > 0
                triples[seen] = np.stack(convert(*triples[seen].T), axis=1)
                person[name] = triples.reshape(-1).tolist()
    return frames


def test_coordinates_from_minus_one_to_one_are_told_from_fractions(caplog):
    """OpenPose's --keypoint_scale 4 and 3."""
    signed = changed(lambda x, y, c: (x / 384 - 1, y / 384 - 1, c))
    np.testing.assert_allclose(from_pose_keypoints(signed).keypoints, EXPECTED.keypoints, atol=1e-9)
    assert "run from -1 to 1" in caplog.text
    caplog.clear()
    fractions = changed(lambda x, y, c: (x / 768, y / 768, c))
    np.testing.assert_allclose(from_pose_keypoints(fractions).keypoints, EXPECTED.keypoints, atol=1e-9)
    # A person who half leaves the picture to the left.
    leaving = changed(lambda x, y, c: (x / 768 - 0.6, y / 768, c))
    places = from_pose_keypoints(leaving).keypoints
    seen = EXPECTED.scores > 0
    np.testing.assert_allclose(places[seen], (EXPECTED.keypoints - [0.6, 0])[seen], atol=1e-9)
    assert "run from -1 to 1" not in caplog.text


def test_confidences_in_percent_are_confidences(caplog):
    found = from_pose_keypoints(changed(lambda x, y, c: (x, y, 87 * c)))
    assert found.scores.max() == pytest.approx(0.87)
    assert "taken as percents" in caplog.text


def test_openposes_names_before_version_1_3_are_read():
    old = [
        {**frame, "people": [{name.removesuffix("_2d"): values for name, values in frame["people"][0].items()}]}
        for frame in FRAMES
    ]
    np.testing.assert_allclose(from_pose_keypoints(old).keypoints, EXPECTED.keypoints)


def test_a_person_without_known_parts_is_named():
    with pytest.raises(PoseError, match="a person holds joints, id, but no pose_keypoints_2d"):
        from_pose_keypoints([{"people": [{"joints": [], "id": 1}], "canvas_width": 9, "canvas_height": 9}])


@pytest.mark.parametrize(
    "names", [("width", "height"), ("canvas_width", "canvas_height"), ("image_width", "image_height")]
)
def test_a_wrapper_records_canvas_and_rate_for_all_its_frames(tmp_path, names, caplog):
    caplog.set_level("INFO")
    bare = [{"people": frame["people"]} for frame in FRAMES]
    content = {**dict.fromkeys(names, 768), "fps": "30", "frames": bare}
    (tmp_path / "a.json").write_text(json.dumps(content))
    found = load_poses(tmp_path / "a.json")
    np.testing.assert_allclose(found.keypoints, EXPECTED.keypoints)
    assert found.fps == 30 and "does not record a rate" not in caplog.text
    assert load_poses(tmp_path / "a.json", 25).fps == 25
    assert "record 30 frames a second, but are read with 25" in caplog.text


def test_without_a_rate_24_is_assumed_and_said(tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, FRAMES)))
    assert load_poses(tmp_path / "a.jsonl").fps == 24
    assert "a.jsonl does not record a rate: 24 frames a second are assumed" in caplog.text


def test_frames_by_the_names_of_their_pictures_come_in_the_order_of_their_numbers():
    names = ["shot_10.png", "shot_9.png", "shot_8.png"]
    found = from_pose_keypoints(dict(zip(names, reversed(FRAMES))))
    np.testing.assert_allclose(found.keypoints, from_pose_keypoints([FRAMES[0], FRAMES[1], FRAMES[2]]).keypoints)


@pytest.mark.parametrize(
    ("text", "fps"), [("25 fps", 25), ("30000/1001", 30000 / 1001), ("29.97", 29.97), (" 50Hz", 50), ("25/0", 24)]
)
def test_a_rate_as_programs_write_it(tmp_path: Path, text: str, fps: float) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"fps": text, "frames": FRAMES}))
    assert load_poses(tmp_path / "a.json").fps == pytest.approx(fps)


def test_keypoints_without_hands_are_noted(caplog: pytest.LogCaptureFixture) -> None:
    from_pose_keypoints(FRAMES)
    assert "hold no hands" not in caplog.text
    bodies = [
        {**frame, "people": [{"pose_keypoints_2d": one["pose_keypoints_2d"]} for one in frame["people"]]}
        for frame in FRAMES
    ]
    from_pose_keypoints(bodies)
    assert "the keypoints hold no hands, which are what the model follows" in caplog.text
