"""Mutated streams against the data path: no crash, no hang, no file without an owner, memory bounded.

``python -m tests.chaos.fuzz_pdu --count 100000`` says how it went, in figures, and exits with 1 where a
promise did not hold. Two ways are taken: nearly all streams go into `orthanc_al.dicom.stream.Stream` itself,
by a connection each with a spool behind it; one in a hundred goes to a whole listener, by whose side an
association of somebody else stores object after object.
"""

import argparse
import contextlib
import random
import resource
import socket
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from orthanc_al.dicom import Association, Peer, Proposal, command, echo
from orthanc_al.dicom.stream import Stream
from orthanc_al.domain import Instance, Origin
from orthanc_al.ledger import Ledger, instances
from orthanc_al.observe import configure_logging
from orthanc_al.receive import Intake, Listener, Session
from orthanc_al.spool import Spool
from tests.support.raw_peer import RawPeer, associate_rq, p_data, pdv
from tests.support.wire import CT, EXPLICIT, data_set

_CONTEXTS: Final = {1: EXPLICIT, 3: EXPLICIT}
_LISTENER_SHARE: Final = 100
_LOOK_EVERY: Final = 200
_LONGEST_SECONDS: Final = 10.0
_GROWTH_MEGABYTES: Final = 64.0
_RELEASE: Final = b"\x05\0\0\0\0\x04\0\0\0\0"


@dataclass
class Verdict:
    """What came of the streams.

    Attributes
    ----------
    outcomes
        How many ended how.
    faults
        What must never happen, by the stream's number: with the seed it can be made again.
    stored
        Objects that were acknowledged.
    growth_megabytes
        By how much the process's peak memory grew after the first hundredth.
    slowest_seconds
        Longest time that one stream took.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    stored: int = 0
    growth_megabytes: float = 0.0
    slowest_seconds: float = 0.0


class _Records:
    """Counts what the intake says is durable."""

    def __init__(self) -> None:
        self.received_ids: list[str] = []

    def received(self, session: Session, instance: Instance) -> None:
        """Note it."""
        del session
        self.received_ids.append(instance.id)


def honest(rng: random.Random) -> list[bytes]:
    """Return the PDUs of an honest sender: objects, C-ECHO, a release at times."""
    said = []
    for number in range(rng.randrange(1, 4)):
        if rng.random() < 0.2:
            said.append(
                p_data(pdv(rng.choice((1, 3)), command.c_echo_rq(number), is_command=True, last=True))
            )
            continue
        uid = f"1.2.{rng.randrange(1 << 30)}"
        body = data_set(uid) + rng.randbytes(rng.choice((0, 3, 500, 5000)))
        request = command.c_store_rq(number, CT, uid)
        context = rng.choice((1, 3))
        said.append(p_data(pdv(context, request, is_command=True, last=True)))
        step = rng.choice((1 << 14, 1000, 100))
        for start in range(0, len(body), step):
            last = start + step >= len(body)
            said.append(p_data(pdv(context, body[start : start + step], is_command=False, last=last)))
    if rng.random() < 0.3:
        said.append(_RELEASE)
    return said


def mutated(rng: random.Random, said: list[bytes]) -> bytes:
    """Return the stream with something done to it that no sender should do."""
    for _ in range(rng.randrange(0, 4)):
        said = [one for one in said if one] or [b"\0"]
        said = _MUTATIONS[rng.randrange(len(_MUTATIONS))](rng, said)
    return b"".join(said)


def _flip(rng: random.Random, said: list[bytes]) -> list[bytes]:
    place = rng.randrange(len(said))
    changed = bytearray(said[place])
    for _ in range(rng.randrange(1, 6)):
        # The headers are where it matters: mostly there.
        changed[rng.randrange(min(len(changed), rng.choice((12, 120, 6000))))] = rng.randrange(256)
    return [*said[:place], bytes(changed), *said[place + 1 :]]


def _length(rng: random.Random, said: list[bytes]) -> list[bytes]:
    place = rng.randrange(len(said))
    changed = bytearray(said[place])
    offset = rng.choice((2, 6))
    if len(changed) >= offset + 4:
        wrong = rng.choice((0, 1, 2, 5, 6, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, len(changed), rng.getrandbits(32)))
        struct.pack_into(">L", changed, offset, wrong)
    return [*said[:place], bytes(changed), *said[place + 1 :]]


def _cut(rng: random.Random, said: list[bytes]) -> list[bytes]:
    whole = b"".join(said)
    return [whole[: rng.randrange(len(whole) + 1)]]


def _swap(rng: random.Random, said: list[bytes]) -> list[bytes]:
    return rng.sample(said, len(said))


def _repeat(rng: random.Random, said: list[bytes]) -> list[bytes]:
    place = rng.randrange(len(said))
    return said[:place] + [said[place]] * rng.randrange(2, 30) + said[place:]


def _drop(rng: random.Random, said: list[bytes]) -> list[bytes]:
    place = rng.randrange(len(said))
    return said[:place] + said[place + 1 :]


def _insert(rng: random.Random, said: list[bytes]) -> list[bytes]:
    place = rng.randrange(len(said) + 1)
    junk = rng.choice((rng.randbytes(rng.randrange(40)), p_data(), associate_rq([(CT, EXPLICIT)]), _RELEASE))
    tiny = p_data(*(pdv(1, b"", is_command=True, last=False) for _ in range(rng.randrange(300))))
    return [*said[:place], rng.choice((junk, tiny)), *said[place:]]


_MUTATIONS: Final[tuple[Callable[[random.Random, list[bytes]], list[bytes]], ...]] = (
    _flip,
    _length,
    _cut,
    _swap,
    _repeat,
    _drop,
    _insert,
)


def into_stream(sent: bytes, spool: Spool) -> tuple[str, _Records]:
    """Read a stream as an association does; return how it ended and what was acknowledged.

    Outcomes: ``closed`` by the peer, ``no DICOM``, ``broken`` connection; anything else that is raised is a
    fault of ours, and the caller's to note.
    """
    records = _Records()
    session = Session(Origin("CT", "US", "US", "ct", None, "dicom"), "127.0.0.1", 0.0)
    intake = Intake(spool, records)
    ours, theirs = _pair()
    sender = threading.Thread(target=_send, args=(theirs, sent), daemon=True)
    with ours, theirs:
        ours.settimeout(_LONGEST_SECONDS)
        stream = Stream(ours, lambda request: intake.open(session, request))
        stream.accept(_CONTEXTS)
        sender.start()
        try:
            return _read(stream), records
        except ValueError:
            return "no DICOM", records
        except OSError:
            return "broken", records
        finally:
            stream.close()
            ours.shutdown(socket.SHUT_RDWR)
            sender.join(_LONGEST_SECONDS)


def _pair() -> tuple[socket.socket, socket.socket]:
    """Return two ends of a connection by TCP, as the data path has it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        return server.accept()[0], theirs


def _read(stream: Stream) -> str:
    while True:
        if stream.advance():  # a PDU for pynetdicom, which reads the header and then so much
            head = bytes(stream.recv(6))
            if len(head) < 6:
                return "closed"
            stream.recv(min(struct.unpack(">BxL", head)[1], 1 << 24))
        elif not stream.fill():
            return "closed"


def _send(theirs: socket.socket, sent: bytes) -> None:
    with contextlib.suppress(OSError):
        theirs.sendall(sent)
        theirs.shutdown(socket.SHUT_WR)
        while theirs.recv(4096):
            continue


def fuzz(count: int, seed: int, folder: Path) -> Verdict:
    """Send that many mutated streams."""
    verdict = Verdict()
    spool = Spool(folder / "spool", 0)
    spool.prepare(16)
    ledger = Ledger.create(f"sqlite:///{folder}/ledger.sqlite")
    with _listening(folder / "listener", ledger, verdict) as port:
        start, owned = _peak(), set[str]()
        for number in range(count):
            rng = random.Random(f"{seed} {number}")
            sent = mutated(rng, honest(rng))
            began = time.perf_counter()
            if number % _LISTENER_SHARE == 0:
                verdict.outcomes[_into_listener(sent, port)] += 1
            else:
                _into_spool(number, sent, spool, owned, verdict)
            verdict.slowest_seconds = max(verdict.slowest_seconds, time.perf_counter() - began)
            if number == count // 100:
                start = _peak()
        verdict.growth_megabytes = _peak() - start
        _look(count, spool, owned, verdict)
    spool.stop_preparing()
    if verdict.slowest_seconds > _LONGEST_SECONDS:
        verdict.faults.append(f"a stream took {verdict.slowest_seconds:.1f} s")
    if verdict.growth_megabytes > _GROWTH_MEGABYTES:
        verdict.faults.append(f"memory grew by {verdict.growth_megabytes:.0f} MB")
    ledger.close()
    return verdict


def _into_spool(number: int, sent: bytes, spool: Spool, owned: set[str], verdict: Verdict) -> None:
    try:
        outcome, records = into_stream(sent, spool)
    except Exception as error:
        verdict.faults.append(f"stream {number}: {type(error).__name__}: {error}")
        return
    verdict.outcomes[outcome] += 1
    verdict.stored += len(records.received_ids)
    owned.update(f"{one}.dcm" for one in records.received_ids)
    if number % _LOOK_EVERY == 1:
        _look(number, spool, owned, verdict)


def _look(number: int, spool: Spool, owned: set[str], verdict: Verdict) -> None:
    """Look whether the files in the spool are those that were acknowledged, and remove them."""
    files = {path.name: path for path in spool.folder.glob("??/*")}
    files |= {path.name: path for path in spool.folder.glob("ready/*") if path.stat().st_size}
    if files.keys() != owned:
        differing = sorted(files.keys() ^ owned)
        verdict.faults.append(f"streams up to {number}: files without an owner, or lost: {differing}")
    for path in files.values():
        path.unlink()
    owned.clear()


def _into_listener(sent: bytes, port: int) -> str:
    """Send a stream to the listener, and wait until it has ended the association."""
    with RawPeer.associated(port, [(CT, EXPLICIT), (CT, EXPLICIT)]) as peer, contextlib.suppress(OSError):
        peer.say(sent)
        peer.connection.shutdown(socket.SHUT_WR)
        while peer.hear()[0]:
            continue
    return "listener went on"


@contextlib.contextmanager
def _listening(folder: Path, ledger: Ledger, verdict: Verdict) -> Iterator[int]:
    """Run a listener with somebody who stores by it all the time; look at its spool and ledger at the end."""
    spool = Spool(folder, 0)
    listener = Listener(
        ae_title="US",
        host="127.0.0.1",
        port=0,
        peers=[],
        accept="any",
        spool=spool,
        ledger=ledger,
        destinations=[],
    )
    listener.start()
    stop, stored = threading.Event(), Counter[int]()
    bystander = threading.Thread(target=_store_until, args=(stop, listener.port, stored, verdict))
    bystander.start()
    try:
        yield listener.port
        echo(Peer("us", "US", "127.0.0.1", listener.port), "TEST", timeout=20)
    finally:
        stop.set()
        bystander.join()
        listener.stop()
    verdict.stored += stored[0]
    verdict.outcomes["bystander's objects"] = stored[0]
    with ledger.read() as connection:
        known = instances.known_ids(connection)
    files = {path.name.removesuffix(".dcm") for path in folder.glob("??/*")}
    if files != known:
        verdict.faults.append(
            f"the listener's spool holds files without an owner, {sorted(files - known)[:5]}, or the ledger "
            f"rows without one, {sorted(known - files)[:5]}, of {len(files)} and {len(known)}"
        )


def _store_until(stop: threading.Event, port: int, stored: Counter[int], verdict: Verdict) -> None:
    """Store one object after the other; whatever others send, each must be taken."""
    try:
        with Association.open(
            "127.0.0.1",
            port,
            called_ae="US",
            calling_ae="OTHER",
            proposals=[Proposal(CT, (EXPLICIT,))],
            answer_timeout=_LONGEST_SECONDS,
        ) as association:
            while not stop.wait(0.02):
                uid = f"1.3.{stored[0]}"
                response = association.store(association.contexts[0], uid, data_set(uid))
                if response.status:
                    verdict.faults.append(f"the bystander was answered 0x{response.status:04X}")
                stored[0] += 1
    except Exception as error:
        verdict.faults.append(f"the bystander's association ended: {type(error).__name__}: {error}")


def _peak() -> float:
    """Return this process's peak memory in 10**6 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> int:
    """Fuzz, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", default=None, help="where the spools go")
    options = parser.parse_args()
    configure_logging("CRITICAL")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="orthanc-al-fuzz-", dir=options.folder) as folder:
        verdict = fuzz(options.count, options.seed, Path(folder))
    print(f"{options.count} streams, seed {options.seed}, in {time.perf_counter() - began:.0f} s")
    for outcome, number in verdict.outcomes.most_common():
        print(f"  {outcome}: {number}")
    print(f"  objects acknowledged: {verdict.stored}")
    print(f"  memory grew by {verdict.growth_megabytes:.1f} MB")
    print(f"  the slowest stream took {verdict.slowest_seconds:.2f} s")
    print("\n".join(verdict.faults) or "no fault")
    return 1 if verdict.faults else 0


if __name__ == "__main__":
    sys.exit(main())
