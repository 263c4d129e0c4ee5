"""Models that can't be used say why, and hold nothing else up."""

import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from orthanc_al.domain import ModelRef
from orthanc_al.errors import InferenceError, ModelError, NoMemoryError, PackageRefusedError, ProviderError
from orthanc_al.inference import running as runnings
from orthanc_al.inference.manifest import Run
from orthanc_al.inference.package import load_package
from orthanc_al.inference.running import Models
from orthanc_al.inference.scorer import Outputs, prove
from orthanc_al.inference.session import CPU, CUDA, Session
from tests.support.tiny_package import tiny_model, tiny_package


def batch(n: int = 1) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 1, 32, 32)).astype(np.float32)


def test_an_opset_that_is_too_new_is_told_with_the_newest_that_is_taken() -> None:
    model = onnx.load_model_from_string(tiny_model())
    model.opset_import[0].version = 99
    with pytest.raises(ModelError, match=r"can't load the model \(.*is till opset \d+"):
        Session(model.SerializeToString())


@pytest.mark.parametrize("name", ["film", "x", "input:0"])
def test_the_name_of_the_input_is_free(tmp_path: Path, name: str) -> None:
    package = tiny_package(tmp_path / "package", input_name=name)
    assert Models().get(package.folder, package.ref).session.run(batch()).logits.shape == (1, 1)


def test_a_file_of_two_gigabytes_is_refused_without_being_read(tmp_path: Path) -> None:
    package = tiny_package(tmp_path / "package")
    with (package.folder / "model.onnx").open("r+b") as file:
        file.truncate(2**31)  # sparse: it takes no space, and no reader would come back soon
    with pytest.raises(PackageRefusedError, match="has 2147483648 bytes"):
        load_package(package.folder)


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ("Failed to allocate memory for requested buffer of size 17179869184", NoMemoryError),
        ("CUDA failure 2: out of memory ; GPU=0", NoMemoryError),
        ("CUDNN_STATUS_EXECUTION_FAILED", InferenceError),
    ],
)
def test_a_device_that_fails_is_told_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, told: str, kind: type[Exception]
) -> None:
    """Simulated at the border: no GPU is here that could run full."""
    session = Session(tiny_model())

    class Full:
        def run(self, *_: object) -> None:
            raise onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException(told)

    monkeypatch.setattr(session, "_session", Full())
    with pytest.raises(kind, match="RuntimeException") as error:
        session.run(batch())
    assert error.value.retryable


def test_a_batch_of_another_shape_is_a_fault_of_the_package() -> None:
    with pytest.raises(ModelError, match="does not take what the preprocessing makes") as error:
        Session(tiny_model()).run(np.zeros((1, 3, 32, 32), np.float32))
    assert not error.value.retryable


def test_thresholds_of_a_device_that_is_not_here_are_not_used(tmp_path: Path) -> None:
    package = tiny_package(tmp_path / "package", run=Run(thresholds_on="tensorrt"))
    with pytest.raises(ProviderError, match="were computed on TensorrtExecutionProvider"):
        Models().get(package.folder, package.ref)


class _Elsewhere(Session):
    """Says that it runs on CUDA, and is as far off as it is told: simulated, no GPU is here."""

    shift = 0.0

    def __init__(self, model: bytes, threads: int = 1, *, cpu: bool = False, **_: object) -> None:
        super().__init__(model, threads, cpu=True)
        self._provider, self._shift = (CPU, 0.0) if cpu else (CUDA, _Elsewhere.shift)

    def run(self, images: np.ndarray) -> Outputs:
        outputs = super().run(images)
        return Outputs(outputs.logits + self._shift, outputs.embedding, outputs.feature_map)


@pytest.mark.parametrize(("shift", "provider"), [(0.01, CUDA), (0.1, CPU), (float("nan"), CPU)])
def test_another_provider_is_used_only_after_the_parity_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: float, provider: str
) -> None:
    monkeypatch.setattr(runnings, "Session", _Elsewhere)
    monkeypatch.setattr(_Elsewhere, "shift", shift)
    package = tiny_package(tmp_path / "package")
    assert Models().get(package.folder, package.ref).session.provider == provider
    if provider == CPU:
        with pytest.raises(ProviderError, match="can't stand for"):
            Models(require_gpu=True).get(package.folder, package.ref)


def test_outputs_of_another_shape_are_no_parity() -> None:
    with pytest.raises(InferenceError, match="have shapes"):
        prove(Session(tiny_model()), Session(tiny_model(findings=2)), batch(), 1.0)


def test_while_a_package_is_loaded_others_are_scored_and_the_one_before_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = tiny_package(tmp_path / "1")
    two = tiny_package(tmp_path / "2", version="2", seed=2)
    models = Models()
    before = models.get(one.folder, one.ref)
    loading, go_on = threading.Event(), threading.Event()

    def slowly(folder: Path) -> object:
        loading.set()
        assert go_on.wait(30)
        return load_package(folder)

    monkeypatch.setattr(runnings, "load_package", slowly)
    got: list[object] = []
    thread = threading.Thread(target=lambda: got.append(models.get(two.folder, two.ref)))
    thread.start()
    assert loading.wait(30)
    assert models.get(one.folder, one.ref) is before
    assert before.session.run(batch()).logits.shape == (1, 1)
    go_on.set()
    thread.join(30)
    assert models.get(two.folder, two.ref) is got[0]
    assert models.get(one.folder, one.ref) is before  # studies that it scored are still on their way


def test_only_the_last_two_versions_of_a_name_are_kept(tmp_path: Path) -> None:
    models, packages = Models(), [tiny_package(tmp_path / str(n), version=str(n), seed=n) for n in range(3)]
    first = models.get(packages[0].folder, packages[0].ref)
    for package in packages[1:]:
        models.get(package.folder, package.ref)
    assert models.get(packages[0].folder, packages[0].ref) is not first


def test_who_asks_for_the_same_package_at_once_gets_the_same(tmp_path: Path) -> None:
    package, models = tiny_package(tmp_path / "package"), Models()
    got: list[object] = []
    threads = [
        threading.Thread(target=lambda: got.append(models.get(package.folder, package.ref))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(got) == 4
    assert len({id(one) for one in got}) == 1


def test_another_package_in_the_folder_is_refused(tmp_path: Path) -> None:
    package = tiny_package(tmp_path / "package")
    with pytest.raises(PackageRefusedError):
        Models().get(package.folder, ModelRef("tiny", "1", "f" * 64))
