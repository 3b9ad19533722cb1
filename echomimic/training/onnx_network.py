"""A torch copy of an ONNX file, through which gradients flow: the operators that networks like DWPose's consist of.

Operators: onnx.ai/onnx/operators, in the versions from opset 11 on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import TrainingError
from .packages import missing_package

Attributes = dict[str, Any]
# (inputs, attributes) -> output, or a tuple of outputs
Operator = Callable[[Sequence[Any], Attributes], Any]


@dataclass(frozen=True)
class Node:
    """One operation: names of what it takes and gives."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Attributes


class OnnxNetwork(nn.Module):
    """The network of an ONNX file with one input, its weights frozen.

    Args:
        path: the file.

    Attributes:
        input_shape: of the input, with None where the file leaves a size open.

    Raises:
        MissingPackageError: onnx is not installed.
        TrainingError: the file cannot be read, or has an operator that is not known here.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            import onnx  # optional
        except ImportError as error:
            raise missing_package("onnx", "the pose loss through DWPose's own network") from error
        try:
            graph = onnx.load(str(path)).graph
        except Exception as error:  # protobuf's errors have no common base
            raise TrainingError(f"{path} cannot be read as an ONNX file ({error})") from error
        self.nodes = [
            Node(
                node.op_type,
                tuple(node.input),
                tuple(node.output),
                {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
            )
            for node in graph.node
        ]
        unknown = sorted({node.kind for node in self.nodes} - OPERATORS.keys() - {"Constant"})
        if unknown:
            raise TrainingError(
                f"{path} uses {', '.join(unknown)}, which the torch copy of ONNX files does not know: take DWPose's "
                "own file, or set loss.pose to gaussians"
            )
        constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        constants |= {
            node.outputs[0]: onnx.numpy_helper.to_array(node.attributes["value"])
            for node in self.nodes
            if node.kind == "Constant"
        }
        # Buffers move with the module; their names may hold no dots, so they are numbered.
        self.places = {name: f"constant_{number}" for number, name in enumerate(constants)}
        for name, value in constants.items():
            self.register_buffer(self.places[name], torch.from_numpy(value.copy()), persistent=False)
        (self.input,) = [one.name for one in graph.input if one.name not in constants]
        self.outputs = [one.name for one in graph.output]
        sizes = next(one for one in graph.input if one.name == self.input).type.tensor_type.shape.dim
        self.input_shape = tuple(size.dim_value or None for size in sizes)

    def forward(self, tensor: Tensor) -> list[Tensor]:
        """The outputs, in the file's order."""
        values: dict[str, Any] = {name: getattr(self, place) for name, place in self.places.items()}
        values[self.input] = tensor
        values[""] = None  # an optional input that is left out
        for node in self.nodes:
            if node.kind == "Constant":
                continue
            given = OPERATORS[node.kind]([values[name] for name in node.inputs], node.attributes)
            values.update(zip(node.outputs, given if isinstance(given, tuple) else (given,)))
        return [values[name] for name in self.outputs]


def whole(value: Any) -> list[int]:
    """A tensor of sizes or places, or an attribute, as a list of ints."""
    return [int(number) for number in (value.tolist() if isinstance(value, Tensor) else value)]


def argument(inputs: Sequence[Any], place: int, attributes: Attributes, name: str) -> Any:
    """What newer opsets pass as an input and older ones as an attribute; None where it is left out."""
    given = inputs[place] if len(inputs) > place else None
    return attributes.get(name) if given is None else given


def padded(tensor: Tensor, attributes: Attributes, value: float = 0.0) -> Tensor:
    """Pad height and width as `pads` (begins, then ends) says."""
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise TrainingError(
            "the ONNX file pads automatically, which the torch copy does not know: set loss.pose to gaussians"
        )
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    return F.pad(tensor, (left, right, top, bottom), value=value) if any((top, left, bottom, right)) else tensor


def convolve(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    bias = inputs[2] if len(inputs) > 2 else None
    strides, dilations = attributes.get("strides", (1, 1)), attributes.get("dilations", (1, 1))
    return F.conv2d(
        padded(inputs[0], attributes), inputs[1], bias, tuple(strides), 0, tuple(dilations), attributes.get("group", 1)
    )


def max_pool(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    kernel = tuple(attributes["kernel_shape"])
    strides, dilations = attributes.get("strides", (1, 1)), attributes.get("dilations", (1, 1))
    edge = padded(inputs[0], attributes, float("-inf"))
    return F.max_pool2d(edge, kernel, tuple(strides), 0, tuple(dilations), bool(attributes.get("ceil_mode", 0)))


def batch_norm(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    x, scale, bias, mean, variance = inputs
    return F.batch_norm(x, mean, variance, scale, bias, eps=attributes.get("epsilon", 1e-5))


def divide(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    a, b = inputs
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def clip(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    low, high = argument(inputs, 1, attributes, "min"), argument(inputs, 2, attributes, "max")
    return torch.clamp(inputs[0], None if low is None else float(low), None if high is None else float(high))


def hard_sigmoid(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    return (attributes.get("alpha", 0.2) * inputs[0] + attributes.get("beta", 0.5)).clamp(0, 1)


def reduction(reduce: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    def apply(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
        axes = argument(inputs, 1, attributes, "axes")
        chosen = list(range(inputs[0].ndim)) if axes is None else whole(axes)
        return reduce(inputs[0], chosen, bool(attributes.get("keepdims", 1)))

    return apply


def matrix_product(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    """Gemm: `alpha a b + beta c`, a and b transposed where the attributes say."""
    a = inputs[0].T if attributes.get("transA") else inputs[0]
    b = inputs[1].T if attributes.get("transB") else inputs[1]
    product = attributes.get("alpha", 1.0) * (a @ b)
    return product if len(inputs) < 3 else product + attributes.get("beta", 1.0) * inputs[2]


def reshape(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    sizes = whole(inputs[1])
    return inputs[0].reshape([inputs[0].shape[i] if size == 0 else size for i, size in enumerate(sizes)])


def flatten(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    axis = attributes.get("axis", 1) % (inputs[0].ndim + 1)
    return inputs[0].reshape(inputs[0].shape[:axis].numel(), -1)


def squeeze(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    axes = argument(inputs, 1, attributes, "axes")
    return inputs[0].squeeze() if axes is None else inputs[0].squeeze(tuple(whole(axes)))


def unsqueeze(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    axes = whole(argument(inputs, 1, attributes, "axes"))
    result = inputs[0]
    for axis in sorted(axis % (inputs[0].ndim + len(axes)) for axis in axes):
        result = result.unsqueeze(axis)
    return result


def slices(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    data, begins, ends = inputs[0], whole(inputs[1]), whole(inputs[2])
    axes = whole(inputs[3]) if len(inputs) > 3 and inputs[3] is not None else range(len(begins))
    steps = whole(inputs[4]) if len(inputs) > 4 else [1] * len(begins)
    index = [slice(None)] * data.ndim
    for begin, end, axis, step in zip(begins, ends, axes, steps):
        index[axis] = slice(begin, end, step)
    return data[tuple(index)]


def split(inputs: Sequence[Any], attributes: Attributes) -> tuple[Tensor, ...]:
    axis, sizes = attributes.get("axis", 0), argument(inputs, 1, attributes, "split")
    if sizes is not None:
        return inputs[0].split(whole(sizes), axis)
    return inputs[0].chunk(attributes["num_outputs"], axis)


def gather(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    axis, index = attributes.get("axis", 0), inputs[1]
    size = inputs[0].shape[axis]
    taken = inputs[0].index_select(axis, torch.where(index < 0, index + size, index).reshape(-1))
    axis %= inputs[0].ndim
    return taken.reshape((*inputs[0].shape[:axis], *index.shape, *inputs[0].shape[axis + 1 :]))


# TensorProto's numbers of types.
CAST: dict[int, torch.dtype] = {
    1: torch.float32,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
}
OPERATORS: dict[str, Operator] = {
    "Add": lambda x, _: x[0] + x[1],
    "Sub": lambda x, _: x[0] - x[1],
    "Mul": lambda x, _: x[0] * x[1],
    "Div": divide,
    "Pow": lambda x, _: x[0] ** x[1],
    "Sqrt": lambda x, _: x[0].sqrt(),
    "Exp": lambda x, _: x[0].exp(),
    "Relu": lambda x, _: F.relu(x[0]),
    "Sigmoid": lambda x, _: x[0].sigmoid(),
    "HardSigmoid": hard_sigmoid,
    "Softmax": lambda x, a: x[0].softmax(a.get("axis", -1)),
    "Clip": clip,
    "Max": lambda x, _: torch.maximum(x[0], x[1]),
    "Conv": convolve,
    "BatchNormalization": batch_norm,
    "MaxPool": max_pool,
    "GlobalAveragePool": lambda x, _: x[0].flatten(2).mean(dim=2).reshape(*x[0].shape[:2], *[1] * (x[0].ndim - 2)),
    "ReduceMean": reduction(lambda x, axes, keep: x.mean(axes, keep)),
    "ReduceSum": reduction(lambda x, axes, keep: x.sum(axes, keep)),
    "ReduceL2": reduction(lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep)),
    "MatMul": lambda x, _: x[0] @ x[1],
    "Gemm": matrix_product,
    "Transpose": lambda x, a: x[0].permute(a["perm"]),
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Slice": slices,
    "Split": split,
    "Concat": lambda x, a: torch.cat(list(x), a["axis"]),
    "Gather": gather,
    "Shape": lambda x, _: torch.tensor(x[0].shape, device=x[0].device),
    "Expand": lambda x, _: x[0].expand(torch.broadcast_shapes(tuple(x[0].shape), tuple(whole(x[1])))),
    "Cast": lambda x, a: x[0].to(CAST[a["to"]]),
    "Identity": lambda x, _: x[0],
}
