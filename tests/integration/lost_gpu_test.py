"""A GPU that fails for good: no study is at fault, the worker starts anew, what does it again is set aside.

No GPU is here: `tests.support.lost_gpu` stands for one, in a process of the service under its supervisor.
"""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update

from orthanc_al.domain import StudyState
from orthanc_al.errors import DeviceLostError
from orthanc_al.inference import running
from orthanc_al.ledger import Ledger, processes, studies
from orthanc_al.ledger.queue import MAX_DEATHS
from orthanc_al.ledger.schema import jobs
from orthanc_al.service import doctor
from orthanc_al.service import running as service
from orthanc_al.service import supervisor as supervising
from orthanc_al.service.roles import worker
from orthanc_al.service.supervisor import Supervisor
from orthanc_al.settings import Settings, load
from tests.support.lost_gpu import Context, gpu
from tests.support.pipeline import Pipeline
from tests.support.site import Site, free_port, peer, wait_until
from tests.support.synthetic import film
from tests.support.tiny_package import tiny_package

SCORED = StudyState.SCORED
SCORING = ("score_image", "score")


class _Gateway:
    """A site of which the worker alone runs."""

    def __init__(self, folder: Path, **inference: bool) -> None:
        package = tiny_package(folder / "package")
        self.site = Site(
            folder,
            [peer("modality", "MODALITY", free_port(), "source")],
            {
                "models": [{"package": str(package.folder), "modality": ["DX"]}],
                "inference": inference,
                "orthanc": {"url": "", "mirror": False},
            },
        )
        self.settings: Settings = load(self.site.config)
        service.prepare(self.settings)
        self.ledger = Ledger.open(self.settings.storage.ledger)
        self.pipeline = Pipeline(self.ledger, folder / "var")

    def receive(self, number: int, *, flat: bool = False) -> str:
        """Take a film in, a study of its own."""
        image = film(np.random.default_rng(number), 64, 64)
        image.NumberOfStudyRelatedInstances = 1
        if flat:
            image.PixelData = b"\x00\x04" * (64 * 64)
        path = self.site.folder / f"{number}.dcm"
        image.save_as(path, enforce_file_format=True)
        self.pipeline.receive(path)
        return str(image.StudyInstanceUID)

    def state(self, study: str) -> Any:
        """Return how far a study came."""
        with self.ledger.read() as connection:
            found = studies.get(connection, study)
        return None if found is None else found.state

    def jobs(self) -> list[Any]:
        """Return the jobs that score."""
        with self.ledger.read() as connection:
            return list(connection.execute(select(jobs).where(jobs.c.step.in_(SCORING))))

    def are_set_aside_after_the_waits(self) -> bool:
        """Let the waits of the next hours be over for what nobody has in hand; whether all is given up."""
        tried_often = {"attempts": MAX_DEATHS, "run_at": 0.0, "lease_until": 0.0}
        idle = jobs.c.step.in_(SCORING) & jobs.c.lease_owner.is_(None)
        with self.ledger.write() as connection:
            connection.execute(update(jobs).where(idle, jobs.c.state != "quarantined").values(tried_often))
        return {job.state for job in self.jobs()} == {"quarantined"}

    def told(self) -> dict[str, Any]:
        """Return what the worker says of itself."""
        with self.ledger.read() as connection:
            detail: dict[str, Any] = processes.all_roles(connection).get("worker", {"detail": {}})["detail"]
        return detail


@pytest.fixture
def supervised(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Start the worker of a gateway under a supervisor; gives the list of its restarts."""
    stop, threads = threading.Event(), []
    monkeypatch.setattr(supervising, "_BACKOFF_CAP", 0.5)  # else half a minute, in the end

    def start(gateway: _Gateway) -> list[int]:
        restarts: list[int] = []
        words = [sys.executable, "-m", "tests.support.lost_gpu", "worker", "--parent", str(os.getpid())]
        supervisor = Supervisor(
            lambda _: [*words, "--config", str(gateway.site.config)],
            ["worker"],
            lambda _, times: restarts.append(times),
            {**os.environ, "LOST_GPU": "a flat film"},
        )
        threads.append(threading.Thread(target=supervisor.run, args=(stop,)))
        threads[0].start()
        return restarts

    yield start
    stop.set()
    for thread in threads:
        thread.join(60)


@pytest.mark.slow
def test_a_film_that_takes_the_gpu_each_time_is_set_aside_and_all_others_are_scored(
    tmp_path: Path, supervised: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    gateway = _Gateway(tmp_path)
    poison = gateway.receive(0, flat=True)
    others = [gateway.receive(number) for number in range(1, 4)]
    restarts = supervised(gateway)
    wait_until(lambda: gateway.told().get("state", "").startswith("failed: CUDAExecutionProvider runs"), 60)
    wait_until(lambda: len(restarts) >= 2, 60, lambda: capfd.readouterr().err)
    others += [gateway.receive(number) for number in range(4, 6)]
    wait_until(lambda: {gateway.state(one) for one in others} == {SCORED}, 60, lambda: str(gateway.jobs()))
    assert gateway.state(poison) is not SCORED
    left = gateway.jobs()
    assert {job.state for job in left} <= {"running", "ready"}
    assert max(job.attempts for job in left) >= 2
    assert {job.error for job in left} == {None}  # no try of its own failed
    wait_until(gateway.are_set_aside_after_the_waits, 60)
    assert {job.error for job in gateway.jobs()} == {
        "the process that ran it died, or lost its GPU, each time"
    }
    many = len(restarts)
    late = gateway.receive(20)
    wait_until(lambda: gateway.state(late) is SCORED, 30)
    assert len(restarts) == many
    wait_until(lambda: gateway.told()["state"] == "ready", 30)  # its next sign of life says so
    log = capfd.readouterr().err
    assert log.count("process_failed") == many  # once each time
    assert "CUDA failure 700" in log
    assert "step_failed" not in log


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> Context:
    """A GPU in this process, lost from the start."""
    context = Context()
    context.lost = True
    monkeypatch.setattr(running, "Session", gpu(context))
    monkeypatch.setattr(worker, "_LOOK_AGAIN_SECONDS", 0.5)
    return context


def _work(gateway: _Gateway, stop: threading.Event, detail: dict[str, Any]) -> None:
    over = threading.Timer(30.0, stop.set)  # one that never ends fails its test, and no other
    over.start()
    try:
        worker._do_shifts(gateway.settings, gateway.ledger, stop, detail)
    finally:
        over.cancel()


@pytest.mark.usefixtures("lost")
def test_where_the_gpu_is_lost_from_the_start_the_cpu_scores_and_says_why(tmp_path: Path) -> None:
    gateway, stop, detail = _Gateway(tmp_path), threading.Event(), {"state": "starting"}
    study = gateway.receive(1)
    thread = threading.Thread(target=_work, args=(gateway, stop, detail))
    thread.start()
    wait_until(lambda: gateway.state(study) is SCORED, 30)
    assert detail["state"] == "ready"
    assert detail["provider"].startswith("tiny: CPUExecutionProvider, since the GPU is lost: ")
    stop.set()
    thread.join()


@pytest.mark.usefixtures("lost")
def test_where_a_gpu_is_required_studies_wait_and_a_new_process_looks_for_it(tmp_path: Path) -> None:
    gateway, detail = _Gateway(tmp_path, require_gpu=True), {"state": "starting"}
    study = gateway.receive(1)
    with pytest.raises(DeviceLostError):
        _work(gateway, threading.Event(), detail)
    assert detail["state"].startswith("does not score: inference.require_gpu is set, and the GPU is lost: ")
    assert gateway.state(study) is not None  # its header was read all the same
    assert {(job.state, job.attempts) for job in gateway.jobs()} == {("ready", 0)}


def test_a_process_that_lost_its_gpu_ends_as_one_that_failed_and_doctor_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, context = _Gateway(tmp_path), Context()
    context.fails_at_flat = True
    monkeypatch.setattr(running, "Session", gpu(context))
    gateway.receive(1, flat=True)
    detail: dict[str, Any] = {"state": "starting"}
    with pytest.raises(DeviceLostError, match="CUDA failure 700") as error:
        _work(gateway, threading.Event(), detail)
    with gateway.ledger.write() as connection:  # as `run_role` tells it
        processes.report_alive(connection, "worker", 1, 0.0, {**detail, "state": f"failed: {error.value}"})
    (found,) = (one for one in doctor._processes(gateway.settings, gateway.ledger) if "worker" in one.subject)
    assert found.is_problem
    assert "CUDA failure 700" in found.text
