"""State dicts as hosts, trainers and quantisers leave them."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from echomimic.errors import WeightsError
from echomimic.files.state_dicts import check_trained, plain_state
from echomimic.files.tensors import read_state_dict
from echomimic.weights.published import plain_stem, variant_of_file

STATE = {"a.weight": torch.randn(16, 8, generator=torch.Generator().manual_seed(0)), "a.bias": torch.ones(16)}


def same(found: dict[str, torch.Tensor], tolerance: float = 0.0) -> bool:
    return found.keys() == STATE.keys() and all(
        torch.allclose(found[name].float(), STATE[name], atol=tolerance) for name in STATE
    )


@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "model.diffusion_model.", "diffusion_model.", "module._orig_mod."]
)
def test_prefixes_of_wrappers_are_taken_off(prefix):
    assert same(plain_state({prefix + name: tensor for name, tensor in STATE.items()}, "file"))


def test_markers_of_comfyuis_files_are_left_out():
    wrapped = {f"model.diffusion_model.{name}": tensor for name, tensor in STATE.items()}
    assert same(plain_state({**wrapped, "v_pred": torch.tensor([])}, "file"))


@pytest.mark.parametrize("ending", [".scale_weight", ".weight_scale"])
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
    with pytest.raises(WeightsError, match="int8 with a scale"):
        plain_state({"a.weight": torch.ones(4, 4, dtype=torch.int8), "a.weight_scale": torch.ones(1)}, "file")


@pytest.mark.parametrize("nest", [lambda s: {"model": s, "epoch": 3}, lambda s: {"ema": {"params": s}}, lambda s: s])
def test_weights_under_any_key_are_found(tmp_path, nest):
    torch.save(nest(STATE), tmp_path / "a.pth")
    assert same(read_state_dict(tmp_path / "a.pth"))


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
