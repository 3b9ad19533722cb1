"""Bundles: what goes in comes out, bit for bit; what is no good bundle is refused; the command that makes them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from echomimic.audio.whisper import sinusoids
from echomimic.cli.main import main
from echomimic.errors import EchoMimicError, OutputError, WeightsError
from echomimic.files.tensor_writer import write_safetensors
from echomimic.files.tensors import read_metadata
from echomimic.models import RECOMMENDED_SETTINGS, Networks, UNetConfig
from echomimic.weights import (
    load_bundle,
    load_bundle_audio_encoder,
    load_bundle_vae,
    load_weights,
    read_bundle_info,
    save_bundle,
)
from echomimic.weights.bundle import read_bundle_part
from echomimic.weights.inspect import inspect_file
from tests.published import write_published

ROOT = Path(__file__).resolve().parents[1]
CONFIG = UNetConfig((32, 64), layers_per_block=1, audio_dim=64)
PARTS = ("denoiser", "reference_unet", "pose_encoder", "audio_encoder", "vae")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_published(tmp_path_factory.mktemp("published"), CONFIG, "b.")


@pytest.fixture(scope="module")
def networks(folder) -> Networks:
    return load_weights(folder)


@pytest.fixture(scope="module")
def bundle(networks, tmp_path_factory) -> Path:
    """A bundle with everything; tests that change it make a copy."""
    path = tmp_path_factory.mktemp("bundle") / "all.safetensors"
    save_bundle(path, networks, source="recipe")
    return path


def changed(bundle: Path, path: Path, metadata: dict[str, str | None] | None = None, **tensors: Any) -> Path:
    """A copy with other entries in the header (None: without) and other tensors."""
    with safe_open(bundle, "pt") as file:
        header = {**file.metadata(), **(metadata or {})}
    state = {**load_file(bundle), **tensors}
    save_file(
        {name: tensor for name, tensor in state.items() if tensor is not None},
        path,
        {key: value for key, value in header.items() if value is not None},
    )
    return path


# Round trips


@pytest.mark.parametrize("part", PARTS)
def test_round_trip_is_bit_exact(networks, bundle, part):
    before = getattr(networks, part).state_dict()
    after = getattr(load_bundle(bundle), part).state_dict()
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype
        assert torch.equal(tensor, after[name]), name


def test_header_round_trip(networks, bundle):
    info = read_bundle_info(bundle)
    assert (info.config, info.variant, info.settings) == (CONFIG, "accelerated", RECOMMENDED_SETTINGS["accelerated"])
    assert info.parts == ("denoising_unet", "reference_unet", "pose_encoder", "audio_encoder", "vae")
    assert info.vae_config is not None and info.vae_config["block_out_channels"] == [32, 32, 64, 64]
    assert info.source == "recipe"


def test_heads_groups_variant_and_settings_travel(folder, tmp_path):
    config = replace(CONFIG, attention_heads=4, norm_num_groups=16)
    networks = load_weights(folder, "standard", config=config, with_audio_encoder=False, with_vae=False)
    networks = replace(networks, settings=replace(networks.settings, steps=20, width=512, fps=25.0))
    save_bundle(tmp_path / "b.safetensors", networks)
    loaded = load_bundle(tmp_path / "b.safetensors")
    assert (loaded.config, loaded.variant, loaded.settings) == (config, "standard", networks.settings)
    assert next(loaded.denoiser.blocks()).attn1.heads == 4


def test_the_audio_context_travels_where_it_is_not_the_usual(networks, bundle, tmp_path):
    assert "audio_context" not in json.loads(read_metadata(bundle)["config"])  # versions before 0.2 read such a file
    other = replace(networks, audio_encoder=None, vae=None).with_audio_context(0)
    save_bundle(tmp_path / "b.safetensors", other)
    assert load_bundle(tmp_path / "b.safetensors").config.audio_context == 0
    assert load_bundle(bundle).config.audio_context == 2


def test_other_readers_can_open_it(bundle, networks):
    state = load_file(bundle)
    assert torch.equal(state["denoising_unet.conv_in.weight"], networks.denoiser.conv_in.weight)
    assert torch.equal(state["vae.decoder.conv_in.weight"], networks.vae.decoder.conv_in.weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_cast_bundle_holds_and_gives_that_precision(networks, tmp_path, dtype):
    save_bundle(tmp_path / "half.safetensors", networks, dtype=dtype)
    assert {tensor.dtype for tensor in load_file(tmp_path / "half.safetensors").values()} == {dtype}
    loaded = load_bundle(tmp_path / "half.safetensors")
    assert torch.equal(loaded.denoiser.conv_in.weight, networks.denoiser.conv_in.weight.to(dtype))


def test_dtype_can_be_chosen_when_loading(bundle):
    assert load_bundle(bundle, dtype=torch.bfloat16).reference_unet.conv_in.weight.dtype == torch.bfloat16


def test_values_too_large_for_half_precision_are_refused(folder, tmp_path):
    networks = load_weights(folder, with_audio_encoder=False, with_vae=False)
    networks.pose_encoder.conv_in.bias[0] = 1e6
    with pytest.raises(WeightsError, match=r"pose_encoder\.conv_in\.bias has values too large for float16"):
        save_bundle(tmp_path / "half.safetensors", networks, dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


def test_parts_that_are_left_out(folder, tmp_path):
    path = tmp_path / "bare.safetensors"
    save_bundle(path, load_weights(folder, with_audio_encoder=False, with_vae=False))
    assert read_bundle_info(path).parts == ("denoising_unet", "reference_unet", "pose_encoder")
    loaded = load_bundle(path)
    assert loaded.audio_encoder is None and loaded.vae is None
    with pytest.raises(WeightsError, match="has no vae: it was made without"):
        load_bundle_vae(path)
    with pytest.raises(WeightsError, match="has no audio_encoder: it was made without"):
        load_bundle_audio_encoder(path)


def test_only_the_requested_parts_are_read(bundle, tmp_path):
    """The VAE is spoiled, which shows if it is read."""
    spoiled = {"vae.decoder.conv_in.bias": torch.full((64,), float("nan"))}
    path = changed(bundle, tmp_path / "spoiled.safetensors", None, **spoiled)
    assert load_bundle(path, with_vae=False).vae is None
    with pytest.raises(WeightsError, match=r"spoiled\.safetensors \(vae\) .* decoder\.conv_in\.bias"):
        load_bundle(path)


def test_one_part_alone(bundle, networks):
    vae = load_bundle_vae(bundle).state_dict()
    assert torch.equal(vae["decoder.conv_out.weight"], networks.vae.decoder.conv_out.weight)
    assert load_bundle_audio_encoder(bundle).config.d_model == 64


# Writing


def test_tensors_are_aligned_and_gapless(bundle):
    content = bundle.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    assert (8 + length) % 8 == 0
    at = 0
    for entry in sorted(entries, key=lambda entry: entry["data_offsets"]):
        assert entry["data_offsets"][0] == at
        at = entry["data_offsets"][1]
    assert at == len(content) - 8 - length


def test_mixed_types_keep_their_alignment(tmp_path):
    tensors = {
        "a": torch.ones(3, dtype=torch.float16),
        "b": torch.ones(3),
        "c": torch.tensor(7),
        "d": torch.ones(0),
        "e": torch.ones(5, dtype=torch.uint8),
        "f": torch.arange(6.0).view(2, 3).t(),
    }
    write_safetensors(tmp_path / "mixed.safetensors", tensors, {})
    read = load_file(tmp_path / "mixed.safetensors")
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


def test_progress_ends_at_the_whole(networks, tmp_path):
    seen: list[tuple[int, int]] = []
    save_bundle(tmp_path / "b.safetensors", networks, on_progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1] > 0


def test_the_folder_is_made(networks, tmp_path):
    save_bundle(tmp_path / "new" / "folder" / "b.safetensors", networks)
    assert (tmp_path / "new" / "folder" / "b.safetensors").is_file()


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(networks, tmp_path, failure):
    path = tmp_path / "b.safetensors"
    path.write_bytes(b"old")

    def fail(done: int, total: int) -> None:
        if done > total // 2:
            raise failure

    expected = OutputError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        save_bundle(path, networks, on_progress=fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_found_before_writing(networks, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match="GB free"):
        save_bundle(tmp_path / "b.safetensors", networks)
    assert list(tmp_path.iterdir()) == []


def test_the_space_counts_on_the_disk_that_a_link_leads_to(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda at: usage._replace(free=0 if Path(at).name == "full" else 10**9))
    for there, end in (("full", "empty"), ("empty", "full")):
        (tmp_path / there / "link.safetensors").symlink_to(tmp_path / end / "end.safetensors")
    write_safetensors(tmp_path / "full" / "link.safetensors", {"a": torch.zeros(2)}, {})
    assert (tmp_path / "empty" / "end.safetensors").is_file()
    with pytest.raises(OutputError, match=r"full has 0\.0 GB free"):
        write_safetensors(tmp_path / "empty" / "link.safetensors", {"a": torch.zeros(2)}, {})


def test_a_folder_that_cannot_be_made(networks, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        save_bundle(tmp_path / "file" / "b.safetensors", networks)


# Refused


def test_missing_bundle(tmp_path):
    with pytest.raises(WeightsError, match="there is no weights file"):
        load_bundle(tmp_path / "none.safetensors")


@pytest.mark.parametrize("name", ["denoising_unet.pth", "sd-vae-ft-mse/diffusion_pytorch_model.safetensors"])
def test_weights_that_are_no_bundle(folder, name):
    with pytest.raises(WeightsError, match="is not a bundle of EchoMimicV2"):
        load_bundle(folder / name)


def test_a_bundle_is_not_taken_for_a_published_file(bundle, folder, tmp_path):
    copied = Path(shutil.copytree(folder, tmp_path / "copied"))
    shutil.copy(bundle, copied / "reference_unet.safetensors")
    with pytest.raises(WeightsError, match="is a bundle, but a reference UNet is needed"):
        load_weights(copied, with_audio_encoder=False, with_vae=False)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"bundle_version": "2"}, "its version is 2, this program reads 1: update"),
        ({"bundle_version": "one"}, "is invalid"),
        ({"variant": "fast"}, "its variant 'fast' is unknown"),
        ({"variant": None}, "is invalid: KeyError: 'variant'"),
        ({"config": "{"}, "is invalid"),
        ({"config": "[" * 100_000}, "is invalid"),
        ({"config": '{"width": 3}'}, "is invalid"),
        ({"config": '{"attention_heads": 0}'}, "is invalid"),
        ({"config": '{"audio_context": -1}'}, "audio_context must be a whole number of frames, 0 to 10, not -1"),
        ({"config": '{"audio_context": 1000000000}'}, "audio_context must be"),
        ({"config": '{"audio_context": true}'}, "audio_context must be"),
        ({"config": '{"attention_heads": 7}'}, "cannot be split into 7 attention heads"),
        ({"config": '{"attention_heads": -8}'}, "its sizes must be whole numbers above 0"),
        ({"config": '{"attention_heads": 8.0}'}, "its sizes must be whole numbers above 0"),
        ({"vae_config": "[]"}, "is invalid"),
        ({"vae_config": '{"norm_num_groups": "many"}'}, "its sizes must be whole numbers above 0"),
        ({"config": json.dumps({**CONFIG.to_dict(), "audio_dim": 384})}, "but its tensors are those of"),
        ({"settings": '{"steps": 0, "guidance": 1}'}, "the setting steps must be a number of at least 1, not 0"),
        ({"settings": '{"steps": 6}'}, "is invalid"),
    ],
)
def test_headers_that_make_no_sense(bundle, tmp_path, entries, message):
    path = changed(bundle, tmp_path / "bad.safetensors", entries)
    with pytest.raises(WeightsError, match=message) as caught:
        load_bundle(path)
    assert "bad.safetensors" in str(caught.value)


def test_a_part_that_is_missing(bundle, tmp_path):
    gone = {name: None for name in load_file(bundle) if name.startswith("pose_encoder.")}
    with pytest.raises(WeightsError, match=r"lacks pose_encoder"):
        load_bundle(changed(bundle, tmp_path / "bad.safetensors", None, **gone))


def test_a_tensor_that_is_missing(bundle, tmp_path):
    path = changed(bundle, tmp_path / "bad.safetensors", None, **{"reference_unet.conv_in.bias": None})
    with pytest.raises(
        WeightsError, match=r"bad\.safetensors \(reference_unet\) lacks 1 of \d+ tensors: conv_in\.bias"
    ):
        load_bundle(path)


def test_a_tensor_of_another_shape(bundle, tmp_path):
    path = changed(bundle, tmp_path / "bad.safetensors", None, **{"pose_encoder.conv_in.bias": torch.zeros(3)})
    with pytest.raises(WeightsError, match=r"conv_in\.bias \[3\] instead of \[16\]"):
        load_bundle(path)


def test_a_tensor_with_nan(bundle, tmp_path):
    spoiled = {"denoising_unet.conv_out.bias": torch.tensor([0.0, 1.0, float("nan"), 0.0])}
    with pytest.raises(WeightsError, match=r"\(denoising_unet\) holds values .* conv_out\.bias"):
        load_bundle(changed(bundle, tmp_path / "bad.safetensors", None, **spoiled))


def test_an_audio_encoder_of_another_width(networks, folder, tmp_path):
    other = replace(networks, config=replace(CONFIG, audio_dim=24))
    narrow = write_published(tmp_path / "narrow", other.config, vae=None, audio=False)
    bare = load_weights(narrow, with_audio_encoder=False, with_vae=False)
    save_bundle(tmp_path / "b.safetensors", replace(bare, audio_encoder=networks.audio_encoder))
    with pytest.raises(WeightsError, match="gives features of width 64, the denoising UNet reads 24"):
        load_bundle(tmp_path / "b.safetensors")


def test_truncated_bundles(bundle, tmp_path):
    content = bundle.read_bytes()
    path = tmp_path / "cut.safetensors"
    for length in (len(content) - 1, len(content) // 2, 1000, 20):
        path.write_bytes(content[:length])
        with pytest.raises(WeightsError, match=r"cut\.safetensors is (damaged or )?cut off"):
            load_bundle(path)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["bundle", "bundle_version", "variant", "config", "settings", "vae_config", "source"]),
    st.text(max_size=12)
    | st.recursive(
        st.none() | st.booleans() | st.integers(-3, 10**6) | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(CONFIG.to_dict())), inner),
        max_leaves=6,
    ).map(json.dumps),
)
def test_fuzz_headers(tmp_path_factory, key, value):
    tensors = {
        f"{part}.conv_in.weight": torch.zeros(1) for part in ("denoising_unet", "reference_unet", "pose_encoder")
    }
    metadata = {"bundle": "echomimic", "bundle_version": "1", "variant": "standard", "config": "{}", "settings": "{}"}
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    write_safetensors(path, tensors, {**metadata, "settings": '{"steps": 1, "guidance": 1}', key: value})
    with pytest.raises(EchoMimicError):
        load_bundle(path)


def test_bytes_after_the_last_tensor_are_ignored_with_a_note(bundle, networks, tmp_path, caplog):
    path = tmp_path / "padded.safetensors"
    path.write_bytes(bundle.read_bytes() + bytes(512))
    assert read_bundle_info(path) == read_bundle_info(bundle)
    loaded = load_bundle(path)
    for part in PARTS:
        expected = getattr(networks, part).state_dict()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in getattr(loaded, part).state_dict().items())
    assert inspect_file(path).contents == inspect_file(bundle).contents
    assert caplog.text.count("512 bytes after the last tensor") == 1


@pytest.mark.parametrize("change", ["shape", "offsets"])
def test_a_damaged_bundle_with_bytes_after_its_last_tensor_is_refused(bundle, tmp_path, change):
    content = bundle.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    entry = header["denoising_unet.conv_in.bias"]
    if change == "shape":
        entry["shape"] = [entry["shape"][0] + 1]
    else:
        entry["data_offsets"][0] += 4
    text = json.dumps(header).encode()
    path = tmp_path / "bad.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[end:] + bytes(512))
    with pytest.raises(WeightsError, match=r"bad\.safetensors is damaged"):
        load_bundle(path)


def test_read_part_of_a_damaged_file(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"not one")
    with pytest.raises(WeightsError, match="damaged"):
        read_bundle_part(tmp_path / "bad.safetensors", "vae")


def test_positions_that_loading_computes_are_not_stored(tmp_path, networks):
    path = tmp_path / "b.safetensors"
    with torch.no_grad():
        positions = networks.audio_encoder.embed_positions.weight
        drawn = positions.clone()
        positions.copy_(sinusoids(*positions.shape))
        save_bundle(path, networks)
        assert "audio_encoder.embed_positions.weight" not in load_file(path)
        assert torch.equal(load_bundle_audio_encoder(path).embed_positions.weight, positions)
        # Others are, and so are ones that were rounded: what is loaded has to be what was saved.
        for other in (positions + 0.5, positions.half().float()):
            positions.copy_(other)
            save_bundle(path, networks)
            assert torch.equal(load_file(path)["audio_encoder.embed_positions.weight"], positions)
        positions.copy_(drawn)


def test_the_bundle_that_ships_is_whole_and_small():
    path = ROOT / "assets" / "demo_bundle.safetensors"
    networks = load_bundle(path, dtype=torch.float32)
    assert networks.audio_encoder is not None and networks.vae is not None
    assert networks.audio_encoder.config.encoder_layers == 6
    assert networks.config.block_out_channels == (64, 64, 64)
    assert "train_demo" in read_bundle_info(path).source
    assert path.stat().st_size < 20e6


# The command


def test_command_makes_a_bundle(folder, tmp_path, networks):
    output = tmp_path / "out.safetensors"
    assert main(["bundle", str(folder), str(output), "--quiet", "--dtype", "float16", "--steps", "8"]) == 0
    loaded = load_bundle(output)
    assert loaded.settings == replace(RECOMMENDED_SETTINGS["accelerated"], steps=8)
    assert torch.equal(loaded.denoiser.conv_out.weight, networks.denoiser.conv_out.weight.half())
    assert "denoising_unet_acc.pth" in read_bundle_info(output).source


def test_command_takes_the_standard_variant_and_leaves_parts_out(folder, tmp_path):
    output = tmp_path / "out.safetensors"
    arguments = [
        "bundle",
        str(folder),
        str(output),
        "--variant",
        "standard",
        "--no-vae",
        "--no-audio-encoder",
        "--quiet",
    ]
    assert main(arguments) == 0
    info = read_bundle_info(output)
    assert info.variant == "standard" and len(info.parts) == 3


def test_command_replaces_only_with_force(folder, tmp_path, capsys):
    output = tmp_path / "out.safetensors"
    output.write_bytes(b"precious")
    assert main(["bundle", str(folder), str(output), "--quiet"]) == 2
    assert "--force" in capsys.readouterr().err
    assert output.read_bytes() == b"precious"
    assert main(["bundle", str(folder), str(output), "--quiet", "--force"]) == 0


def test_command_wants_the_right_suffix(folder, tmp_path, capsys):
    assert main(["bundle", str(folder), str(tmp_path / "out.pth"), "--quiet"]) == 2
    assert "must end in .safetensors" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "more", "words"),
    [
        ("file/out.safetensors", [], "cannot write"),
        ("folder.safetensors", ["--force"], "is a folder"),
        ("out.safetensors", ["--width", "3"], "the setting width must be"),
        ("copied/reference_unet.safetensors", ["--force"], "which it would replace"),
    ],
)
def test_command_looks_at_the_place_before_it_reads_weights(folder, tmp_path, capsys, monkeypatch, output, more, words):
    copied = Path(shutil.copytree(folder, tmp_path / "copied"))
    (copied / "reference_unet.pth").rename(copied / "reference_unet.safetensors")
    (tmp_path / "file").touch()
    (tmp_path / "folder.safetensors").mkdir()
    monkeypatch.setattr("echomimic.cli.bundle.load_weights", lambda *_, **__: pytest.fail("weights were read"))
    assert main(["bundle", str(copied), str(tmp_path / output), "--quiet", *more]) == 2
    assert words in capsys.readouterr().err


def test_command_refuses_a_folder_without_weights(tmp_path, capsys):
    assert main(["bundle", str(tmp_path), str(tmp_path / "out.safetensors"), "--quiet"]) == 2
    assert "lacks denoising_unet_acc.pth" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
