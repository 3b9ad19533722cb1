"""The VAE in all its forms; decoding in chunks that shrink; the golden first frames."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from echomimic.errors import DeviceMemoryError, EchoMimicError, ImageError, WeightsError
from echomimic.vae import SCALE, decode_frames, encode_reference, load_vae, vae_from_state_dict
from echomimic.vae.coding import decode_pictures
from tests.golden_cases import GoldenCase, relative_error
from tests.recipe import fill

SMALL = {
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "latent_channels": 4,
}


def make_vae(**changes):
    from diffusers import AutoencoderKL

    return fill(AutoencoderKL(**{**SMALL, **changes}), "v.").eval()


@pytest.fixture(scope="module")
def vae():
    return make_vae()


def golden_vae(case):
    widths = tuple(case.meta["vae_block_out_channels"])
    vae = make_vae(
        block_out_channels=widths,
        layers_per_block=case.meta["vae_layers_per_block"],
        norm_num_groups=case.meta["vae_norm_num_groups"],
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
    )
    return fill(vae, f"{case.meta['salt']}vae.")


@pytest.mark.parametrize("name", ["sample_standard", "sample_accelerated", "sample_short"])
def test_golden_reference_and_first_frame(name):
    case = GoldenCase.read(name)
    vae = golden_vae(case)
    latents = encode_reference(vae, case.tensors["reference_image"].numpy())
    assert relative_error(latents, case.tensors["reference_latents"]) <= 1e-3

    with torch.no_grad():
        decoded = vae.decode(case.tensors["latents"][:, :, 0] / SCALE).sample
    assert relative_error((decoded / 2 + 0.5).clamp(0, 1), case.tensors["frame0"]) <= 1e-3
    frame = next(decode_frames(vae, case.tensors["latents"]))[0]
    golden = (case.tensors["frame0"][0].permute(1, 2, 0) * 255).round().numpy()
    assert np.abs(frame - golden).max() <= 1


def single_file_names(state):
    """The names of the latent diffusion code for diffusers' VAE of two levels."""
    renamed = {}
    for name, tensor in state.items():
        new = re.sub(r"\.up_blocks\.(\d)\.", lambda m: f".up.{1 - int(m[1])}.", name)
        new = new.replace(".down_blocks.", ".down.")
        new = re.sub(r"\.mid_block\.resnets\.(\d)\.", lambda m: f".mid.block_{int(m[1]) + 1}.", new)
        new = re.sub(r"\.resnets\.(\d)\.", r".block.\1.", new)
        new = new.replace(".downsamplers.0.", ".downsample.").replace(".upsamplers.0.", ".upsample.")
        new = new.replace("mid_block.attentions.0.group_norm", "mid.attn_1.norm")
        new = re.sub(r"mid_block\.attentions\.0\.to_([qkv])\.", r"mid.attn_1.\1.", new)
        new = new.replace("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out")
        new = new.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        convolution = ".attn_1." in new and tensor.ndim == 2
        renamed[new] = (tensor[:, :, None, None] if convolution else tensor).clone()
    return renamed


def old_names(state):
    """diffusers' names of 2022, which the published files have."""
    pairs = (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn"))
    renamed = {}
    for name, tensor in state.items():
        for new, old in pairs:
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
        renamed[name] = tensor.clone()
    return renamed


@pytest.mark.parametrize("form", ["folder", "old folder", "single file", "first stage of a checkpoint", "state dict"])
def test_every_form_gives_the_same_vae(tmp_path, vae, form):
    state = vae.state_dict()
    if form == "folder":
        vae.save_pretrained(tmp_path / "vae")
        loaded = load_vae(tmp_path / "vae")
    elif form == "old folder":
        vae.save_pretrained(tmp_path / "vae")
        save_file(old_names(state), tmp_path / "vae" / "diffusion_pytorch_model.safetensors")
        loaded = load_vae(tmp_path / "vae")
    elif form == "state dict":
        loaded = vae_from_state_dict(state, {"norm_num_groups": 32})
    else:
        prefix = "first_stage_model." if form.startswith("first") else ""
        tensors = {f"{prefix}{name}": tensor for name, tensor in single_file_names(state).items()}
        save_file({**tensors, "model_ema.decay": torch.ones(1)}, tmp_path / "vae.safetensors")
        loaded = load_vae(tmp_path / "vae.safetensors")
    assert loaded.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.state_dict().items())


@torch.no_grad()
def test_the_chosen_precision_is_the_vaes_in_every_pass(tmp_path, vae):
    """A VAE that is loaded in bfloat16 gives bfloat16's rounding, not float32's pictures."""
    vae.save_pretrained(tmp_path)
    half, full = load_vae(tmp_path, dtype=torch.bfloat16), load_vae(tmp_path)
    assert {tensor.dtype for tensor in half.state_dict().values()} == {torch.bfloat16}
    portrait = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    expected = encode_reference(full, portrait)
    difference = relative_error(encode_reference(half, portrait).float(), expected)
    assert 1e-4 < difference < 0.05


def test_number_of_groups_is_taken_from_the_folder(tmp_path):
    make_vae(norm_num_groups=16).save_pretrained(tmp_path)
    assert load_vae(tmp_path).decoder.conv_norm_out.num_groups == 16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("decoder.conv_out.bias"), r"lacks 1 tensors of the VAE: decoder\.conv_out\.bias"),
        (
            lambda s: s.update({"decoder.conv_out.bias": torch.ones(5)}),
            r"decoder\.conv_out\.bias is \[5\] instead of \[3\]",
        ),
        (lambda s: s.update({"decoder.conv_out.bias": torch.full((3,), float("inf"))}), "holds NaN or infinite"),
        (lambda s: s.clear(), "holds no VAE"),
        (lambda s: s.update({"decoder.conv_in.weight": torch.ones(64, 16, 3, 3)}), "VAE of 16 latent channels"),
    ],
)
def test_bad_weights_are_named(vae, change, message):
    state = dict(vae.state_dict())
    change(state)
    with pytest.raises(WeightsError, match=message):
        vae_from_state_dict(state)


@pytest.mark.parametrize("spoiled", [None, torch.ones(7), torch.tensor(1.0)])
def test_every_missing_or_misshaped_tensor_is_an_error_of_ours(vae, spoiled):
    whole = vae.state_dict()
    for name in whole:
        state = {key: tensor for key, tensor in whole.items() if key != name or spoiled is not None}
        if spoiled is not None:
            state[name] = spoiled
        with pytest.raises(WeightsError):
            vae_from_state_dict(state)


@pytest.mark.parametrize("groups", [0, 7, None, "many"])
def test_impossible_number_of_groups_is_named(vae, groups):
    with pytest.raises(WeightsError, match=f"cannot be normalised in {groups} groups"):
        vae_from_state_dict(vae.state_dict(), {"norm_num_groups": groups})


def test_folder_without_weights_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"holds neither diffusion_pytorch_model\.safetensors"):
        load_vae(tmp_path)


def test_damaged_config_is_named(tmp_path, vae):
    vae.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json is not a JSON file"):
        load_vae(tmp_path)


@pytest.mark.parametrize("chunk", [1, 3, 4, 100])
def test_chunks_do_not_change_the_frames(vae, chunk):
    latents = torch.randn(1, 4, 7, 8, 6, generator=torch.Generator().manual_seed(0))
    chunks = list(decode_frames(vae, latents, chunk))
    assert all(len(part) <= chunk for part in chunks)
    frames = np.concatenate(chunks)
    assert frames.shape == (7, 16, 12, 3) and frames.dtype == np.uint8
    single = np.concatenate([decode_pictures(vae, latents[0, :, i : i + 1].transpose(0, 1)) for i in range(7)])
    assert np.abs(frames.astype(int) - single).max() <= 1


class SmallDevice:
    """A VAE on a device that holds so many frames."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, holds: int) -> None:
        self.holds, self.asked = holds, []

    def decode(self, latents):
        self.asked.append(len(latents))
        if len(latents) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return SimpleNamespace(sample=latents[:, :3].repeat_interleave(8, 2).repeat_interleave(8, 3))


def test_full_device_is_given_fewer_frames():
    device = SmallDevice(holds=2)
    frames = np.concatenate(list(decode_frames(device, torch.zeros(1, 4, 7, 2, 2), chunk=8)))
    assert len(frames) == 7
    assert device.asked == [7, 3, 1, 1, 1, 1, 1, 1, 1]


def test_device_that_holds_no_frame_is_an_error():
    with pytest.raises(DeviceMemoryError, match="even one frame of 768x512"):
        list(decode_frames(SmallDevice(holds=0), torch.zeros(1, 4, 4, 64, 96)))


def test_portrait_that_does_not_fit_the_device_is_an_error():
    class Full(SmallDevice):
        def encode(self, pixels):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(DeviceMemoryError, match="encode the portrait of 96x64"):
        encode_reference(Full(0), np.zeros((64, 96, 3), np.uint8))


def test_other_failures_pass_through():
    class Broken(SmallDevice):
        def decode(self, latents):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        list(decode_frames(Broken(1), torch.zeros(1, 4, 1, 2, 2)))


def test_latents_that_are_not_finite_are_refused(vae):
    with pytest.raises(EchoMimicError, match="latents hold NaN"):
        list(decode_frames(vae, torch.full((1, 4, 1, 8, 8), float("nan"))))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((64, 60, 3), np.uint8), "multiples of 8, got 60x64"),
        (np.zeros((64, 64, 4), np.uint8), r"got uint8 \[64, 64, 4\]"),
        (np.zeros((64, 64, 1), np.uint8), r"got uint8 \[64, 64, 1\]"),
        (np.zeros((64, 64, 3), np.float32), "got float32"),
    ],
)
def test_portraits_of_another_kind_are_refused(vae, image, message):
    with pytest.raises(ImageError, match=message):
        encode_reference(vae, image)
