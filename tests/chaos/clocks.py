"""The machine's clock is set back by two hours, and forth again (libfaketime), while studies flow."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos import flow
from tests.chaos.verdict import Claims, Line, Plan
from tests.support.site import Site, StoreSCP, free_port, peer

_PLACES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib64/faketime/libfaketimeMT.so.1")


def run(plan: Plan) -> list[Line]:
    """Send across both jumps."""
    library = next((found for place in _PLACES for found in Path("/").glob(place[1:])), None)
    if library is None:
        return [Line("the clock jumps", "not run: libfaketime is missing (make parts)")]
    return [_jumped(plan, library)]


@contextmanager
def _faked(library: Path, clock: Path) -> Iterator[None]:
    """Let processes started meanwhile read their wall clock from a file; monotonic clocks are true."""
    changes = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _jumped(plan: Plan, library: Path) -> Line:
    claims = Claims()
    sent = flow.films(plan.folder / "films", 24, plan.seed)
    clock = plan.folder / "clock"
    clock.write_text("+0\n")
    pacs = StoreSCP(plan.folder / "pacs")
    pacs.start()
    peers = [
        peer("modality", "MODALITY", free_port(), "source"),
        peer("pacs", "PACS", pacs.port, "destination", "results"),
    ]
    site = Site(plan.folder / "site", peers)
    took = {}
    try:
        site.fix_draws("clock")
        with _faked(library, clock):
            site.start()
        for number, (jump, offset) in enumerate({"before": 0, "back": -7200, "forth": 0}.items()):
            part = sent[8 * number : 8 * number + 8]
            for film in part[:4]:  # these are on their way while it jumps
                claims.holds(flow.status(site.port, film) == 0, f"{film.name} was not taken")
            clock.write_text(f"{offset:+d}\n")
            time.sleep(1.5)
            for film in part[4:]:
                claims.holds(flow.status(site.port, film) == 0, f"{film.name} was not taken")
            passed = claims.comes(
                lambda part=part: not flow.altered(part, pacs), 60, f"{jump}: not passed on"
            )
            scored = claims.comes(lambda: flow.is_idle(site), 120, f"{jump}: not scored")
            took[jump] = f"{jump} passed on after {passed:.1f} s, scored {scored:.0f} s later"
        for problem in flow.problems(site):
            claims.holds(False, problem)
        claims.holds(len(site.worklist()) == len(sent), "studies are missing on the worklist")
    finally:
        site.stop()
        pacs.stop()
    fault = "the clock jumps two hours back, and forth (libfaketime)"
    return Line(fault, "; ".join(took.values()), claims.broken)
