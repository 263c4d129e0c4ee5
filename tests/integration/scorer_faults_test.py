"""A network that can't be run for one study: its reason is in the ledger, and the next study is scored."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, RuntimeException
from sqlalchemy import select, update

from orthanc_al.domain import StudyState
from orthanc_al.domain.criteria import Criteria
from orthanc_al.inference import preferred
from orthanc_al.inference.running import Models, Server
from orthanc_al.ledger import Ledger, predictions, studies
from orthanc_al.ledger.queue import MAX_ATTEMPTS
from orthanc_al.ledger.schema import jobs
from orthanc_al.score.match import ModelUse
from tests.support.inference_server import OwnServer
from tests.support.pipeline import Pipeline
from tests.support.synthetic import film
from tests.support.tiny_package import tiny_package

TINY = ModelUse("tiny", Criteria(("DX",)))
SCORING = ("score_image", "score")


def _receive(pipeline: Pipeline, folder: Path, number: int) -> str:
    image = film(np.random.default_rng(number), 64, 64)
    image.NumberOfStudyRelatedInstances = 1
    path = folder / f"{number}.dcm"
    image.save_as(path, enforce_file_format=True)
    pipeline.receive(path)
    return str(image.StudyInstanceUID)


def _try_again(ledger: Ledger) -> None:
    """Let the waits between the tries be over."""
    with ledger.write() as connection:
        connection.execute(update(jobs).where(jobs.c.state == "ready").values(run_at=0.0))


def _state(ledger: Ledger, study: str) -> Any:
    with ledger.read() as connection:
        return studies.get(connection, study).state


def _left(ledger: Ledger) -> list[Any]:
    with ledger.read() as connection:
        return list(connection.execute(select(jobs).where(jobs.c.step.in_(SCORING))))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OwnServer]:
    """A server that has the network of the package."""
    package = tiny_package(tmp_path / "package")
    with OwnServer("tiny", package.contents.model, binary=True) as running:
        yield running


@contextmanager
def _beside(server: OwnServer, ledger: Ledger, folder: Path, *, fallback: bool) -> Iterator[Pipeline]:
    running = Models(server=Server(server.url, timeout=0.3, fallback=fallback))
    pipeline = Pipeline(ledger, folder, TINY, running=running)
    pipeline.install(tiny_package(folder / "package"))
    with closing(running):
        yield pipeline


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("garbage", "none of the Open Inference Protocol"),
        ("slow", "has not answered within 0.3 s"),
        ("wrong shape", "it serves another model"),
        ("not finite", "not a finite number"),
        ("no", "500"),
    ],
)
def test_what_a_server_does_wrong_is_the_reason_and_the_next_study_is_scored(
    ledger: Ledger,
    tmp_path: Path,
    server: OwnServer,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    reason: str,
) -> None:
    monkeypatch.setattr(preferred, "AWAY_SECONDS", 0.0)
    with _beside(server, ledger, tmp_path, fallback=False) as pipeline:
        server.fault = fault
        first = _receive(pipeline, tmp_path, 1)
        pipeline.work()
        assert _state(ledger, first) is StudyState.COMPLETE
        waiting = _left(ledger)
        assert {job.step for job in waiting} == set(SCORING)
        for job in waiting:
            assert (job.state, job.attempts) == ("ready", 1)
            assert reason in job.error

        server.fault = ""
        second = _receive(pipeline, tmp_path, 2)
        pipeline.work()
        assert _state(ledger, second) is StudyState.SCORED
        assert _state(ledger, first) is StudyState.COMPLETE  # its time has not come
        _try_again(ledger)
        pipeline.work()
        assert _state(ledger, first) is StudyState.SCORED
        assert _left(ledger) == []


@pytest.mark.parametrize("fault", ["garbage", "slow", "wrong shape"])
def test_with_a_fallback_no_study_waits_for_a_server_that_does_wrong(
    ledger: Ledger, tmp_path: Path, server: OwnServer, fault: str
) -> None:
    with _beside(server, ledger, tmp_path, fallback=True) as pipeline:
        server.fault = fault
        found = [_receive(pipeline, tmp_path, number) for number in (1, 2)]
        pipeline.work()
        assert [_state(ledger, study) for study in found] == [StudyState.SCORED] * 2
        assert "CPUExecutionProvider, since" in pipeline.running.providers()["tiny"]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeException(
            "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv "
            "node. Name:'conv1' Status Message: bfc_arena.cc:376 AllocateRawInternal Failed to allocate "
            "memory for requested buffer of size 8589934592"
        ),
        Fail("[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc(&p)"),
    ],
    ids=["arena", "cudaMalloc"],
)
def test_a_film_that_does_not_fit_into_the_gpu_s_memory_stops_no_other(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A mock: no GPU is filled here. ONNX Runtime's `run` raises its own error for one film, always."""
    pipeline = Pipeline(ledger, tmp_path, TINY)
    package = tiny_package(tmp_path / "package")
    pipeline.install(package)
    pipeline.running.get(package.folder, package.ref)  # warm: the mock sees films alone
    too_large: list[bytes] = []
    run = onnxruntime.InferenceSession.run

    def full(session: Any, names: Any, inputs: Any) -> Any:
        (batch,) = inputs.values()
        too_large.append(batch.tobytes())
        if batch.tobytes() == too_large[0]:
            raise error
        return run(session, names, inputs)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", full)
    first, second = (_receive(pipeline, tmp_path, number) for number in (1, 2))
    pipeline.work()
    assert _state(ledger, first) is StudyState.COMPLETE
    assert _state(ledger, second) is StudyState.SCORED
    with ledger.read() as connection:
        assert len(predictions.latest(connection, second)) == 1
    for _ in range(MAX_ATTEMPTS):
        _try_again(ledger)
        pipeline.work()
    given_up = _left(ledger)
    assert {job.step for job in given_up} == set(SCORING)
    for job in given_up:
        assert job.state == "quarantined"  # `orthanc-al requeue` brings it back
        assert "does not fit into memory" in job.error
    third = _receive(pipeline, tmp_path, 3)
    pipeline.work()
    assert _state(ledger, third) is StudyState.SCORED
