"""The ledger is locked, deleted, and restored from a backup."""

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos import flow
from tests.chaos.verdict import Claims, Line, Plan
from tests.support.site import Site, StoreSCP, free_port, peer

_LOCKED_SECONDS = 45.0  # longer than anybody of us waits for the lock (30 s)


def run(plan: Plan) -> list[Line]:
    """Lock it, delete it under the running service, restore it."""
    if plan.short:
        return [_deleted(plan)]
    return [_locked(plan), _deleted(plan), _restored(plan)]


@contextlib.contextmanager
def _site(folder: Path) -> Iterator[tuple[Site, StoreSCP]]:
    pacs = StoreSCP(folder / "pacs")
    pacs.start()
    peers = [
        peer("modality", "MODALITY", free_port(), "source"),
        peer("pacs", "PACS", pacs.port, "destination", "results"),
    ]
    site = Site(folder / "site", peers)
    try:
        site.fix_draws("ledger")
        site.start()
        yield site, pacs
    finally:
        site.stop()
        pacs.stop()


def _path(site: Site) -> Path:
    return Path(site.ledger_url.removeprefix("sqlite:///"))


def _locked(plan: Plan) -> Line:
    claims = Claims()
    sent = flow.films(plan.folder / "films-locked", 12, plan.seed)
    with _site(plan.folder / "locked") as (site, pacs):
        claims.holds(flow.status(site.port, sent[0]) == 0, "a film was not taken")
        claims.comes(lambda: flow.is_idle(site), 60, "it was not passed on")
        with contextlib.closing(sqlite3.connect(_path(site), isolation_level=None)) as other:
            other.execute("PRAGMA busy_timeout=20000")
            other.execute("BEGIN IMMEDIATE")
            until = time.monotonic() + _LOCKED_SECONDS
            took = []
            for film in sent[1:]:
                began = time.monotonic()
                claims.holds(flow.status(site.port, film) == 0, f"{film.name} was not acknowledged")
                took.append(time.monotonic() - began)
            time.sleep(max(0.0, until - time.monotonic()))
            other.execute("ROLLBACK")
        came = claims.comes(lambda: not flow.altered(sent, pacs), 60, "not all films were passed on")
        drained = claims.comes(lambda: flow.is_idle(site), 400, "the queue did not drain")
        claims.comes(lambda: not flow.problems(site), 60, "doctor finds problems")
        restarts = site.log.count("process_restarted")
    seen = (
        f"{len(sent) - 1} films acknowledged meanwhile, the slowest after {max(took):.2f} s; at the PACS "
        f"{came:.1f} s after the lock was gone, idle {drained:.0f} s later; {restarts} restarts of processes"
    )
    return Line(f"the ledger is locked for {_LOCKED_SECONDS:.0f} s", seen, claims.broken)


def _deleted(plan: Plan) -> Line:
    claims = Claims()
    sent = flow.films(plan.folder / "films-deleted", 8 if plan.short else 24, plan.seed + 1)
    half = len(sent) // 2
    with _site(plan.folder / "deleted") as (site, pacs):
        for film in sent[:half]:
            claims.holds(flow.status(site.port, film) == 0, "a film was not taken")
        claims.comes(lambda: flow.is_idle(site), 120, "they were not passed on")
        _delete(site)
        for film in sent[half:]:  # into a ledger that nobody will ever see
            claims.holds(flow.status(site.port, film) == 0, "a film was not taken")
        site.stop()
        _delete(site)
        for path in pacs.files():
            path.unlink()
        site.start()
        rebuilt = claims.comes(lambda: not flow.altered(sent, pacs), 120, "not all were passed on again")
        drained = claims.comes(lambda: flow.is_idle(site), 400, "the queue did not drain")
        for problem in flow.problems(site):
            claims.holds(False, problem)
        studies = len(site.worklist())
        claims.holds(studies == len(sent), f"{studies} studies of {len(sent)} are on the worklist")
    seen = (
        f"{len(sent)} films, {len(sent) - half} of them taken after the file was gone; after a restart all "
        f"deliveries and studies were rebuilt from the spool: at the (emptied) PACS again after "
        f"{rebuilt:.0f} s byte for byte, scored {drained:.0f} s later, {studies} studies on the worklist"
    )
    return Line("the ledger is deleted under the running service", seen, claims.broken)


def _delete(site: Site) -> None:
    for path in _path(site).parent.glob(f"{_path(site).name}*"):
        path.unlink(missing_ok=True)


def _restored(plan: Plan) -> Line:
    """Do what docs/operations.md says under "A restore drill"."""
    claims = Claims()
    sent = flow.films(plan.folder / "films-restored", 12, plan.seed + 2)
    with _site(plan.folder / "restored") as (site, pacs):
        for film in sent[:8]:
            claims.holds(flow.status(site.port, film) == 0, "a film was not taken")
        claims.comes(lambda: flow.is_idle(site), 120, "they were not passed on")
        reads = _import_reads(plan.folder, site, 4)
        claims.comes(lambda: flow.is_idle(site), 60, "the reads were not reported")
        labels, trail = _rows(site, "reads"), _rows(site, "audit_trail")
        backup = plan.folder / "backup"
        site.cli("backup", str(backup), "--cache")
        for film in sent[8:]:
            claims.holds(flow.status(site.port, film) == 0, "a film was not taken")
        claims.comes(lambda: not flow.altered(sent, pacs), 60, "not all films were passed on")
        site.stop()
        _delete(site)
        _path(site).write_bytes((backup / "ledger.sqlite").read_bytes())
        site.start()
        claims.comes(lambda: flow.is_idle(site), 120, "the queue did not drain")
        claims.holds(set(labels) <= set(_rows(site, "reads")), "reads are missing")
        claims.holds(set(trail) <= set(_rows(site, "audit_trail")), "entries of the audit trail are missing")
        for problem in flow.problems(site):
            claims.holds(False, problem)
        studies = len(site.worklist())
    claims.holds(studies == len(sent) - reads, f"{studies} studies are on the worklist")
    seen = (
        f"{len(labels)} rows of reads and {len(trail)} of the audit trail back, {len(sent) - 8} films that "
        f"came after the backup rebuilt from the spool; {studies} studies on the worklist, "
        f"{reads} read; doctor finds no problem"
    )
    return Line("the ledger is lost and restored from `orthanc-al backup`", seen, claims.broken)


def _import_reads(folder: Path, site: Site, count: int) -> int:
    """Import reads for the first studies of the worklist; return how many."""
    rows = [
        {
            "study_instance_uid": entry["study_instance_uid"],
            "finding": "pneumonia",
            "value": "present" if number % 2 else "absent",
            "reader": "Drill^Reader",
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        for number, entry in enumerate(site.worklist()[:count])
    ]
    file = folder / "reads.json"
    file.write_text(json.dumps(rows))
    site.cli("reads", "import", str(file))
    return len(rows)


def _rows(site: Site, table: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(_path(site))) as connection:
        return connection.execute(f"SELECT * FROM {table}").fetchall()
