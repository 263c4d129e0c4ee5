"""A sender's own order of syntaxes holds, among those that all destinations take; nothing is ever refused."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import _config

from orthanc_al.dicom import Association, Peer, Proposal, probe
from orthanc_al.forward import Syntaxes
from orthanc_al.ledger import Ledger, destinations
from orthanc_al.receive import Listener, Preference, preference
from orthanc_al.spool import Spool
from tests.support.wire import CR, CT, EXPLICIT, IMPLICIT, JPEG, Scp, free_port, until

J2K = "1.2.840.10008.1.2.4.90"
PACS, VNA = (Peer(name, name.upper(), "127.0.0.1", 104, ("destination",)) for name in ("pacs", "vna"))
CONFIGURED = Peer("old", "OLD", "127.0.0.1", 104, ("destination",), transfer_syntaxes=(IMPLICIT, EXPLICIT))


@pytest.fixture(autouse=True)
def _restricted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", False)


def _learn(ledger: Ledger, name: str, **syntaxes: list[str]) -> None:
    classes = {"ct": CT, "cr": CR}
    with ledger.write() as connection:
        destinations.learned(connection, name, {classes[key]: value for key, value in syntaxes.items()})


def test_the_first_that_all_take_is_preferred_and_what_nobody_takes_is_not_refused(ledger: Ledger) -> None:
    _learn(ledger, "pacs", ct=[EXPLICIT, J2K, JPEG])
    _learn(ledger, "vna", ct=[J2K, EXPLICIT])
    _learn(ledger, "gone", ct=[])  # no destination any more
    wanted = Preference(ledger, [PACS, VNA])
    assert wanted(CT, [JPEG, J2K, EXPLICIT]) == [J2K, EXPLICIT]
    assert wanted(CT, [EXPLICIT, J2K]) == [EXPLICIT, J2K]
    assert wanted(CT, [JPEG]) == [JPEG]
    assert wanted(CR, [JPEG, J2K]) == [JPEG, J2K]  # nobody was asked of that


def test_what_is_configured_counts_instead_of_what_was_learned(ledger: Ledger) -> None:
    _learn(ledger, "old", ct=[JPEG])
    assert Preference(ledger, [CONFIGURED])(CT, [JPEG, IMPLICIT]) == [IMPLICIT]
    assert Preference(ledger, [CONFIGURED])("1.2.3.4", [JPEG, IMPLICIT]) == [IMPLICIT]


def test_nothing_is_limited_by_a_destination_that_was_never_reached(ledger: Ledger) -> None:
    away = Peer("pacs", "PACS", "127.0.0.1", free_port(), ("destination",))
    Syntaxes(ledger, [away], "US", threading.Event()).ask(away)
    assert Preference(ledger, [away])(CT, [JPEG, EXPLICIT]) == [JPEG, EXPLICIT]


@contextlib.contextmanager
def _listening(ledger: Ledger, tmp_path: Path, wanted: Preference, data_path: Any) -> Iterator[int]:
    listener = Listener(
        ae_title="US",
        host="127.0.0.1",
        port=0,
        peers=[Peer("ct", "CT", "127.0.0.1", 104, ("source",))],
        accept="listed",
        spool=Spool(tmp_path / "spool", 0),
        ledger=ledger,
        destinations=["pacs"],
        data_path=data_path,
        preference=wanted,
    )
    listener.start()
    try:
        yield listener.port
    finally:
        listener.stop()


@pytest.mark.parametrize("data_path", ["fast", "plain"])
def test_what_a_destination_accepts_is_learned_from_it_and_told_to_senders(
    ledger: Ledger, tmp_path: Path, data_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preference, "_KNOWN_SECONDS", 0.0)
    stop = threading.Event()
    with Scp([(CT, [EXPLICIT, J2K])]).running() as scp:
        learning = threading.Thread(target=Syntaxes(ledger, [scp.peer()], "US", stop).run)
        learning.start()

        def known() -> Any:
            with ledger.read() as connection:
                return destinations.known(connection)

        found = until(known)["pacs"].syntaxes
        stop.set()
        learning.join()
    assert set(found[CT]) == {EXPLICIT, J2K}
    assert found[CR] == []
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", True)  # as our acceptor has it
    wanted = Preference(ledger, [scp.peer()])
    with (
        _listening(ledger, tmp_path, wanted, data_path) as port,
        Association.open(
            "127.0.0.1",
            port,
            called_ae="US",
            calling_ae="CT",
            proposals=[
                Proposal(CT, (JPEG, J2K, EXPLICIT)),
                Proposal(CR, (JPEG,)),
                Proposal("1.2.3", (JPEG,)),
            ],
        ) as association,
    ):
        accepted = {one.sop_class_uid: one.transfer_syntax_uid for one in association.contexts}
    assert accepted == {CT: J2K, CR: JPEG, "1.2.3": JPEG}


def test_a_probe_fits_into_one_association() -> None:
    assert len(probe.SOP_CLASSES) * len(probe.TRANSFER_SYNTAXES) <= 128
