"""Where networks are while a video is made: together on the device where they fit, else one after another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from echomimic import pipeline
from echomimic.audio import encode_speech
from echomimic.media.pictures import read_image
from echomimic.models import Networks
from echomimic.pipeline import Inputs, RenderSettings, render
from echomimic.pose import PoseSequence, load_poses
from echomimic.runtime.plan import Plan
from echomimic.sampling import SamplingSettings, sample_frames
from echomimic.weights import load_bundle

# The CPU by another name, so that moves to it and from it can be distinguished.
DEVICE = torch.device("cpu:0")
CLIP = Path(__file__).resolve().parents[1] / "assets" / "clips" / "waving.safetensors"


@pytest.fixture(scope="module")
def networks(small_bundle: Path) -> Networks:
    return load_bundle(small_bundle)


@pytest.fixture
def moves(monkeypatch, networks) -> list[tuple[str, str]]:
    """Which network went where, in order; what follows the first line is what the render did."""
    names = {id(module): type(module).__name__ for module in networks.modules()}
    seen: list[tuple[str, str]] = []
    move = nn.Module.to

    def to(module, device, *rest):
        if id(module) in names:
            seen.append((names[id(module)], str(device)))
        return move(module, device, *rest)

    for kind in {type(module) for module in networks.modules()}:
        monkeypatch.setattr(kind, "to", to)
    return seen


SETTINGS = RenderSettings(SamplingSettings(1, 1), 64, 64, frames=2)


def make_inputs() -> Inputs:
    generator = np.random.default_rng(0)
    voice = torch.from_numpy(0.1 * generator.standard_normal((1, 8000)).astype(np.float32))
    return Inputs(generator.integers(0, 255, (64, 64, 3), np.uint8), voice, 16000, None)


def make_video(networks: Networks, output: Path) -> None:
    render(networks, make_inputs(), SETTINGS, output, device=DEVICE)


def test_frames_in_memory_are_those_that_are_written(networks, tmp_path):
    inputs, chunks = make_inputs(), []
    inputs = replace(inputs, poses=load_poses(CLIP))
    render(networks, inputs, SETTINGS, tmp_path / "a", pictures=True, on_frames=chunks.append)
    written = np.stack([read_image(path) for path in sorted((tmp_path / "a").iterdir())])
    assert np.array_equal(np.concatenate(chunks), written)

    speech = encode_speech(networks.audio_encoder, inputs.waveform, inputs.sample_rate, SETTINGS.fps)
    sampled = sample_frames(networks, inputs.image, speech, inputs.poses, SETTINGS.sampling, frames=2)
    assert np.array_equal(sampled, written)


@pytest.mark.parametrize("rank", [0, 1])
def test_of_several_processes_the_first_decodes_and_writes(networks, tmp_path, monkeypatch, rank):
    monkeypatch.setattr(pipeline, "sample", lambda **_: torch.zeros(1, 4, 2, 8, 8))
    processes, chunks = SimpleNamespace(rank=rank), []
    render(networks, make_inputs(), SETTINGS, tmp_path / "a.mp4", on_frames=chunks.append, processes=processes)
    assert (tmp_path / "a.mp4").exists() == bool(chunks) == (rank == 0)


def test_networks_that_fit_together_stay_on_the_device(networks, moves, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "plan_for", lambda *_: Plan(offload=False))
    make_video(networks, tmp_path / "a.mp4")
    assert {device for _, device in moves} == {"cpu:0"}
    assert {name for name, _ in moves} == {type(module).__name__ for module in networks.modules()}


def test_networks_that_do_not_fit_take_turns(networks, moves, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "plan_for", lambda *_: Plan(offload=True))
    make_video(networks, tmp_path / "a.mp4")
    count = len(networks.modules())
    # An earlier video may have left them on the device.
    assert [device for _, device in moves[:count]] == ["cpu"] * count
    there: set[str] = set()
    together = []
    for name, device in moves[count:]:
        there = there | {name} if device == "cpu:0" else there - {name}
        together.append(sorted(there))
    assert not there
    # The pose encoder works within the denoiser's windows.
    assert all(len(names) <= 1 or names == ["DenoisingUNet", "PoseEncoder"] for names in together)


def test_a_compiled_denoiser_stays_where_its_graphs_found_it(networks, moves, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "plan_for", lambda *_: Plan(offload=True, compile=True))
    monkeypatch.setattr("torch.compile", lambda work, **_: work)
    make_video(networks, tmp_path / "a.mp4")
    assert ("DenoisingUNet", "cpu:0") in moves and ("DenoisingUNet", "cpu") not in moves
    assert ("ReferenceUNet", "cpu") in moves


def test_the_last_videos_networks_do_not_count_as_taken(networks, monkeypatch):
    asked = {}
    monkeypatch.setattr(pipeline, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(pipeline, "make_plan", lambda config, **given: asked.update(given) or Plan())
    settings = RenderSettings(SamplingSettings(1, 1), 64, 64)
    size = sum(parameter.nbytes for module in networks.modules() for parameter in module.parameters())

    pipeline.plan_for(networks, settings, DEVICE, torch.float32)
    assert (asked["free"], asked["weights"]) == (1000, size)
    with torch.device("meta"):
        there = nn.Linear(10, 10)
    monkeypatch.setattr(Networks, "modules", lambda self: [there, networks.vae])
    pipeline.plan_for(networks, settings, DEVICE, torch.float32)
    assert asked["free"] == 1000 + 440


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_vae_has_the_precision_chosen_for_it_and_the_plan_counts_that(networks, tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(pipeline, "vae_dtype", lambda *_: dtype)
    given, used = {}, []
    make_plan = pipeline.make_plan
    monkeypatch.setattr(
        pipeline, "make_plan", lambda config, **keywords: given.update(keywords) or make_plan(config, **keywords)
    )
    decode = pipeline.decode_frames
    monkeypatch.setattr(pipeline, "decode_frames", lambda vae, *rest: used.append(vae.dtype) or decode(vae, *rest))
    make_video(networks, tmp_path / "a.mp4")
    assert used == [dtype]
    assert given["vae_element_size"] == dtype.itemsize
    networks.vae.to(torch.float32)


def test_another_rate_is_another_render(small_bundle):
    """`--resume` must not go on with frames that hear other parts of the voice."""
    networks = load_bundle(small_bundle)
    one, other = (encode_speech(networks.audio_encoder, torch.zeros(1, 8000), 16000, fps) for fps in (24, 25))
    portrait = np.zeros((8, 8, 3), np.uint8)
    assert pipeline.hash_inputs(networks, portrait, one) != pipeline.hash_inputs(networks, portrait, other)


@pytest.mark.parametrize("network", ["vae", "reference_unet"])
def test_other_encoder_weights_are_another_render(network, small_bundle):
    """`--resume` must not mix a reference of one set of weights with latents of another."""
    networks = load_bundle(small_bundle)
    portrait = np.zeros((8, 8, 3), np.uint8)
    speech = encode_speech(networks.audio_encoder, torch.zeros(1, 8000), 16000, 24)
    before = pipeline.hash_inputs(networks, portrait, speech)
    assert pipeline.hash_inputs(networks, portrait, speech) == before
    with torch.no_grad():
        next(getattr(networks, network).parameters()).add_(1)
    assert pipeline.hash_inputs(networks, portrait, speech) != before


@pytest.mark.parametrize(
    ("fps", "places"),
    [
        (12.0, [0, 0.5, 1, 1.5, 2, 2.5, 3]),
        (24.0, [0, 1, 2, 3, 2, 1, 0]),
    ],
    ids=["resampled to the video's rate", "back and forth where the clip is shorter"],
)
def test_poses_reach_the_sampler_at_the_videos_rate_and_length(networks, tmp_path, monkeypatch, fps, places):
    """A clip of four frames whose points move by 0.1 a frame, in a video of seven at 24 frames a second."""
    given = {}

    def watched(**keywords):
        given.update(keywords)
        return keywords["noise"]

    monkeypatch.setattr(pipeline, "sample", watched)
    points = np.broadcast_to(0.1 * np.arange(1, 5)[:, None, None], (4, 134, 2))
    poses = PoseSequence(points, np.ones((4, 134)), fps)
    inputs = Inputs(np.zeros((64, 64, 3), np.uint8), torch.zeros(1, 16000), 16000, poses)
    settings = RenderSettings(SamplingSettings(1, 1), 64, 64, fps=24.0, frames=7)
    render(networks, inputs, settings, tmp_path / "a.mp4", device=DEVICE)
    sequence = given["pose"].sequence
    assert (len(sequence), sequence.fps) == (7, 24.0)
    np.testing.assert_allclose(sequence.keypoints[:, 0, 0], 0.1 * (1 + np.array(places)), atol=1e-6)
