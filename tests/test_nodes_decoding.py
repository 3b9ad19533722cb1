"""Decoding and saving, over stand-ins for ComfyUI."""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import Any

import pytest
import torch

from tests.pack import Pack


def latent(frames: int = 20, height: int = 4, width: int = 6) -> dict[str, Any]:
    """Frames that grow lighter."""
    steps = torch.linspace(-1, 1, frames)[:, None, None, None] / 0.18215
    return {"samples": steps.expand(frames, 4, height, width).contiguous()}


def make_vae(**settings: Any) -> Any:
    from comfy.sd import VAE

    return VAE(**settings)


def test_decode_gives_every_frame_in_order(pack):
    vae = make_vae()
    (images,) = pack.run("EchoMimicDecode", latent=latent(), vae=vae)
    assert images.shape == (20, 32, 48, 3)
    torch.testing.assert_close(images, vae.decode(latent()["samples"]))


@pytest.mark.parametrize("frames", [1, 3, 16, 40])
def test_the_plan_decides_how_many_frames_are_decoded_at_once(pack, monkeypatch, frames):
    host = pack.part("nodes.host")
    free = int(frames * host.decode_bytes(4, 6, element_size=4) / 0.85) + 1
    monkeypatch.setattr(host, "free_bytes", lambda device, patchers: free)
    vae = make_vae()
    pack.run("EchoMimicDecode", latent=latent(40), vae=vae)
    assert max(vae.batches) == min(frames, pack.part("echomimic.runtime.plan").MAX_FRAMES)
    assert pack.memory.loads == [([vae.patcher], host.decode_bytes(4, 6, element_size=4))]


def test_unknown_memory_decodes_as_many_frames_as_the_cautious_plan(pack):
    vae = make_vae()
    pack.run("EchoMimicDecode", latent=latent(20), vae=vae)
    assert max(vae.batches) == pack.part("echomimic.runtime.plan").Plan().decode_chunk


def test_a_decoder_of_another_pack_gets_the_cautious_plan(pack):
    vae = make_vae()
    del vae.patcher, vae.vae_dtype
    pack.run("EchoMimicDecode", latent=latent(20), vae=vae)
    assert max(vae.batches) == pack.part("echomimic.runtime.plan").Plan().decode_chunk


@pytest.mark.parametrize("node", ["EchoMimicDecode", "EchoMimicSaveVideo"])
def test_frames_that_are_nan_are_no_black_frames(pack, monkeypatch, node):
    vae = make_vae()
    decode = vae.decode
    monkeypatch.setattr(vae, "decode", lambda samples: decode(samples) * float("nan"))
    with pytest.raises(pack.part("nodes.plain_errors").NodeError, match=r"returned NaN .*: start ComfyUI with --bf16"):
        pack.run(node, latent=latent(), vae=vae)


def test_decoding_reports_progress(pack):
    pack.run("EchoMimicDecode", latent=latent(10), vae=make_vae())
    assert [(done, total) for done, total, _ in pack.updates] == [(4, 10), (8, 10), (10, 10)]


def test_decode_tries_fewer_frames_when_memory_is_short(pack):
    vae = make_vae(limit=3)
    (images,) = pack.run("EchoMimicDecode", latent=latent(), vae=vae)
    torch.testing.assert_close(images, make_vae().decode(latent()["samples"]))


def test_decode_that_never_fits_is_an_error_and_frees_the_device(pack):
    with pytest.raises(ValueError, match="too little memory to decode even one frame of 48x32"):
        pack.run("EchoMimicDecode", latent=latent(), vae=make_vae(limit=0))
    assert pack.memory.unloaded == 1


def test_decode_stops_when_cancelled(pack):
    vae = make_vae()
    decode = vae.decode

    def cancel_then_decode(samples):
        pack.memory.interrupted = True
        return decode(samples)

    vae.decode = cancel_then_decode
    with pytest.raises(pack.memory.InterruptProcessingException):
        pack.run("EchoMimicDecode", latent=latent(), vae=vae)
    assert len(vae.batches) == 1


@pytest.mark.parametrize("shape", [(1, 4, 5, 8, 8), (3, 16, 8, 8)])
def test_other_latents_are_refused(pack, shape):
    with pytest.raises(ValueError, match=r"must be \[frames, 4, height / 8, width / 8\]"):
        pack.run("EchoMimicDecode", latent={"samples": torch.zeros(shape)}, vae=make_vae())


def sound(seconds: float = 1.0, rate: int = 44100, channels: int = 2) -> dict[str, Any]:
    tone = torch.sin(torch.arange(int(seconds * rate)) * 0.05)
    return {"waveform": tone.expand(1, channels, -1).contiguous() * 0.5, "sample_rate": rate}


def saved_file(pack: Pack, output: Any):
    (result,) = output.ui.as_dict()["images"]
    assert result["type"] == "output"
    return pack.folder / "output" / result["subfolder"] / result["filename"]


def test_save_video_writes_frames_rate_and_sound(pack):
    import av

    output = pack.run("EchoMimicSaveVideo", latent=latent(20), vae=make_vae(), audio=sound(), fps=10.0)
    with av.open(saved_file(pack, output)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height, video.average_rate) == (48, 32, 10)
        assert audio.sample_rate == 44100
        frames = [frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video)]
    assert len(frames) == 20
    assert frames == sorted(frames)


def test_save_video_shows_a_video_in_the_node(pack):
    output = pack.run("EchoMimicSaveVideo", latent=latent(2), vae=make_vae())
    assert output.ui.as_dict()["animated"] == (True,)


def with_hidden(pack: Pack, filename_prefix: str = "a/b", **values: Any) -> Any:
    """The node as ComfyUI clones it for a run, with hidden values."""
    from comfy_api.latest import io

    node = pack.nodes["EchoMimicSaveVideo"]
    clone = type(node.__name__, (node,), {"hidden": io.HiddenHolder(**values)})
    return clone.execute(latent=latent(2), vae=make_vae(), fps=24.0, filename_prefix=filename_prefix, crf=18)


def test_the_saved_file_comes_out_as_a_video(pack):
    output = pack.run("EchoMimicSaveVideo", latent=latent(2), vae=make_vae())
    assert output[0].get_stream_source() == str(saved_file(pack, output))


PROMPT = {
    "4": {"class_type": "EchoMimicSampler", "inputs": {"seed": 7, "model": ["1", 0]}, "_meta": {"title": "Take"}},
    "5": {"class_type": "LoadImage", "inputs": {"image": "a/b:c.png"}, "_meta": {"title": "Load Image"}},
    "2:8": {"class_type": "KSampler", "inputs": {"seed": 9}, "_meta": {"title": "KSampler"}},
}
WORKFLOW = {
    "nodes": [
        {"id": 2, "type": "sub", "properties": {}},
        {"id": 5, "type": "LoadImage", "properties": {"Node name for S&R": "Portrait"}},
    ],
    "definitions": {
        "subgraphs": [{"id": "sub", "nodes": [{"id": 8, "properties": {"Node name for S&R": "Inner"}}]}],
    },
}


@pytest.mark.parametrize(
    ("prefix", "filled_in"),
    [
        ("%date:yyyy-MM-dd%", "2026-03-04"),
        ("%date:yy.M.d hh_mm_s%", "26.3.4 05_06_7"),
        ("%EchoMimicSampler.seed%", "7"),
        ("%Take.seed%/x", "7/x"),
        ("%Portrait.image%", "a_b_c.png"),
        ("%Inner.seed%", "9"),
        ("%EchoMimicSampler.model%", "%EchoMimicSampler.model%"),
        ("%Nobody.seed%", "%Nobody.seed%"),
        ("%width%_100%", "%width%_100%"),
    ],
)
def test_dates_and_widgets_are_filled_into_the_name(pack, prefix, filled_in):
    from comfy_api.latest import io

    hidden = io.HiddenHolder(prompt=PROMPT, extra_pnginfo={"workflow": WORKFLOW})
    now = datetime(2026, 3, 4, 5, 6, 7)
    assert pack.part("nodes.file_names").fill_in(prefix, hidden, now) == filled_in


def test_save_video_fills_in_its_name(pack):
    output = with_hidden(pack, "takes/seed_%Take.seed%", prompt=PROMPT)
    assert saved_file(pack, output).name == "seed_7_00001_.mp4"


def test_errors_have_a_plain_name_and_the_sentence(pack):
    """ComfyUI shows `module.class` of an exception that is not built in."""
    with pytest.raises(ValueError, match="leads out of ComfyUI's output folder") as raised:
        pack.run("EchoMimicSaveVideo", latent=latent(2), vae=make_vae(), filename_prefix="../../x")
    assert (type(raised.value).__module__, type(raised.value).__qualname__) == ("builtins", "EchoMimic")
    assert raised.traceback[-1].name == "output_place"


def test_saved_file_holds_prompt_and_workflow(pack):
    import av

    prompt, workflow = {"1": {"class_type": "X"}}, {"nodes": [], "name": "测试"}
    output = with_hidden(pack, prompt=prompt, extra_pnginfo={"workflow": workflow})
    with av.open(saved_file(pack, output)) as container:
        assert json.loads(container.metadata["prompt"]) == prompt
        assert json.loads(container.metadata["workflow"]) == workflow


def test_metadata_can_be_turned_off(pack, monkeypatch):
    import av
    import comfy.cli_args

    monkeypatch.setattr(comfy.cli_args.args, "disable_metadata", True)
    output = with_hidden(pack, prompt={"secret": 1}, extra_pnginfo={"workflow": {}})
    with av.open(saved_file(pack, output)) as container:
        assert not {"prompt", "workflow"} & set(container.metadata)


def test_files_are_numbered_on(pack):
    names = {saved_file(pack, pack.run("EchoMimicSaveVideo", latent=latent(2), vae=make_vae())).name for _ in range(3)}
    assert names == {f"EchoMimic_{number:05}_.mp4" for number in (1, 2, 3)}


@pytest.mark.parametrize("prefix", ["x" * 250, "x" * 300 + "/video"])
def test_a_prefix_that_is_too_long_is_a_sentence(pack, prefix):
    with pytest.raises(Exception, match="too long") as raised:
        pack.run("EchoMimicSaveVideo", latent=latent(2), vae=make_vae(), filename_prefix=prefix)
    assert isinstance(raised.value, ValueError)
    assert not [path for path in (pack.folder / "output").rglob("*") if path.is_file()]


def test_cancelling_leaves_no_file(pack):
    pack.memory.interrupted = True
    with pytest.raises(pack.memory.InterruptProcessingException):
        pack.run("EchoMimicSaveVideo", latent=latent(20), vae=make_vae())
    assert not [path for path in (pack.folder / "output").rglob("*") if path.is_file()]


def test_video_without_audio_is_silent(pack):
    import av

    output = pack.run("EchoMimicSaveVideo", latent=latent(2), vae=make_vae())
    with av.open(saved_file(pack, output)) as container:
        assert not container.streams.audio


@pytest.mark.parametrize("prefix", ["../outside", "/elsewhere/a", "a/../../b"])
def test_a_prefix_outside_the_output_folder_is_a_sentence(pack, prefix):
    with pytest.raises(ValueError, match=r"leads out of ComfyUI's output folder .* name a folder below it"):
        pack.run("EchoMimicSaveVideo", latent=latent(2), vae=make_vae(), fps=24.0, filename_prefix=prefix)
    assert not list(pack.folder.glob("*.mp4"))


GOOD_PREFIXES = {
    "take:1": "take:1",
    "take:1/x": "take:1/x",
    "pipe:1": "pipe:1",
    "🎬 名前": "🎬 名前",
    "%date:yyyy-MM-dd%": f"{datetime.now():%Y-%m-%d}",
    "%date%": "%date%",
    "100%": "100%",
    "%": "%",
    "%d": "%d",
    "-y": "-y",
    "a/./b": "a/b",
    "a/../b": "b",
    "a\nb": "a\nb",
    "x" * 240: "x" * 240,
}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
@pytest.mark.parametrize("prefix", GOOD_PREFIXES)
@pytest.mark.parametrize("node", ["EchoMimicSaveVideo", "EchoMimicSavePose"])
def test_what_a_file_may_be_called_is_written_under_that_name(pack, node, prefix):
    if node == "EchoMimicSaveVideo":
        pack.run(node, latent=latent(2), vae=make_vae(), filename_prefix=prefix)
        ending = ".mp4"
    else:
        pose = pack.run("EchoMimicLoadPose", clip="waving").args[0].take(range(2))
        if len(prefix) > 200:
            return  # the longer ending does not fit
        pack.run(node, pose=pose, filename_prefix=prefix)
        ending = ".safetensors"
    output = pack.folder / "output"
    wanted = f"{GOOD_PREFIXES[prefix]}_00001_{ending}"
    assert [path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()] == [wanted]


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("x" * 245, "File name too long"),
        ("é" * 125, "File name too long"),
        ("x" * 300 + "/video", "names a place that cannot be made"),
        ("../outside", "leads out of ComfyUI's output folder"),
        ("/", "leads out of ComfyUI's output folder"),
        ("a\0b", "holds a character that no file name can have"),
        ("\ud800", "holds a character that no file name can have"),
    ],
)
@pytest.mark.parametrize("node", ["EchoMimicSaveVideo", "EchoMimicSavePose"])
def test_what_no_file_may_be_called_is_a_sentence_before_the_work(pack, node, prefix, words):
    vae = make_vae()
    pose = pack.run("EchoMimicLoadPose", clip="waving").args[0].take(range(2))
    inputs = {"latent": latent(2), "vae": vae} if node == "EchoMimicSaveVideo" else {"pose": pose}
    with pytest.raises(pack.part("nodes.plain_errors").NodeError, match=words):
        pack.run(node, filename_prefix=prefix, **inputs)
    assert not vae.batches, "frames were decoded for nothing"
    assert not [path for path in (pack.folder / "output").rglob("*") if path.is_file()]


@pytest.mark.parametrize("prefix", ["take:1", 'say "hi"', "why?", "a|b", "*"])
def test_what_windows_gives_another_meaning_is_refused_there(pack, monkeypatch, prefix):
    """A colon leads into a hidden part of a file: the video would be lost without a word."""
    monkeypatch.setattr(pack.part("echomimic.files.atomic"), "WINDOWS", True)
    with pytest.raises(pack.part("nodes.plain_errors").NodeError, match="which Windows does not allow in names"):
        pack.run("EchoMimicSaveVideo", latent=latent(2), vae=make_vae(), filename_prefix=prefix)


def test_more_images_than_memory_has_room_for_are_refused_before_the_work(pack, monkeypatch):
    monkeypatch.setattr(pack.part("echomimic.media.limits"), "available_bytes", lambda: 10**5)
    vae = make_vae()
    with pytest.raises(ValueError, match=r"20 images of 48 x 32 take 0.0 GB, .* use EchoMimic Save Video instead"):
        pack.run("EchoMimicDecode", latent=latent(20), vae=vae)
    assert not vae.batches


def test_what_the_file_system_refuses_is_a_sentence(pack, monkeypatch):
    """A folder of another user, a disk that is full: ComfyUI would show numbers and classes."""

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "/closed/folder")

    monkeypatch.setattr(pack.part("nodes.decoding"), "write_video", refuse)
    with pytest.raises(pack.part("nodes.plain_errors").NodeError, match=r"^/closed/folder: Permission denied$"):
        pack.run("EchoMimicSaveVideo", latent=latent(2), vae=make_vae())
