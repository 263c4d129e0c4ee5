"""`orthanc-al doctor`: whether anything is lost, and everything in its place."""

import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from orthanc_al.dicom import echo
from orthanc_al.errors import LedgerError, OrthancAlError, SpoolFileError
from orthanc_al.inference import load_package
from orthanc_al.ledger import (
    Ledger,
    associations,
    deliveries,
    destinations,
    facts,
    instances,
    models,
    processes,
    promises,
)
from orthanc_al.observe import now
from orthanc_al.service import building, child, ground, sidecar
from orthanc_al.service.finding import Finding, fine, note, problem
from orthanc_al.service.roles import active
from orthanc_al.settings import Peer, Settings
from orthanc_al.spool import Spool

_SHOWN: Final = 5
_LATE_SECONDS: Final = 3600.0


def examine(settings: Settings) -> list[Finding]:
    """Return all findings, those on promise 3 first."""
    found: list[Finding] = []
    try:
        ledger = Ledger.open(settings.storage.ledger)
    except LedgerError as error:
        found.append(problem("ledger", str(error)))
    else:
        for look in (_promise_3, _spool_and_ledger, _deliveries, _refusals, _processes, _champions):
            found += look(settings, ledger)
        ledger.close()
    for check in (_disk, _ground, _listener, _peers, _packages, sidecar.examine):
        found += check(settings)
    return found


def _promise_3(_: Settings, ledger: Ledger) -> Iterator[Finding]:
    with ledger.read() as connection:
        studies = promises.studies_left_behind(connection)
        unseen = promises.instances_left_behind(connection)
        quarantined = promises.quarantined(connection)
        paused = facts.scoring_paused(connection)
    yield _none_of("studies left behind", studies, "`orthanc-al requeue STUDY` gives them another try")
    yield _none_of("instances left behind", unseen, "`orthanc-al requeue INSTANCE` puts them on the queue")
    if paused:
        yield note("scoring", "paused; `orthanc-al resume` lets it go on (forwarding is not affected)")
    yield _none_of(
        "quarantined work",
        [f"{step} of {subject}: {error}" for step, subject, error in quarantined],
        "mend the cause, then `orthanc-al requeue`",
    )


def _none_of(subject: str, found: Any, remedy: str) -> Finding:
    if not found:
        return fine(subject, "none")
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return problem(subject, f"{len(found)}: {'; '.join(found[:_SHOWN])}{more}. {remedy}.")


def _spool_and_ledger(settings: Settings, ledger: Ledger) -> Iterator[Finding]:
    spool = building.spool(settings)
    files = set(spool.ids())
    with ledger.read() as connection:
        sizes = promises.spooled_sizes(connection)
    rows = sizes.keys()
    # A file that is younger than this look may get its row only now.
    with ledger.read() as connection:
        unknown = files - instances.known_ids(connection)
    received, unreadable = _sorted_out(spool, unknown)
    yield (
        note("spool", f"{len(received)} file(s) without a row: the listener adds them when it starts")
        if received
        else fine("spool", f"{len(files)} file(s), all in the ledger")
    )
    yield _none_of("files damaged", sorted(unreadable), "restore them from a copy: they were acknowledged")
    waiting, damaged = spool.to_be_taken_up()
    yield _none_of("files not in their place", waiting, "start the service again: it moves them there")
    yield _none_of(
        "prepared files damaged",
        damaged,
        "each may have been acknowledged: have its study sent again, then remove it from ready/",
    )
    missing = {id_ for id_ in rows - files if id_ not in spool}
    # Cleaning takes the file before it says so in the row.
    with ledger.read() as connection:
        missing &= promises.spooled_ids(connection)
    yield _none_of("files missing", sorted(missing), "restore them: they were acknowledged")
    yield _none_of(
        "files cut short",
        sorted(_cut_short(spool, sizes)),
        "restore them from a copy, or send the study again: they were acknowledged whole",
    )


def _sorted_out(spool: Spool, unknown: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return which files without a row were received, and which can't be read; ours have theirs later."""
    received, unreadable = [], []
    for instance_id in unknown:
        try:
            if spool.describe(instance_id)[1].kind != "own":
                received.append(instance_id)
        except SpoolFileError:
            unreadable.append(instance_id)
    return received, unreadable


def _cut_short(spool: Spool, sizes: Mapping[str, int]) -> Iterator[str]:
    """Yield ids of files that hold fewer bytes than were acknowledged; a look at their lengths alone."""
    for instance_id, size in sizes.items():
        try:
            length = spool.path(instance_id).stat().st_size
        except OSError:
            continue
        if length <= size:  # the data set is not all of the file
            yield instance_id


def _deliveries(settings: Settings, ledger: Ledger) -> Iterator[Finding]:
    with ledger.read() as connection:
        counted = deliveries.counts(connection)
        oldest = deliveries.oldest_waiting(connection)
        known = destinations.known(connection)
        never = {
            peer.name: promises.instances_without_delivery(connection, peer.name)
            for peer in settings.dicom.peers
            if "destination" in peer.roles
        }
    configured = {peer.name for peer in settings.dicom.peers if set(peer.roles) & {"destination", "results"}}
    for name in sorted({place for place, _ in counted} | set(never)):
        states = {state.value: number for (place, state), number in counted.items() if place == name}
        text = ", ".join(f"{number} {state}" for state, number in sorted(states.items())) or "nothing yet"
        age = now() - oldest[name] if name in oldest else 0.0
        if states.get("waiting") and name not in configured:
            yield problem(
                f"to {name}", f"{text}: no peer of this name gets anything; add it to [[dicom.peers]] again"
            )
        elif states.get("refused"):
            yield problem(
                f"to {name}",
                f"{text}: mend it there, then `orthanc-al requeue --destination {name}` tries again",
            )
        elif age > _LATE_SECONDS:
            why = (name in known and known[name].reason) or f"is {name} up?"
            yield problem(f"to {name}", f"{text}; the oldest has waited {age / 3600:.1f} hours: {why}")
        elif name in known and known[name].reason:
            yield note(f"to {name}", f"{text}; tried again by itself: {known[name].reason}")
        else:
            yield fine(f"to {name}", text)
        if never.get(name):
            yield note(f"to {name}", f"{never[name]} instance(s) came before it was a destination")


def _refusals(_: Settings, ledger: Ledger) -> Iterator[Finding]:
    with ledger.read() as connection:
        refused = associations.all_refusals(connection)
    for one in refused[:_SHOWN]:
        what = "would be refused by listed" if one.observed_only else "was refused"
        yield note("association", f"{one.calling_ae} {what} {one.times} time(s): {one.reason}")


def _processes(settings: Settings, ledger: Ledger) -> Iterator[Finding]:
    with ledger.read() as connection:
        roles = processes.all_roles(connection)
    alive = {
        role
        for role, row in roles.items()
        if now() - row["seen_at"] < processes.SILENT_SECONDS and row["detail"].get("state") != child.ENDED
    }
    if not alive:
        yield note("processes", "none is running; `orthanc-al serve` starts them")
        return
    for role in sorted(active(settings)):
        row = roles.get(role)
        if row is None:
            yield problem(f"process {role}", "has never been heard of; see its log")
            continue
        state = str(row["detail"].get("state", "ready"))
        detail = ", ".join(f"{key} {value}" for key, value in row["detail"].items())
        restarts = f", restarted {row['restarts']} time(s)" if row["restarts"] else ""
        if role in alive and state not in ("ready", "starting"):
            yield problem(f"process {role}", f"{state}{restarts}")
        elif role in alive:
            yield fine(
                f"process {role}", f"process id {row['pid']}{restarts}{', ' if detail else ''}{detail}"
            )
        else:
            ended = state == child.ENDED
            yield problem(
                f"process {role}", "has ended" if ended else "has not been heard of for 30 s; see its log"
            )


def _champions(_: Settings, ledger: Ledger) -> Iterator[Finding]:
    with ledger.read() as connection:
        names = {model.ref.name for model in models.versions(connection)}
        live = [models.champion(connection, name) for name in sorted(names)]
    for model in live:
        if model is not None:
            yield _attempt(
                f"model {model.ref.name}",
                partial(_holds, model.folder, " is live"),
            )


def _attempt(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return fine(subject, look())
    except OrthancAlError as error:
        return problem(subject, str(error))


def _disk(settings: Settings) -> Iterator[Finding]:
    place = settings.storage.spool
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    text = f"{free:.1f} GB free, storage.min_free_gb is {settings.storage.min_free_gb:g}"
    yield (
        fine("disk", text)
        if free > settings.storage.min_free_gb
        else problem("disk", f"{text}: senders are told 0xA700; free some space")
    )


def _ground(settings: Settings) -> Iterator[Finding]:
    for subject, doubt in ground.doubts(settings):
        yield note(f"durability, {subject}", doubt)


def _listener(settings: Settings) -> Iterator[Finding]:
    encrypted = settings.dicom.tls.port
    for subject, host, port in (
        ("listener", settings.dicom.host, settings.dicom.port),
        *([("listener, TLS", settings.dicom.host, encrypted)] if encrypted else []),
        ("worklist page", settings.web.host, settings.web.port),
    ):
        try:
            address = "127.0.0.1" if host in ("0.0.0.0", "") else host  # noqa: S104 - compared, not bound
            socket.create_connection((address, port), timeout=2).close()
            yield fine(subject, f"answers at {host}:{port}")
        except OSError as error:
            yield note(subject, f"no answer at {host}:{port} ({error}): is the service running?")


def _peers(settings: Settings) -> Iterator[Finding]:
    for peer in settings.dicom.peers:
        if set(peer.roles) & {"destination", "results"}:
            yield _attempt(
                f"peer {peer.name}",
                partial(_echo, settings, peer),
            )


def _holds(folder: Path, what: str = "") -> str:
    return f"{load_package(folder).ref}{what}, its digest holds"


def _echo(settings: Settings, peer: Peer) -> str:
    start = time.perf_counter()
    echo(building.ae(settings, peer), settings.dicom.ae_title)
    return f"answers C-ECHO in {(time.perf_counter() - start) * 1000:.0f} ms"


def _packages(settings: Settings) -> Iterator[Finding]:
    if not settings.models:
        yield note("models", "none is configured: studies pass on, and nothing is scored")
    for model in settings.models:
        yield _attempt(
            f"package {model.package.name}",
            partial(_holds, model.package),
        )
