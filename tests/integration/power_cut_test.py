"""A power cut: what the spool committed is there after it, whole; what it had not committed is no instance.

The power cut is that of a file system of its own: an ext4 image, shut down so that neither its cache nor its
journal's buffers reach the disk (EXT4_IOC_SHUTDOWN without a log flush), then mounted again. A disk that
lies about its own cache is not tried by it.
"""

import multiprocessing
import os
import signal
import subprocess
import zlib
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from sqlalchemy import select

from orthanc_al.domain import Origin
from orthanc_al.forward import clean
from orthanc_al.learn import InputKeeper
from orthanc_al.ledger import Ledger, Outcome, WorkQueue, enqueue, facts, instances, models
from orthanc_al.ledger.schema import jobs, predictions
from orthanc_al.ledger.waiting import counts, release_dead
from orthanc_al.pipeline import Step
from orthanc_al.spool import Spool, part10
from tests.support.disk import Disk
from tests.support.learning_ledger import put_prediction, put_read, put_study
from tests.support.radiographs import wrap
from tests.support.tiny_package import tiny_package
from tests.support.wire import part10_body, put_instance

_ORIGIN: Final = Origin("MODALITY", "ORTHANC_AL", "ORTHANC_AL", "ct1", "a" * 32, "dicom")
_CT: Final = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT: Final = "1.2.840.10008.1.2.1"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    try:
        made = Disk(tmp_path)
        made.mount()
    except (OSError, subprocess.CalledProcessError) as error:  # no tool for it, or it is not allowed
        pytest.skip(f"a file system of its own can't be mounted here (root and loop devices): {error}")
    yield made
    made.unmount()


def _data(number: int) -> bytes:
    return bytes([number]) * (1000 + 40_000 * number)  # also such as are begun early


def _store(spool: Spool, number: int) -> str:
    with spool.open_writer(_CT, f"1.2.{number}", _EXPLICIT, _ORIGIN) as writer:
        data = memoryview(_data(number))
        for start in range(0, len(data), 1 << 16):
            writer.write(data[start : start + (1 << 16)])
        return writer.commit().id


def _found(spool: Spool) -> dict[str, bytes]:
    found = {}
    for instance_id in spool.ids():
        with spool.open(instance_id) as file:
            found[instance_id] = bytes(file.data_set)
    return found


def test_what_was_committed_outlives_a_power_cut_and_nothing_else_does(disk: Disk) -> None:
    spool = Spool(disk.mounted / "spool", 0)
    kept = {_store(spool, number): _data(number) for number in range(1, 13)}
    unfinished = spool.open_writer(_CT, "1.2.99", _EXPLICIT, _ORIGIN)
    unfinished.write(bytes(500_000))
    os.close(unfinished._file)  # the process is gone with the power; its file holds no disk here
    disk.cut_the_power()
    assert _found(Spool(disk.mounted / "spool", 0)) == kept


def test_this_power_cut_takes_what_was_not_made_durable(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(disk.mounted / "spool", 0)
    first = _store(spool, 1)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    second = _store(spool, 2)
    assert second in spool
    disk.cut_the_power()
    assert set(_found(Spool(disk.mounted / "spool", 0))) == {first}


def test_a_prepared_file_outlives_a_power_cut_that_takes_its_move(disk: Disk) -> None:
    kept = _stored_by_another(disk)
    disk.cut_the_power()
    after = Spool(disk.mounted / "spool", 0)
    found = _found(after)
    assert len(found) < len(kept)  # it did take a move
    assert all(one in after for one in kept)
    assert after.take_up_prepared() == len(kept) - len(found)
    assert _found(after) == kept
    assert list((after.folder / "ready").glob("*.ready")) == []
    disk.cut_the_power()
    assert _found(Spool(disk.mounted / "spool", 0)) == kept


def test_a_seal_whose_bytes_the_cut_took_proves_nothing(disk: Disk) -> None:
    name, length = _sealed_alone_by_another(disk)
    disk.cut_the_power()
    after = Spool(disk.mounted / "spool", 0)
    assert (
        after.folder / "ready" / f"{name}.ready"
    ).stat().st_size == length  # seal and length are there, the data set is not
    assert after.take_up_prepared() == 0
    assert _found(after) == {}
    assert after.to_be_taken_up() == ([], [name])  # kept: nobody can tell whether it was acknowledged


@pytest.mark.parametrize("afterwards", [False, True], ids=["forced", "synced afterwards"])
def test_of_what_the_ledger_was_not_to_force_a_cut_takes_the_end_and_nothing_from_before_what_it_was(
    disk: Disk, afterwards: bool
) -> None:
    last_forced, last = _from_another(disk, _sync_the_ledger_and_die if afterwards else _force_and_die)
    disk.cut_the_power()
    ledger = Ledger.open(f"sqlite:///{disk.mounted}/ledger.sqlite")
    with ledger.read() as connection:
        there = [int(name) for name in range(1, last + 1) if facts.get(connection, str(name)) is not None]
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    ledger.close()
    assert there == list(range(1, len(there) + 1))  # no gap
    assert last_forced <= len(there) < last  # it did take some


def _force_and_die(folder: Path, there: Connection) -> None:
    _write_the_ledger_and_die(folder, there, afterwards=False)


def _sync_the_ledger_and_die(folder: Path, there: Connection) -> None:
    _write_the_ledger_and_die(folder, there, afterwards=True)


def _write_the_ledger_and_die(folder: Path, there: Connection, *, afterwards: bool) -> None:
    """Write transactions of both kinds, by two connections and past a checkpoint; the last ones unforced."""
    url = f"sqlite:///{folder.parent}/ledger.sqlite"
    ledgers = [Ledger.create(url), Ledger.create(url)]
    forced_at = (50, 333, 400)
    for number in range(1, 451):
        forced = number in forced_at
        with ledgers[number % 2].write(forced=forced and not afterwards) as connection:
            facts.put(connection, str(number), "x" * 20_000)
        if forced and afterwards:
            ledgers[(number + 1) % 2].sync()  # as who has read what the other wrote
    there.send((forced_at[-1], number))
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_brings_the_machine_down_at_each_start_is_counted(disk: Disk) -> None:
    """Else nobody would ever give it up: it would be taken for the first time after each start."""
    for _ in range(2):
        _from_another(disk, _take_a_job_and_die)
        disk.cut_the_power()
    ledger = Ledger.open(f"sqlite:///{disk.mounted}/ledger.sqlite")
    with ledger.read() as connection:
        [tries] = connection.execute(select(jobs.c.attempts)).scalars()
    ledger.close()
    assert tries == 2


def _take_a_job_and_die(folder: Path, there: Connection) -> None:
    ledger = Ledger.create(f"sqlite:///{folder.parent}/ledger.sqlite")
    with ledger.write() as connection:
        if not counts(connection):
            enqueue(connection, Step.SCORE_IMAGE, "a film", 1.0)
        release_dead(connection, "worker-", lambda _: False)
    [taken] = WorkQueue(ledger, "worker-1").claim_many({Step.SCORE_IMAGE})
    there.send(taken.subject)
    os.kill(os.getpid(), signal.SIGKILL)


def test_no_file_is_gone_whose_work_the_cut_took_back(disk: Disk) -> None:
    _from_another(disk, _clean_and_die)
    disk.cut_the_power()
    assert list(Spool(disk.mounted / "spool", 0).ids()) == []  # it was cleaned
    ledger = Ledger.open(f"sqlite:///{disk.mounted}/ledger.sqlite")
    with ledger.read() as connection:
        left = counts(connection)
    ledger.close()
    assert left == {}


def _clean_and_die(folder: Path, there: Connection) -> None:
    """Do an instance's work, remove its file, and go down before that is noted."""
    ledger, spool = Ledger.create(f"sqlite:///{folder.parent}/ledger.sqlite"), Spool(folder, 0)
    with spool.open_writer(_CT, "1.2.3", _EXPLICIT, _ORIGIN) as writer:
        instance = writer.commit()
    with ledger.write() as connection:
        instances.add(connection, instance, _ORIGIN, [])
    queue = WorkQueue(ledger, "a")
    queue.finish_many([(job, Outcome("duplicate")) for job in queue.claim_many({Step.ARRIVE})])

    def die(*_: object) -> None:
        for place in (folder, *folder.rglob("*")):  # as who stores something there does
            if place.is_dir():
                os.fsync(os.open(place, os.O_RDONLY))
        there.send("removed")
        os.kill(os.getpid(), signal.SIGKILL)

    instances.set_cleaned = die
    clean(ledger, spool, -3600, ["ct1"])


def _stored_by_another(disk: Disk) -> dict[str, bytes]:
    """Have a process store files of the spool and go down without a last word; return what it stored."""
    stored: dict[str, bytes] = {name: _data(number) for name, number in _from_another(disk, _store_and_die)}
    return stored


def _sealed_alone_by_another(disk: Disk) -> tuple[str, int]:
    """Have a process make durable a file's head and length, and go down; return its id and length."""
    [sealed] = _from_another(disk, _seal_and_die)
    return sealed


def _from_another(disk: Disk, work: Callable[[Path, Connection], None]) -> Any:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=work, args=(disk.mounted / "spool", there))
    process.start()
    told = here.recv()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    return told


def _store_and_die(folder: Path, there: Connection) -> None:
    spool = Spool(folder, 0)
    spool.prepare(64)  # so many that no more are made meanwhile: that would make moves durable
    unfinished = spool.open_writer(_CT, "1.2.99", _EXPLICIT, _ORIGIN)
    unfinished.write(bytes(500_000))
    os.fsync(unfinished._file)  # its bytes are on the disk, and no seal is
    there.send([(_store(spool, number), number) for number in (120, *range(1, 13))])
    os.kill(os.getpid(), signal.SIGKILL)


def _seal_and_die(folder: Path, there: Connection) -> None:
    """Do what a disk may do to a file whose fsync did not end: the head first, the rest not at all."""
    spool = Spool(folder, 0)
    spool.prepare(64)
    writer = spool.open_writer(_CT, "1.2.5", _EXPLICIT, _ORIGIN)
    head = writer._head
    place, seal = part10.seal(head, len(_data(5)), zlib.crc32(_data(5), zlib.crc32(head)))
    os.pwrite(writer._file, seal, place)
    os.ftruncate(writer._file, len(head) + len(_data(5)))
    os.fsync(writer._file)
    there.send([(writer.instance_id, len(head) + len(_data(5)))])
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_inputs_that_learning_may_want_outlive_a_power_cut(
    disk: Disk, ledger: Ledger, tmp_path: Path
) -> None:
    """The spool lets go of the files that they were made from: they are on the disk by their names."""
    package = tiny_package(tmp_path / "package", name="cxr")
    spool = Spool(tmp_path / "spool", 0)
    film = tmp_path / "film.dcm"
    wrap(np.zeros((64, 48), np.uint8), 1).save_as(film, enforce_file_format=True)
    instance = put_instance(ledger, spool, "1.1.1", data=part10_body(film))
    with ledger.write() as connection:
        models.install(connection, package.ref, package.folder)
        put_study(connection, "1.1")
        put_prediction(connection, "1.1", 0.0)
        connection.execute(predictions.update().values(instance_id=instance.id, model_name="cxr"))
        put_read(connection, "1.1", present=True)
    training = disk.mounted / "training"
    assert InputKeeper(ledger, spool, training).keep() == 1
    [kept] = training.iterdir()
    disk.cut_the_power()
    assert np.load(kept).shape == (1, 32, 32)
