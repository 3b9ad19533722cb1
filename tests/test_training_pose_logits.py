"""The pose loss through a torch copy of the detector's ONNX file, against onnx's own evaluator and cv2."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from echomimic.errors import MissingPackageError, TrainingError
from echomimic.pose.sources.dwpose import POSE_FILE
from echomimic.training.config import LossConfig, TrainingConfig, WeightsConfig
from echomimic.training.losses import FrameTargets, PhaseLoss, PhaseWeights
from echomimic.training.objective import make_phase_loss, pose_digest
from echomimic.training.onnx_network import OnnxNetwork
from echomimic.training.pose_logits import DEVIATION, MEAN, PoseLogits, find_pose_logits, person_boxes

onnx = pytest.importorskip("onnx", reason="the torch copy of ONNX files is read with onnx")
SHAPE = (1, 3, 32, 24)
POINTS = 5


def write_detector(path: Path, extra: str = "") -> Path:
    """A small network of the operators that RTMPose's export has: a CSP block with channel attention, then its head of
    scale norm, gated attention and one product for each axis."""
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(0)
    constants: dict[str, np.ndarray] = {}

    def weight(name: str, *shape: int) -> str:
        constants[name] = (draw.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:])))).astype(np.float32)
        return name

    def fixed(name: str, value: Any, kind: Any = np.float32) -> str:
        constants[name] = np.array(value, kind)
        return name

    def node(kind: str, inputs: list[str], outputs: list[str] | str, **attributes: Any) -> None:
        names = [outputs] if isinstance(outputs, str) else outputs
        nodes.append(helper.make_node(kind, inputs, names, **attributes))

    nodes: list[Any] = []
    node("Conv", ["picture", weight("w1", 8, 3, 3, 3), weight("b1", 8)], "c1", strides=[2, 2], pads=[1, 1, 1, 1])
    node("Sigmoid", ["c1"], "g1")
    node("Mul", ["c1", "g1"], "s1")
    node("Conv", ["s1", weight("w2", 8, 1, 3, 3)], "deep", group=8, pads=[1, 1, 1, 1])
    node("MaxPool", ["s1"], "pooled", kernel_shape=[5, 5], pads=[2, 2, 2, 2], strides=[1, 1])
    node("Concat", ["deep", "pooled"], "both", axis=1)
    node("GlobalAveragePool", ["both"], "mean")
    node("Conv", ["mean", weight("w3", 16, 16, 1, 1)], "squeezed")
    node("HardSigmoid", ["squeezed"], "attention", alpha=1 / 6)
    node("Mul", ["both", "attention"], "features")
    node("Conv", ["features", weight("w4", POINTS, 16, 3, 3)], "maps", strides=[2, 2], pads=[1, 1, 1, 1])
    node("Shape", ["maps"], "shape")
    node("Gather", ["shape", fixed("first", 0, np.int64)], "rows", axis=0)
    node("Unsqueeze", ["rows", fixed("axis0", [0], np.int64)], "rows1")
    node("Concat", ["rows1", fixed("rest", [POINTS, -1], np.int64)], "wanted", axis=0)
    node("Reshape", ["maps", "wanted"], "flat")  # [n, points, 48]
    node("ReduceL2", ["flat", fixed("last", [-1], np.int64)], "length", keepdims=1)
    node("Mul", ["length", fixed("scale", 48**-0.5)], "scaled")
    node("Clip", ["scaled", fixed("tiny", 1e-5)], "clipped")
    node("Div", ["flat", "clipped"], "normed")
    node("MatMul", ["normed", weight("w5", 48, 24)], "uv")
    node("Split", ["uv", fixed("parts", [16, 8], np.int64)], ["u", "base"], axis=2)
    node("Unsqueeze", ["base", fixed("axis2", [2], np.int64)], "base1")
    node("Mul", ["base1", weight("gamma", 2, 8)], "two")
    node("Add", ["two", weight("beta", 2, 8)], "qk")
    node("Split", ["qk", fixed("ones", [1, 1], np.int64)], ["q1", "k1"], axis=2)
    node("Squeeze", ["q1", "axis2"], "q")
    node("Squeeze", ["k1", "axis2"], "k")
    node("Transpose", ["k"], "kt", perm=[0, 2, 1])
    node("MatMul", ["q", "kt"], "scores")
    node("Relu", ["scores"], "positive")
    node("Pow", ["positive", fixed("square", 2.0)], "kernel")
    node("MatMul", ["kernel", "u"], "mixed")
    node("Slice", ["uv", fixed("zero", [0], np.int64), fixed("sixteen", [16], np.int64), fixed("two_", [2], np.int64)],
         "skip")  # fmt: skip
    node("Sub", ["skip", "mixed"], "answer")
    if extra:
        node(extra, ["answer"], "unused")
    node("MatMul", ["answer", weight("wx", 16, 48)], "x")
    node("MatMul", ["answer", weight("wy", 16, 64)], "y")
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["batch", *SHAPE[1:]])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("onnx") / POSE_FILE)


@pytest.fixture(scope="module")
def logits(file: Path) -> PoseLogits:
    return PoseLogits(OnnxNetwork(file).requires_grad_(False))


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_copy_answers_as_onnx_evaluates_the_file(file: Path) -> None:
    from onnx.reference import ReferenceEvaluator

    pictures = randn(2, *SHAPE[1:])
    expected = ReferenceEvaluator(str(file)).run(None, {"picture": pictures.numpy()})
    answers = OnnxNetwork(file)(pictures)
    assert [tuple(answer.shape) for answer in answers] == [(2, POINTS, 48), (2, POINTS, 64)]
    for ours, theirs in zip(answers, expected, strict=True):
        assert np.abs(ours.numpy() - theirs).max() < 1e-4 * np.abs(theirs).max()


def test_gradients_through_the_copy_are_those_of_finite_differences(file: Path) -> None:
    network = OnnxNetwork(file).double()
    picture, direction = randn(1, *SHAPE[1:]).double(), randn(1, *SHAPE[1:], seed=1).double()

    def value(at: torch.Tensor) -> torch.Tensor:
        return sum(answer.square().sum() for answer in network(at))

    at = picture.clone().requires_grad_()
    value(at).backward()
    assert at.grad is not None
    step = 1e-6
    difference = (value(picture + step * direction) - value(picture - step * direction)) / (2 * step)
    assert float((at.grad * direction).sum()) == pytest.approx(float(difference), rel=1e-5)


def test_the_detector_sees_what_its_own_preprocessing_gives_it(logits: PoseLogits) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (60, 50, 3)).astype(np.uint8)
    box = (20.0, 33.0, 30.0, 40.0)
    corner, scale = (box[0] - box[2] / 2, box[1] - box[3] / 2), SHAPE[3] / box[2]
    matrix = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]])
    expected = cv2.warpAffine(picture.astype(np.float32), matrix, (SHAPE[3], SHAPE[2]), flags=cv2.INTER_LINEAR)
    given = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    seen = logits.look(given, torch.tensor([box]))[0].permute(1, 2, 0).numpy() * DEVIATION + MEAN
    # cv2 rounds places to 1/32 of a pixel.
    assert np.abs(seen - expected).max() < 255 / 16


def test_the_box_is_the_points_a_quarter_larger_in_the_detectors_shape() -> None:
    points = torch.tensor([[[10.0, 10.0], [30.0, 90.0], [500.0, 500.0]]])
    (box,) = person_boxes(points, torch.tensor([[1.0, 0.5, 0.0]]), 0.75)
    assert box.tolist() == [20.0, 50.0, 75.0, 100.0]


def targets_of(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    points = torch.tensor([[[8.0, 8.0], [40.0, 56.0]]]).expand(len(pictures), -1, -1)
    return points, torch.ones(len(pictures), 2)


def test_equal_pictures_come_to_zero_and_others_teach(logits: PoseLogits) -> None:
    truth, other = randn(2, 3, 64, 64).clamp(-1, 1), randn(2, 3, 64, 64, seed=1).clamp(-1, 1)
    points, weights = targets_of(truth)
    assert logits(truth, truth, points, weights).tolist() == [0, 0]
    other.requires_grad_()
    values = logits(other, truth, points, weights)
    assert (values > 0).all()
    (gradient,) = torch.autograd.grad(values.sum(), other)
    assert gradient.abs().sum() > 0


def test_a_row_without_seen_points_comes_to_zero(logits: PoseLogits) -> None:
    truth, other = randn(1, 3, 64, 64), randn(1, 3, 64, 64, seed=1)
    points, weights = targets_of(truth)
    assert logits(other, truth, points, weights * 0).tolist() == [0]


def test_the_value_by_hand() -> None:
    class TwoPoints(torch.nn.Module):
        """Sees one point surely, one half and one not at all; the answer is the picture's brightness."""

        input_shape = (1, 3, 4, 3)

        def forward(self, picture: torch.Tensor) -> list[torch.Tensor]:
            bright = (picture.mean(dim=(1, 2, 3)) > 0).float().view(-1, 1, 1)
            sure = torch.tensor([1.0, 0.5, -1.0]).view(1, 3, 1)
            return [sure.expand(1, 3, 6) - 2 * bright, sure.expand(1, 3, 8)]

    dark, bright = torch.full((1, 3, 64, 64), -1.0), torch.ones(1, 3, 64, 64)
    points, weights = targets_of(dark)
    # Each of 6 bins differs by 2: 24 a point, weighted by 1 and 0.5 and divided by their sum.
    assert PoseLogits(TwoPoints())(bright, dark, points, weights).item() == pytest.approx(24.0)


def test_the_pose_phase_takes_it_on_the_whole_picture(logits: PoseLogits) -> None:
    seen = []

    def pose(pictures: torch.Tensor, truth: torch.Tensor, points: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(pictures.shape))
        return logits(pictures, truth, points, weights)

    class Vae(torch.nn.Module):
        dtype = torch.float32

        def decode(self, latents: torch.Tensor) -> Any:
            return SimpleNamespace(sample=latents[:, :3].repeat_interleave(8, 2).repeat_interleave(8, 3))

    loss = PhaseLoss(Vae(), lambda a, b: (a - b).flatten(1).mean(dim=1), PhaseWeights(), crop=4, pose=pose)  # type: ignore[arg-type]
    truth = randn(1, 3, 64, 64)
    points, weights = targets_of(truth)
    targets = FrameTargets(torch.tensor([0]), truth, points, weights, torch.tensor([True]), torch.zeros(1, 2))
    clean = randn(1, 4, 1, 8, 8).requires_grad_()
    values, log = loss(clean, torch.tensor([950]), targets)
    values.sum().backward()
    assert seen == [(1, 3, 64, 64)]
    assert set(log) == {"pose"}
    assert clean.grad is not None and clean.grad.abs().sum() > 0


def configuration(weights: WeightsConfig, pose: str) -> TrainingConfig:
    return TrainingConfig("lora", "data", "run", weights, loss=LossConfig(pose=pose))


def test_the_file_is_found_beside_the_weights_or_where_the_configuration_says(file: Path, tmp_path: Path) -> None:
    beside = WeightsConfig(path=str(file.parent))
    named = WeightsConfig(path=str(tmp_path), dwpose=str(file))
    assert find_pose_logits(configuration(beside, "auto"), "cpu") is not None
    assert find_pose_logits(configuration(named, "dwpose"), "cpu") is not None
    assert find_pose_logits(configuration(beside, "gaussians"), "cpu") is None
    assert find_pose_logits(configuration(WeightsConfig(path=str(tmp_path)), "auto"), "cpu") is None
    with pytest.raises(TrainingError, match=f"needs {POSE_FILE} .* name its folder as weights.dwpose"):
        find_pose_logits(configuration(WeightsConfig(path=str(tmp_path)), "dwpose"), "cpu")


def test_a_run_knows_the_detector_it_began_with(file: Path, logits: PoseLogits, tmp_path: Path) -> None:
    moved = PoseLogits(OnnxNetwork(Path(shutil.copy(file, tmp_path))))
    digests = [pose_digest(SimpleNamespace(pose=pose)) for pose in (logits, moved)]
    assert digests[0] == digests[1]
    next(moved.network.buffers()).add_(1)
    digests += [pose_digest(SimpleNamespace(pose=moved)), pose_digest(SimpleNamespace(pose=None)), pose_digest(None)]
    assert len(set(digests)) == 3 and digests[3] == digests[4] == ""


def test_a_file_that_is_named_is_never_passed_over(tmp_path: Path) -> None:
    typo = tmp_path / "typo.onnx"
    with pytest.raises(TrainingError, match=f"weights.dwpose names {re.escape(str(typo))}, where there is no"):
        find_pose_logits(configuration(WeightsConfig(path=str(tmp_path), dwpose=str(typo)), "auto"), "cpu")
    typo.write_bytes(b"no network")
    with pytest.raises(TrainingError, match="cannot be read as an ONNX file"):
        find_pose_logits(configuration(WeightsConfig(path=str(tmp_path), dwpose=str(typo)), "auto"), "cpu")


def test_without_a_path_the_current_folder_is_not_searched(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    assert find_pose_logits(configuration(WeightsConfig(start="random"), "auto"), "cpu") is None


@pytest.mark.parametrize(("pose", "words"), [("auto", "what DWPose sees"), ("gaussians", "pixels around points")])
def test_which_distances_were_chosen_is_logged(file: Path, caplog, pose: str, words: str) -> None:
    config = configuration(WeightsConfig(path=str(file.parent)), pose)
    config = replace(config, loss=replace(config.loss, low_level="encoder"))
    with caplog.at_level("INFO", logger="echomimic"):
        make_phase_loss(config, SimpleNamespace(enable_gradient_checkpointing=lambda: None), torch.device("cpu"))
    assert f"the pose loss compares {words}" in caplog.text
    assert "the low-level loss compares the VAE encoder's features" in caplog.text


def test_a_file_that_cannot_be_copied_is_named_or_left(tmp_path: Path) -> None:
    foreign = write_detector(tmp_path / POSE_FILE, extra="Erf")
    weights = WeightsConfig(path=str(tmp_path))
    with pytest.raises(TrainingError, match="uses Erf, which the torch copy"):
        find_pose_logits(configuration(weights, "dwpose"), "cpu")
    assert find_pose_logits(configuration(weights, "auto"), "cpu") is None
    foreign.write_bytes(b"no network")
    with pytest.raises(TrainingError, match="cannot be read as an ONNX file"):
        find_pose_logits(configuration(weights, "dwpose"), "cpu")


def test_without_onnx_a_sentence_names_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    weights = WeightsConfig(path=str(file.parent))
    with pytest.raises(MissingPackageError, match="pip install onnx"):
        find_pose_logits(configuration(weights, "dwpose"), "cpu")
    assert find_pose_logits(configuration(weights, "auto"), "cpu") is None
