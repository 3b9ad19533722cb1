"""Published files become networks: every accepted variation gives the same ones, what does not fit is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from echomimic import kernels
from echomimic.errors import WeightsError
from echomimic.models import RECOMMENDED_SETTINGS, DenoisingUNet, Networks, RecommendedSettings, UNetConfig
from echomimic.weights import find_weights, load_weights
from echomimic.weights.identify import identify, infer_config
from echomimic.weights.published import WeightFiles, variant_of_file
from tests.golden_cases import published_shapes
from tests.published import State, network_states, write_published, write_state
from tests.recipe import fill

# Two levels suffice here, and draw fast.
CONFIG = UNetConfig((32, 64), layers_per_block=1, audio_dim=24)
BARE = {"with_audio_encoder": False, "with_vae": False}


@pytest.fixture(scope="module")
def states() -> dict[str, State]:
    return dict(network_states(CONFIG, "w."))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Both variants as published; tests that change files make a copy."""
    return write_published(tmp_path_factory.mktemp("published"), CONFIG, "w.", vae=None, audio=False)


@pytest.fixture
def copied(folder, tmp_path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copied"))


@pytest.fixture(scope="module")
def expected() -> DenoisingUNet:
    return fill(DenoisingUNet(CONFIG), "w.denoising_unet.")


def write(path: Path, state: State) -> None:
    for other in path.parent.glob(f"{path.stem}.*"):
        other.unlink()
    write_state(state, path)


def assert_same(module: nn.Module, other: nn.Module) -> None:
    mine, others = module.state_dict(), other.state_dict()
    assert mine.keys() == others.keys()
    assert all(torch.equal(mine[name], others[name]) for name in mine)


def test_loads_the_weights_that_were_written(folder, expected):
    networks = load_weights(folder, **BARE)
    assert networks.config == CONFIG
    assert_same(networks.denoiser, expected)


def test_networks_are_frozen_and_in_evaluation_mode(folder):
    networks = load_weights(folder, **BARE)
    for module in (networks.denoiser, networks.reference_unet, networks.pose_encoder):
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())


# Which variant


def test_a_folder_with_both_gives_the_accelerated_one(folder):
    assert load_weights(folder, **BARE).variant == "accelerated"


@pytest.mark.parametrize(("variant", "suffix"), [("standard", ""), ("accelerated", "_acc")])
def test_variant_chooses_the_files_and_settings(folder, variant, suffix):
    files = find_weights(folder, variant)
    assert (files.denoising_unet.stem, files.motion_module.stem) == (
        f"denoising_unet{suffix}",
        f"motion_module{suffix}",
    )
    networks = load_weights(folder, variant, **BARE)
    assert networks.variant == variant
    assert networks.settings == RECOMMENDED_SETTINGS[variant]


def test_settings_of_the_authors():
    assert RECOMMENDED_SETTINGS["standard"] == RecommendedSettings(30, 2.5, 768, 768, 24, 12, 3)
    assert RECOMMENDED_SETTINGS["accelerated"] == RecommendedSettings(6, 1.0, 768, 768, 24, 12, 3)


@pytest.mark.parametrize("field", ["steps", "guidance", "width", "height", "fps", "window", "overlap"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "12", None])
def test_settings_that_make_no_sense(field, value):
    with pytest.raises(WeightsError, match=field):
        replace(RECOMMENDED_SETTINGS["standard"], **{field: value})


def test_folder_with_the_standard_variant_alone(copied):
    for path in copied.glob("*_acc.pth"):
        path.unlink()
    assert load_weights(copied, **BARE).variant == "standard"


@pytest.mark.parametrize("wanted", [None, "standard", "accelerated"])
def test_standard_denoiser_with_accelerated_motion_module_is_refused(folder, wanted):
    files = replace(find_weights(folder, "standard"), motion_module=folder / "motion_module_acc.pth")
    with pytest.raises(WeightsError, match=r"two variants: denoising_unet\.pth is standard and motion_module_acc\.pth"):
        load_weights(files, wanted, **BARE)


@pytest.mark.parametrize(
    ("gone", "wanted"), [("motion_module.pth", "standard"), ("motion_module_acc.pth", "accelerated")]
)
def test_folder_with_the_other_variants_motion_module_is_refused(copied, gone, wanted):
    (copied / gone).unlink()
    with pytest.raises(WeightsError, match=f"lacks {gone} of the {wanted} variant; .* cannot be mixed in"):
        load_weights(copied, wanted, **BARE)


def test_by_default_the_complete_variant_is_taken(copied):
    (copied / "motion_module_acc.pth").unlink()
    assert load_weights(copied, **BARE).variant == "standard"


def test_asking_for_the_variant_that_the_files_are_not(folder):
    with pytest.raises(WeightsError, match=r"the accelerated variant was requested, but .* is standard"):
        load_weights(find_weights(folder, "standard"), "accelerated", **BARE)


def test_unknown_variant(folder):
    with pytest.raises(WeightsError, match="'fast'"):
        load_weights(folder, "fast", **BARE)


def test_names_that_do_not_give_the_variant_need_a_choice(copied):
    files = find_weights(copied, "accelerated")
    renamed = replace(
        files,
        denoising_unet=files.denoising_unet.rename(copied / "mine.pth"),
        motion_module=files.motion_module.rename(copied / "moves.pth"),
    )
    with pytest.raises(WeightsError, match=r"mine\.pth does not give the variant"):
        load_weights(renamed, **BARE)
    assert load_weights(renamed, "accelerated", **BARE).variant == "accelerated"


def test_metadata_gives_the_variant_before_the_name(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "denoising_unet.safetensors", metadata={"variant": "accelerated"})
    assert variant_of_file(tmp_path / "denoising_unet.safetensors") == "accelerated"


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("denoising_unet.pth", "standard"),
        ("motion_module.pth", "standard"),
        ("denoising_unet_acc.pth", "accelerated"),
        ("denoising_unet_acc_fp16.pth", "accelerated"),
        ("Motion_Module-accelerated.pth", "accelerated"),
        ("denoising_unet_accurate.pth", "standard"),
        ("model.pth", None),
    ],
)
def test_variant_by_file_name(tmp_path, name, variant):
    torch.save({"a": torch.zeros(1)}, tmp_path / name)
    assert variant_of_file(tmp_path / name) == variant


# Where files are


def test_another_packs_layout(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "echo_mimic" / "v2")
    audio = tmp_path / "echo_mimic" / "audio_processor" / "whisper_tiny.pt"
    audio.parent.mkdir()
    audio.touch()
    for given in (tmp_path / "echo_mimic", tmp_path / "echo_mimic" / "v2"):
        files = find_weights(given)
        assert files.denoising_unet == tmp_path / "echo_mimic" / "v2" / "denoising_unet_acc.pth"
        assert files.audio_encoder == audio


def test_safetensors_is_preferred(copied, states):
    write_state(states["pose_encoder"], copied / "pose_encoder.safetensors")
    assert find_weights(copied).pose_encoder.suffix == ".safetensors"


@pytest.mark.parametrize("name", ["audio_processor/tiny.pt", "whisper_tiny.pt", "whisper-tiny/model.safetensors"])
def test_audio_encoders_places(copied, name):
    (copied / name).parent.mkdir(exist_ok=True)
    (copied / name).touch()
    assert find_weights(copied).audio_encoder == copied / name


def test_vae_folder_and_file(copied):
    (copied / "vae-ft-mse-840000-ema-pruned.safetensors").touch()
    assert find_weights(copied).vae == copied / "vae-ft-mse-840000-ema-pruned.safetensors"
    (copied / "sd-vae-ft-mse").mkdir()
    (copied / "sd-vae-ft-mse" / "config.json").touch()
    assert find_weights(copied).vae == copied / "sd-vae-ft-mse"
    assert find_weights(copied, vae=copied / "other").vae == copied / "other"


@pytest.mark.parametrize("name", ["reference_unet.pth", "pose_encoder.pth"])
def test_missing_file_is_named(copied, name):
    (copied / name).unlink()
    with pytest.raises(WeightsError, match=f"lacks {name}"):
        load_weights(copied, **BARE)


def test_empty_folder_names_all_files(tmp_path):
    with pytest.raises(
        WeightsError, match=r"lacks denoising_\w+\.pth, motion_\w+\.pth, reference_unet\.pth, pose_\w+\.pth"
    ):
        load_weights(tmp_path)


def test_missing_folder(tmp_path):
    with pytest.raises(WeightsError, match=r"no weights folder .*: `python -m echomimic download .* makes it"):
        load_weights(tmp_path / "none")


def test_file_in_place_of_a_folder(folder):
    with pytest.raises(WeightsError, match="is a file, not a folder of weights; a bundle is given with --bundle"):
        load_weights(folder / "pose_encoder.pth")


@pytest.mark.parametrize(("wanted", "message"), [("with_audio_encoder", "audio encoder"), ("with_vae", "VAE")])
def test_missing_parts_are_named_before_anything_is_loaded(folder, monkeypatch, wanted, message):
    monkeypatch.setattr("echomimic.weights.build.read_state_dict", lambda _: pytest.fail("weights were read"))
    with pytest.raises(WeightsError, match=f"has no {message}"):
        load_weights(folder, **{**BARE, wanted: True})


# Accepted variations of the files


def test_safetensors_files(tmp_path, expected):
    write_published(tmp_path, CONFIG, "w.", suffix=".safetensors", vae=None, audio=False)
    assert_same(load_weights(tmp_path, **BARE).denoiser, expected)


def test_parallel_prefix_and_nesting(copied, states, expected):
    prefixed = {f"module.{name}": tensor for name, tensor in states["denoising_unet"].items()}
    torch.save({"state_dict": prefixed, "epoch": 1}, copied / "denoising_unet_acc.pth")
    assert_same(load_weights(copied, **BARE).denoiser, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_stay_half(tmp_path, dtype):
    write_published(tmp_path, CONFIG, "w.", dtype=dtype, vae=None, audio=False, variants=("",))
    networks = load_weights(tmp_path, **BARE)
    for module in (networks.denoiser, networks.reference_unet, networks.pose_encoder):
        assert {parameter.dtype for parameter in module.parameters()} == {dtype}


def test_float32_tables_in_a_half_file_do_not_make_it_float32(copied, states):
    half = {n: t if n.endswith(".pe") else t.half() for n, t in states["motion_module"].items()}
    write(copied / "motion_module_acc.pth", half)
    write(copied / "denoising_unet_acc.pth", {n: t.half() for n, t in states["denoising_unet"].items()})
    denoiser = load_weights(copied, **BARE).denoiser
    assert {parameter.dtype for parameter in denoiser.parameters()} == {torch.float16}
    tables = {name: tensor for name, tensor in denoiser.named_buffers() if name.endswith(".pe")}
    assert tables and all(torch.equal(table, states["motion_module"][name]) for name, table in tables.items())


def test_dtype_can_be_chosen(folder, expected):
    networks = load_weights(folder, dtype=torch.bfloat16, **BARE)
    weight = networks.denoiser.conv_in.weight
    assert weight.dtype == torch.bfloat16
    assert torch.equal(weight, expected.conv_in.weight.bfloat16())


def test_motion_tensors_inside_the_denoising_file(copied, states, expected):
    for path in copied.glob("motion_module*"):
        path.unlink()
    write(copied / "denoising_unet.pth", {**states["denoising_unet"], **states["motion_module"]})
    assert_same(load_weights(copied, "standard", **BARE).denoiser, expected)


def test_motion_tensors_in_both_files_the_denoising_files_count(copied, states, expected, caplog):
    write(copied / "denoising_unet.pth", {**states["denoising_unet"], **states["motion_module"]})
    write(copied / "motion_module.pth", {name: t + 1 for name, t in states["motion_module"].items()})
    assert_same(load_weights(copied, "standard", **BARE).denoiser, expected)
    assert "both hold motion tensors" in caplog.text


def test_extra_tensors_are_named_in_one_warning(copied, states, caplog, expected):
    write(copied / "denoising_unet_acc.pth", {**states["denoising_unet"], "add_embedding.weight": torch.zeros(2)})
    write(copied / "pose_encoder.pth", {**states["pose_encoder"], "spare.bias": torch.zeros(2)})
    assert_same(load_weights(copied, **BARE).denoiser, expected)
    (record,) = caplog.records
    assert "add_embedding.weight" in record.message and "spare.bias" in record.message


def test_position_tables_may_be_absent(copied, states, expected):
    write(copied / "motion_module_acc.pth", {n: t for n, t in states["motion_module"].items() if not n.endswith(".pe")})
    assert_same(load_weights(copied, **BARE).denoiser, expected)


def test_heads_and_groups_can_be_given(folder):
    config = replace(CONFIG, attention_heads=4, norm_num_groups=16)
    denoiser = load_weights(folder, config=config, **BARE).denoiser
    assert denoiser.config == config
    assert next(denoiser.blocks()).attn1.heads == 4


def test_operations_attention_and_device_are_handed_on(folder):
    class Linear(nn.Linear):
        """The host's own."""

    operations = SimpleNamespace(Linear=Linear, Conv2d=nn.Conv2d, GroupNorm=nn.GroupNorm, LayerNorm=nn.LayerNorm)
    calls = []

    def attention(query, key, value, heads):
        calls.append(heads)
        return query

    networks = load_weights(folder, operations=operations, attention=attention, device="cpu", **BARE)
    for module in (networks.denoiser, networks.reference_unet):
        assert all(type(m) is Linear for m in module.modules() if isinstance(m, nn.Linear))
    networks.denoiser(torch.zeros(1, 4, 1, 8, 8), 0)
    networks.reference_unet(torch.zeros(1, 4, 8, 8))
    assert set(calls) == {8}
    assert networks.denoiser.conv_in.weight.device.type == "cpu"


def test_position_tables_of_a_host_that_stores_float8_stay_exact(folder, expected):
    host = SimpleNamespace(Linear=nn.Linear, Conv2d=nn.Conv2d, GroupNorm=nn.GroupNorm, LayerNorm=nn.LayerNorm)
    denoiser = load_weights(folder, operations=host, dtype=torch.float8_e4m3fn, **BARE).denoiser
    assert {parameter.dtype for parameter in denoiser.parameters()} == {torch.float8_e4m3fn}
    tables = dict(expected.named_buffers())
    assert tables and all(torch.equal(table, tables[name]) for name, table in denoiser.named_buffers())


@pytest.mark.parametrize("choice", [True, False])
def test_kernels_can_be_chosen(folder, choice):
    networks = load_weights(folder, kernels=choice, **BARE)
    for module in (networks.denoiser, networks.reference_unet, networks.pose_encoder):
        assert type(module.conv_in) is kernels.layer_classes(choice).Conv2d


def test_the_denoisers_class_can_be_chosen(folder, expected):
    class Hosted(DenoisingUNet):
        def forward(self, x, timesteps):
            return self.predict(x, timesteps)

    denoiser = load_weights(folder, denoiser_class=Hosted, **BARE).denoiser
    assert type(denoiser) is Hosted
    assert_same(denoiser, expected)


def test_a_whole_network_runs(folder, expected):
    torch.manual_seed(0)
    latents, audio = torch.randn(1, 4, 2, 8, 8), torch.randn(1, 2, 5, 24)
    networks = load_weights(folder, **BARE)
    bank = networks.reference_unet(latents[:, :, 0])
    with torch.no_grad():
        seen = networks.denoiser(latents, 100, audio=audio, reference=bank)
        # Kernels may round otherwise for weights that lie at another place in memory.
        torch.testing.assert_close(seen, expected(latents, 100, audio=audio, reference=bank), rtol=1e-4, atol=1e-5)


# Refused


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("denoising_unet_acc", "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"),
        ("motion_module_acc", "mid_block.motion_modules.0.temporal_transformer.proj_in.weight"),
        ("reference_unet", "up_blocks.0.resnets.0.conv1.bias"),
        ("pose_encoder", "blocks.3.weight"),
    ],
)
def test_missing_tensor_names_file_and_tensor(copied, states, stem, name):
    state = dict(states[stem.removesuffix("_acc")])
    del state[name]
    write(copied / f"{stem}.pth", state)
    with pytest.raises(WeightsError, match=rf"{stem}\.pth lacks 1 of \d+ tensors: {name}"):
        load_weights(copied, **BARE)


def test_many_missing_tensors_are_counted(copied, states):
    state = {name: tensor for name, tensor in states["reference_unet"].items() if not name.startswith("up_blocks")}
    write(copied / "reference_unet.pth", state)
    with pytest.raises(WeightsError, match=r"lacks \d+ of \d+ tensors: \S+, \S+, \S+ and \d+ more"):
        load_weights(copied, **BARE)


@pytest.mark.parametrize("stem", ["denoising_unet_acc", "motion_module_acc", "reference_unet", "pose_encoder"])
def test_misshaped_tensor_names_file_tensor_and_shapes(copied, states, stem):
    state = dict(states[stem.removesuffix("_acc")])
    name = "conv_out.bias" if "conv_out.bias" in state else next(n for n in reversed(state) if n.endswith("bias"))
    shape = list(state[name].shape)
    state[name] = torch.zeros(7)
    write(copied / f"{stem}.pth", state)
    with pytest.raises(WeightsError) as caught:
        load_weights(copied, **BARE)
    assert f"{stem}.pth" in str(caught.value)
    assert f"{name} [7] instead of {shape}" in str(caught.value)


def test_networks_of_two_sizes_do_not_fit(copied):
    other = dict(network_states(replace(CONFIG, block_out_channels=(32, 96))))
    write(copied / "reference_unet.pth", other["reference_unet"])
    with pytest.raises(WeightsError, match=r"reference_unet\.pth holds tensors of the wrong shape"):
        load_weights(copied, **BARE)


def test_no_motion_modules_anywhere(copied):
    for path in copied.glob("motion_module*"):
        path.unlink()
    with pytest.raises(WeightsError, match=r"denoising_unet_acc\.pth holds no motion modules"):
        load_weights(copied, **BARE)


@pytest.mark.parametrize(
    ("stem", "given", "message"),
    [
        ("reference_unet", "denoising_unet", "is a denoising UNet, but a reference UNet is needed"),
        ("denoising_unet_acc", "reference_unet", "is a reference UNet, but a denoising UNet is needed"),
        ("pose_encoder", "motion_module", "is a motion module, but a pose encoder is needed"),
        ("motion_module_acc", "pose_encoder", "is not a motion module"),
    ],
)
def test_swapped_files_are_recognised(copied, states, stem, given, message):
    write(copied / f"{stem}.pth", states[given])
    with pytest.raises(WeightsError, match=message):
        load_weights(copied, **BARE)


def test_foreign_weights_are_recognised(copied):
    write(copied / "denoising_unet_acc.pth", {"transformer.h.0.attn.weight": torch.zeros(2, 2)})
    with pytest.raises(WeightsError, match="no network of EchoMimicV2, but a denoising UNet is needed"):
        load_weights(copied, **BARE)


def test_nan_names_file_and_tensor(copied, states):
    spoiled = states["pose_encoder"]["blocks.0.bias"].clone()
    spoiled[3] = float("nan")
    write(copied / "pose_encoder.pth", {**states["pose_encoder"], "blocks.0.bias": spoiled})
    with pytest.raises(WeightsError, match=r"pose_encoder\.pth holds values .*NaN.* blocks\.0\.bias"):
        load_weights(copied, **BARE)


# Identity and size


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("denoising_unet", "denoising UNet"),
        ("reference_unet", "reference UNet"),
        ("pose_encoder", "pose encoder"),
    ],
)
def test_published_names_are_identified(file, kind):
    assert identify(published_shapes(file)) == kind


@pytest.mark.parametrize("part", ["all", "spatial", "motion"])
def test_published_size_is_inferred(part):
    shapes = published_shapes("denoising_unet")
    if part != "all":
        shapes = {name: shape for name, shape in shapes.items() if (".motion_modules." in name) == (part == "motion")}
    assert infer_config(shapes, "file") == UNetConfig()


@pytest.mark.parametrize(
    "config",
    [
        UNetConfig((32, 32), layers_per_block=2, audio_dim=16),
        UNetConfig((32, 64, 96), layers_per_block=1, audio_dim=40),
        UNetConfig((64, 32, 32, 96, 128), layers_per_block=3, audio_dim=8),
    ],
)
def test_size_is_inferred_for_any_config(config):
    module = DenoisingUNet(config, device="meta")
    assert infer_config({name: tuple(t.shape) for name, t in module.state_dict().items()}, "file") == config


def test_networks_can_be_given_other_parts(folder):
    networks = replace(load_weights(folder, **BARE), vae="a VAE")
    assert isinstance(networks, Networks) and networks.vae == "a VAE"


def test_explicit_files(folder):
    files = WeightFiles(
        folder / "denoising_unet.pth",
        folder / "motion_module.pth",
        folder / "reference_unet.pth",
        folder / "pose_encoder.pth",
    )
    assert load_weights(files, **BARE).variant == "standard"
