"""State dicts as hosts, trainers and quantisers leave them."""

from __future__ import annotations

import json
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from echomimic.errors import WeightsError
from echomimic.files.state_dicts import check_trained, plain_state
from echomimic.files.tensors import read_state_dict
from echomimic.weights.published import find_weights, plain_stem, variant_of_file

STATE = {"a.weight": torch.randn(16, 8, generator=torch.Generator().manual_seed(0)), "a.bias": torch.ones(16)}


def same(found: dict[str, torch.Tensor], tolerance: float = 0.0) -> bool:
    return found.keys() == STATE.keys() and all(
        torch.allclose(found[name].float(), STATE[name], atol=tolerance) for name in STATE
    )


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "module.",
        "_orig_mod.",
        "model.diffusion_model.",
        "diffusion_model.",
        "module._orig_mod.",
        "net.",
        "model.",
        "unet.",
        "ema.module.",
        "_forward_module.",
        "generator.denoising_unet.",
    ],
)
def test_prefixes_of_wrappers_are_taken_off(prefix):
    assert same(plain_state({prefix + name: tensor for name, tensor in STATE.items()}, "file"))


def test_markers_of_comfyuis_files_are_left_out():
    wrapped = {f"model.diffusion_model.{name}": tensor for name, tensor in STATE.items()}
    assert same(plain_state({**wrapped, "v_pred": torch.tensor([])}, "file"))


@pytest.mark.parametrize("prefix", ["encoder.", "decoder.", "down_blocks.0."])
def test_parts_of_a_network_stay_in_its_names(prefix):
    names = {prefix + name: tensor for name, tensor in STATE.items()}
    assert plain_state(names, "file").keys() == names.keys()


@pytest.mark.parametrize("ending", [".scale", ".weight.scale", ".weight_scale_2", ".weight.absmax", ".amax"])
def test_float8_with_a_scale_of_an_unknown_name_is_refused_not_used_as_it_is(ending):
    stored = {**STATE, "a.weight": STATE["a.weight"].to(torch.float8_e4m3fn), f"a{ending}": torch.ones(1) / 448}
    with pytest.raises(WeightsError, match="a scale of a kind that is not known here"):
        plain_state(stored, "file")


@pytest.mark.parametrize("name", ["a.weight", "a.bias"])
@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32])
def test_weights_of_whole_numbers_are_refused(dtype, name):
    with pytest.raises(WeightsError, match=f"{name} is stored as {str(dtype)[6:]}, a quantisation"):
        plain_state({**STATE, name: (STATE[name] * 100).to(dtype)}, "file")


@pytest.mark.parametrize("ending", [".scale_weight", ".weight_scale", ".weight_scale_inv"])
@pytest.mark.parametrize("rows", [False, True])
def test_scaled_float8_is_multiplied_by_its_scale(ending, rows, caplog):
    scale = STATE["a.weight"].abs().amax(dim=1 if rows else (0, 1), keepdim=rows) / 448
    stored = {
        "a.weight": (STATE["a.weight"] / scale).to(torch.float8_e4m3fn),
        f"a{ending}": scale.reshape(-1) if rows else scale,
        "a.bias": STATE["a.bias"],
        "a.scale_input": torch.ones(1),
        "scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn),
    }
    found = plain_state(stored, "file")
    assert same(found, 0.2) and found["a.weight"].dtype == torch.float16


def test_another_quantisation_is_refused_by_name():
    metadata = torch.tensor(list(json.dumps({"format": "nvfp4"}).encode()), dtype=torch.uint8)
    with pytest.raises(WeightsError, match="format nvfp4"):
        plain_state({**STATE, "a.comfy_quant": metadata}, "file")
    with pytest.raises(WeightsError, match="stored as int8"):
        plain_state({"a.weight": torch.ones(4, 4, dtype=torch.int8), "a.weight_scale": torch.ones(1)}, "file")


@pytest.mark.parametrize("nest", [lambda s: {"model": s, "epoch": 3}, lambda s: {"ema": {"params": s}}, lambda s: s])
def test_weights_under_any_key_are_found(tmp_path, nest):
    torch.save(nest(STATE), tmp_path / "a.pth")
    assert same(read_state_dict(tmp_path / "a.pth"))


def test_of_several_sets_of_weights_the_usual_one_is_taken_and_named(tmp_path, caplog):
    caplog.set_level("INFO")
    half = {name: tensor / 2 for name, tensor in STATE.items()}
    optimiser = {
        "state": {i: {"exp_avg": torch.ones(3)} for i in range(50)},
        **{str(i): torch.ones(1) for i in range(50)},
    }
    torch.save({"optim": optimiser, "ema": half, "model": STATE}, tmp_path / "a.pth")
    assert same(read_state_dict(tmp_path / "a.pth"))
    assert "the weights under 'model' are used, not those under ema" in caplog.text
    torch.save({"optim": {str(i): torch.ones(1) for i in range(50)}, "net": STATE}, tmp_path / "b.pth")
    assert same(read_state_dict(tmp_path / "b.pth"))


def test_an_archive_that_is_no_weights_file_says_what_is_in_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("denoising_unet.pth", b"x")
    with pytest.raises(WeightsError, match=r"an archive with denoising_unet\.pth in it: unpack it first"):
        read_state_dict(tmp_path / "a.pth")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "b.pth"))
    with pytest.raises(WeightsError, match="is a TorchScript program"):
        read_state_dict(tmp_path / "b.pth")


def test_a_name_in_capitals_is_found_and_an_unfinished_download_named(tmp_path):
    (tmp_path / "Pose_Encoder.PTH").touch()
    (tmp_path / "denoising_unet.pth.crdownload").touch()
    with pytest.raises(WeightsError) as refused:
        find_weights(tmp_path, "standard")
    assert "denoising_unet.pth.crdownload is a download that was not finished" in str(refused.value)
    assert "pose_encoder.pth" not in str(refused.value)


def test_bytes_after_the_last_tensor_are_ignored_with_a_note(tmp_path, caplog):
    save_file(STATE, tmp_path / "a.safetensors", {"variant": "standard"})
    with (tmp_path / "a.safetensors").open("ab") as file:
        file.write(bytes(512))
    assert same(read_state_dict(tmp_path / "a.safetensors"))
    assert variant_of_file(tmp_path / "a.safetensors") == "standard"
    assert "512 bytes after the last tensor" in caplog.text


def test_weights_that_are_all_zero_mean_a_download_that_was_cut_off():
    with pytest.raises(WeightsError, match="1 of 2 weights are all zero"):
        check_trained({**STATE, "b.weight": torch.zeros(16, 8)}, "file")
    check_trained({**STATE, "b.proj_out.weight": torch.zeros(16, 8), "b.bias": torch.zeros(99)}, "file")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("denoising_unet (1).pth", "denoising_unet"),
        ("denoising_unet.pth.pth", "denoising_unet"),
        ("denoising_unet_acc(2).safetensors", "denoising_unet_acc"),
        ("tiny - Copy.pt", "tiny"),
        ("pose_encoder.pth", "pose_encoder"),
    ],
)
def test_names_that_a_browser_has_extended(name, stem):
    assert plain_stem(name) == stem


def test_scales_without_their_weights_are_no_weights(tmp_path):
    save_file({"a.scale_weight": torch.ones(1)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="holds no weights"):
        read_state_dict(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"GGUF\x03\0\0\0" + bytes(100), "is a GGUF file"),
        (b'{"metadata": {"total_size": 5}, "weight_map": {}}', "index of weights in several files"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "is a HDF5 file"),
        (b"\x93NUMPY\x01\0" + bytes(50), "is a NumPy array"),
    ],
)
def test_other_programs_weights_are_named(tmp_path, content, words):
    (tmp_path / "denoising_unet.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=words):
        read_state_dict(tmp_path / "denoising_unet.safetensors")


@pytest.mark.parametrize("end", ["Infinity", "1e999", "NaN", "null", "{}", '"8"', "-1"])
def test_a_header_with_impossible_places_is_a_sentence(tmp_path, end):
    text = f'{{"a":{{"dtype":"F32","shape":[2],"data_offsets":[0,{end}]}}}}'.encode()
    (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(16))
    with pytest.raises(WeightsError, match="damaged or cut off"):
        read_state_dict(tmp_path / "a.safetensors")


def test_an_archive_with_a_damaged_list_of_names_is_a_sentence(tmp_path):
    torch.save(STATE, tmp_path / "a.pth")
    content = bytearray((tmp_path / "a.pth").read_bytes())
    place = content.rindex(b"PK\x01\x02")
    content[place + 9] |= 0x08  # names are UTF-8
    content[place + 46] = 0xF3
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(WeightsError, match="is damaged or cut off"):
        read_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize("wrapper", ["_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"])
def test_wrappers_inside_names_are_taken_off(wrapper):
    wrapped = {f"up.0.{wrapper}.conv.weight": STATE["a.weight"], f"{wrapper}.mid.bias": STATE["a.bias"]}
    assert list(plain_state(wrapped, "a")) == ["up.0.conv.weight", "mid.bias"]
    both = {f"a.{wrapper}.weight": STATE["a.weight"], "a.weight": STATE["a.weight"]}
    assert len(plain_state(both, "a")) == 2, "nothing is lost where two names would become one"


def test_an_archive_that_was_packed_again_is_refused_and_not_read_as_other_numbers(tmp_path):
    torch.save(STATE, tmp_path / "a.pth")
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as old,
        zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(WeightsError, match="was packed again with compression"):
        read_state_dict(tmp_path / "b.pth")


def test_sparse_tensors_are_a_sentence(tmp_path):
    torch.save({**STATE, "b.weight": STATE["a.weight"].to_sparse()}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"holds sparse, quantised or empty tensors \(b\.weight\)"):
        read_state_dict(tmp_path / "a.pth")


def test_weights_in_several_parts_are_named(tmp_path):
    for number in (1, 2):
        save_file(STATE, tmp_path / f"denoising_unet-0000{number}-of-00002.safetensors")
    with pytest.raises(WeightsError, match=r"denoising_unet-00001-of-00002\.safetensors, .* are parts: join them"):
        find_weights(tmp_path)
