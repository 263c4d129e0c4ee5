"""A network in half precision: what is converted, what is refused, and its parity test."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from orthanc_al.errors import ModelError, PackageRefusedError, ProviderError
from orthanc_al.inference import running as runnings
from orthanc_al.inference.contents import OUTPUTS, PackageContents
from orthanc_al.inference.half import half_precision, largest_values
from orthanc_al.inference.head_swap import read_head
from orthanc_al.inference.manifest import Manifest, Run
from orthanc_al.inference.package import ModelPackage, load_package, write_package
from orthanc_al.inference.reference import probes_for
from orthanc_al.inference.running import Models
from orthanc_al.inference.scorer import Outputs
from orthanc_al.inference.session import CPU, CUDA, Session
from tests.support.tiny_package import tiny_model, tiny_package

HALF = Run(precision="fp16", thresholds_precision="fp32")


def batch(n: int = 4) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 1, 32, 32)).astype(np.float32)


def edited(change: object, model: bytes | None = None) -> bytes:
    proto = onnx.load_model_from_string(model or tiny_model())
    change(proto.graph)
    return bytes(proto.SerializeToString())


def scaled(factor: float) -> bytes:
    """The tiny network with larger weights before its feature map."""

    def larger(graph: onnx.GraphProto) -> None:
        kernel = graph.initializer[0]
        kernel.CopyFrom(
            numpy_helper.from_array(numpy_helper.to_array(kernel) * np.float32(factor), kernel.name)
        )

    return edited(larger)


def converted(
    folder: Path, source: ModelPackage, *, off: float = 0.0, run: Run = HALF, model: bytes | None = None
) -> ModelPackage:
    """Write the half-precision variant of a package, whose reference is ``off`` by so much."""
    made = Session(source.contents.model).run(probes_for(source.manifest)).embedding
    contents = PackageContents(
        model or half_precision(source.contents.model), reference=made + np.float32(off)
    )
    keys = {**dict(source.manifest), "version": "1.fp16", "files": contents.digests(), "run": run}
    return write_package(folder, Manifest(**keys), contents, "# half\n")


# --- the conversion -----------------------------------------------------------------------------------


def test_outputs_keep_names_and_types_and_the_head_is_bit_equal() -> None:
    model = tiny_model(findings=2)
    half = half_precision(model)
    assert half == half_precision(model)
    graph = onnx.load_model_from_string(half).graph
    assert tuple(value.name for value in graph.output) == OUTPUTS
    assert {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)} == {
        TensorProto.FLOAT
    }
    for before, after in zip(read_head(model), read_head(half), strict=True):
        np.testing.assert_array_equal(before, after)
    one, other = Session(model).run(batch()), Session(half).run(batch())
    assert 0.0 < np.abs(one.feature_map - other.feature_map).max() < 0.02
    # Pooling and head are sums in float32, of the feature map as it is.
    np.testing.assert_allclose(other.embedding, other.feature_map.mean((2, 3)), rtol=1e-6)
    weight, bias = read_head(half)
    np.testing.assert_allclose(other.logits, other.embedding @ weight + bias, rtol=1e-5, atol=1e-6)


def test_what_both_sides_use_stays_float32_behind_the_feature_map() -> None:
    def share(graph: onnx.GraphProto) -> None:
        graph.initializer.append(numpy_helper.from_array(np.array([1.0 / 3.0], np.float32), "third"))
        graph.node[0].output[0], graph.node[2].output[0] = "raw", "unscaled"
        graph.node.insert(1, helper.make_node("Mul", ["raw", "third"], ["convolved"]))
        graph.node.insert(4, helper.make_node("Mul", ["unscaled", "third"], ["pooled"]))

    model = edited(share)
    graph = onnx.load_model_from_string(half_precision(model)).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert (types["third"], types["third.half"]) == (TensorProto.FLOAT, TensorProto.FLOAT16)
    one, other = Session(model).run(batch()), Session(half_precision(model)).run(batch())
    np.testing.assert_allclose(one.logits, other.logits, atol=0.01)


def test_the_librarys_folder_does_not_stay_on_the_path() -> None:
    half_precision(tiny_model())
    assert not [entry for entry in sys.path if entry.endswith("transformers")]


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_network_without_an_output_is_refused(name: str) -> None:
    def drop(graph: onnx.GraphProto) -> None:
        kept = [value for value in graph.output if value.name != name]
        del graph.output[:]
        graph.output.extend(kept)

    with pytest.raises(PackageRefusedError, match=f"no output '{name}'"):
        half_precision(edited(drop))


def test_a_network_in_half_precision_is_refused() -> None:
    with pytest.raises(PackageRefusedError, match="in half precision already"):
        half_precision(half_precision(tiny_model()))


@pytest.mark.parametrize("factor", [1e6, float("inf"), float("nan")])
def test_a_weight_that_half_precision_has_no_number_for_is_refused(factor: float) -> None:
    with pytest.raises(PackageRefusedError, match=r"weights 'conv.weight' of model.onnx reach .*65504"):
        half_precision(scaled(factor))


def test_branches_are_refused() -> None:
    def branch(graph: onnx.GraphProto) -> None:
        one = helper.make_node("Identity", ["convolved"], ["chosen"])
        inner = helper.make_graph([one], "one", [], [helper.make_empty_tensor_value_info("chosen")])
        graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
        graph.node[1].input[0] = "branched"
        graph.node.insert(
            1, helper.make_node("If", ["yes"], ["branched"], then_branch=inner, else_branch=inner)
        )

    with pytest.raises(PackageRefusedError, match="branches or loops"):
        half_precision(edited(branch))


def test_nodes_whose_inputs_nothing_gives_are_refused() -> None:
    def lose(graph: onnx.GraphProto) -> None:
        graph.node[4].input[1] = "nowhere"

    with pytest.raises(PackageRefusedError, match="nothing gives"):
        half_precision(edited(lose))


def test_the_largest_values_are_those_of_the_part_that_is_converted() -> None:
    model, names = largest_values(tiny_model())
    assert names == ("convolved", "feature_map")
    assert [value.name for value in onnx.load_model_from_string(model).graph.output] == list(names)


# --- the package ------------------------------------------------------------------------------------------


def in_a_node(model: bytes) -> bytes:
    """The network with weights of half precision that are no initializer."""

    def move(graph: onnx.GraphProto) -> None:
        kernel = graph.initializer[0]
        half = numpy_helper.from_array(numpy_helper.to_array(kernel).astype(np.float16), "kernel")
        graph.initializer.remove(kernel)
        graph.node.insert(0, helper.make_node("Constant", [], ["kernel"], value=half))
        graph.node.insert(1, helper.make_node("Cast", ["kernel"], ["conv.weight"], to=TensorProto.FLOAT))

    return edited(move, model)


@pytest.mark.parametrize("change", [half_precision, in_a_node])
def test_a_package_that_hides_its_half_precision_is_refused(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(PackageRefusedError, match="weights of fp16, the manifest says fp32"):
        tiny_package(tmp_path / "package", change=change)
    assert tiny_package(tmp_path / "true", change=change, run=Run(precision="fp16")).ref.version == "1"


def test_a_package_that_says_half_precision_of_float32_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageRefusedError, match="weights of fp32, the manifest says fp16"):
        tiny_package(tmp_path / "package", run=Run(precision="fp16"))


def test_thresholds_of_another_precision_need_the_reference(tmp_path: Path) -> None:
    with pytest.raises(PackageRefusedError, match=r"reference.npz is there if and only if"):
        tiny_package(tmp_path / "package", change=half_precision, run=HALF)
    same = tiny_package(tmp_path / "same", change=half_precision, run=Run(precision="fp16"))
    assert Models().get(same.folder, same.ref).session.provider == CPU


def test_a_reference_of_another_shape_is_refused(tmp_path: Path) -> None:
    source = tiny_package(tmp_path / "package")
    contents = PackageContents(half_precision(source.contents.model), reference=np.zeros((4, 3), np.float32))
    keys = {**dict(source.manifest), "version": "2", "files": contents.digests(), "run": HALF}
    with pytest.raises(PackageRefusedError, match=r"reference.npz does not fit embeddings of length 4"):
        write_package(tmp_path / "half", Manifest(**keys), contents, "")


def test_a_reference_that_was_changed_is_refused(tmp_path: Path) -> None:
    package = converted(tmp_path / "half", tiny_package(tmp_path / "package"))
    (package.folder / "reference.npz").write_bytes(b"nothing")
    with pytest.raises(PackageRefusedError, match=r"reference.npz is not the file"):
        load_package(package.folder)


# --- the parity test ----------------------------------------------------------------------------------------


def test_half_precision_is_used_after_the_parity_test_only(tmp_path: Path) -> None:
    source = tiny_package(tmp_path / "package")
    good = converted(tmp_path / "good", source)
    assert Models().get(good.folder, good.ref).session.run(batch()).logits.shape == (4, 1)
    bad = converted(tmp_path / "bad", source, off=0.1)
    with pytest.raises(
        ProviderError, match=r"can't stand for cpu in fp32, .*its logits differ by .*Promote another"
    ):
        Models().get(bad.folder, bad.ref)


def test_a_value_inside_that_half_precision_has_no_number_for_is_refused(tmp_path: Path) -> None:
    """Weights that fit, and a sum of theirs that does not; a CPU may compute it in float32 all the same."""
    source = tiny_package(tmp_path / "package", change=lambda _: scaled(15000.0))
    package = converted(tmp_path / "half", source)
    with pytest.raises(ProviderError, match=r"not a finite number|its logits differ"):
        Models().get(package.folder, package.ref)


class _Elsewhere(Session):
    """Says that it runs on CUDA, and is as far off as it is told: simulated, no GPU is here."""

    shift = 0.0

    def __init__(self, model: bytes, threads: int = 1, *, cpu: bool = False, **_: object) -> None:
        super().__init__(model, threads, cpu=True)
        self._provider, self._shift = (CPU, 0.0) if cpu else (CUDA, _Elsewhere.shift)

    def run(self, images: np.ndarray) -> Outputs:
        outputs = super().run(images)
        if np.isinf(self._shift):
            raise ModelError("the model's output is not a finite number")
        return Outputs(outputs.logits + self._shift, outputs.embedding, outputs.feature_map)


@pytest.mark.parametrize(("shift", "provider"), [(0.01, CUDA), (0.1, CPU), (float("inf"), CPU)])
def test_a_gpu_whose_half_precision_is_another_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: float, provider: str
) -> None:
    monkeypatch.setattr(runnings, "Session", _Elsewhere)
    monkeypatch.setattr(_Elsewhere, "shift", shift)
    package = converted(tmp_path / "half", tiny_package(tmp_path / "package"))
    assert Models().get(package.folder, package.ref).session.provider == provider
    if provider == CPU:
        with pytest.raises(ProviderError):
            Models(require_gpu=True).get(package.folder, package.ref)


def test_thresholds_of_another_device_hold_here_after_the_parity_test(tmp_path: Path) -> None:
    run = HALF.model_copy(update={"thresholds_on": "cuda"})
    package = converted(tmp_path / "half", tiny_package(tmp_path / "package"), run=run)
    assert Models().get(package.folder, package.ref).session.provider == CPU
