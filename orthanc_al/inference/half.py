"""The same network in half precision (IEEE 754 binary16): for GPUs, which have units for it.

Converted is what leads to the feature map. What follows it, pooling and head, stays as it is: sums in
float32, and a head that is read and swapped as ever. Inputs and outputs keep their names and types.
"""

import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Final

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference

from orthanc_al.errors import PackageRefusedError
from orthanc_al.inference.contents import OUTPUTS

LARGEST: Final = float(np.finfo(np.float16).max)
"""65504: what is larger has no half-precision number."""

_FEATURE_MAP: Final = OUTPUTS[2]
_SHARED: Final = ".half"


def half_precision(model: bytes) -> bytes:
    """Return the ONNX file with everything up to the feature map in half precision.

    Parameters
    ----------
    model
        Bytes of a ``model.onnx`` of float32, with the outputs of `orthanc_al.inference.contents.OUTPUTS`.

    Raises
    ------
    PackageRefusedError
        It lacks an output, is in half precision already, has branches or loops, or a weight that half
        precision has no number for.
    """
    proto = onnx.load_model_from_string(model)
    nodes = converted_nodes(proto.graph)
    _check(proto.graph, nodes)
    inner, rest = _split(proto, nodes)
    half = _converted(inner)
    _join(proto.graph, half.graph, rest)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def converted_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the nodes that lead to feature map or embedding and don't follow the feature map, in order.

    Raises
    ------
    PackageRefusedError
        The graph lacks an output.
    """
    outputs = {value.name for value in graph.output}
    missing = [name for name in OUTPUTS if name not in outputs]
    if missing:
        raise PackageRefusedError(f"model.onnx has no output {', '.join(map(repr, missing))}")
    after, wanted, found = {_FEATURE_MAP}, set(OUTPUTS[1:]), []
    for node in graph.node:
        if after & set(node.input):
            after |= set(node.output)
    for node in reversed(graph.node):
        if wanted & set(node.output) and not (after - {_FEATURE_MAP}) & set(node.output):
            found.append(node)
        if wanted & set(node.output):
            wanted |= set(node.input)
    return found[::-1]


def largest_values(model: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Return the ONNX file with what every converted node gives as its outputs, and their names.

    Run in float32 it tells what half precision has to hold, whatever the device does inside.
    """
    proto = onnx.load_model_from_string(model)
    types = _types(proto)
    names = [
        name
        for node in converted_nodes(proto.graph)
        for name in node.output
        if types.get(name) == onnx.TensorProto.FLOAT
    ]
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    for value in proto.graph.output:
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return bytes(proto.SerializeToString()), tuple(names)


def _check(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Refuse what can't be converted, or would be converted into something else."""
    if any(one.data_type == onnx.TensorProto.FLOAT16 for one in graph.initializer):
        raise PackageRefusedError(
            "model.onnx is in half precision already: make the variant of the float32 one"
        )
    if any(attribute.HasField("g") or attribute.graphs for node in nodes for attribute in node.attribute):
        raise PackageRefusedError("model.onnx has branches or loops: it can't be had in half precision")
    used = {name for node in nodes for name in node.input}
    for tensor in graph.initializer:
        if tensor.name in used and tensor.data_type == onnx.TensorProto.FLOAT:
            largest = float(np.abs(numpy_helper.to_array(tensor)).max(initial=0.0))
            if not largest <= LARGEST:  # the converter would cut it off without a word
                raise PackageRefusedError(
                    f"the weights {tensor.name!r} of model.onnx reach {largest:.3g}, half precision ends at "
                    f"{LARGEST:.0f}: it can't be had in half precision"
                )


def _split(
    proto: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]
) -> tuple[onnx.ModelProto, list[onnx.NodeProto]]:
    """Return the part that is converted as a model of its own, and the other nodes, as they are."""
    inside = {name for node in nodes for name in node.output}
    rest = [node for node in proto.graph.node if not inside & set(node.output)]
    after = {name for node in rest for name in node.input} | {value.name for value in proto.graph.output}
    types = _types(proto)
    inner = onnx.ModelProto()
    inner.CopyFrom(proto)
    for part in (inner.graph.node, inner.graph.output, inner.graph.initializer, inner.graph.value_info):
        del part[:]
    inner.graph.node.extend(nodes)
    inner.graph.output.extend(
        _value(name, types.get(name, onnx.TensorProto.FLOAT)) for name in sorted(inside & after)
    )
    inner.graph.initializer.extend(_weights(proto.graph, inner.graph.node, after))
    return inner, rest


def _weights(
    graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto], after: Collection[str]
) -> Iterator[onnx.TensorProto]:
    """Yield the initializers of nodes; one that others use too gets another name there."""
    used = {name for node in nodes for name in node.input}
    for tensor in graph.initializer:
        if tensor.name not in used:
            continue
        own = onnx.TensorProto()
        own.CopyFrom(tensor)
        if tensor.name in after:
            own.name += _SHARED
            for node in nodes:
                for place, name in enumerate(node.input):
                    node.input[place] = own.name if name == tensor.name else name
        yield own


def _converted(inner: onnx.ModelProto) -> onnx.ModelProto:
    before = list(sys.path)
    try:  # the library puts its own folder on the path, where its modules shadow others' names
        from onnxruntime.transformers.float16 import (  # noqa: PLC0415 - loads much, for one command
            convert_float_to_float16,
        )
    finally:
        sys.path[:] = before
    converted: onnx.ModelProto = convert_float_to_float16(inner, keep_io_types=True)
    return converted


def _join(graph: onnx.GraphProto, half: onnx.GraphProto, rest: Sequence[onnx.NodeProto]) -> None:
    """Put the converted part in the place of what it was made of."""
    after = {name for node in rest for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in after]
    nodes = list(_sorted([*half.node, *rest], {tensor.name for tensor in (*half.initializer, *kept)}, graph))
    for part in (graph.node, graph.initializer, graph.value_info):
        del part[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*half.initializer, *kept])


def _sorted(
    nodes: Sequence[onnx.NodeProto], known: set[str], graph: onnx.GraphProto
) -> Iterator[onnx.NodeProto]:
    """Yield nodes behind those that they need, as ONNX asks (IR, section Graphs); the library does not."""
    there = known | {value.name for value in graph.input} | {""}
    waiting = list(nodes)
    while waiting:
        ready = [node for node in waiting if there.issuperset(node.input)]
        if not ready:
            raise PackageRefusedError("model.onnx has nodes whose inputs nothing gives")
        there |= {name for node in ready for name in node.output}
        waiting = [node for node in waiting if not any(node is one for one in ready)]
        yield from ready


def _types(proto: onnx.ModelProto) -> dict[str, int]:
    graph = shape_inference.infer_shapes(proto).graph
    return {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}


def _value(name: str, kind: int) -> onnx.ValueInfoProto:
    value = onnx.ValueInfoProto(name=name)
    value.type.tensor_type.elem_type = kind
    return value
