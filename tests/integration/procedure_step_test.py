"""MPPS (PS3.4 annex F) by a pynetdicom modality: evidence of when a study is complete."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from sqlalchemy import select

from orthanc_al.dicom import Peer
from orthanc_al.ledger import Ledger, evidence, studies
from orthanc_al.ledger.schema import procedure_steps
from orthanc_al.ledger.schema import studies as study_rows
from orthanc_al.receive import Listener
from orthanc_al.spool import Spool
from tests.support.pipeline import Pipeline
from tests.support.radiographs import wrap
from tests.support.wire import CT

MPPS = "1.2.840.10008.3.1.2.3.3"
STUDY = "1.2.9"


@pytest.fixture
def modality(ledger: Ledger, tmp_path: Path) -> Iterator[Any]:
    listener = Listener(
        ae_title="US",
        host="127.0.0.1",
        port=0,
        peers=[Peer("ct", "CT", "127.0.0.1", 104, ("source",))],
        accept="listed",
        spool=Spool(tmp_path / "spool", 0),
        ledger=ledger,
        destinations=[],
    )
    listener.start()
    ae = AE("CT")
    ae.add_requested_context(MPPS)
    association = ae.associate("127.0.0.1", listener.port, ae_title="US")
    assert association.is_established
    yield association
    association.release()
    listener.stop()


def _begun(study: str = STUDY, status: str = "IN PROGRESS") -> Dataset:
    step, scheduled = Dataset(), Dataset()
    scheduled.StudyInstanceUID = study
    step.ScheduledStepAttributesSequence = [scheduled]
    step.PerformedProcedureStepStatus = status
    return step


def _over(count: int, status: str = "COMPLETED") -> Dataset:
    step, series = Dataset(), Dataset()
    step.PerformedProcedureStepStatus = status
    images = []
    for number in range(count):
        image = Dataset()
        image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = CT, f"1.2.3.{number}"
        images.append(image)
    series.ReferencedImageSequence = images
    series.ReferencedNonImageCompositeSOPInstanceSequence = []
    step.PerformedSeriesSequence = [series]
    return step


def _expected(ledger: Ledger) -> int | None:
    with ledger.read() as connection:
        return studies.expected_instances(connection, STUDY)


def test_steps_tell_how_many_instances_there_are_once_all_are_over(ledger: Ledger, modality: Any) -> None:
    assert modality.send_n_create(_begun(), MPPS, "1.5.1")[0].Status == 0x0000
    assert modality.send_n_create(_begun(), MPPS, "1.5.2")[0].Status == 0x0000
    assert modality.send_n_set(_over(3), MPPS, "1.5.1")[0].Status == 0x0000
    assert _expected(ledger) is None  # the second may add to it
    assert modality.send_n_set(_over(2, "DISCONTINUED"), MPPS, "1.5.2")[0].Status == 0x0000
    assert _expected(ledger) == 5
    with ledger.write() as connection:
        evidence.counted(connection, STUDY, "ct", 7, None)
        evidence.counted(connection, STUDY, "pacs", None, "no answer")
    assert _expected(ledger) == 7


def test_what_the_standard_forbids_is_answered_with_its_status(ledger: Ledger, modality: Any) -> None:
    assert modality.send_n_create(_begun(status="COMPLETED"), MPPS, "1.5.0")[0].Status == 0x0106
    assert modality.send_n_create(_begun(status=""), MPPS, "1.5.0")[0].Status == 0x0120
    assert modality.send_n_set(_over(1), MPPS, "1.5.1")[0].Status == 0x0112
    assert modality.send_n_create(_begun(), MPPS, "1.5.1")[0].Status == 0x0000
    assert modality.send_n_create(_begun(), MPPS, "1.5.1")[0].Status == 0x0111
    assert modality.send_n_set(_over(1, "HALFWAY"), MPPS, "1.5.1")[0].Status == 0x0106
    assert modality.send_n_set(_over(1), MPPS, "1.5.1")[0].Status == 0x0000
    assert modality.send_n_set(_over(9), MPPS, "1.5.1")[0].Status == 0x0110
    assert _expected(ledger) == 1


def test_a_step_of_two_studies_is_evidence_for_neither(ledger: Ledger, modality: Any) -> None:
    step = _begun()
    other = Dataset()
    other.StudyInstanceUID = "1.2.10"
    step.ScheduledStepAttributesSequence.append(other)
    assert modality.send_n_create(step, MPPS, "1.5.1")[0].Status == 0x0000
    assert modality.send_n_set(_over(4), MPPS, "1.5.1")[0].Status == 0x0000
    assert _expected(ledger) is None
    with ledger.read() as connection:
        assert connection.execute(select(procedure_steps.c.instances)).scalar_one() == 4


def test_a_whole_study_completes_as_soon_as_its_step_is_over(
    ledger: Ledger, modality: Any, tmp_path: Path, grey: Any
) -> None:
    pipeline = Pipeline(ledger, tmp_path / "site", quiet_seconds=3600.0)
    for image in (1, 2):
        film = wrap(grey, 1, image=image)
        film.save_as(tmp_path / "film.dcm", enforce_file_format=True)
        pipeline.receive(tmp_path / "film.dcm")
    study = str(film.StudyInstanceUID)
    assert modality.send_n_create(_begun(study), MPPS, "1.5.1")[0].Status == 0x0000
    pipeline.work()
    assert _completion(ledger) is None  # for the modality is still at it
    assert modality.send_n_set(_over(2), MPPS, "1.5.1")[0].Status == 0x0000
    pipeline.work()
    assert _completion(ledger) == "count"


def _completion(ledger: Ledger) -> str | None:
    with ledger.read() as connection:
        found: str | None = connection.execute(select(study_rows.c.completion)).scalar_one()
    return found
