"""LoRA files of every naming: merged exactly, taken off without a trace, and named when they do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from echomimic.errors import WeightsError
from echomimic.files.tensors import read_state_dict
from echomimic.models import RECOMMENDED_SETTINGS, DenoisingUNet, Networks, PoseEncoder, ReferenceUNet, UNetConfig
from echomimic.weights.lora import LowRank, apply_lora, save_lora, split_strength

CONFIG = UNetConfig((32, 64), layers_per_block=1, attention_heads=4, norm_num_groups=8, audio_dim=24)
LAYER = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_out.0"


@pytest.fixture
def networks() -> Networks:
    torch.manual_seed(0)
    return Networks(
        CONFIG,
        "standard",
        DenoisingUNet(CONFIG),
        ReferenceUNet(CONFIG),
        PoseEncoder(32),
        RECOMMENDED_SETTINGS["standard"],
    )


def pair(inputs: int, outputs: int, rank: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rank, inputs, generator=generator), torch.randn(outputs, rank, generator=generator)


def with_alpha(down: torch.Tensor, up: torch.Tensor, alpha: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """A file with an adaptation and its alpha."""
    return {
        **dict(zip(NAMINGS["comfyui"], (down, up))),
        f"diffusion_model.{LAYER}.alpha": torch.tensor(1.0) if alpha is None else alpha,
    }


def write(path: Path, **tensors: torch.Tensor) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


NAMINGS = {
    "comfyui": (f"diffusion_model.{LAYER}.lora_down.weight", f"diffusion_model.{LAYER}.lora_up.weight"),
    "comfyui A and B": (f"diffusion_model.{LAYER}.lora_A.weight", f"diffusion_model.{LAYER}.lora_B.weight"),
    "kohya": tuple(f"lora_unet_{LAYER.replace('.', '_')}.lora_{part}.weight" for part in ("down", "up")),
    "diffusers": (f"unet.{LAYER}.lora_A.weight", f"unet.{LAYER}.lora_B.weight"),
    "diffusers, older": (f"unet.{LAYER}.lora.down.weight", f"unet.{LAYER}.lora.up.weight"),
    "peft": (f"base_model.model.{LAYER}.lora_A.weight", f"base_model.model.{LAYER}.lora_B.weight"),
    "peft's state": (f"denoising_unet.{LAYER}.lora_A.default.weight", f"denoising_unet.{LAYER}.lora_B.default.weight"),
}


@pytest.mark.parametrize("naming", NAMINGS)
def test_every_naming_is_merged_exactly_and_taken_off_without_a_trace(
    networks: Networks, tmp_path: Path, naming: str
) -> None:
    down, up = pair(64, 64)
    path = write(tmp_path / "x.safetensors", **dict(zip(NAMINGS[naming], (down, up))))
    before = {name: tensor.clone() for name, tensor in networks.denoiser.state_dict().items()}
    applied = apply_lora(networks, path, 0.5)
    after = networks.denoiser.state_dict()
    assert torch.allclose(after[f"{LAYER}.weight"], before[f"{LAYER}.weight"] + 0.5 * up @ down, atol=1e-6)
    assert [name for name in before if not torch.equal(before[name], after[name])] == [f"{LAYER}.weight"]
    assert (applied.layers, applied.unused) == (1, [])
    applied.remove()
    assert all(torch.equal(before[name], tensor) for name, tensor in networks.denoiser.state_dict().items())


def test_alpha_divides_by_the_rank(networks: Networks, tmp_path: Path) -> None:
    down, up = pair(64, 64, rank=4)
    names = NAMINGS["kohya"]
    alpha = names[0].replace(".lora_down.weight", ".alpha")
    before = networks.denoiser.get_submodule(LAYER).weight.clone()
    apply_lora(networks, write(tmp_path / "x.safetensors", **{names[0]: down, names[1]: up, alpha: torch.tensor(2.0)}))
    assert torch.allclose(networks.denoiser.get_submodule(LAYER).weight, before + 0.5 * up @ down, atol=1e-5)


def test_a_convolution(networks: Networks, tmp_path: Path) -> None:
    layer = "mid_block.resnets.0.conv1"
    generator = torch.Generator().manual_seed(2)
    down, up = torch.randn(2, 64, 3, 3, generator=generator), torch.randn(64, 2, 1, 1, generator=generator)
    before = networks.denoiser.get_submodule(layer).weight.clone()
    stem = f"lora_unet_{layer.replace('.', '_')}"
    apply_lora(
        networks, write(tmp_path / "x.safetensors", **{f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up})
    )
    expected = before + torch.einsum("or,rixy->oixy", up[:, :, 0, 0], down)
    assert torch.allclose(networks.denoiser.get_submodule(layer).weight, expected, atol=1e-5)


def test_what_is_saved_is_what_comfyui_reads_and_comes_back(networks: Networks, tmp_path: Path) -> None:
    down, up = pair(64, 64)
    path = tmp_path / "x.safetensors"
    save_lora(
        path, {("denoising_unet", LAYER): LowRank(down, up, 2.0), ("reference_unet", LAYER): LowRank(down, up)}, {}
    )
    assert set(read_state_dict(path, plain=False)) == {
        f"{network}.{LAYER}.{part}"
        for network in ("diffusion_model", "reference_unet")
        for part in ("lora_down.weight", "lora_up.weight", "alpha")
    }
    before = [network.get_submodule(LAYER).weight.clone() for network in (networks.denoiser, networks.reference_unet)]
    apply_lora(networks, path)
    assert torch.allclose(networks.denoiser.get_submodule(LAYER).weight, before[0] + 2 * up @ down, atol=1e-5)
    assert torch.allclose(networks.reference_unet.get_submodule(LAYER).weight, before[1] + up @ down, atol=1e-5)


def test_the_output_layers_place_in_a_list_is_found(networks: Networks, tmp_path: Path) -> None:
    down, up = pair(32, 32)
    stem = f"lora_unet_{OUT.replace('.', '_')}"
    path = write(tmp_path / "x.safetensors", **{f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up})
    assert apply_lora(networks, path).layers == 1


def test_what_has_no_place_is_named(networks: Networks, tmp_path: Path) -> None:
    down, up = pair(64, 64)
    text = {"lora_te_text_model_encoder.lora_down.weight": down.clone()}
    path = write(tmp_path / "x.safetensors", **dict(zip(NAMINGS["comfyui"], (down, up))), **text)
    assert apply_lora(networks, path).unused == list(text)


@pytest.mark.parametrize("name", ["dora_scale", "lora_magnitude_vector.weight"])
def test_a_dora_is_not_taken_for_a_lora(networks: Networks, tmp_path: Path, name: str) -> None:
    tensors = {**dict(zip(NAMINGS["comfyui"], pair(64, 64))), f"diffusion_model.{LAYER}.{name}": torch.ones(64, 1)}
    with pytest.raises(WeightsError, match=r"is a DoRA .* train or export a plain LoRA"):
        apply_lora(networks, write(tmp_path / "x.safetensors", **tensors))


def test_a_lora_that_changes_nothing_is_noted(networks: Networks, tmp_path: Path, caplog) -> None:
    down, up = pair(64, 64)
    apply_lora(networks, write(tmp_path / "x.safetensors", **dict(zip(NAMINGS["comfyui"], (down, up)))))
    assert not caplog.text
    apply_lora(networks, write(tmp_path / "y.safetensors", **dict(zip(NAMINGS["comfyui"], (down, up * 0)))))
    assert "changes nothing: all that it adds is zero" in caplog.text


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"other.weight": torch.zeros(2, 2)}, "has no LoRA for EchoMimicV2's networks: its tensors are other.weight"),
        ({NAMINGS["comfyui"][0]: torch.zeros(2, 64)}, "lacks the tensor lora_up of denoising_unet.mid_block"),
        (dict(zip(NAMINGS["comfyui"], pair(48, 64))), r"of another size: .* is \[64, 64\], the file's .* \[2, 48\]"),
        # Malformed ones: of rank 0, of too few axes, with an up of the size of a kernel, with two alphas.
        (with_alpha(torch.ones(0, 64), torch.ones(64, 0)), r"of another size: .* \[64, 0\] x \[0, 64\]"),
        (with_alpha(torch.ones(()), torch.ones(64, 2)), r"of another size: .* \[64, 2\] x \[\]"),
        (with_alpha(torch.ones(2, 64), torch.ones(64)), r"of another size: .* \[64\] x \[2, 64\]"),
        (with_alpha(torch.ones(2, 64), torch.ones(64, 2, 3, 3)), r"of another size: .* \[64, 2, 3, 3\]"),
        (
            with_alpha(*pair(64, 64), torch.ones(2)),
            r"alpha of denoising_unet\.mid_block.* has 2 numbers, not one",
        ),
    ],
)
def test_files_that_do_not_fit(networks: Networks, tmp_path: Path, tensors: dict, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        apply_lora(networks, write(tmp_path / "x.safetensors", **tensors))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.safetensors", (Path("a.safetensors"), 1.0)),
        ("a.safetensors:0.8", (Path("a.safetensors"), 0.8)),
        ("a.safetensors:-1", (Path("a.safetensors"), -1.0)),
        (r"C:\loras\a.safetensors", (Path(r"C:\loras\a.safetensors"), 1.0)),
        (r"C:\loras\a.safetensors:.5", (Path(r"C:\loras\a.safetensors"), 0.5)),
        (Path("a b.safetensors").absolute().as_uri(), (Path("a b.safetensors").absolute(), 1.0)),
        (Path("a b.safetensors").absolute().as_uri() + ":0.8", (Path("a b.safetensors").absolute(), 0.8)),
    ],
)
def test_strength_of_the_command_line(text: str, expected: tuple[Path, float]) -> None:
    assert split_strength(text) == expected


def test_a_strength_that_is_not_a_number(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="comes a strength such as"):
        split_strength(f"{tmp_path / 'a.safetensors'}:much")


def test_the_command_line_renders_with_a_lora(small_bundle: Path, tmp_path: Path) -> None:
    from echomimic.cli.main import main
    from echomimic.weights import load_bundle
    from tests.conftest import ROOT

    assets = ROOT / "assets"
    denoiser = load_bundle(small_bundle).denoiser
    layers = [name for name, _ in denoiser.named_modules() if name.endswith("attn1.to_v")]
    width = denoiser.get_submodule(layers[0]).weight.shape[0]
    low_rank = LowRank(torch.full((1, width), 5.0), torch.full((width, 1), 5.0))
    save_lora(tmp_path / "x.safetensors", {("denoising_unet", name): low_rank for name in layers}, {})
    files = []
    for strength in ("0", "1"):
        output = tmp_path / strength
        code = main(
            [
                "generate", "--image", str(assets / "portrait.png"), "--audio", str(assets / "speech.wav"), "--png",
                "--output", str(output), "--bundle", str(small_bundle), "--frames", "1",
                "--steps", "1", "--width", "64", "--height", "64", "--device", "cpu", "--quiet",
                "--lora", f"{tmp_path / 'x.safetensors'}:{strength}",
            ]
        )  # fmt: skip
        assert code == 0
        files.append((output / "00000.png").read_bytes())
    assert files[0] != files[1]


class TestAlphaOfPeft:
    """peft keeps alpha in its configuration, diffusers in the header; neither has a tensor for it."""

    def difference(self, networks: Networks, path: Path) -> float:
        """How many times the pair's product was added."""
        weight = networks.denoiser.get_submodule(LAYER).weight
        before = weight.detach().clone()
        apply_lora(networks, path)
        down, up = pair(64, 64, rank=4)
        return float(((weight - before) / (up @ down)).median())

    def adapter(self, folder: Path, name: str = "adapter_model", metadata: dict[str, str] | None = None) -> Path:
        path = folder / f"{name}.safetensors"
        save_file(dict(zip(NAMINGS["peft"], pair(64, 64, rank=4))), path, metadata)
        return path

    @pytest.mark.parametrize(
        ("settings", "factor"),
        [
            ({"lora_alpha": 16, "r": 4}, 4.0),
            ({"lora_alpha": 16, "r": 4, "use_rslora": True}, 8.0),
            ({"lora_alpha": 16, "r": 4, "alpha_pattern": {"attn1.to_q": 2, "to_q": 32}}, 0.5),
            ({"lora_alpha": 16, "r": 4, "alpha_pattern": {"attn2.to_q": 2}}, 4.0),
            ({"r": 4}, 1.0),
        ],
    )
    def test_of_the_configuration_beside_it(
        self, networks: Networks, tmp_path: Path, settings: dict[str, object], factor: float
    ) -> None:
        (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
        assert self.difference(networks, self.adapter(tmp_path)) == pytest.approx(factor, rel=1e-3)

    def test_of_the_header(self, networks: Networks, tmp_path: Path) -> None:
        entry = json.dumps({"unet.lora_alpha": 8, "unet.r": 4, "unet.alpha_pattern": {}})
        path = self.adapter(tmp_path, "pytorch_lora_weights", {"format": "pt", "lora_adapter_metadata": entry})
        assert self.difference(networks, path) == pytest.approx(2.0, rel=1e-3)

    def test_another_file_beside_the_configuration_is_not_its_own(self, networks: Networks, tmp_path: Path) -> None:
        (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 16}))
        assert self.difference(networks, self.adapter(tmp_path, "another")) == pytest.approx(1.0, rel=1e-3)

    @pytest.mark.parametrize(
        "content", ["[]", '{"lora_alpha": "strong"}', '{"lora_alpha": 1, "alpha_pattern": {"(": 1}}']
    )
    def test_a_configuration_of_another_kind_is_named(self, networks: Networks, tmp_path: Path, content: str) -> None:
        (tmp_path / "adapter_config.json").write_text(content)
        with pytest.raises(WeightsError, match=r"adapter_config\.json does not say how strong"):
            apply_lora(networks, self.adapter(tmp_path))
