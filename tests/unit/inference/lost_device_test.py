"""A GPU that fails for good is told from a run that failed; no GPU is here, the failures are stand-ins."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument

from orthanc_al.errors import DeviceLostError, InferenceError, ModelError, NoMemoryError, ProviderError
from orthanc_al.inference import device, running
from orthanc_al.inference import session as sessions
from orthanc_al.inference.batcher import Batcher
from orthanc_al.inference.preferred import Preferred
from orthanc_al.inference.running import Models
from orthanc_al.inference.session import CPU, CUDA, Session
from tests.support.lost_gpu import ILLEGAL, Context, gpu
from tests.support.tiny_package import tiny_model, tiny_package


def batch(n: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 1, 32, 32)).astype(np.float32)


@pytest.fixture
def context() -> Context:
    return Context()


@pytest.fixture
def session(context: Context) -> Session:
    made = gpu(context)(tiny_model())
    assert made.run(batch()).logits.shape == (1, 1)
    return made


def _fails(monkeypatch: pytest.MonkeyPatch, session: Session, of: np.ndarray, error: Exception) -> list[Any]:
    """Have a session fail for one batch alone; return the inputs that it gets."""
    got: list[Any] = []

    class Picky:
        def run(self, _: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            (images,) = inputs.values()
            got.append(images)
            if np.array_equal(images, of):
                raise error
            return real.run(_, inputs)

    real = session._session
    monkeypatch.setattr(session, "_session", Picky())
    return got


def test_where_what_ran_before_runs_no_more_the_device_is_lost(session: Session, context: Context) -> None:
    context.lost = True
    with pytest.raises(DeviceLostError, match=r"CUDAExecutionProvider .*CUDA failure 700") as error:
        session.run(batch(3, 1))
    assert error.value.passes
    assert not isinstance(error.value, ModelError)  # no study's fault, and no package's


def test_where_what_ran_before_runs_it_is_that_run_s_failure(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    got = _fails(monkeypatch, session, batch(3, 1), Fail("CUDNN_STATUS_EXECUTION_FAILED"))
    with pytest.raises(InferenceError, match="CUDNN_STATUS_EXECUTION_FAILED"):
        session.run(batch(3, 1))
    (_, probe) = got
    assert np.array_equal(probe, np.repeat(batch(), 3, axis=0))  # the size that failed: no other is planned
    assert session.run(batch()).logits.shape == (1, 1)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(Fail("CUDA failure 2: out of memory"), NoMemoryError), (InvalidArgument("rank"), ModelError)],
)
def test_memory_and_a_batch_that_does_not_fit_the_network_say_nothing_of_the_device(
    session: Session, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception]
) -> None:
    got = _fails(monkeypatch, session, batch(3, 1), error)
    with pytest.raises(kind) as told:
        session.run(batch(3, 1))
    assert type(told.value) is kind
    assert len(got) == 1


def test_the_cpu_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(tiny_model(), cpu=True)
    session.run(batch())
    got = _fails(monkeypatch, session, batch(1, 1), Fail("a slip"))
    with pytest.raises(InferenceError):
        session.run(batch(1, 1))
    assert len(got) == 1


@pytest.mark.parametrize("answers", [True, False])
def test_before_anything_ran_a_network_of_nothing_says_whether_the_device_does(
    context: Context, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    monkeypatch.setattr(device, "answers", lambda wanted: answers)
    session, context.lost = gpu(context)(tiny_model()), True
    with pytest.raises(InferenceError if answers else DeviceLostError):
        session.run(batch())


def test_a_device_answers_where_a_network_runs_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not device.answers([CPU])  # that is no device
    real = sessions.onnxruntime.InferenceSession

    class OnGpu:
        fails = False

        def __init__(self, model: bytes, options: object, **_: object) -> None:
            self._real = real(model, options, providers=[CPU])

        def get_providers(self) -> list[str]:
            return [CUDA, CPU]

        def run(self, *given: Any) -> Any:
            if self.fails:
                raise Fail(ILLEGAL)
            return self._real.run(*given)

    monkeypatch.setattr(device.onnxruntime, "InferenceSession", OnGpu)
    assert device.answers([CUDA, CPU])
    monkeypatch.setattr(OnGpu, "fails", True)
    assert not device.answers([CUDA, CPU])


def test_the_batcher_and_a_server_s_stand_in_pass_it_on(session: Session, context: Context) -> None:
    class Away:
        provider = "a server"

        def run(self, images: np.ndarray) -> Any:
            raise InferenceError("is away")

    preferred = Preferred(Away(), session, batch(), 0.04)
    context.lost = True
    for scorer in (Batcher(session, 8), preferred):
        with pytest.raises(DeviceLostError):
            scorer.run(batch(2))


@pytest.fixture
def lost_at_the_start(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "Session", gpu(context))
    context.lost = True


@pytest.mark.usefixtures("lost_at_the_start")
def test_a_device_that_is_lost_while_a_package_is_loaded_is_no_fault_of_the_package(tmp_path: Path) -> None:
    package = tiny_package(tmp_path / "package")
    with pytest.raises(DeviceLostError):
        Models().get(package.folder, package.ref)


@pytest.mark.usefixtures("lost_at_the_start")
def test_without_the_gpu_all_is_run_on_the_cpu_and_the_reason_is_told(tmp_path: Path) -> None:
    package = tiny_package(tmp_path / "package")
    models = Models(without_gpu="the GPU is lost")
    assert models.get(package.folder, package.ref).session.provider == CPU
    assert models.providers() == {"tiny": f"{CPU}, since the GPU is lost"}


@pytest.mark.usefixtures("lost_at_the_start")
def test_where_a_gpu_is_required_nothing_is_run_without_it(tmp_path: Path) -> None:
    package = tiny_package(tmp_path / "package")
    with pytest.raises(ProviderError, match=r"inference\.require_gpu is set, and the GPU is lost"):
        Models(require_gpu=True, without_gpu="the GPU is lost").get(package.folder, package.ref)
