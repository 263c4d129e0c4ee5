"""A real Orthanc is watched: what comes into it comes in here, once, whoever is killed or swapped."""

import hashlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from pydicom import Dataset, Sequence

from orthanc_al.assemble import ArriveStage
from orthanc_al.domain import Origin
from orthanc_al.errors import DiskFullError, OrthancError
from orthanc_al.ledger import Ledger, Worker, WorkQueue, deliveries, instances, studies, watched
from orthanc_al.orthanc import ChangeLog, OrthancClient
from orthanc_al.pipeline import Step
from orthanc_al.receive import Watcher
from orthanc_al.spool import Spool
from tests.support.orthanc import Orthanc
from tests.support.pipeline import TARGETS
from tests.support.radiographs import wrap
from tests.support.site import ROOT, data_set_bytes, free_port, storescu, wait_until

pytestmark = pytest.mark.needs_orthanc
PIXELS = np.full((16, 16), 100, np.uint8)


def film(number: int, image: int = 1) -> bytes:
    buffer = BytesIO()
    wrap(PIXELS, number, image=image).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


class Beside:
    """A watcher beside an Orthanc, with a spool and a ledger."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger = ledger
        self.spool = Spool(folder / "spool", 0)
        self.stop = threading.Event()
        self.clients: list[OrthancClient] = []

    def watcher(self, orthanc: Orthanc, days: float = 1, **changes: str) -> Watcher:
        client = OrthancClient(orthanc.url)
        self.clients.append(client)
        return Watcher(
            ChangeLog(client),
            self.spool,
            self.ledger,
            destinations=("archive", "orthanc"),
            source="orthanc",
            orthanc_ae=orthanc.ae_title,
            own_ae="ORTHANC_AL",
            days=days,
            stop=self.stop,
            **changes,  # type: ignore[arg-type]
        )

    def look(self, watcher: Watcher) -> None:
        while watcher.follow():
            continue

    def sop_uids(self) -> list[str]:
        with self.ledger.read() as connection:
            rows = [instances.get(connection, one) for one in instances.known_ids(connection)]
        return sorted(row.instance.sop_instance_uid for row in rows if row is not None)

    def receive(self, image: Dataset, data_set: bytes) -> None:
        """Take an instance in as the listener does."""
        origin = Origin("MODALITY", "ORTHANC_AL", "ORTHANC_AL", "modality", "f" * 32, "dicom")
        syntax = str(image.file_meta.TransferSyntaxUID)
        with self.spool.open_writer(
            str(image.SOPClassUID), str(image.SOPInstanceUID), syntax, origin
        ) as writer:
            writer.write(data_set)
            instance = writer.commit()
        with self.ledger.write() as connection:
            instances.add(connection, instance, origin, ())

    def arrive(self) -> None:
        stage = ArriveStage(self.ledger, self.spool, TARGETS)
        worker = Worker(self.ledger, WorkQueue(self.ledger, "test"), {Step.ARRIVE: stage})
        while worker.run_once():
            continue


@pytest.fixture(scope="module")
def _orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    # Without the cache in memory, a file that is lost on its disk is lost.
    with Orthanc(tmp_path_factory.mktemp("orthanc"), settings={"MaximumStorageCacheSize": 0}) as orthanc:
        yield orthanc


@pytest.fixture
def orthanc(_orthanc: Orthanc) -> Orthanc:
    """An Orthanc without anything in it."""
    for study in _orthanc.get("/studies"):
        _orthanc.delete(f"/studies/{study}")
    return _orthanc


@pytest.fixture
def beside(ledger: Ledger, tmp_path: Path) -> Iterator[Beside]:
    made = Beside(ledger, tmp_path)
    yield made
    for client in made.clients:
        client.close()


def test_what_orthanc_receives_comes_in_byte_for_byte_and_never_goes_back(
    beside: Beside, orthanc: Orthanc, tmp_path: Path
) -> None:
    watcher = beside.watcher(orthanc)
    watcher.start()
    orthanc.post("/instances", film(1))
    orthanc.post("/instances", film(1, image=2))
    beside.look(watcher)
    with beside.ledger.read() as connection:
        waiting = deliveries.due(connection, "archive", time.time() + 1, 10)
        assert deliveries.due(connection, "orthanc", time.time() + 1, 10) == []
    assert len(waiting) == 2
    there = orthanc.instances()
    for one in waiting:
        with beside.spool.open(one.instance.id) as file:
            assert file.origin.kind == "orthanc"
            (tmp_path / "there.dcm").write_bytes(there[one.instance.sop_instance_uid])
            assert bytes(file.data_set) == data_set_bytes(tmp_path / "there.dcm")
    beside.arrive()
    with beside.ledger.read() as connection:
        study = studies.get(connection, str(wrap(PIXELS, 1).StudyInstanceUID))
    assert study is not None
    assert study.revision == 2


def test_at_the_first_start_older_studies_are_left_alone_and_later_none_is(
    beside: Beside, orthanc: Orthanc
) -> None:
    orthanc.post("/instances", film(1))
    time.sleep(1.1)  # Orthanc's times are in seconds
    beside.watcher(orthanc, days=0).start()
    assert beside.sop_uids() == []
    time.sleep(1.1)
    orthanc.post("/instances", film(2))
    beside.watcher(orthanc, days=0).start()
    assert beside.sop_uids() == [str(wrap(PIXELS, 2).SOPInstanceUID)]


def test_at_the_first_start_what_came_lately_is_taken(beside: Beside, orthanc: Orthanc) -> None:
    orthanc.post("/instances", film(1))
    beside.watcher(orthanc).start()
    assert len(beside.sop_uids()) == 1


def test_a_log_that_was_emptied_hides_nothing(beside: Beside, orthanc: Orthanc) -> None:
    watcher = beside.watcher(orthanc)
    orthanc.post("/instances", film(1))
    watcher.start()
    orthanc.post("/instances", film(2))
    orthanc.delete("/changes")
    beside.look(watcher)
    assert len(beside.sop_uids()) == 2
    orthanc.post("/instances", film(3))
    beside.look(watcher)
    assert len(beside.sop_uids()) == 3


def test_another_database_under_the_same_address_is_noticed(beside: Beside, tmp_path: Path) -> None:
    with Orthanc(tmp_path / "orthanc") as orthanc:
        watcher = beside.watcher(orthanc)
        orthanc.post("/instances", film(1))
        watcher.start()
        orthanc.stop()
        shutil.rmtree(orthanc.folder / "storage")
        orthanc.start()
        for number in range(2, 6):  # more lines than the other one had
            orthanc.post("/instances", film(number))
        beside.look(watcher)
        assert beside.sop_uids() == sorted(str(wrap(PIXELS, n).SOPInstanceUID) for n in range(1, 6))


def test_an_instance_that_was_deleted_meanwhile_is_no_fault(beside: Beside, orthanc: Orthanc) -> None:
    watcher = beside.watcher(orthanc)
    watcher.start()
    gone = orthanc.post("/instances", film(1))["ID"]
    log = watcher._orthanc
    page = log.page(0)
    orthanc.delete(f"/instances/{gone}")
    orthanc.post("/instances", film(2))
    log.page = lambda since, limit=100: page  # type: ignore[method-assign]
    watcher.follow()
    del log.page
    beside.look(watcher)
    assert beside.sop_uids() == [str(wrap(PIXELS, 2).SOPInstanceUID)]


def test_a_file_that_orthanc_has_lost_is_told_and_holds_nothing_up(beside: Beside, orthanc: Orthanc) -> None:
    watcher = beside.watcher(orthanc)
    watcher.start()
    lost = orthanc.post("/instances", film(1))["ID"]
    uuid = orthanc.get(f"/instances/{lost}")["FileUuid"]
    place = orthanc.folder / "storage" / uuid[:2] / uuid[2:4] / uuid
    content = place.read_bytes()
    place.unlink()
    orthanc.post("/instances", film(2))
    beside.look(watcher)
    assert len(beside.sop_uids()) == 1
    with beside.ledger.read() as connection:
        [(orthanc_id, reason)] = watched.failed(connection)
    assert orthanc_id == lost
    assert "answers" in reason
    place.write_bytes(content)
    beside.watcher(orthanc).start()
    assert len(beside.sop_uids()) == 2


def test_what_we_sent_there_and_what_we_wrote_there_is_no_news(
    beside: Beside, orthanc: Orthanc, tmp_path: Path
) -> None:
    watcher = beside.watcher(orthanc)
    watcher.start()
    path = tmp_path / "one.dcm"
    path.write_bytes(film(1))
    data_set = data_set_bytes(path)
    one = wrap(PIXELS, 1)
    beside.receive(one, data_set)
    storescu(orthanc.dicom_port, [path], calling="ORTHANC_AL", called="ORTHANC")
    client = beside.clients[0]
    study = client.find_study(str(one.StudyInstanceUID))
    assert study is not None
    client.put_read_by(study, 29_000_000)
    beside.look(watcher)
    assert len(beside.sop_uids()) == 1
    with beside.ledger.read() as connection:
        assert watched.cursor(connection).seq == orthanc.get("/changes?last")["Last"]  # type: ignore[union-attr]


def test_a_study_that_comes_both_ways_is_one_study_though_orthanc_writes_it_anew(
    beside: Beside, orthanc: Orthanc, tmp_path: Path
) -> None:
    one = wrap(PIXELS, 1)
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "A", "99TEST", "a code"
    one.ProcedureCodeSequence = Sequence([item])
    one["ProcedureCodeSequence"].is_undefined_length = True
    path = tmp_path / "one.dcm"
    one.save_as(path, enforce_file_format=True)
    watcher = beside.watcher(orthanc)
    watcher.start()
    storescu(orthanc.dicom_port, [path], called="ORTHANC")
    beside.look(watcher)
    beside.receive(one, data_set_bytes(path))
    there = next(iter(orthanc.instances().values()))
    (tmp_path / "there.dcm").write_bytes(there)
    assert data_set_bytes(tmp_path / "there.dcm") != data_set_bytes(path)
    beside.arrive()
    with beside.ledger.read() as connection:
        both = instances.of_sop(connection, str(one.SOPInstanceUID))
        study = studies.get(connection, str(one.StudyInstanceUID))
    assert sorted(str(found.kind) for found in both) == ["duplicate", "image"]
    assert study is not None
    assert study.revision == 1


def test_a_full_spool_takes_nothing_and_loses_nothing(
    beside: Beside, orthanc: Orthanc, tmp_path: Path
) -> None:
    orthanc.post("/instances", film(1))
    roomy, beside.spool = beside.spool, Spool(tmp_path / "spool", 1 << 60)
    with pytest.raises(DiskFullError):
        beside.watcher(orthanc).start()
    beside.spool = roomy
    beside.watcher(orthanc).start()
    assert len(beside.sop_uids()) == 1


def test_an_orthanc_that_is_away_or_refuses_us_says_so(beside: Beside, tmp_path: Path) -> None:
    locked = {"AuthenticationEnabled": True, "RegisteredUsers": {"al": "right"}}
    with Orthanc(tmp_path / "orthanc", settings=locked, credentials=("al", "right")) as orthanc:
        client = OrthancClient(orthanc.url, "al", "wrong")
        with pytest.raises(OrthancError, match=r"orthanc\.password"):
            ChangeLog(client).newest()
        client.close()
        orthanc.stop()
        with pytest.raises(OrthancError, match="does not answer"):
            beside.watcher(orthanc).start()


def test_nothing_is_missed_when_orthanc_and_we_are_killed_at_any_moment(tmp_path: Path) -> None:
    draw = random.Random(7)
    sent: list[str] = []
    with Orthanc(tmp_path / "orthanc") as orthanc:
        config = _configured(tmp_path, orthanc.url)
        ledger_url = f"sqlite:///{tmp_path}/var/ledger.sqlite"
        Ledger.create(ledger_url).close()
        process = _serve_watcher(config)
        try:
            for turn in range(5):
                for number in range(8):
                    one = wrap(PIXELS, turn * 8 + number + 1)
                    orthanc.post("/instances", film(turn * 8 + number + 1))
                    sent.append(str(one.SOPInstanceUID))
                time.sleep(draw.uniform(0.0, 1.2))
                if turn % 2:
                    orthanc.kill()
                    orthanc.start()
                else:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    process = _serve_watcher(config)
            ledger = Ledger.open(ledger_url)

            def taken() -> set[str]:
                with ledger.read() as connection:
                    rows = [instances.get(connection, one) for one in instances.known_ids(connection)]
                return {row.instance.sop_instance_uid for row in rows if row is not None}

            wait_until(lambda: taken() == set(sent), 60, "an instance was missed")
            spool = Spool(tmp_path / "var" / "spool", 0)
            with ledger.read() as connection:
                for instance_id in instances.known_ids(connection):
                    with spool.open(instance_id) as file:
                        assert hashlib.sha256(file.data_set).digest() in {
                            _digest(number) for number in range(1, 41)
                        }
            ledger.close()
        finally:
            process.kill()
            process.wait()


def _digest(number: int) -> bytes:
    raw = film(number)
    return hashlib.sha256(raw[144 + int.from_bytes(raw[140:144], "little") :]).digest()


def _configured(folder: Path, url: str) -> Path:
    config = folder / "orthanc-al.toml"
    document = {
        "dicom": {"port": free_port()},
        "web": {"port": free_port()},
        "storage": {"min_free_gb": 0},
        "orthanc": {"url": url, "watch": True},
        "learn": {"cron": ""},
    }
    config.write_text(tomli_w.dumps(document))
    return config


def _serve_watcher(config: Path) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "orthanc_al", "--config", str(config), "serve", "--role", "watcher"]
    with (config.parent / "watcher.log").open("ab") as log:
        return subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=log)
