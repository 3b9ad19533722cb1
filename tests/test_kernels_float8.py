"""Float8 layers are as exact as float8 can be, save memory, and work with moving, resuming, compiling and bundling."""

from __future__ import annotations

import types

import pytest
import torch
from torch import nn

from echomimic.cli import generate
from echomimic.cli.main import main
from echomimic.errors import CheckpointError, WeightsError
from echomimic.files.fingerprint import hash_weights
from echomimic.kernels import float8
from echomimic.kernels import layers as operations
from echomimic.kernels.float8 import FLOAT8, Float8Linear, describe_float8, float8_layers, scale_rows, to_float8
from echomimic.models import DenoisingUNet
from echomimic.runtime.checkpoint import RenderCheckpoint
from echomimic.weights import load_bundle, load_weights, save_bundle
from tests.golden_cases import relative_error
from tests.recipe import fill
from tests.test_cli import arguments, bundle, inputs, weights
from tests.test_runtime_checkpoint import Stop, stop_at
from tests.tiny import CONFIG, clip_arguments, sample

__all__ = ["bundle", "inputs", "weights"]  # fixtures


def multiplies_here() -> bool:
    """Whether this torch multiplies float8 on a CPU: slow, but enough to test the products."""
    one = torch.ones((), dtype=torch.float32)
    eye = torch.eye(16, 32).to(FLOAT8)
    try:
        torch._scaled_mm(eye, eye.t(), one, one, out_dtype=torch.bfloat16)
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
    return True


@pytest.fixture(params=["cast", "multiply_rows", "multiply_plain"])
def product(request):
    """How a layer comes by its result: the weight cast, or one of the two float8 products."""
    if request.param == "cast":
        return None
    if not multiplies_here():
        pytest.skip("this torch does not multiply float8 on a CPU")
    return getattr(float8, request.param)


@pytest.fixture
def narrow(monkeypatch):
    """Let the layers of tiny networks count as wide."""
    monkeypatch.setattr(float8, "MIN_SIDE", 32)


def layer(inputs=320, outputs=640, bias=True):
    torch.manual_seed(0)
    plain = operations.Linear(inputs, outputs, bias=bias).requires_grad_(False)
    # Rows and tokens of very different sizes: one scale for all would lose the small ones.
    plain.weight *= torch.logspace(-2, 1, outputs)[:, None]
    tokens = torch.randn(3, 70, inputs) * torch.logspace(-2, 2, 70)[:, None]
    return plain, tokens


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_layer_is_within_float8s_rounding(product, dtype, bias):
    plain, tokens = layer(bias=bias)
    kept = Float8Linear(plain)
    kept.product = product
    result = kept(tokens.to(dtype))
    assert result.dtype == dtype and result.shape == (3, 70, 640)
    exact = plain(tokens).double()
    without_bias = exact - (0 if plain.bias is None else plain.bias.double())
    # Every token and every row of the weight counts alike, the smallest as much as the largest.
    sizes = tokens.double().norm(dim=-1, keepdim=True)
    error, size = (((x / sizes).flatten(0, 1)).norm(dim=0) for x in (result.double() - exact, without_bias))
    if bias:  # next to a bias, tokens a thousand times smaller are below the precision that they flow in
        assert relative_error(result, exact) < 4e-2
    else:
        assert error.norm() / size.norm() < 4e-2
        assert (error / size).max() < 6e-2


@torch.no_grad()
def test_rounding_is_unbiased(product):
    plain, tokens = layer(bias=False)
    plain.weight.abs_()
    kept = Float8Linear(plain)
    kept.product = product
    # Sums of positive numbers, where a bias of the rounding would add up.
    exact = plain(tokens.abs())
    assert abs((kept(tokens.abs()) / exact).mean() - 1) < 2e-3


def test_scales_reach_zeros_and_extremes():
    rows = torch.tensor([[0.0, 0, 0, 0], [1e-30, -2e-30, 0, 1e-31], [6e4, -1, 3e4, 2], [-3e38, 1e38, 0, 0]])
    cast, scales = scale_rows(rows)
    back = cast.float() * scales
    assert back.isfinite().all() and (cast.float().abs().amax(1)[1:] == 448).all()
    assert (back[0] == 0).all() and relative_error(back[1:], rows[1:]) < 4e-2


def test_cast_in_pieces_is_the_same_cast(monkeypatch):
    rows = torch.randn(50, 32)
    whole = scale_rows(rows)
    monkeypatch.setattr(float8, "CAST_BYTES", 1000)
    for value, expected in zip(scale_rows(rows), whole):
        assert torch.equal(value.float(), expected.float())


@torch.no_grad()
def test_few_tokens_are_not_multiplied_in_float8():
    plain, tokens = layer()
    kept = Float8Linear(plain)
    kept.product = None
    expected = kept(tokens[:1, :15])

    def never(*_):
        raise AssertionError("float8 product of 15 tokens")

    kept.product = never
    assert torch.equal(kept(tokens[:1, :15]), expected)


def test_memory_shrinks():
    plain, _ = layer()
    kept = Float8Linear(plain)
    held = sum(tensor.nbytes for tensor in kept.state_dict().values())
    assert held == 320 * 640 + 4 * 640 + 4 * 640
    assert kept.weight.untyped_storage().nbytes() == 320 * 640


def test_wide_layers_are_chosen_and_others_left_alone():
    network = nn.ModuleDict(
        {
            "wide": operations.Linear(320, 336),
            "narrow": operations.Linear(304, 640),
            "odd": operations.Linear(320, 330),
            "time_emb_proj": operations.Linear(640, 640),
            "foreign": nn.Linear(640, 640),
            "conv": operations.Conv2d(320, 320, 1),
            "list": nn.ModuleList([nn.Identity(), operations.Linear(320, 320)]),
        }
    )
    assert to_float8(network) == 2
    assert {name for name, module in network.named_modules() if isinstance(module, Float8Linear)} == {"wide", "list.1"}


def test_denoiser_keeps_names_and_its_outer_layers(narrow):
    denoiser = fill(DenoisingUNet(CONFIG), "s.")
    before = denoiser.state_dict()
    count = to_float8(denoiser)
    after = denoiser.state_dict()
    extra = after.keys() - before.keys()
    assert before.keys() <= after.keys() and len(extra) == count > 0
    assert all(name.endswith(".weight_scale") for name in extra)
    cast = {name for name, tensor in after.items() if tensor.dtype == FLOAT8}
    assert not any(word in name for name in cast for word in ("time_emb", "conv", "norm", "bias", "pe"))
    assert {"down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"} < cast


def test_whole_runs_stay_near(narrow, product):
    exact = sample(**clip_arguments(frames=4))
    given = clip_arguments(frames=4)
    to_float8(given["denoiser"])
    for module in float8_layers(given["denoiser"]):
        module.product = product
    # Recipe weights pass errors on undamped through every layer, step and the guidance; a wrong scale gives about 1.
    assert 0 < relative_error(sample(**given), exact) < 0.2


def test_precision_of_weights_survives_a_cast_and_a_move(monkeypatch):
    plain, _ = layer()
    kept = Float8Linear(plain)
    weight = kept.weight.float().clone()
    moved = nn.Sequential(kept).half().to("cpu")[0]
    assert moved.weight.dtype == FLOAT8 and torch.equal(moved.weight.float(), weight)
    assert moved.weight_scale.dtype == torch.float32 and moved.bias.dtype == torch.float16
    assert not moved.weight.requires_grad
    # Where the weight arrives it is multiplied as that device does it, if the layer has outputs enough for that to pay.
    monkeypatch.setattr(float8, "product_for", lambda device: f"as {device.type} does")
    assert kept.to("meta").product is None
    monkeypatch.setattr(float8, "MIN_OUTPUTS", kept.out_features)
    assert kept.to("meta").product == "as meta does"


@pytest.mark.skipif(not multiplies_here(), reason="this torch does not multiply float8 on a CPU")
def test_product_is_found_by_trying(monkeypatch):
    assert float8.product_for(torch.device("cpu")) is None
    monkeypatch.setattr(float8, "has_float8", lambda device: True)
    cpu, find = torch.device("cpu"), float8.product_for.__wrapped__
    assert find(cpu) is float8.multiply_rows

    def refuse(*_):
        raise RuntimeError("no scales for rows here")

    monkeypatch.setattr(float8, "multiply_rows", refuse)
    assert find(cpu) is float8.multiply_plain
    monkeypatch.setattr(float8, "multiply_plain", lambda *_: torch.zeros(16, 16))
    assert find(cpu) is None


@pytest.mark.parametrize(("capability", "hip", "has"), [((8, 9), None, 1), ((8, 6), None, 0), ((9, 4), "6.2", 0)])
def test_devices_that_multiply_float8(monkeypatch, capability, hip, has):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert float8.has_float8(torch.device("cuda")) == bool(has)


@torch.no_grad()
def test_compiled_layer_is_one_graph_and_gives_the_same(product):
    plain, tokens = layer()
    kept = Float8Linear(plain)
    kept.product = product
    torch._dynamo.reset()
    compiled = torch.compile(kept, backend="eager", fullgraph=True, dynamic=False)
    # (Where oneDNN multiplies float32, compiled layers still go to MKL: the rounding differs.)
    assert relative_error(compiled(tokens), kept(tokens)) < 1e-5
    torch._dynamo.reset()


def test_resumed_runs_are_the_same_and_do_not_mix(narrow, tmp_path):
    def given():
        arguments = clip_arguments(frames=6)
        to_float8(arguments["denoiser"])
        return arguments

    whole = sample(**given())
    with pytest.raises(Stop):
        sample(**given(), checkpoint=RenderCheckpoint(tmp_path / "s.safetensors", 0), on_progress=stop_at(3))
    assert torch.equal(sample(**given(), checkpoint=RenderCheckpoint(tmp_path / "s.safetensors", 0)), whole)
    with pytest.raises(CheckpointError, match="weights"):
        sample(**clip_arguments(frames=6), checkpoint=RenderCheckpoint(tmp_path / "s.safetensors", 0))


def test_scales_count_in_the_hash():
    kept = Float8Linear(layer()[0])
    before = hash_weights(kept)
    kept.weight_scale *= 2
    assert hash_weights(kept) != before


def test_networks_in_float8_are_not_bundled(narrow, bundle, tmp_path):
    networks = load_bundle(bundle, float8=True)
    assert float8_layers(networks.denoiser) and not float8_layers(networks.reference_unet)
    with pytest.raises(WeightsError, match="without float8"):
        save_bundle(tmp_path / "a.safetensors", networks)
    assert not list(tmp_path.iterdir())


def test_layers_of_a_host_are_refused(bundle, weights):
    host = types.SimpleNamespace(**{name: getattr(nn, name) for name in ("Linear", "Conv2d", "GroupNorm", "LayerNorm")})
    with pytest.raises(WeightsError, match="own layers"):
        load_weights(weights, "accelerated", operations=host, float8=True)
    with pytest.raises(WeightsError, match="own layers"):
        load_bundle(bundle, operations=host, float8=True)


def test_description_depends_on_the_device(narrow, monkeypatch):
    denoiser = DenoisingUNet(CONFIG)
    to_float8(denoiser)
    assert "saves memory but no time" in describe_float8(denoiser, "cpu")
    monkeypatch.setattr(float8, "product_for", lambda device: float8.multiply_rows)
    assert describe_float8(denoiser, "cuda").endswith("and the 0 with 5120 outputs or more are multiplied in float8")
    monkeypatch.setattr(float8, "MIN_OUTPUTS", 8 * CONFIG.block_out_channels[0])
    wide = sum(layer.out_features >= float8.MIN_OUTPUTS for layer in float8_layers(denoiser))
    assert wide and f"the {wide} with" in describe_float8(denoiser, "cuda")


@pytest.mark.parametrize("source", ["weights", "bundle"])
def test_command_line_logs_the_stored_layers(source, narrow, tmp_path, request, inputs, caplog):
    given = [f"--{source}", str(request.getfixturevalue(source)), "--variant", "accelerated", "--float8"]
    caplog.set_level("INFO")
    assert main(arguments(inputs, tmp_path / "a.mp4", given, "--frames", "2")) == 0
    assert "linear layers are stored in float8" in caplog.text and "cpu does not multiply float8" in caplog.text


def test_command_line_logs_where_it_changes_nothing(tmp_path, bundle, inputs, caplog):
    caplog.set_level("INFO")
    assert main(arguments(inputs, tmp_path / "a.mp4", ["--bundle", str(bundle), "--float8"], "--frames", "2")) == 0
    assert "float8 changes nothing" in caplog.text


@pytest.mark.parametrize("device", ["mps", "mps:0", torch.device("mps")])
def test_mps_is_refused_with_the_reason(device):
    with pytest.raises(WeightsError, match="MPS, where torch has no float8 tensors"):
        float8.check_device(device)
    float8.check_device("cpu")


def test_loaders_refuse_float8_on_mps_before_reading_files(tmp_path, weights):
    with pytest.raises(WeightsError, match="MPS"):
        load_weights(weights, "accelerated", float8=True, device="mps")


def test_command_line_refuses_float8_on_mps_before_reading_files(tmp_path, inputs, monkeypatch, capsys):
    monkeypatch.setattr(generate, "pick_device", lambda name: torch.device("mps"))
    given = ["--bundle", str(tmp_path / "missing.safetensors"), "--float8"]
    assert main(arguments(inputs, tmp_path / "a.mp4", given)) == 2
    assert "float8 cannot be used on MPS" in capsys.readouterr().err


def test_without_kernels_a_float8_layer_multiplies_as_torch_does(monkeypatch):
    monkeypatch.setattr(float8.casting_layers.Linear, "product", lambda *_: "torch's")
    assert Float8Linear(float8.casting_layers.Linear(32, 16))(torch.randn(3, 32)) == "torch's"
