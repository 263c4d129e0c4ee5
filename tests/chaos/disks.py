"""Disks that are full: the spool's, the ledger's, the one of packages and training cache."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos import flow
from tests.chaos.verdict import Claims, Line, Plan
from tests.support.site import Site, StoreSCP, free_port, peer

_OUT_OF_RESOURCES = 0xA700
_SPARE = 150_000  # bytes that are left: two films fit, and no third


def run(plan: Plan) -> list[Line]:
    """Fill each disk, send, make room, and see it go on."""
    parts = [_spool] if plan.short else [_spool, _ledger, _of_the_ai]
    return [part(plan) for part in parts]


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """Put a disk of its own at a folder, in memory (in the mount namespace of `tests.chaos.run`)."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


@contextmanager
def _site(plan: Plan, name: str, small: str, megabytes: int) -> Iterator[tuple[Site, StoreSCP, Path]]:
    """A site with a small disk at one of its folders; yields that folder too."""
    folder = plan.folder / name
    disk = folder / "site" / small
    pacs = StoreSCP(folder / "pacs")
    pacs.start()
    peers = [
        peer("modality", "MODALITY", free_port(), "source"),
        peer("pacs", "PACS", pacs.port, "destination", "results"),
    ]
    site = Site(folder / "site", peers, {"storage": _storage(small)})
    with small_disk(disk, megabytes):
        try:
            site.fix_draws("disk")
            site.start()
            yield site, pacs, disk
        finally:
            site.stop()
            pacs.stop()


def _storage(small: str) -> dict[str, object]:
    places = {"min_free_gb": 0.0}
    if small == "ledger":
        return {**places, "ledger": "sqlite:///ledger/ledger.sqlite"}
    if small == "ai":
        return {**places, "models": "ai/models", "training_cache": "ai/training", "keep_days": 0.0}
    return places


def _fill(disk: Path, spare: int) -> Path:
    """Fill a disk but for some bytes; return the file to remove."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while (left := shutil.disk_usage(disk).free - spare) > 0:
            file.write(bytes(min(left, 1 << 16)))
    return ballast


def _spool(plan: Plan) -> Line:
    claims = Claims()
    sent = flow.films(plan.folder / "films", 12, plan.seed)
    with _site(plan, "spool", "var/spool", 24) as (site, pacs, disk):
        claims.holds(flow.status(site.port, sent[0]) == 0, "a film was not taken while there was room")
        claims.comes(lambda: flow.is_idle(site), 60, "the first film was not passed on")
        ballast = _fill(disk, _SPARE)
        statuses = [flow.status(site.port, film) for film in sent[1:]]
        taken = statuses.count(0)
        refused = statuses.count(_OUT_OF_RESOURCES)
        claims.holds(taken + refused == len(statuses), f"statuses {statuses}")
        claims.holds(refused, "no film was refused")
        claims.holds(not flow.loose_files(site), f"unfinished files: {flow.loose_files(site)}")
        kept = [film for film, status in zip(sent, [0, *statuses], strict=True) if status == 0]
        claims.comes(lambda: not flow.altered(kept, pacs), 60, "what was taken was not passed on")
        ballast.unlink()
        again = [film for film, status in zip(sent[1:], statuses, strict=True) if status]
        claims.holds(all(flow.status(site.port, film) == 0 for film in again), "not taken with room")
        drained = claims.comes(lambda: flow.is_idle(site), 120, "the queue did not drain")
        for fault in [*flow.altered(sent, pacs), *flow.problems(site, "disk")]:
            claims.holds(False, fault)
    seen = (
        f"{taken} taken and {refused} answered 0xA700 of {len(statuses)} films; no unfinished file; what was "
        f"taken was passed on while it was full; the refused ones taken as soon as there was room, all at "
        f"the PACS byte for byte; idle {drained:.0f} s later"
    )
    return Line("the spool's disk is full (tmpfs of 24 MB)", seen, claims.broken)


def _ledger(plan: Plan) -> Line:
    claims = Claims()
    sent = flow.films(plan.folder / "films-ledger", 16, plan.seed + 1)
    with _site(plan, "ledger", "ledger", 16) as (site, pacs, disk):
        claims.holds(flow.status(site.port, sent[0]) == 0, "a film was not taken while there was room")
        claims.comes(lambda: flow.is_idle(site), 60, "the first film was not passed on")
        ballast = _fill(disk, 0)
        statuses = [flow.status(site.port, film) for film in sent[1:]]
        time.sleep(15)
        claims.holds(statuses.count(0) == len(statuses), f"statuses {[hex(one or 0) for one in statuses]}")
        before = len(flow.uids_at(pacs))
        ballast.unlink()
        came = claims.comes(lambda: not flow.altered(sent, pacs), 90, "not all films were passed on")
        drained = claims.comes(lambda: flow.is_idle(site), 400, "the queue did not drain")
        claims.comes(lambda: not flow.problems(site, "disk"), 60, "doctor finds problems")
    seen = (
        f"{statuses.count(0)} of {len(statuses)} films acknowledged (the spool is the journal), {before} "
        f"objects at the PACS meanwhile; with room again all were passed on after {came:.0f} s, "
        f"idle after {drained:.0f} s more"
    )
    return Line("the ledger's disk is full (tmpfs of 16 MB, 15 s)", seen, claims.broken)


def _of_the_ai(plan: Plan) -> Line:
    claims = Claims()
    sent = flow.films(plan.folder / "films-ai", 16, plan.seed + 2)
    with _site(plan, "ai", "ai", 8) as (site, pacs, disk):
        ballast = _fill(disk, 0)
        statuses = [flow.status(site.port, film) for film in sent]
        claims.holds(statuses.count(0) == len(statuses), f"statuses {statuses}")
        came = claims.comes(lambda: not flow.altered(sent, pacs), 60, "not all films were passed on")
        scored = claims.comes(lambda: flow.is_idle(site), 120, "they were not scored")
        asked = site.cli("select", check=False)
        claims.holds(asked.returncode == 0, f"select: {asked.stderr[-300:]}")
        ballast.unlink()
        claims.comes(lambda: flow.is_idle(site), 60, "the queue did not drain")
        for problem in flow.problems(site, "disk"):
            claims.holds(False, problem)
    seen = (
        f"{statuses.count(0)} of {len(sent)} films acknowledged, at the PACS byte for byte after "
        f"{came:.1f} s and scored after {scored:.1f} s more"
    )
    return Line("the disk of packages and training cache is full", seen, claims.broken)
