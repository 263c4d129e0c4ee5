"""The AI is switched off, and its worker is killed by a model package again and again: studies pass on."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.chaos import flow
from tests.chaos.delays import Delays, delays
from tests.chaos.verdict import Claims, Line, Plan
from tests.support.site import PACKAGE, Site, StoreSCP, free_port, peer, wait_until
from tests.support.tiny_package import deadly_package


def run(plan: Plan) -> list[Line]:
    """Pass the same films on without a model, with one that scores, switched off, and with one that kills."""
    claims = Claims()
    many = 12 if plan.short else 150
    seen = {}
    ways = ["no model", "a package that kills the worker"] if plan.short else list(_WAYS)
    for way in ways:
        seen[way] = _passed_on(plan, way, many, claims)
    figures = "; ".join(f"{way} {took}" for way, took in seen.items())
    text = f"p50/p99 from receipt to the PACS's answer in ms, {many} films each: {figures}"
    return [Line("AI busy, switched off, or its worker dying in a loop", text, claims.broken)]


_WAYS = ("no model", "scoring", "paused", "a package that kills the worker", "no model, again")


@contextlib.contextmanager
def _site(
    folder: Path, models: Sequence[Mapping[str, Any]], *, whole: bool
) -> Iterator[tuple[Site, StoreSCP]]:
    pacs = StoreSCP(folder / "pacs")
    pacs.start()
    peers = [
        peer("modality", "MODALITY", free_port(), "source"),
        peer("pacs", "PACS", pacs.port, "destination", "results"),
    ]
    site = Site(folder / "site", peers, {"models": models})
    try:
        site.fix_draws("ai")
        site.start(whole=whole)
        yield site, pacs
    finally:
        site.stop()
        pacs.stop()


def _passed_on(plan: Plan, way: str, many: int, claims: Claims) -> Delays:
    folder = plan.folder / way.replace(" ", "-").replace(",", "")
    sent = flow.films(folder / "films", many, plan.seed)
    deadly = way.startswith("a package")  # its worker dies while it warms up: it is never ready
    with _site(folder, _models(folder, way), whole=not deadly) as (site, pacs):
        if way == "paused":
            site.cli("pause")
        for film in sent:
            claims.holds(flow.status(site.port, film) == 0, f"{way}: {film.name} was not taken")
            time.sleep(0.1)
        claims.comes(lambda: not flow.altered(sent, pacs), 60, f"{way}: not all films were passed on")
        if deadly:
            _look_at_the_dying(site, claims)
        return delays(site, "pacs")


def _models(folder: Path, way: str) -> list[dict[str, Any]]:
    if way.startswith("no model"):
        return []
    package = PACKAGE
    if way.startswith("a package"):
        package = folder / "deadly"
        deadly_package(package)
    return [{"package": str(package), "modality": ["CR", "DX"]}]


def _look_at_the_dying(site: Site, claims: Claims) -> None:
    """The worker must have died, and be told of; the film that it dies of is set aside after eight tries."""
    with contextlib.suppress(AssertionError):
        wait_until(lambda: site.log.count("process_died") >= 2, 60)
    claims.holds(site.log.count("process_died") >= 2, "the worker did not die of the package")
    metrics = flow.fetched(site, "/metrics").text
    claims.holds('process_restarts_total{role="worker"}' in metrics, "/metrics does not count its restarts")
