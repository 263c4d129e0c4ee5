"""A package's own ``model.onnx`` as a trainable network, and back: only its weights change.

The graph is walked node by node, and what was trained is written into the initializers that it came from.
So the file that goes into service has the same graph, inputs and outputs as the one that was live, and any
package can be fine-tuned whose operators are below, whoever made it. (ONNX operator schemas, opset 13 to 20.)
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from orthanc_al.errors import ModelError
from orthanc_al.inference.contents import OUTPUTS

_WEIGHTS: Final = {"Conv": (1, 2), "MatMul": (1,), "Gemm": (1, 2), "BatchNormalization": (1, 2)}
"""Which inputs of an operator are trained; the bias after a MatMul is that of an Add."""

Attributes = Mapping[str, Any]


class OnnxNetwork(nn.Module):
    """The network of an ONNX file.

    Parameters
    ----------
    model
        Bytes of ``model.onnx``.

    Raises
    ------
    ModelError
        It has operators that can't be trained here; the text names them.
    """

    def __init__(self, model: bytes) -> None:
        super().__init__()
        self._proto = onnx.load_model_from_string(model)
        graph = self._proto.graph
        unknown = sorted({node.op_type for node in graph.node} - set(_OPERATORS))
        if unknown:
            raise ModelError(
                f"This network can't be fine-tuned: its operators {', '.join(unknown)} are not known."
            )
        self._input = graph.input[0].name
        values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._trained = [name for name in values if name in self._trainable(values)]
        self.weights = nn.ParameterList(nn.Parameter(torch.tensor(values[name])) for name in self._trained)
        constants = [name for name in values if name not in set(self._trained)]
        self._constants = constants
        for number, name in enumerate(constants):
            self.register_buffer(f"constant_{number}", torch.tensor(values[name]))

    def _trainable(self, values: Mapping[str, Any]) -> set[str]:
        found = set()
        for node in self._proto.graph.node:
            places = _WEIGHTS.get(node.op_type, ())
            found |= {node.input[place] for place in places if place < len(node.input)}
            if node.op_type == "Add":
                found |= {name for name in node.input if name in values and values[name].ndim == 1}
        return {name for name in found if name in values and values[name].dtype == np.float32}

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (n, k), embedding (n, d) and feature map (n, c, h, w) of inputs (n, 1, s, s)."""
        values: dict[str, Tensor | None] = {"": None, self._input: image}
        values.update(zip(self._trained, self.weights, strict=True))
        for number, name in enumerate(self._constants):
            values[name] = self.get_buffer(f"constant_{number}")
        for node in self._proto.graph.node:
            attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
            inputs = [values[name] for name in node.input]
            values[node.output[0]] = _OPERATORS[node.op_type](attributes, *inputs)
        logits, embedding, feature_map = (values[name] for name in OUTPUTS)
        assert logits is not None
        assert embedding is not None
        assert feature_map is not None
        return logits, embedding, feature_map

    def to_onnx(self) -> bytes:
        """Return the file with the weights as they are now."""
        now = dict(zip(self._trained, self.weights, strict=True))
        for tensor in self._proto.graph.initializer:
            if tensor.name in now:
                value = now[tensor.name].detach().cpu().numpy().astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
        return bytes(self._proto.SerializeToString(deterministic=True))


def _padded(attributes: Attributes, x: Tensor, value: float) -> tuple[Tensor, list[int]]:
    """Return the input and the padding that the operator does itself; what is uneven is done here."""
    if attributes.get("auto_pad", b"NOTSET") not in {b"NOTSET", b""}:
        raise ModelError("This network can't be fine-tuned: it pads by itself (auto_pad).")
    pads = list(attributes.get("pads", [0, 0, 0, 0]))
    top, left, bottom, right = pads
    if (top, left) == (bottom, right):
        return x, [top, left]
    return functional.pad(x, [left, right, top, bottom], value=value), [0, 0]


def _conv(attributes: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    x, padding = _padded(attributes, x, 0.0)
    return functional.conv2d(
        x,
        weight,
        bias,
        stride=list(attributes.get("strides", [1, 1])),
        padding=padding,
        dilation=list(attributes.get("dilations", [1, 1])),
        groups=attributes.get("group", 1),
    )


def _max_pool(attributes: Attributes, x: Tensor) -> Tensor:
    x, padding = _padded(attributes, x, -torch.inf)
    return functional.max_pool2d(
        x,
        list(attributes["kernel_shape"]),
        stride=list(attributes.get("strides", [1, 1])),
        padding=padding,
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
    )


def _average_pool(attributes: Attributes, x: Tensor) -> Tensor:
    x, padding = _padded(attributes, x, 0.0)
    return functional.avg_pool2d(
        x,
        list(attributes["kernel_shape"]),
        stride=list(attributes.get("strides", [1, 1])),
        padding=padding,
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
        count_include_pad=bool(attributes.get("count_include_pad", 0)),
    )


def _mean(attributes: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    over = axes.tolist() if axes is not None else list(attributes.get("axes", range(x.ndim)))
    return x.mean(over, keepdim=bool(attributes.get("keepdims", 1)))


def _normalised(
    attributes: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    """By the statistics of the factory's training, which stay: a site's few films would spoil them."""
    return functional.batch_norm(x, mean, variance, scale, bias, False, 0.0, attributes.get("epsilon", 1e-5))


def _gemm(attributes: Attributes, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.T if attributes.get("transA", 0) else a
    b = b.T if attributes.get("transB", 0) else b
    product = attributes.get("alpha", 1.0) * (a @ b)
    return torch.as_tensor(product if c is None else product + attributes.get("beta", 1.0) * c)


_OPERATORS: Final[Mapping[str, Callable[..., Tensor]]] = {
    "Add": lambda _, a, b: a + b,
    "AveragePool": _average_pool,
    "BatchNormalization": _normalised,
    "Concat": lambda attributes, *parts: torch.cat(parts, attributes["axis"]),
    "Conv": _conv,
    "Flatten": lambda attributes, x: x.flatten(attributes.get("axis", 1)),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda _, x: x.mean((2, 3), keepdim=True),
    "Identity": lambda _, x: x,
    "MatMul": lambda _, a, b: torch.matmul(a, b),
    "MaxPool": _max_pool,
    "Mul": lambda _, a, b: a * b,
    "ReduceMean": _mean,
    "Relu": lambda _, x: torch.relu(x),
    "Sigmoid": lambda _, x: torch.sigmoid(x),
}
