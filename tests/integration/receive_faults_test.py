"""The listener while things go wrong around it: a full disk, a clock that jumps, one object many times."""

import os
import subprocess
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from orthanc_al.dicom import Association, Proposal
from orthanc_al.ledger import Ledger, instances
from orthanc_al.receive import Listener
from orthanc_al.spool import Spool
from tests.support.wire import CT, EXPLICIT, data_set, until

MEGABYTE = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a file system can be mounted by root alone")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def _listen(ledger: Ledger, spool: Spool) -> Listener:
    made = Listener(
        ae_title="US",
        host="127.0.0.1",
        port=0,
        peers=[],
        accept="any",
        spool=spool,
        ledger=ledger,
        destinations=["pacs"],
    )
    made.start()
    return made


def _open(listener: Listener) -> Association:
    return Association.open(
        "127.0.0.1",
        listener.port,
        called_ae="US",
        calling_ae="CT",
        proposals=[Proposal(CT, (EXPLICIT,))],
        answer_timeout=30,
    )


def _known(ledger: Ledger) -> set[str]:
    with ledger.read() as connection:
        return instances.known_ids(connection)


def test_a_disk_that_fills_up_refuses_keeps_nothing_half_and_goes_on_by_itself(
    ledger: Ledger, small_disk: Path
) -> None:
    spool = Spool(small_disk / "spool", 0)
    listener = _listen(ledger, spool)
    body = os.urandom(3 * MEGABYTE)
    with _open(listener) as peer:
        answers = [peer.store(peer.contexts[0], f"1.2.{n}", body).status for n in range(5)]
        taken = answers.count(0)
        assert set(answers) == {0, 0xA700}
        assert answers == sorted(answers)  # full is full
        files = list((small_disk / "spool").glob("??/*"))
        assert len(files) == taken
        for instance_id in list(spool.ids()):
            with spool.open(instance_id) as file:
                assert file.data_set == body
        files[0].unlink()
        assert peer.store(peer.contexts[0], "1.2.9", body).status == 0
    listener.stop()
    assert len(_known(ledger)) == taken + 1


def test_the_same_object_by_many_associations_at_once_is_kept_from_each(
    ledger: Ledger, tmp_path: Path
) -> None:
    spool = Spool(tmp_path / "spool", 0)
    listener = _listen(ledger, spool)
    statuses: list[int] = []
    together = threading.Barrier(64)

    def send() -> None:
        together.wait(30)
        with _open(listener) as peer:
            statuses.append(peer.store(peer.contexts[0], "1.2.3", data_set("1.2.3")).status)

    threads = [threading.Thread(target=send) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    listener.stop()
    assert statuses == [0] * 64
    assert len(_known(ledger)) == 64
    assert _known(ledger) == set(spool.ids())


def test_a_clock_that_jumps_back_loses_nothing(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "spool", 0)
    ticks = count(2_000_000_000, -3600)
    for place in ("spool.folder", "receive.storage_scp", "ledger.queue", "ledger.associations"):
        monkeypatch.setattr(f"orthanc_al.{place}.now", lambda: float(next(ticks)))
    listener = _listen(ledger, spool)
    with _open(listener) as peer:
        for number in range(5):
            assert peer.store(peer.contexts[0], f"1.2.{number}", data_set(f"1.2.{number}")).status == 0
    until(lambda: _known(ledger) == set(spool.ids()))
    listener.stop()
    assert len(_known(ledger)) == 5
