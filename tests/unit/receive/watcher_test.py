"""The watcher, against a log of changes that does what a test wants."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from orthanc_al.errors import OrthancError
from orthanc_al.ledger import Ledger, associations, instances, watched
from orthanc_al.orthanc.changes import Change, Description, Page
from orthanc_al.receive import Watcher
from orthanc_al.spool import Spool
from tests.support.radiographs import wrap

DATE = "20260101T000000"


def _film() -> bytes:
    buffer = BytesIO()
    wrap(np.full((64, 64), 100, np.uint8), 1).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@dataclass
class Log:
    """Orthanc's log; ``files`` are the instances that it has, ``breaks`` dies in the midst of one."""

    lines: list[Change] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    breaks: bool = False
    fetched: int = 0
    remote_ae: str = "MODALITY"

    def add(self, orthanc_id: str, content: bytes, kind: str = "NewInstance") -> None:
        self.lines.append(Change(len(self.lines) + 1, kind, orthanc_id, DATE))
        self.files[orthanc_id] = content

    def page(self, since: int, limit: int = 100) -> Page:
        found = [line for line in self.lines if line.seq > since]
        last = found[:limit][-1].seq if found else len(self.lines)
        return Page(tuple(found[:limit]), last, done=len(found) <= limit)

    def newest(self) -> Page:
        return Page(tuple(self.lines[-1:]), len(self.lines), done=True)

    def number_before(self, at: float) -> int:
        del at
        return 0

    def new_instances(self, since: int) -> Iterator[Change]:
        return (line for line in self.lines if line.seq > since)

    def instances(self) -> list[str]:
        return list(self.files)

    def describe(self, orthanc_id: str) -> Description | None:
        return Description(self.remote_ae, 2e9) if orthanc_id in self.files else None

    def sop_instance_uid(self, orthanc_id: str) -> str:
        return f"uid of {orthanc_id}"

    @contextmanager
    def file(self, orthanc_id: str) -> Iterator[Iterator[bytes] | None]:
        self.fetched += 1
        content = self.files.get(orthanc_id)
        yield None if content is None else self._pieces(content)

    def _pieces(self, content: bytes) -> Iterator[bytes]:
        for start in range(0, len(content), 1000):
            if self.breaks and start:
                raise OrthancError("it died")
            yield content[start : start + 1000]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def watcher(log: Log, ledger: Ledger, tmp_path: Path) -> Watcher:
    return Watcher(
        log,
        Spool(tmp_path / "spool", 0),
        ledger,
        destinations=(),
        source="orthanc",
        orthanc_ae="ORTHANC",
        own_ae="ORTHANC_AL",
        days=1,
        stop=threading.Event(),
    )


def _known(ledger: Ledger) -> int:
    with ledger.read() as connection:
        return len(instances.known_ids(connection))


def test_an_orthanc_that_dies_in_the_midst_of_a_file_leaves_nothing_half_and_is_asked_again(
    watcher: Watcher, log: Log, ledger: Ledger, tmp_path: Path
) -> None:
    log.add("a", _film())
    log.breaks = True
    with pytest.raises(OrthancError):
        watcher.start()
    assert list((tmp_path / "spool").glob("??/*")) == []
    assert _known(ledger) == 0
    log.breaks = False
    watcher.start()
    assert _known(ledger) == 1


def test_an_instance_that_was_deleted_there_and_came_again_is_taken_again(
    watcher: Watcher, log: Log, ledger: Ledger
) -> None:
    log.add("a", _film())
    watcher.start()
    watcher.follow()
    assert log.fetched == 1
    log.add("a", _film())
    watcher.follow()
    assert log.fetched == 2


def test_other_changes_move_the_cursor_and_take_nothing(watcher: Watcher, log: Log, ledger: Ledger) -> None:
    log.add("a", _film())
    watcher.start()
    log.lines += [Change(2, "UpdatedMetadata", "study", DATE), Change(3, "StableStudy", "study", DATE)]
    watcher.follow()
    assert log.fetched == 1
    with ledger.read() as connection:
        assert watched.cursor(connection) == watched.Cursor(3, log.lines[-1].anchor)


def test_what_is_no_file_of_dicom_is_told_and_tried_again_at_the_next_start(
    watcher: Watcher, log: Log, ledger: Ledger
) -> None:
    log.add("a", b"no preamble" * 100)
    log.add("b", _film()[:200])
    watcher.start()
    with ledger.read() as connection:
        reasons = dict(watched.failed(connection))
    assert reasons.keys() == {"a", "b"}
    assert "no DICOM file" in reasons["a"]
    log.files["a"] = _film()
    watcher.start()
    with ledger.read() as connection:
        assert [one for one, _ in watched.failed(connection)] == ["b"]


def test_our_ae_title_alone_does_not_make_an_instance_ours(
    watcher: Watcher, log: Log, ledger: Ledger
) -> None:
    log.remote_ae = "ORTHANC_AL"
    log.add("a", _film())
    watcher.start()
    assert _known(ledger) == 1


def test_a_batch_that_was_cut_off_does_not_hold_its_study_up(
    watcher: Watcher, log: Log, ledger: Ledger
) -> None:
    with ledger.write() as connection:
        associations.opened(connection, "batch", "ORTHANC", "ORTHANC_AL", associations.OVER_REST)
        associations.opened(connection, "call", "MODALITY", "ORTHANC_AL", "127.0.0.1")
    watcher.start()
    with ledger.write() as connection:
        assert associations.lose_open(connection) == 1  # the listener's own


def test_told_to_stop_it_leaves_the_rest_for_the_next_time(
    watcher: Watcher, log: Log, ledger: Ledger
) -> None:
    log.add("a", _film())
    watcher._stop.set()
    watcher.start()
    assert _known(ledger) == 0
    watcher._stop.clear()
    watcher.start()
    assert _known(ledger) == 1
