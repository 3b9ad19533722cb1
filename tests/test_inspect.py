"""Saying what is in a file: each kind is recognised, what is missing is named, and values stay unread."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from echomimic.cli.main import main
from echomimic.errors import EchoMimicError, WeightsError
from echomimic.models import UNetConfig
from echomimic.weights import load_weights, save_bundle
from echomimic.weights.inspect import inspect_file
from tests.published import network_states, write_published, write_state

CONFIG = UNetConfig((32, 64), layers_per_block=1, audio_dim=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_published(tmp_path_factory.mktemp("published"), CONFIG, "i.")


@pytest.fixture(scope="module")
def states():
    return dict(network_states(CONFIG, "i."))


@pytest.mark.parametrize(
    ("name", "kind", "variant"),
    [
        ("denoising_unet.pth", "denoising UNet", "standard"),
        ("denoising_unet_acc.pth", "denoising UNet", "accelerated"),
        ("motion_module.pth", "motion module", "standard"),
        ("motion_module_acc.pth", "motion module", "accelerated"),
        ("reference_unet.pth", "reference UNet", None),
        ("pose_encoder.pth", "pose encoder", None),
        ("audio_processor/tiny.pt", "audio encoder", None),
        ("sd-vae-ft-mse/diffusion_pytorch_model.safetensors", "VAE", None),
    ],
)
def test_published_files_are_recognised_and_complete(folder, name, kind, variant):
    inspection = inspect_file(folder / name)
    assert (inspection.kind, inspection.variant) == (kind, variant)
    contents = inspection.contents[""]
    assert not contents.missing and not contents.unexpected and not contents.misshaped


def test_counts(tmp_path):
    save_file(
        {"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.float16)}, tmp_path / "a.safetensors", {"x": "y"}
    )
    inspection = inspect_file(tmp_path / "a.safetensors")
    contents = inspection.contents[""]
    assert (contents.tensors, contents.parameters, contents.bytes) == (2, 10, 32)
    assert contents.dtypes == {"float32": 1, "float16": 1}
    assert inspection.kind is None and contents.missing is None
    assert inspection.metadata == {"x": "y"}


@pytest.mark.parametrize("stem", ["denoising_unet", "motion_module"])
def test_size_of_the_network(folder, stem):
    config = inspect_file(folder / f"{stem}.pth").contents[""].config
    assert config == (CONFIG if stem == "denoising_unet" else replace(CONFIG, audio_dim=384))


def test_faults_are_named(tmp_path, states):
    state = dict(states["reference_unet"])
    del state["mid_block.resnets.1.conv2.bias"]
    state["time_embedding.linear_2.bias"] = torch.zeros(3)
    state["add_embedding.weight"] = torch.zeros(1)
    contents = inspect_file(write_state(state, tmp_path / "reference_unet.pth")).contents[""]
    assert contents.missing == ("mid_block.resnets.1.conv2.bias",)
    assert contents.misshaped == ("time_embedding.linear_2.bias",)
    assert contents.unexpected == ("add_embedding.weight",)


def test_denoising_file_with_motion_modules_inside(tmp_path, states):
    both = {**states["denoising_unet"], **states["motion_module"]}
    name = next(name for name in both if name.endswith("ff_norm.weight"))
    del both[name]
    contents = inspect_file(write_state(both, tmp_path / "denoising_unet.pth")).contents[""]
    assert contents.missing == (name,)


def test_bundle_is_described_by_part(folder, tmp_path):
    save_bundle(tmp_path / "b.safetensors", load_weights(folder, with_audio_encoder=False), source="recipe")
    inspection = inspect_file(tmp_path / "b.safetensors")
    assert (inspection.kind, inspection.variant) == ("bundle", "accelerated")
    kinds = {part: contents.kind for part, contents in inspection.contents.items()}
    assert kinds == {
        "denoising_unet": "denoising UNet",
        "reference_unet": "reference UNet",
        "pose_encoder": "pose encoder",
        "vae": "VAE",
    }
    assert not any(contents.missing or contents.unexpected for contents in inspection.contents.values())
    assert inspection.bundle is not None and inspection.bundle.source == "recipe"


def test_pose_clip_is_recognised(tmp_path):
    save_file({"keypoints": torch.zeros(2, 134, 2), "scores": torch.zeros(2, 134)}, tmp_path / "clip.safetensors")
    assert inspect_file(tmp_path / "clip.safetensors").kind == "pose clip"


def test_values_are_not_read(tmp_path, states):
    state = {**states["pose_encoder"], "conv_in.bias": torch.full((16,), float("nan"))}
    assert inspect_file(write_state(state, tmp_path / "pose_encoder.pth")).kind == "pose encoder"


def test_half_a_network_is_refused_with_its_name(tmp_path):
    state = {"conv_in.weight": torch.zeros(1), "time_embedding.linear_1.weight": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"odd\.pth is not a UNet of EchoMimicV2"):
        inspect_file(write_state(state, tmp_path / "odd.pth"))


NAMES = [
    "conv_in.weight",
    "conv_out.weight",
    "blocks.0.weight",
    "time_embedding.linear_1.weight",
    "down_blocks.0.resnets.0.conv1.weight",
    "down_blocks.1.resnets.0.conv1.weight",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight",
    "down_blocks.0.motion_modules.0.temporal_transformer.norm.weight",
    "down_blocks.1.motion_modules.0.temporal_transformer.norm.weight",
    "denoising_unet.conv_in.weight",
    "reference_unet.conv_in.weight",
    "decoder.conv_in.weight",
    "conv1.weight",
    "conv2.weight",
]


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from([0, 1, 32, 320]), max_size=2), min_size=1))
def test_fuzz_shapes(tmp_path_factory, shapes):
    """Real names with shapes that make no sense."""
    path = tmp_path_factory.getbasetemp() / "fuzz.pth"
    torch.save({name: torch.empty(shape) for name, shape in shapes.items()}, path)
    try:
        inspect_file(path)
    except EchoMimicError as error:
        assert str(error)


# The command


def test_command_prints_a_table(folder, capsys):
    assert main(["inspect", str(folder / "denoising_unet_acc.pth")]) == 0
    printed = capsys.readouterr().out
    for message in ("denoising UNet, accelerated", "32, 64 channels", "audio width 64", "float32", "complete"):
        assert message in printed


def test_command_looks_through_a_folder(folder, capsys):
    assert main(["inspect", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("motion_module.pth", f"audio_processor{os.sep}tiny.pt", "VAE"))


def test_command_lists_the_first_names_or_all(tmp_path, states, capsys):
    state = {name: t for name, t in states["reference_unet"].items() if not name.startswith("mid_block")}
    path = str(write_state(state, tmp_path / "reference_unet.pth"))
    assert main(["inspect", path]) == 0
    short = capsys.readouterr().out
    assert main(["inspect", path, "--all"]) == 0
    assert "(--all lists them)" in short
    assert "mid_block.resnets.1.conv2.bias" not in short
    assert "mid_block.resnets.1.conv2.bias" in capsys.readouterr().out


def test_command_continues_after_a_bad_file(folder, tmp_path, capsys):
    (tmp_path / "bad.pth").write_text("hello")
    assert main(["inspect", str(tmp_path / "bad.pth"), str(folder / "pose_encoder.pth")]) == 2
    printed = capsys.readouterr().out
    assert "holds only the text 'hello'" in printed and "pose encoder" in printed


def test_command_on_a_folder_without_weights(tmp_path, capsys):
    assert main(["inspect", str(tmp_path)]) == 2
    assert "no weights files" in capsys.readouterr().err
