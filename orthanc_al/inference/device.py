"""Whether a GPU runs anything at all, asked by a network of nothing.

After an error that takes its context (an illegal address, an Xid) each call of a process fails, whatever
it is for, until the process starts anew (CUDA Runtime API, ``cudaErrorIllegalAddress``).
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

_CPU: Final = "CPUExecutionProvider"
_ERRORS_ONLY: Final = 3
_OPSET: Final = 17
_IR: Final = 9


def answers(wanted: Sequence[Any]) -> bool:
    """Return whether a network of one addition runs on the first of the providers that is there.

    Parameters
    ----------
    wanted
        Execution providers as ONNX Runtime takes them; what runs on the CPU is no answer.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(_sum(), options, providers=list(wanted), enable_fallback=0)
        session.run(None, {"x": np.ones(1, np.float32)})
    except Exception:  # noqa: BLE001 - a named border: ONNX Runtime's exceptions share no base of their own
        return False
    return bool(session.get_providers()[0] != _CPU)


@cache
def _sum() -> bytes:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "sum", [x], [y])
    opset = helper.make_opsetid("", _OPSET)
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=_IR).SerializeToString())
