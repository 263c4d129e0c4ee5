"""A model package that a test makes in milliseconds: real ONNX, the packages' output names, no training.

The network is one convolution and a mean: enough for everything but medicine.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from orthanc_al.domain.preprocessing import PreprocessingSpec
from orthanc_al.inference.contents import PackageContents
from orthanc_al.inference.manifest import Calibration, FindingEntry, Manifest, Origin
from orthanc_al.inference.package import ModelPackage, write_package
from orthanc_al.inference.thresholds import Groups, Thresholds
from orthanc_al.methods.attention import Attention
from orthanc_al.methods.calibration import Calibrator
from orthanc_al.methods.ood import Domain

CHANNELS = 4


def tiny_model(
    size: int = 32,
    findings: int = 1,
    seed: int = 0,
    scale: float = 4.0,
    *,
    channels: int = 1,
    name: str = "image",
) -> bytes:
    """Return an ONNX model: input (n, channels, size, size), outputs logits, embedding and feature_map.

    ``logits = embedding @ head.weight + head.bias``, as the factory's packages have it.
    """
    random = np.random.default_rng(seed)
    kernel = random.normal(size=(CHANNELS, channels, 4, 4)).astype(np.float32)
    weight = (scale * random.normal(size=(CHANNELS, findings))).astype(np.float32)
    nodes = [
        helper.make_node("Conv", [name, "conv.weight"], ["convolved"], strides=[4, 4]),
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
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, size, size])],
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


def deadly_package(folder: Path) -> ModelPackage:
    """Write a package that loads, and whose network ends the process that runs it.

    ``Mod`` of the least 32-bit integer and -1 traps in the processor (x86-64: SIGFPE), and ONNX Runtime
    (1.31, CPU) looks for a divisor of 0 only.
    """
    return tiny_package(folder, name="deadly", change=_deadly)


def _deadly(network: bytes) -> bytes:
    model = onnx.load_from_string(network)
    constants = {"nothing": 0, "least": -(2**31), "minus_one": -1}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array([value], np.int32), name) for name, value in constants.items()
    )
    (last,) = (node for node in model.graph.node if "logits" in node.output)
    last.output[0] = "true_logits"
    model.graph.node.extend(
        [
            # Nothing of it is constant, or it would be computed, and kill, while the package is loaded.
            helper.make_node("Cast", ["true_logits"], ["whole"], to=TensorProto.INT32),
            helper.make_node("Mul", ["whole", "nothing"], ["zero"]),
            helper.make_node("Add", ["zero", "least"], ["dividend"]),
            helper.make_node("Add", ["zero", "minus_one"], ["divisor"]),
            helper.make_node("Mod", ["dividend", "divisor"], ["rest"]),
            helper.make_node("Cast", ["rest"], ["added"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["true_logits", "added"], ["logits"]),
        ]
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def tiny_package(
    folder: Path,
    *,
    name: str = "tiny",
    version: str = "1",
    size: int = 32,
    seed: int = 0,
    low: float | None = None,
    high: float | None = 0.7,
    limit: float | None = None,
    findings: tuple[str, ...] = ("pneumonia",),
    groups: Groups | None = None,
    preprocessing: PreprocessingSpec | None = None,
    attention: Attention | None = None,
    input_name: str = "image",
    change: Callable[[bytes], bytes] = bytes,
    **manifest_keys: object,
) -> ModelPackage:
    """Write a package that loads; with ``limit`` it has a domain about 0 that ends at that distance.

    ``change`` makes another network of it.
    Other keys of the manifest (``aggregation``, ``series``, ``intended`` ...) as the manifest takes them.
    """
    spec = preprocessing or PreprocessingSpec(size=size)
    domain = None
    if limit is not None:
        identity = np.eye(CHANNELS, dtype=np.float32)
        domain = Domain(np.zeros(CHANNELS, np.float32), identity, limit)
    network = change(tiny_model(spec.size, len(findings), seed, channels=spec.channels, name=input_name))
    contents = PackageContents(network, domain, attention=attention)
    thresholds = Thresholds(operating=0.5, high=high, low=low, groups=groups)
    manifest = Manifest(
        name=name,
        version=version,
        training_data="0" * 64,
        files=contents.digests(),
        preprocessing=spec,
        calibration=Calibration(
            origin=Origin.FACTORY if low is None else Origin.SITE, by="a test", positives=0, negatives=0
        ),
        findings=tuple(
            FindingEntry(
                name=finding,
                code_value="233604007",
                code_scheme="SCT",
                code_meaning="Pneumonia",
                calibrator=Calibrator(),
                thresholds=thresholds,
            )
            for finding in findings
        ),
        **manifest_keys,
    )
    return write_package(folder, manifest, contents, "# tiny\n")
