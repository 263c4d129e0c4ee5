"""The clock is set back by two hours, and forth again, while studies flow.

libfaketime was tried, and makes Python's sleep fail when its clock is moved (EINVAL). So our processes,
started with the folder `shifted` in PYTHONPATH, get a `time.time` that is moved by a file; monotonic clocks
are true, as they are when an administrator sets a clock.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos import flow
from tests.chaos.verdict import Claims, Line, Plan
from tests.support.site import Site, StoreSCP, free_port, peer

_SHIFTED = Path(__file__).parent / "shifted"


def run(plan: Plan) -> list[Line]:
    """Send across both jumps."""
    return [_jumped(plan)]


@contextmanager
def _shifted(clock: Path) -> Iterator[None]:
    """Let processes started meanwhile shift their wall clock by what stands in a file."""
    changes = {"PYTHONPATH": str(_SHIFTED), "ORTHANC_AL_CHAOS_CLOCK": str(clock)}
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _jumped(plan: Plan) -> Line:
    claims = Claims()
    sent = flow.films(plan.folder / "films", 24, plan.seed)
    clock = plan.folder / "clock"
    clock.write_text("0")
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
        with _shifted(clock):
            site.start()
        for number, (jump, offset) in enumerate({"before": 0, "back": -7200, "forth": 0}.items()):
            part = sent[8 * number : 8 * number + 8]
            for film in part[:4]:  # these are on their way while it jumps
                claims.holds(flow.status(site.port, film) == 0, f"{film.name} was not taken")
            unfinished = clock.with_suffix(".part")
            unfinished.write_text(str(offset))
            unfinished.replace(clock)
            time.sleep(0.5)
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
    fault = "the clock jumps two hours back, and forth"
    return Line(fault, "; ".join(took.values()), claims.broken)
