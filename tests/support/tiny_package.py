"""A model package that a test makes in milliseconds: real ONNX, the packages' output names, no training.

The network is one convolution and a mean: enough for everything but medicine.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 4


def tiny_model(size: int = 32, findings: int = 1, seed: int = 0, scale: float = 4.0) -> bytes:
    """Return an ONNX model: input (n, 1, size, size), outputs logits, embedding and feature_map.

    ``logits = embedding @ head.weight + head.bias``, as the factory's packages have it.
    """
    random = np.random.default_rng(seed)
    kernel = random.normal(size=(CHANNELS, 1, 4, 4)).astype(np.float32)
    weight = (scale * random.normal(size=(CHANNELS, findings))).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "conv.weight"], ["convolved"], strides=[4, 4]),
        helper.make_node("Relu", ["convolved"], ["feature_map"]),
        helper.make_node("GlobalAveragePool", ["feature_map"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "head.weight"], ["product"]),
        helper.make_node("Add", ["product", "head.bias"], ["logits"]),
    ]
    shapes = {
        "logits": ["n", findings],
        "embedding": ["n", CHANNELS],
        "feature_map": ["n", CHANNELS, size // 4, size // 4],
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, size, size])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [
            numpy_helper.from_array(kernel, "conv.weight"),
            numpy_helper.from_array(weight, "head.weight"),
            numpy_helper.from_array(np.zeros(findings, np.float32), "head.bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
