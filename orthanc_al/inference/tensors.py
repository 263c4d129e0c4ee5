"""Tensors as the Open Inference Protocol writes them: JSON, or bytes behind it (its binary extension).

Source: the protocol's predict document, version 2, and its binary tensor data extension: FP32 tensors, row
by row, little-endian; the header ``Inference-Header-Content-Length`` says where JSON ends and bytes begin.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orthanc_al.errors import InferenceError

JSON_LENGTH: Final = "Inference-Header-Content-Length"
_FP32: Final = np.dtype("<f4")


def request(
    name: str, batch: NDArray[np.float32], outputs: Sequence[str], *, binary: bool
) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a request to run a batch.

    Parameters
    ----------
    name
        Of the input.
    outputs
        Names of what is asked for.
    binary
        Write bytes, and ask for bytes.
    """
    tensor: dict[str, Any] = {"name": name, "shape": list(batch.shape), "datatype": "FP32"}
    wanted: list[dict[str, Any]] = [{"name": output} for output in outputs]
    if not binary:
        tensor["data"] = batch.ravel().tolist()
        return _json({"inputs": [tensor], "outputs": wanted}), {"Content-Type": "application/json"}
    data = np.ascontiguousarray(batch, _FP32).tobytes()
    tensor["parameters"] = {"binary_data_size": len(data)}
    wanted = [{**output, "parameters": {"binary_data": True}} for output in wanted]
    head = _json({"inputs": [tensor], "outputs": wanted})
    return head + data, {"Content-Type": "application/octet-stream", JSON_LENGTH: str(len(head))}


def arrays(body: bytes, json_length: str | None, names: Sequence[str]) -> list[NDArray[np.float32]]:
    """Return the outputs of these names from the body of an answer.

    Raises
    ------
    InferenceError
        It is no answer of the protocol, lacks an output, or holds another type or number of values.
    """
    try:
        end = len(body) if json_length is None else int(json_length)
        answer, rest = json.loads(body[:end]), memoryview(body)[end:]
        found = {}
        for tensor in answer["outputs"]:
            size = (tensor.get("parameters") or {}).get("binary_data_size")
            found[tensor["name"]] = _array(tensor, None if size is None else rest[: int(size)])
            rest = rest[int(size or 0) :]
        return [found[name] for name in names]
    except InferenceError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError, OverflowError) as error:
        raise InferenceError(
            f"the inference server's answer is none of the Open Inference Protocol ({type(error).__name__})"
        ) from error


def _array(tensor: Mapping[str, Any], data: memoryview | None) -> NDArray[np.float32]:
    name, shape = str(tensor["name"])[:40], [int(side) for side in tensor["shape"]]
    if tensor["datatype"] != "FP32" or any(side < 0 for side in shape):
        raise InferenceError(f"the inference server's output {name!r} is no FP32 tensor")
    flat = np.asarray(tensor["data"], np.float32).ravel() if data is None else np.frombuffer(data, _FP32)
    if flat.size != math.prod(shape):  # before anything of that size is made
        raise InferenceError(
            f"the inference server's output {name!r} has {flat.size} values, of shape {shape}"
        )
    return flat.reshape(shape).astype(np.float32, copy=False)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
