"""The data path with real parts: DCMTK on both ends, every public file, a listener that is killed."""

import csv
import hashlib
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from orthanc_al.dicom import Association, Peer, Proposal, part10
from orthanc_al.dicom.part10 import Part10File
from orthanc_al.dicom.sender import send_files
from orthanc_al.errors import NotAnInstanceError
from orthanc_al.forward import Forwarder
from orthanc_al.ledger import Ledger, instances
from orthanc_al.ledger.deliveries import DeliveryState
from orthanc_al.receive import Archive, Listener, recover
from orthanc_al.receive.recovery import missing
from orthanc_al.spool import Spool
from tests.support.wire import CT, data_set, dcmtk, free_port, nothing_waits, part10_body, states, until

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SOURCE = Peer("ct", "CT", "127.0.0.1", 104, ("source",))


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", 0)


def _listener(ledger: Ledger, spool: Spool) -> Listener:
    return Listener(
        ae_title="US",
        host="127.0.0.1",
        port=0,
        peers=[SOURCE],
        accept="listed",
        spool=spool,
        ledger=ledger,
        destinations=["pacs"],
    )


@pytest.fixture
def listener(ledger: Ledger, spool: Spool) -> Iterator[Listener]:
    made = _listener(ledger, spool)
    made.start()
    yield made
    made.stop()


def _forwarder(ledger: Ledger, spool: Spool, port: int) -> Forwarder:
    peer = Peer("pacs", "PACS", "127.0.0.1", port, ("destination",))
    made = Forwarder(ledger=ledger, spool=spool, peers=[peer], calling_ae="US")
    made.start()
    return made


def _public_files(data: Path) -> list[Path]:
    with (data / "dicom" / "INDEX.csv").open() as index:
        return [data / "dicom" / row["source"] / row["path"] for row in csv.DictReader(index)]


def _as_sent(path: Path) -> Part10File:
    """The file as an instance; one that names no SOP class or instance is sent under an invented one."""
    try:
        return part10.read(path)
    except NotAnInstanceError:
        content = path.read_bytes()
        offset = part10._data_set_offset(path)
        uid = f"2.25.{int.from_bytes(hashlib.sha256(content).digest()[:12])}"
        return Part10File(path, SECONDARY_CAPTURE, uid, "1.2.840.10008.1.2.1", offset)


def _send_raw(files: list[Part10File], port: int) -> dict[Path, int | None]:
    """Send bytes as they are, and return each one's status; None where its SOP class was not accepted."""
    statuses: dict[Path, int | None] = {}
    kinds = list(dict.fromkeys((file.sop_class_uid, file.transfer_syntax_uid) for file in files))
    for start in range(0, len(kinds), 128):
        group = kinds[start : start + 128]
        with Association.open(
            "127.0.0.1",
            port,
            called_ae="US",
            calling_ae="CT",
            proposals=[Proposal(sop_class, (syntax,)) for sop_class, syntax in group],
        ) as association:
            for file in files:
                if (file.sop_class_uid, file.transfer_syntax_uid) not in group:
                    continue
                context = association.context(file.sop_class_uid, file.transfer_syntax_uid)
                if context is None:
                    statuses[file.path] = None
                else:
                    answer = association.store(context, file.sop_instance_uid, file.data_set())
                    statuses[file.path] = answer.status
    return statuses


@pytest.mark.needs_data
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_public_file_arrives_byte_identical_or_is_refused_with_a_reason(
    data: Path, ledger: Ledger, spool: Spool, listener: Listener, tmp_path: Path
) -> None:
    paths = _public_files(data)
    assert len(paths) == 417
    files = [_as_sent(path) for path in paths]
    archive = Archive(ae_title="PACS", host="127.0.0.1", port=0, folder=tmp_path / "archive")
    archive.start()
    forwarder = _forwarder(ledger, spool, archive.port)
    try:
        statuses = _send_raw(files, listener.port)
        until(lambda: nothing_waits(ledger), 120)
    finally:
        forwarder.stop()
        archive.stop()
    assert set(statuses) == set(paths)
    # A DICOMDIR is no storage object: its SOP class is refused when the association is negotiated.
    refused = [path for path, status in statuses.items() if status is None]
    assert all(path.name.startswith("DICOMDIR") for path in refused)
    assert {status for path, status in statuses.items() if path not in refused} == {0x0000}
    sent = Counter(hashlib.sha256(file.data_set()).hexdigest() for file in files if file.path not in refused)
    assert _spooled(spool) == sent
    assert states(ledger) == {("pacs", DeliveryState.SENT): sent.total()}
    with ledger.read() as connection:
        uids = {file.sop_instance_uid: file for file in files if file.path not in refused}
        for uid in uids:
            assert instances.of_sop(connection, uid)
    # The archive keeps one file a SOP Instance UID, so what it has is a part of what was sent.
    archived = {
        hashlib.sha256(part10_body(path)).hexdigest() for path in (tmp_path / "archive").glob("*/*.dcm")
    }
    assert archived <= set(sent)
    assert len(list((tmp_path / "archive").glob("*/*.dcm"))) >= len(uids)


def _spooled(spool: Spool) -> Counter[str]:
    found: Counter[str] = Counter()
    for instance_id in spool.ids():
        with spool.open(instance_id) as file:
            found[hashlib.sha256(file.data_set).hexdigest()] += 1
    return found


# storescu sends a file only in its own syntax when it is told to propose that one.
_SYNTAXES = {
    "CT_small.dcm": "-xe",
    "MR_small_bigendian.dcm": "-xb",
    "MR_small_implicit.dcm": "-xi",
    "JPEG2000.dcm": "-xw",
    "JPEG-lossy.dcm": "-xx",
    "MR_small_RLE.dcm": "-xr",
    "image_dfl.dcm": "-xd",
    "emri_small_jpeg_ls_lossless.dcm": "-xt",
    "JPGExtended.dcm": "-xx",
}


@pytest.mark.needs_data
@pytest.mark.needs_dcmtk
def test_between_dcmtks_sender_and_dcmtks_archive_no_byte_changes(
    data: Path, ledger: Ledger, spool: Spool, listener: Listener, tmp_path: Path
) -> None:
    names = {path.name: path for path in _public_files(data) if path.name in _SYNTAXES}
    assert set(names) == set(_SYNTAXES)
    inbox, port = tmp_path / "inbox", free_port()
    inbox.mkdir()
    with dcmtk("storescp", "+B", "+uf", "+xa", "-aet", "PACS", "-od", str(inbox), str(port), port=port):
        forwarder = _forwarder(ledger, spool, port)
        for name, path in names.items():
            subprocess.run(
                [
                    "storescu",
                    "-aet",
                    "CT",
                    "-aec",
                    "US",
                    _SYNTAXES[name],
                    "127.0.0.1",
                    str(listener.port),
                    path,
                ],
                check=True,
                capture_output=True,
                env={**os.environ, "TCP_NODELAY": "1"},
            )
        until(lambda: states(ledger) == {("pacs", DeliveryState.SENT): len(names)}, 30)
        forwarder.stop()
    arrived = {hashlib.sha256(part10_body(path)).hexdigest() for path in inbox.iterdir()}
    # storescu reads and writes what it sends; what it sent is what is in the spool.
    assert arrived == set(_spooled(spool))
    assert len(arrived) == len(names)


@pytest.mark.needs_dcmtk
def test_dcmtks_archive_gets_a_copy_in_the_syntax_that_it_takes(
    ledger: Ledger, spool: Spool, listener: Listener, tmp_path: Path
) -> None:
    source, inbox, port = tmp_path / "one.dcm", tmp_path / "inbox", free_port()
    inbox.mkdir()
    source.write_bytes(part10.head(CT, "1.2.3", "1.2.840.10008.1.2.2") + _big_endian(data_set("1.2.3")))
    with dcmtk("storescp", "+B", "+xi", "-aet", "PACS", "-od", str(inbox), str(port), port=port):
        forwarder = _forwarder(ledger, spool, port)
        report = send_files([source], Peer("us", "US", "127.0.0.1", listener.port), "CT")
        assert report.delivered == 1
        until(lambda: states(ledger) == {("pacs", DeliveryState.SENT): 1})
        forwarder.stop()
    (arrived,) = inbox.iterdir()
    file = part10.read(arrived)
    assert (file.sop_instance_uid, file.transfer_syntax_uid) == ("1.2.3", "1.2.840.10008.1.2")


def _big_endian(little: bytes) -> bytes:
    encoded, position = b"", 0
    while position < len(little):
        group, element, length = (little[position + at : position + at + 2][::-1] for at in (0, 2, 6))
        size = int.from_bytes(length)
        encoded += group + element + little[position + 4 : position + 6] + length
        encoded += little[position + 8 : position + 8 + size]
        position += 8 + size
    return encoded


_LISTENER_PROGRAM = """
import sys, threading
from pathlib import Path
from orthanc_al.dicom import Peer
from orthanc_al.ledger import Ledger
from orthanc_al.receive import Listener
from orthanc_al.spool import Spool
url, folder, port = sys.argv[1:]
Listener(
    ae_title="US", host="127.0.0.1", port=int(port), accept="listed", destinations=["pacs"],
    peers=[Peer("ct", "CT", "127.0.0.1", 104, ("source",))],
    spool=Spool(Path(folder), 0), ledger=Ledger.open(url),
).start()
threading.Event().wait()
"""


@pytest.mark.needs_dcmtk
@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_the_listener_is_killed(
    ledger: Ledger, spool: Spool, tmp_path: Path
) -> None:
    rng, acknowledged = random.Random(0), set()
    folder, port, rounds = tmp_path / "files", free_port(), 10
    folder.mkdir()
    for turn in range(rounds):
        files = []
        for number in range(30):
            uid = f"1.2.{turn}.{number}"
            path = folder / f"{uid}.dcm"
            filler = rng.randbytes(2 * rng.randrange(1, 60_000))
            pixels = b"\xe0\x7f\x10\0OW\0\0" + len(filler).to_bytes(4, "little") + filler
            path.write_bytes(part10.head(CT, uid, "1.2.840.10008.1.2.1") + data_set(uid) + pixels)
            files.append(path)
        program = [sys.executable, "-c", _LISTENER_PROGRAM, ledger.url, str(spool.folder), str(port)]
        with dcmtk(*program, port=port, stderr=subprocess.DEVNULL) as process:
            sender = subprocess.Popen(
                ["storescu", "-v", "-xe", "-aet", "CT", "-aec", "US", "127.0.0.1", str(port), *files],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TCP_NODELAY": "1"},
                text=True,
            )
            said = _kill_after(process, sender, rng.randrange(1, 29), rng.uniform(0, 0.01))
        acknowledged |= _acknowledged(said, files)
    assert rounds <= len(acknowledged) < rounds * 30, "no listener was killed in the middle of its work"
    recover(spool, ledger, ["pacs"])
    assert missing(spool, ledger) == set()
    bodies = {path.stem: part10_body(path) for path in folder.iterdir()}
    for uid in acknowledged:
        with ledger.read() as connection:
            known = instances.of_sop(connection, uid)
        assert known, f"{uid} was acknowledged and the ledger does not know it"
        for row in known:
            with spool.open(row.instance.id) as file:
                assert bytes(file.data_set) == bodies[uid]


def _kill_after(
    process: "subprocess.Popen[bytes]", sender: "subprocess.Popen[str]", answers: int, pause: float
) -> str:
    """Kill -9 a moment after that many acknowledgements, and return all that the sender said."""
    said, seen = "", 0
    assert sender.stdout is not None
    for text in sender.stdout:
        said += text
        seen += "Received Store Response (Success)" in text
        if seen == answers:
            time.sleep(pause)
            process.kill()
            seen += 1
    sender.wait(60)
    sender.stdout.close()
    return said


def _acknowledged(said: str, files: list[Path]) -> set[str]:
    """Files that storescu got 0x0000 for: it names each before it sends it and its answer after."""
    found, current = set(), None
    for text in said.splitlines():
        if "Sending file: " in text:
            current = Path(text.partition("Sending file: ")[2].strip()).stem
        elif "Received Store Response (Success)" in text and current is not None:
            found.add(current)
    return found
