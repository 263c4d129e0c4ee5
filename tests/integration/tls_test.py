"""DICOM over TLS with DCMTK on both ends, certificates on both sides (PS3.15 B.12)."""

import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from orthanc_al.dicom import Peer, echo, part10, tls
from orthanc_al.dicom.faults import Fault
from orthanc_al.errors import PeerUnreachableError
from orthanc_al.forward import Forwarder
from orthanc_al.ledger import Ledger, associations
from orthanc_al.ledger.deliveries import DeliveryState
from orthanc_al.receive import Listener
from orthanc_al.spool import Spool
from tests.support.certificates import Authority, Certificate
from tests.support.wire import (
    CT,
    EXPLICIT,
    data_set,
    dcmtk,
    free_port,
    nothing_waits,
    part10_body,
    put_instance,
    states,
    until,
)

pytestmark = pytest.mark.needs_dcmtk
CALLERS = {"CT": True, "OLD": False}  # AE title, whether it is to come by TLS


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def ours(site: Authority) -> Certificate:
    return site.sign("gateway")


@pytest.fixture(scope="module")
def theirs(site: Authority) -> Certificate:
    return site.sign("modality")


def _client(own: Certificate, *, check_host: bool = False) -> ssl.SSLContext:
    return tls.client(own.certificate, own.key, own.ca, check_host=check_host)


@pytest.fixture
def listen(ledger: Ledger, tmp_path: Path, ours: Certificate) -> Iterator[Callable[..., Listener]]:
    with ExitStack() as stack:

        def start(data_path: Any = "fast") -> Listener:
            listener = Listener(
                ae_title="US",
                host="127.0.0.1",
                port=0,
                peers=[
                    Peer(
                        title.lower(), title, "127.0.0.1", 104, ("source",), tls=_client(ours) if by else None
                    )
                    for title, by in CALLERS.items()
                ],
                accept="listed",
                spool=Spool(tmp_path / "spool", 0),
                ledger=ledger,
                destinations=["pacs"],
                data_path=data_path,
                tls=tls.server(ours.certificate, ours.key, ours.ca),
            )
            listener.start()
            stack.callback(listener.stop)
            return listener

        yield start


def _storescu(port: int | None, own: Certificate | None, *files: Path, calling: str = "CT") -> int:
    keys = ["+tls", str(own.key), str(own.certificate), "+cf", str(own.ca)] if own else []
    words = [
        "storescu",
        "-xe",
        *keys,
        "-aet",
        calling,
        "-aec",
        "US",
        "127.0.0.1",
        str(port),
        *map(str, files),
    ]
    return subprocess.run(words, capture_output=True, timeout=60, check=False).returncode


def _files(folder: Path, count: int) -> list[Path]:
    paths = []
    for number in range(count):
        uid = f"1.2.3.{number}"
        path = folder / f"{number}.dcm"
        padding = b"\x09\x00\x10\x00LO\x04\x00OURS\x09\x00\x00\x10OB\0\0" + (300000).to_bytes(4, "little")
        body = data_set(uid)
        at = body.index(b"\x20\x00\x0d\x00")
        path.write_bytes(part10.head(CT, uid, EXPLICIT) + body[:at] + padding + b"\x5a" * 300000 + body[at:])
        paths.append(path)
    return paths


@pytest.mark.parametrize("data_path", ["fast", "plain"])
def test_what_storescu_sends_by_tls_is_received_as_it_is(
    ledger: Ledger,
    tmp_path: Path,
    listen: Callable[..., Listener],
    theirs: Certificate,
    data_path: str,
) -> None:
    listener = listen(data_path)
    paths = _files(tmp_path, 5)
    assert _storescu(listener.tls_port, theirs, *paths) == 0
    spool = Spool(tmp_path / "spool", 0)
    received = {part10_body(spool.path(one)) for one in spool.ids()}
    assert received == {part10_body(path) for path in paths}


def test_what_we_send_by_tls_is_at_storescp_as_it_is(
    ledger: Ledger, tmp_path: Path, ours: Certificate, theirs: Certificate
) -> None:
    spool, far, port = Spool(tmp_path / "spool", 0), tmp_path / "far", free_port()
    far.mkdir()
    bodies = {f"1.2.{n}": part10_body(path) for n, path in enumerate(_files(tmp_path, 4))}
    for uid, body in bodies.items():
        put_instance(ledger, spool, uid, data=body)
    command = ["storescp", "+tls", str(theirs.key), str(theirs.certificate), "+cf", str(theirs.ca)]
    with dcmtk(*command, "+B", "-uf", "-aet", "PACS", "-od", str(far), str(port), port=port):
        peer = Peer("pacs", "PACS", "127.0.0.1", port, tls=_client(ours, check_host=True))
        echo(peer, "US")
        forwarder = Forwarder(ledger=ledger, spool=spool, peers=[peer], calling_ae="US")
        forwarder.start()
        until(lambda: nothing_waits(ledger))
        forwarder.stop()
    assert states(ledger) == {("pacs", DeliveryState.SENT): 4}
    assert {part10_body(path) for path in far.iterdir()} == set(bodies.values())


def test_who_has_no_certificate_of_the_site_is_not_heard(
    tmp_path: Path, listen: Callable[..., Listener], ours: Certificate
) -> None:
    listener = listen()
    stranger = Authority(tmp_path / "elsewhere").sign("stranger")
    pretender = Certificate(stranger.certificate, stranger.key, ours.ca)
    (path,) = _files(tmp_path, 1)
    assert _storescu(listener.tls_port, pretender, path) != 0
    assert _storescu(listener.tls_port, None, path) != 0  # without TLS on the port for it
    with pytest.raises(PeerUnreachableError):
        echo(Peer("us", "US", "127.0.0.1", listener.tls_port or 0, tls=_client(pretender)), "CT")
    assert list(Spool(tmp_path / "spool", 0).ids()) == []


def test_a_destination_whose_certificate_we_do_not_trust_gets_nothing(
    tmp_path: Path, listen: Callable[..., Listener], ours: Certificate
) -> None:
    listener = listen()
    elsewhere = Authority(tmp_path / "elsewhere")
    distrustful = Certificate(ours.certificate, ours.key, elsewhere.certificate)
    with pytest.raises(PeerUnreachableError) as caught:
        echo(Peer("us", "US", "127.0.0.1", listener.tls_port or 0, tls=_client(distrustful)), "CT")
    assert caught.value.fault == Fault.TLS


def test_the_list_of_callers_holds_with_tls_and_who_is_to_use_it_can_not_do_without(
    ledger: Ledger, tmp_path: Path, listen: Callable[..., Listener], theirs: Certificate
) -> None:
    listener = listen()
    (path,) = _files(tmp_path, 1)
    assert _storescu(listener.tls_port, theirs, path, calling="NOBODY") != 0
    assert _storescu(listener.port, None, path) != 0  # CT, without
    assert _storescu(listener.port, None, path, calling="OLD") == 0
    assert _storescu(listener.tls_port, theirs, path, calling="OLD") == 0
    with ledger.read() as connection:
        reasons = {one.calling_ae: one.reason for one in associations.all_refusals(connection)}
    assert "no peer of this AE title" in reasons["NOBODY"]
    assert "tls = true" in reasons["CT"]


def test_a_caller_that_begins_no_handshake_holds_up_nobody(
    tmp_path: Path, listen: Callable[..., Listener], theirs: Certificate
) -> None:
    listener = listen()
    with socket.create_connection(("127.0.0.1", listener.tls_port or 0)):
        assert _storescu(listener.tls_port, theirs, *_files(tmp_path, 1)) == 0
