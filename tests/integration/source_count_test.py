"""C-FIND back at the source: with Orthanc, and with a source that does not return the optional keys."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from sqlalchemy import insert, select

from orthanc_al.assemble import counting
from orthanc_al.assemble.counting import SourceCounter
from orthanc_al.dicom import Peer, query
from orthanc_al.dicom.sender import send_files
from orthanc_al.errors import PeerRefusedError, PeerUnreachableError
from orthanc_al.ledger import Ledger, instances, studies
from orthanc_al.ledger.schema import studies as rows
from orthanc_al.spool import Spool
from tests.support.orthanc import Orthanc
from tests.support.pipeline import Pipeline
from tests.support.radiographs import wrap
from tests.support.synthetic import ct_study
from tests.support.wire import free_port, put_instance

STUDY = "1.2.9"


@pytest.mark.needs_orthanc
def test_orthanc_is_asked_how_many_there_are(tmp_path: Path) -> None:
    images = list(ct_study(np.random.default_rng(1), 3))
    paths = []
    for number, image in enumerate(images):
        paths.append(tmp_path / f"{number}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    with Orthanc(tmp_path / "orthanc", modalities={"us": ("US", free_port())}) as orthanc:
        peer = Peer("orthanc", orthanc.ae_title, "127.0.0.1", orthanc.dicom_port)
        assert send_files(paths, peer, "US").delivered == 3
        assert query.count_instances(peer, "US", str(images[0].StudyInstanceUID)) == 3
        assert query.count_instances(peer, "US", "1.2.404") is None


class Source:
    """Answers C-FIND without the optional counts: two series, of two and three images."""

    def __init__(self, status: int = 0x0000) -> None:
        self._status = status
        ae = AE("CT")
        ae.add_supported_context(query.STUDY_ROOT_FIND)
        self._server = ae.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, self._find)]
        )
        self.peer = Peer("ct", "CT", "127.0.0.1", self._server.server_address[1], ("source",), query=True)

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        if self._status:
            yield self._status, None
            return
        asked = event.identifier
        numbers = {"STUDY": 1, "SERIES": 2}.get(asked.QueryRetrieveLevel)
        if numbers is None:
            numbers = 2 if asked.SeriesInstanceUID == "1.2.9.0" else 3
        for number in range(numbers):
            found = Dataset()
            found.QueryRetrieveLevel = asked.QueryRetrieveLevel
            found.StudyInstanceUID = asked.StudyInstanceUID
            if asked.QueryRetrieveLevel == "SERIES":
                found.SeriesInstanceUID = f"1.2.9.{number}"
            yield 0xFF00, found


def test_a_source_that_gives_no_counts_is_counted_by_series_and_image() -> None:
    with Source() as source:
        assert query.count_instances(source.peer, "US", STUDY) == 5


def test_a_source_that_refuses_or_is_away_is_told() -> None:
    with Source(0xA700) as source, pytest.raises(PeerRefusedError, match="0xA700"):
        query.count_instances(source.peer, "US", STUDY)
    with pytest.raises(PeerUnreachableError):
        query.count_instances(Peer("ct", "CT", "127.0.0.1", free_port()), "US", STUDY)


def test_a_study_that_arrives_gets_its_count_once_and_again_when_it_grows(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_SETTLED_SECONDS", -1.0)
    instance = put_instance(ledger, Spool(tmp_path / "spool", 0), "1.2.3", source="ct")
    with ledger.write() as connection:
        connection.execute(
            insert(rows).values(
                study_instance_uid=STUDY,
                patient_key="p",
                state="arriving",
                revision=1,
                arrived_at=1.0,
                last_received_at=1.0,
                read_by=1,
            )
        )
        instances.set_header(connection, instance.id, kind="image", study_instance_uid=STUDY)
    asked: list[str] = []
    real = query.count_instances
    monkeypatch.setattr(query, "count_instances", lambda *given: asked.append(given[2]) or real(*given))
    with Source() as source:
        counter = SourceCounter(ledger, [source.peer], "US", threading.Event())
        counter.turn()
        counter.turn()
        assert asked == [STUDY]
        with ledger.write() as connection:
            assert studies.expected_instances(connection, STUDY) == 5
            connection.execute(rows.update().values(last_received_at=1e11))
        monkeypatch.setattr(counting, "_SETTLED_SECONDS", -2e11)
        counter.turn()
    assert asked == [STUDY, STUDY]


def test_a_whole_study_completes_as_soon_as_its_source_says_that_all_is_here(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grey: Any
) -> None:
    monkeypatch.setattr(counting, "_SETTLED_SECONDS", -1.0)
    pipeline = Pipeline(ledger, tmp_path / "site", quiet_seconds=3600.0)
    with Source() as source:
        peer = replace(source.peer, name="sender")
        counter = SourceCounter(ledger, [peer], "US", threading.Event())
        for image in range(1, 6):
            wrap(grey, 1, image=image).save_as(tmp_path / "film.dcm", enforce_file_format=True)
            pipeline.receive(tmp_path / "film.dcm")
            pipeline.work()
            counter.turn()
            pipeline.work()
            assert _completion(ledger) == ("count" if image == 5 else None)


def _completion(ledger: Ledger) -> str | None:
    with ledger.read() as connection:
        found: str | None = connection.execute(select(rows.c.completion)).scalar_one()
    return found
