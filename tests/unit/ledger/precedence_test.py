"""Who goes first gets the ledger's write lock first; without the file nobody is held up."""

import errno
import fcntl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orthanc_al.ledger import Ledger, facts, precedence
from orthanc_al.ledger.precedence import Precedence


@pytest.fixture
def several(tmp_path: Path) -> Iterator[list[Ledger]]:
    """The ledger as three processes have it."""
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    made = [Ledger.create(url) for _ in range(3)]
    yield made
    for ledger in made:
        ledger.close()


def _places(path: Path) -> tuple[Precedence, Precedence]:
    first, last = Precedence(path), Precedence(path)
    first.go_first()
    last.give_way()
    return first, last


def test_the_wire_writes_before_the_worker_that_waited_longer(several: list[Ledger], tmp_path: Path) -> None:
    watcher = Precedence(tmp_path / "ledger.sqlite-order")
    watcher.give_way()
    holder, wire, worker = several
    wire.precedence.go_first()
    worker.precedence.give_way()
    order: list[str] = []

    def write(ledger: Ledger, name: str) -> None:
        with ledger.write() as connection:
            order.append(name)
            facts.put(connection, name, "x")

    with ThreadPoolExecutor(2) as threads:
        with holder.write():
            later = threads.submit(write, worker, "worker")
            time.sleep(0.05)  # it looks for the lock by now
            sooner = threads.submit(write, wire, "wire")
            _until(watcher._somebody_waits)
        sooner.result()
        later.result()
    assert order == ["wire", "worker"]
    assert not watcher._somebody_waits()
    watcher.close()


def test_who_gives_way_does_so_for_a_while_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precedence, "_LONGEST_SECONDS", 0.01)
    first, last = _places(tmp_path / "order")
    first.begin_to_wait()
    first.begin_to_wait()
    last.let_others_go(time.monotonic())
    assert last._somebody_waits()
    first.end()
    first.end()
    assert not last._somebody_waits()
    first.close()
    last.close()


def test_who_gave_way_for_long_does_so_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, last = _places(tmp_path / "order")
    first.begin_to_wait()
    looked: list[Path] = []
    monkeypatch.setattr(last, "_somebody_waits", lambda: looked.append(tmp_path) or False)
    last.let_others_go(time.monotonic() - precedence._LONGEST_SECONDS)
    assert looked == []
    last.let_others_go(time.monotonic())
    assert len(looked) == 1
    first.close()
    last.close()


def test_a_transaction_gives_way_once_whatever_often_it_looks_for_the_lock(
    several: list[Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    holder, _, worker = several
    worker.precedence.give_way()
    since: list[float] = []
    looked_often = threading.Event()

    def let_others_go(time: float) -> None:
        since.append(time)
        if len(since) == 5:
            looked_often.set()

    monkeypatch.setattr(worker.precedence, "let_others_go", let_others_go)
    with ThreadPoolExecutor(1) as threads:
        with holder.write():
            written = threads.submit(_write_nothing, worker)
            assert looked_often.wait(10)
        written.result()
    assert len(set(since)) == 1
    looked_at = since[0]
    since.clear()
    _write_nothing(worker)
    assert since[0] > looked_at


def test_a_place_that_ends_with_its_process_is_waited_for_no_more(tmp_path: Path) -> None:
    first, last = _places(tmp_path / "order")
    first.begin_to_wait()
    first.close()
    assert not last._somebody_waits()
    last.close()
    last.let_others_go(time.monotonic())


def test_who_goes_first_lets_nobody_go_and_who_gives_way_does_not_say_that_it_waits(tmp_path: Path) -> None:
    first, last = _places(tmp_path / "order")
    other = Precedence(tmp_path / "order")
    other.go_first()
    last.begin_to_wait()
    assert not other._somebody_waits()
    other.begin_to_wait()
    first.let_others_go(time.monotonic())  # at once
    for one in (first, last, other):
        one.close()


@pytest.mark.parametrize("path", [None, Path("/no/such/folder/order")])
def test_without_the_file_nobody_goes_first(path: Path | None) -> None:
    first, last = _places(path) if path is not None else (Precedence(None), Precedence(None))
    first.go_first()
    last.give_way()
    first.begin_to_wait()
    last.let_others_go(time.monotonic())
    first.end()
    first.close()
    last.close()


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "no locks available"), ValueError("closed")])
def test_where_the_file_can_not_be_locked_it_is_written_all_the_same(
    several: list[Ledger], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A file system without flock, though it has the locks that SQLite needs; a ledger that is closed."""
    holder, wire, worker = several
    wire.precedence.go_first()
    worker.precedence.give_way()
    tried = threading.Event()

    def flock(*_: int) -> None:
        tried.set()
        raise error

    monkeypatch.setattr(fcntl, "flock", flock)
    for ledger in (wire, worker):
        tried.clear()
        with ThreadPoolExecutor(1) as threads:
            with holder.write():
                written = threads.submit(_write_nothing, ledger)
                assert tried.wait(10)
            written.result()


def test_a_place_that_is_closed_while_a_thread_gives_way_holds_it_up_no_longer(tmp_path: Path) -> None:
    first, last = _places(tmp_path / "order")
    first.begin_to_wait()
    with ThreadPoolExecutor(1) as threads:
        waits = threads.submit(last.let_others_go, time.monotonic() + 3600)
        last.close()
        waits.result(10)
    first.close()


def _write_nothing(ledger: Ledger) -> None:
    with ledger.write():
        pass


def _until(true: object) -> None:
    end = time.monotonic() + 10
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        threading.Event().wait(0.001)
