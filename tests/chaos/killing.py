"""kill -9 of listener, forwarder and worker at random moments while studies flow."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.chaos import flow
from tests.chaos.verdict import Claims, Line, Plan
from tests.support.site import ROOT, Site, StoreSCP, free_port, peer, wait_until

_ROLES = ("listener", "forwarder", "worker")


def run(plan: Plan) -> list[Line]:
    """Kill, let it drain, and count."""
    kills, studies = (45, 24) if plan.short else (plan.kills, max(60, plan.kills // 4))
    claims = Claims()
    pacs = StoreSCP(plan.folder / "pacs")
    pacs.start()
    site = Site(
        plan.folder / "site",
        [
            peer("modality", "MODALITY", free_port(), "source"),
            peer("pacs", "PACS", pacs.port, "destination", "results"),
        ],
    )
    try:
        return [_killed(plan, site, pacs, claims, kills, studies)]
    finally:
        site.stop()
        pacs.stop()


def _killed(plan: Plan, site: Site, pacs: StoreSCP, claims: Claims, kills: int, studies: int) -> Line:
    site.fix_draws(f"kill {plan.seed}")
    sent = flow.films(plan.folder / "films", studies, plan.seed)
    tell = plan.folder / "told.json"
    nursery = _nursery(site, kills, plan.seed, tell)
    half = len(sent) // 2
    pause = 0.3 if plan.short else 2.0  # so that films come for as long as processes are killed
    modalities = [flow.Modality(site.port, part, pause) for part in (sent[:half], sent[half:])]
    began = time.monotonic()
    try:
        for modality in modalities:
            modality.start()
        limit = 60 + 4 * kills
        claims.comes(tell.exists, limit, f"{kills} kills were not done")
        for modality in modalities:
            modality.join(120)
            modality.give_up()
        killing = time.monotonic() - began
        drained = claims.comes(lambda: flow.is_idle(site), 400, "the queue did not drain")
    finally:
        nursery.terminate()
        nursery.wait(60)
    told = json.loads(tell.read_text())
    acknowledged = [film for modality in modalities for film in modality.acknowledged]
    claims.holds(len(acknowledged) == len(sent), f"{len(sent) - len(acknowledged)} films were never taken")
    claims.holds(not told["died"], f"processes died by themselves: {told['died']}")
    for fault in flow.altered(acknowledged, pacs):
        claims.holds(False, fault)
    reports = _examine(site, pacs, claims)
    each = ", ".join(f"{role} {times}" for role, times in told["killed"].items())
    log = site.log
    seen = (
        f"{sum(told['killed'].values())} kills in {killing:.0f} s ({each}); {len(acknowledged)} of "
        f"{len(sent)} films acknowledged in {sum(one.tries for one in modalities)} tries, "
        f"each compared at the PACS; "
        f"{log.count('instances_recovered')} times rows rebuilt from the spool, "
        f"{log.count('jobs_taken_over')} times jobs taken over; {reports} reports; "
        f"drained {drained:.0f} s after the last"
    )
    return Line(f"kill -9 of {', '.join(_ROLES)} at random moments", seen, claims.broken)


def _nursery(site: Site, kills: int, seed: int, tell: Path) -> "subprocess.Popen[bytes]":
    with (site.folder / "service.log").open("ab") as log:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.chaos.nursery", "--config", str(site.config)),
                *("--kills", str(kills), "--seed", str(seed), "--tell", str(tell), *_ROLES),
            ],
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
            cwd=ROOT,
        )


def _examine(site: Site, pacs: StoreSCP, claims: Claims) -> int:
    """Start the service as users do: doctor must find nothing, and no report be there twice."""
    for name in flow.loose_files(site):  # an hour later: until then another process may be at them
        os.utime(site.folder / "var" / "spool" / name[:2] / name, (0, 0))
    site.start()
    claims.comes(lambda: not flow.problems(site), 60, "doctor finds problems")
    for problem in flow.problems(site):
        claims.holds(False, problem)
    claims.holds(not flow.loose_files(site), f"unfinished files: {flow.loose_files(site)[:5]}")
    entries = site.worklist()
    claims.holds(
        all(entry["state"] in ("scored", "complete") for entry in entries),
        f"studies in states {sorted({entry['state'] for entry in entries})}",
    )
    shown = sorted(entry["study_instance_uid"] for entry in entries if entry["result"])
    wait_until(lambda: flow.is_idle(site), 60)
    reports = flow.reports_at(pacs)
    claims.holds(reports == shown, f"{len(shown)} studies show a result, {len(reports)} reports came")
    return len(reports)
