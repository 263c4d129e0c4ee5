"""PostgreSQL's server falls while the listener lives: what the listener noted is there when it is back.

A process of the server is killed, upon which the server ends all others, drops what was not forced and starts
itself anew. Nobody looks through the spool then: the listener does it when it starts.
"""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import SQLAlchemyError

from orthanc_al.domain import Origin
from orthanc_al.ledger import Ledger, facts
from orthanc_al.ledger.deliveries import DeliveryState
from orthanc_al.receive import Recorder, Session, recover
from orthanc_al.spool import Spool
from tests.support.postgresql import empty
from tests.support.wire import CT, EXPLICIT, data_set, states

_ORIGIN = Origin("CT", "ORTHANC_AL", "ORTHANC_AL", "ct", "a" * 32, "dicom")


@pytest.fixture
def ledger(postgresql: str) -> Iterator[Ledger]:
    made = Ledger.open(postgresql)
    empty(made)
    yield made
    made.close()


def _fall(ledger: Ledger, process: int) -> None:
    os.kill(process, signal.SIGKILL)
    until = time.monotonic() + 60
    while True:
        try:
            with ledger.read() as connection:
                facts.get(connection, "anything")
        except SQLAlchemyError:
            assert time.monotonic() < until, "the server does not come back"
            time.sleep(0.05)
        else:
            return


def _process(ledger: Ledger) -> int:
    with ledger.read() as connection:
        return int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


@pytest.mark.parametrize("by", ["recorder", "recover"])
def test_what_the_listener_noted_outlives_a_fall_of_the_server(
    ledger: Ledger, tmp_path: Path, by: str
) -> None:
    spool = Spool(tmp_path / "spool", 0)
    session = Session(_ORIGIN, "10.0.0.1", 1.0)
    recorder = Recorder(ledger, spool, ["pacs"])
    process = _process(ledger)
    for number in range(40):
        with spool.open_writer(CT, f"1.2.{number}", EXPLICIT, _ORIGIN) as writer:
            writer.write(data_set(f"1.2.{number}"))
            recorder.received(session, writer.commit())
    if by == "recorder":
        assert recorder._catch_up()
    else:
        assert recover(spool, ledger, ["pacs"]) == 40
    _fall(ledger, process)
    assert states(ledger) == {("pacs", DeliveryState.WAITING): 40}


def test_this_fall_takes_what_was_not_forced(ledger: Ledger) -> None:
    """But where the server wrote it just then: it does now and then, by itself."""
    assert ledger.falls_alone
    assert any(_is_lost(ledger, str(number)) for number in range(5))


def _is_lost(ledger: Ledger, name: str) -> bool:
    process = _process(ledger)
    with ledger.write() as connection:
        facts.put(connection, f"{name} forced", "x")
    with ledger.write(forced=False) as connection:
        facts.put(connection, name, "x")
    _fall(ledger, process)
    with ledger.read() as connection:
        assert facts.get(connection, f"{name} forced") == "x"
        return facts.get(connection, name) is None
