"""Destinations that are down, flap, say nothing, crawl, refuse or die in the middle, beside a healthy one."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import flow
from tests.chaos.delays import Delays, delays
from tests.chaos.proxy import Proxy, Way
from tests.chaos.verdict import Claims, Line, Plan
from tests.support.site import Site, StoreSCP, free_port, peer
from tests.support.wire import CT, EXPLICIT, Scp

_WELL = "well"
_TIMEOUT = 6.0
_WAYS = {
    "down": Way.DOWN,
    "silent": Way.HALF_OPEN,
    "slow": Way.SLOW,
    "dying": Way.DYING,
    "flapping": Way.DOWN,
}
_FAULTS = {  # what /metrics may call it (docs/conformance.md 4.4)
    "down": {"no_connection"},
    "silent": {"no_answer", "closed", "broken"},
    "dying": {"closed", "broken", "ended", "aborted"},
    "flapping": {"no_connection", "closed", "broken"},
}


@dataclass
class _Places:
    """The archives by name, and the ways to them."""

    archives: dict[str, StoreSCP]
    proxies: dict[str, Proxy]
    refusing: Scp

    def set(self, way: Callable[[str], Way]) -> None:
        """Change the ways to all but the one that is well."""
        for name, proxy in self.proxies.items():
            proxy.set(way(name))


def run(plan: Plan) -> list[Line]:
    """Send while all is well, while all but one is ill, and when all is well again."""
    claims = Claims()
    many = 10 if plan.short else 60
    with _places(plan.folder) as places:
        site = Site(plan.folder / "site", _peers(places), {"models": []})
        try:
            site.start()
            return [_measured(plan, site, places, claims, many)]
        finally:
            site.stop()


@contextlib.contextmanager
def _places(folder: Path) -> Iterator[_Places]:
    refusing = Scp([(CT, [EXPLICIT])])  # the films are CR: it refuses their contexts
    archives = {name: StoreSCP(folder / name, name.upper()) for name in (_WELL, *_WAYS)}
    for archive in archives.values():
        archive.start()
    proxies = {name: Proxy(archives[name].port) for name in _WAYS}
    try:
        with refusing.running():
            yield _Places(archives, proxies, refusing)
    finally:
        for proxy in proxies.values():
            proxy.stop()
        for archive in archives.values():
            archive.stop()


def _peers(places: _Places) -> list[dict[str, object]]:
    ports = {
        _WELL: places.archives[_WELL].port,
        **{name: proxy.port for name, proxy in places.proxies.items()},
        "refusing": places.refusing.port,
    }
    return [
        peer("modality", "MODALITY", free_port(), "source"),
        *(
            {**peer(name, name.upper(), port, "destination"), "timeout_seconds": _TIMEOUT}
            for name, port in ports.items()
        ),
    ]


def _measured(plan: Plan, site: Site, places: _Places, claims: Claims, many: int) -> Line:
    first = flow.films(plan.folder / "films", many, plan.seed, size=96)
    then = flow.films(plan.folder / "films", many, plan.seed + 1, size=96, first=many)
    _send(site, first, claims)
    claims.comes(lambda: not flow.altered(first, places.archives[_WELL]), 30, "the healthy one waits")
    before = delays(site, _WELL)
    places.set(lambda name: _WAYS[name])
    for flaps, film in enumerate(then):
        _send(site, [film], claims)
        places.proxies["flapping"].set(Way.OPEN if flaps % 8 < 3 else Way.DOWN)
    claims.comes(lambda: not flow.altered(then, places.archives[_WELL]), 30, "the healthy one waits")
    during = delays(site, _WELL, since=len(first))
    shown = _look(site, claims)
    places.set(lambda _: Way.OPEN)
    healed = time.monotonic()
    took = {}
    for name in _WAYS:
        claims.comes(lambda name=name: not flow.waiting(site, name), 180, f"{name} did not catch up")
        took[name] = time.monotonic() - healed
        for fault in flow.altered([*first, *then], places.archives[name])[:3]:
            claims.holds(False, fault)
    _look_again(site, claims)
    return Line(_title(), _seen(many, before, during, shown, took), claims.broken)


def _title() -> str:
    return "destinations down, flapping, half-open, slow (1 KB/s), dying mid-transfer and refusing, at once"


def _seen(many: int, before: Delays, during: Delays, shown: str, took: dict[str, float]) -> str:
    caught_up = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in took.items())
    return (
        f"the healthy one beside them: p50/p99 {before} ms while all were well, {during} ms while all others "
        f"were ill ({many} films each); shown meanwhile: {shown}; caught up by themselves after they were "
        f"mended, byte for byte: {caught_up}; what refused contexts is final and waits for `requeue`"
    )


def _send(site: Site, films: list[Path], claims: Claims) -> None:
    for film in films:
        claims.holds(flow.status(site.port, film) == 0, f"{film.name} was not taken")
        time.sleep(0.05)


def _look(site: Site, claims: Claims) -> str:
    """Look for backlog and reason where an administrator looks; return what was found."""
    claims.comes(lambda: _metrics_tell(site), 30, "/metrics does not tell why")
    metrics = flow.fetched(site, "/metrics").text
    for name in ("down", "silent", "slow", "dying", "refusing"):
        state = "refused" if name == "refusing" else "waiting"
        told = f'orthanc_al_deliveries{{destination="{name}",state="{state}"}}'
        claims.holds(told in metrics, f"/metrics does not count what is {state} for {name}")
    page = flow.fetched(site, "/deliveries").text
    api = flow.fetched(site, "/api/v1/deliveries").text
    doctor = site.cli("doctor", "--json", check=False).stdout
    for name in ("down", "silent", "dying", "refusing"):
        for place, text in (("the page", page), ("the API", api), ("doctor", doctor)):
            claims.holds(name in text, f"{place} says nothing of {name}")
    found = [name for name in _FAULTS if _fault(metrics, name)]
    return ", ".join(f"{name} {_fault(metrics, name)}" for name in found)


def _metrics_tell(site: Site) -> bool:
    metrics = flow.fetched(site, "/metrics").text
    return all(_fault(metrics, name) in faults for name, faults in _FAULTS.items() if name != "flapping")


def _fault(metrics: str, name: str) -> str:
    """Return which fault /metrics shows of a destination."""
    start = f'orthanc_al_destination_in_trouble{{destination="{name}",fault="'
    return metrics.partition(start)[2].partition('"')[0]


def _look_again(site: Site, claims: Claims) -> None:
    def is_quiet() -> bool:
        metrics = flow.fetched(site, "/metrics").text
        return not any(_fault(metrics, name) for name in _FAULTS)

    claims.comes(is_quiet, 20, "/metrics still calls a destination ill")
    found = flow.problems(site)
    claims.holds(all(problem.startswith("to refusing") for problem in found) and found, f"doctor: {found}")
