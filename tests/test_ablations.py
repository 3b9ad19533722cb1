"""The ablations: each run leaves out one thing, and the table compares it with the whole method seed by seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.ablations import BUNDLE, VARIANTS, WHOLE, configuration, forget, start_name, table
from echomimic.training.config import TrainingConfig, config_from
from echomimic.weights import load_bundle


def config_of(variant: str, seed: int = 0) -> TrainingConfig:
    return config_from(configuration(variant, seed, 600), Path("runs"))


def test_the_whole_method_has_all_of_it() -> None:
    config = config_of(WHOLE)
    assert [phase.audio for phase in config.phases] == ["none", "none", "lips", "face", "picture"]
    assert [len(phase.parts) for phase in config.phases] == [4, 4, 3, 2, 1]
    weights = config.loss.phases
    assert min(weights.pose, weights.detail, weights.low_level) > 0
    assert Path(config.weights.path).name == start_name(0)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != WHOLE])
def test_a_variant_leaves_out_one_thing(variant: str) -> None:
    whole, config = config_of(WHOLE), config_of(variant)
    differing = {name for name in vars(whole) if getattr(whole, name) != getattr(config, name)} - {"output"}
    assert differing == {
        "no head partial attention": {"data"},
        "no pose loss": {"loss"}, "no detail loss": {"loss"}, "no low-level loss": {"loss"},
    }.get(variant, {"phases"})  # fmt: skip
    if variant.endswith("phase"):
        assert len(config.phases) == len(whole.phases) - 1
    if variant == "no pose phases":
        assert {phase.parts for phase in config.phases} == {("hands",)}


def test_seeds_differ_in_the_seed_alone() -> None:
    first, second = config_of(WHOLE, 0), config_of(WHOLE, 1)
    differing = {name for name in vars(first) if getattr(first, name) != getattr(second, name)}
    assert differing == {"seed", "output", "weights"}
    assert replace(first.weights, path="x") == replace(second.weights, path="x")


def test_voice_and_pose_are_forgotten_and_nothing_else() -> None:
    known, forgotten, other = load_bundle(BUNDLE, kernels=False), forget(0), forget(1)
    changed = {
        name
        for name, value in known.denoiser.state_dict().items()
        if not torch.equal(value.float(), forgotten.denoiser.state_dict()[name].float())
    }
    assert changed and all(".attn2." in name for name in changed)
    reference = known.reference_unet.state_dict()
    assert all(torch.equal(reference[name], value) for name, value in forgotten.reference_unet.state_dict().items())
    # What the pose adds begins as nothing, as the published training has it.
    assert not forgotten.pose_encoder.conv_out.weight.any()
    assert not torch.equal(forgotten.pose_encoder.conv_in.weight, other.pose_encoder.conv_in.weight)
    assert forgotten.settings == known.settings


def test_the_table_compares_seed_by_seed() -> None:
    def row(mouth: float) -> dict[str, float]:
        return {"mouth": mouth, "hands within 5 %": 1.0, "psnr": 20.0, "ssim": 0.8}

    lines = table({WHOLE: [row(0.5), row(0.7)], "no lips phase": [row(0.4), row(0.4)]}).splitlines()
    # By 0.1 and 0.3 less.
    assert lines[2].startswith(f"| {WHOLE} | 0.600 |")
    assert lines[3].startswith("| no lips phase | 0.400 (-0.200 ± 0.100) |")
