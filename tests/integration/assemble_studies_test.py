"""Arrival and completion through the real spool, ledger and queue."""

from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.filereader import read_file_meta_info
from sqlalchemy import select

from orthanc_al.domain import StudyState
from orthanc_al.domain.concepts import MANUFACTURER
from orthanc_al.ledger import Job, Ledger, associations, enqueue, instances, studies
from orthanc_al.ledger.schema import jobs
from orthanc_al.ledger.schema import studies as table
from orthanc_al.observe import now
from orthanc_al.pipeline import Step
from tests.support.pipeline import TARGETS, Pipeline
from tests.support.radiographs import wrap


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return now() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pipeline(ledger: Ledger, tmp_path: Path, clock: Clock) -> Pipeline:
    return Pipeline(ledger, tmp_path, quiet_seconds=30.0, clock=clock)


def _receive(pipeline: Pipeline, tmp_path: Path, dataset: Dataset, association: str | None = None) -> str:
    path = tmp_path / "sent.dcm"
    dataset.save_as(path, enforce_file_format=True)
    instance_id = pipeline.receive(path, association=association)
    pipeline.work()
    return instance_id


def _row(pipeline: Pipeline):
    with pipeline.ledger.read() as connection:
        return connection.execute(select(table)).mappings().one()


def _open(pipeline: Pipeline, name: str) -> None:
    with pipeline.ledger.write() as connection:
        associations.opened(connection, name, "SENDER", "ORTHANC_AL", "127.0.0.1")


def _close(pipeline: Pipeline, name: str, ended: str = "released") -> None:
    with pipeline.ledger.write() as connection:
        associations.closed(connection, name, ended)


def test_quiet_time_completes_a_study(pipeline: Pipeline, clock: Clock, tmp_path: Path, grey):
    _receive(pipeline, tmp_path, wrap(grey, 1))
    assert _row(pipeline)["state"] == StudyState.ARRIVING
    clock.ahead = 29.0
    pipeline.work()
    assert _row(pipeline)["state"] == StudyState.ARRIVING
    clock.ahead = 31.0
    pipeline.work()
    row = _row(pipeline)
    assert (row["state"], row["completion"], row["completed_revision"]) == (StudyState.INELIGIBLE, "quiet", 1)
    assert row["reason"] == "no model is configured"


def test_a_count_and_a_clean_release_complete_a_study_at_once(
    pipeline: Pipeline, clock: Clock, tmp_path: Path, grey
):
    _open(pipeline, "a")
    for image in (1, 2):
        film = wrap(grey, 1, image=image)
        film.NumberOfStudyRelatedInstances = "2"
        _receive(pipeline, tmp_path, film, "a")
    clock.ahead = 2.0
    pipeline.work()
    assert _row(pipeline)["state"] == StudyState.ARRIVING
    _close(pipeline, "a")
    clock.ahead = 4.0
    pipeline.work()
    assert _row(pipeline)["completion"] == "count"


def test_an_open_association_holds_a_study_up_but_not_for_ever(
    pipeline: Pipeline, clock: Clock, tmp_path: Path, grey
):
    _open(pipeline, "a")
    _receive(pipeline, tmp_path, wrap(grey, 1), "a")
    clock.ahead = 200.0
    pipeline.work()
    assert _row(pipeline)["state"] == StudyState.ARRIVING
    clock.ahead = 301.0
    pipeline.work()
    assert _row(pipeline)["completion"] == "quiet, association open"


def test_a_study_s_place_is_that_of_its_order_from_the_first_instance_on(
    pipeline: Pipeline, tmp_path: Path, grey
):
    film = wrap(grey, 1)
    film.RequestedProcedurePriority = "STAT"
    _receive(pipeline, tmp_path, film)
    row = _row(pipeline)
    assert row["read_by"] == int(row["arrived_at"] / 60 + TARGETS.high)


def test_a_report_of_others_goes_to_review_and_reopens_nothing(
    pipeline: Pipeline, clock: Clock, tmp_path: Path, grey
):
    film = wrap(grey, 1)
    _receive(pipeline, tmp_path, film)
    clock.ahead = 31.0
    pipeline.work()
    report = wrap(grey, 1, image=2)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    report.Modality = "SR"
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(report, keyword)
    instance_id = _receive(pipeline, tmp_path, report)
    with pipeline.ledger.read() as connection:
        assert instances.get(connection, instance_id).kind == "report"
        waiting = connection.execute(select(jobs.c.step, jobs.c.subject)).all()
    # Nothing is scored anew; that the study has its place in Orthanc is the film's doing.
    assert set(waiting) == {("review", instance_id), ("mirror", str(film.StudyInstanceUID))}
    assert (_row(pipeline)["state"], _row(pipeline)["revision"]) == (StudyState.INELIGIBLE, 1)


def test_an_object_of_our_own_that_comes_back_joins_no_study(pipeline: Pipeline, tmp_path: Path, grey):
    film = wrap(grey, 1)
    film.Manufacturer = MANUFACTURER
    instance_id = _receive(pipeline, tmp_path, film)
    with pipeline.ledger.read() as connection:
        assert instances.get(connection, instance_id).kind == "own"
        assert studies.get(connection, str(film.StudyInstanceUID)) is None
        assert connection.execute(select(jobs)).first() is None


def test_looking_twice_counts_once(pipeline: Pipeline, tmp_path: Path, grey):
    instance_id = _receive(pipeline, tmp_path, wrap(grey, 1))
    with pipeline.ledger.write() as connection:
        enqueue(connection, Step.ARRIVE, instance_id, now())
    pipeline.work()
    assert _row(pipeline)["revision"] == 1


def test_patients_without_an_id_are_kept_apart(pipeline: Pipeline, tmp_path: Path, grey):
    for number in (1, 2):
        film = wrap(grey, number)
        film.PatientID = ""
        _receive(pipeline, tmp_path, film)
    with pipeline.ledger.read() as connection:
        keys = set(connection.execute(select(table.c.patient_key)).scalars())
    assert len(keys) == 2


def test_twins_that_two_workers_look_at_at_once_are_one_image_and_a_duplicate(
    pipeline: Pipeline, tmp_path: Path, grey
):
    path = tmp_path / "sent.dcm"
    wrap(grey, 1).save_as(path, enforce_file_format=True)
    stage = pipeline.stages[Step.ARRIVE]
    ids = [pipeline.receive(path) for _ in range(2)]
    outcomes = [stage.run(Job(number, Step.ARRIVE, one, 1, "test")) for number, one in enumerate(ids)]
    for outcome in outcomes:
        with pipeline.ledger.write() as connection:
            outcome.write(connection)
    with pipeline.ledger.read() as connection:
        assert [instances.get(connection, one).kind for one in ids] == ["image", "duplicate"]
    assert _row(pipeline)["revision"] == 1


def test_an_instance_that_its_sender_calls_by_another_uid_than_it_says_joins_its_study(
    pipeline: Pipeline, tmp_path: Path, grey
):
    path = tmp_path / "sent.dcm"
    wrap(grey, 1).save_as(path, enforce_file_format=True)
    meta = read_file_meta_info(path)
    data_set = path.read_bytes()[144 + int(meta.FileMetaInformationGroupLength) :]
    sop_class, syntax = str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
    instance_id = pipeline.receive_bytes(data_set, sop_class, "1.2.3.4", syntax)
    pipeline.work()
    with pipeline.ledger.read() as connection:
        known = instances.get(connection, instance_id)
    assert (known.kind, known.instance.sop_instance_uid) == ("image", "1.2.3.4")
    assert _row(pipeline)["revision"] == 1


def test_an_id_s_issuer_that_only_some_instances_name_makes_no_second_patient(
    pipeline: Pipeline, tmp_path: Path, grey
):
    keys = set()
    for number, issuer in enumerate(("", "HOSPITAL", "", "HOSPITAL"), start=1):
        image = wrap(grey, 1, image=number)
        image.IssuerOfPatientID = issuer
        _receive(pipeline, tmp_path, image)
        keys.add(_row(pipeline)["patient_key"])
    assert _row(pipeline)["reason"] is None
    assert len(keys) == 2  # hers without the issuer, and from the second image on with it
    image = wrap(grey, 1, image=9)
    image.IssuerOfPatientID = "ANOTHER"
    _receive(pipeline, tmp_path, image)
    assert _row(pipeline)["reason"] == studies.TWO_PATIENTS
