"""Another last layer in the same network: two initializers of an ONNX file are edited."""

from typing import Final

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import numpy_helper

from orthanc_al.errors import PackageRefusedError

HEAD_WEIGHT: Final = "head.weight"
"""Name of the initializer with the head's weights, shape (d, k)."""

HEAD_BIAS: Final = "head.bias"
"""Name of the initializer with the head's biases, shape (k,)."""


def read_head(model: bytes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the head's weight (d, k) and bias (k,) of an ONNX file.

    Raises
    ------
    PackageRefusedError
        The file has no head of these names.
    """
    proto = onnx.load_model_from_string(model)
    weight, bias = (_initializer(proto, name) for name in (HEAD_WEIGHT, HEAD_BIAS))
    return numpy_helper.to_array(weight), numpy_helper.to_array(bias)


def swap_head(model: bytes, weight: ArrayLike, bias: ArrayLike) -> bytes:
    """Return the ONNX file with another head; all else is untouched, so embeddings stay bit-equal.

    Parameters
    ----------
    model
        Bytes of a ``model.onnx``.
    weight, bias
        Shapes (d, k) and (k,), those of the head that is there; stored as float32.

    Raises
    ------
    PackageRefusedError
        The file has no head of these names.
    ValueError
        Shapes differ from the head that is there, or a value is not finite.
    """
    proto = onnx.load_model_from_string(model)
    for name, value in ((HEAD_WEIGHT, weight), (HEAD_BIAS, bias)):
        tensor = _initializer(proto, name)
        new = np.asarray(value, np.float32)
        if new.shape != tuple(tensor.dims) or not np.isfinite(new).all():
            raise ValueError(
                f"{name} must be finite and of shape {tuple(tensor.dims)}, got shape {new.shape}"
            )
        tensor.CopyFrom(numpy_helper.from_array(new, name))
    return bytes(proto.SerializeToString())


def _initializer(proto: onnx.ModelProto, name: str) -> onnx.TensorProto:
    tensor: onnx.TensorProto
    for tensor in proto.graph.initializer:
        if tensor.name == name:
            return tensor
    raise PackageRefusedError(f"model.onnx has no initializer {name!r}: its head can't be read or swapped")
