"""Learning curves of all strategies in all settings; each world is kept on disk as soon as it is done."""

import ast
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from orthanc_al.methods import acquisition
from orthanc_al.methods.acquisition import Strategy
from tests.bench.learning import loop
from tests.bench.learning.service_rule import ServiceRule
from tests.bench.learning.world import Hospital, world

REFERENCE: Final = "random, plain head"
STRATEGIES: Final[tuple[Strategy, ...]] = (
    ServiceRule(),
    acquisition.Random(),
    acquisition.StratifiedQuantiles(),
    acquisition.StratifiedProbability(),
    acquisition.Margin(),
    acquisition.PowerMargin(),
    acquisition.DiversePowerMargin(),
    acquisition.Bald(),
    acquisition.Badge(),
    acquisition.KCenter(),
    acquisition.ClusterMargin(),
    acquisition.Typicality(),
    acquisition.TopRisk(),
)
FEW: Final = frozenset({"orthanc_al", "random", "strat_p", "margin", "power_margin", "k_center"})
"""In settings that are a variation of another one: what that one is about, not every strategy again."""


@dataclass(frozen=True)
class Curves:
    """Of one setting.

    Attributes
    ----------
    labels
        0, 10, 20 ..., shape (steps + 1,).
    aucs
        Shape (seeds, steps + 1) by strategy.
    whole
        AUC with the labels of the whole pool, shape (seeds,).
    junk, positives
        Shares of what was asked, shape (seeds,) by strategy.
    pool
        Mean number of studies in the pool.
    """

    labels: np.ndarray
    aucs: dict[str, np.ndarray]
    whole: np.ndarray
    junk: dict[str, np.ndarray]
    positives: dict[str, np.ndarray]
    pool: float

    @property
    def seeds(self) -> int:
        """How many seeds there are."""
        return len(self.whole)

    def aulc(self, name: str) -> np.ndarray:
        """Return the mean AUC over 10 to 200 labels, shape (seeds,)."""
        return self.aucs[name][:, 1:].mean(1)


def measure(
    hospitals: Sequence[Hospital],
    seeds: int,
    folder: Path,
    tick: Callable[[], object],
    strategies: Sequence[Strategy] = STRATEGIES,
    workers: int = 2,
) -> dict[str, Curves]:
    """Return the curves of every hospital; worlds that were done before are read from ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [(of, seed) for seed in range(seeds) for of in hospitals]
    digests = {of.setting.name: digest_of(of) for of in hospitals}
    done: dict[tuple[str, int], dict] = {}
    with ProcessPoolExecutor(workers, initializer=_be_quiet) as pool:
        waiting = {}
        for of, seed in tasks:
            path = folder / f"{digests[of.setting.name]}-{seed}.json"
            mine = strategies if of.setting.all_strategies else [one for one in strategies if one.name in FEW]
            kept = json.loads(path.read_text()) if path.is_file() else {"aucs": {}}
            if {one.name for one in mine} <= set(kept["aucs"]):
                done[of.setting.name, seed] = kept
                tick()
            else:
                waiting[pool.submit(_one, of, seed, tuple(mine), path)] = (of.setting.name, seed)
        for future in as_completed(waiting):
            done[waiting[future]] = future.result()
            tick()
    return {
        of.setting.name: _gathered([done[of.setting.name, seed] for seed in range(seeds)]) for of in hospitals
    }


def digest_of(of: Hospital) -> str:
    """Return what curves depend on: the data, and the code that learns and asks."""
    whole = hashlib.sha256(repr(of.setting).encode())
    for part in (of.site.embeddings, of.site.labels, of.factory.head.weight, of.junk, *of.copies):
        whole.update(np.ascontiguousarray(part).tobytes())
    root = Path(__file__).parents[3] / "orthanc_al"
    methods = root / "methods"
    sources = [*(methods / "acquisition").glob("*.py"), root / "select" / "batch.py"]
    sources += [methods / f"{name}.py" for name in ("head", "laplace", "calibration")]
    here = [Path(__file__).with_name(f"{name}.py") for name in ("world", "loop", "service_rule")]
    for path in sorted(sources) + here:
        whole.update(_code(path).encode())
    return whole.hexdigest()[:16]


def _code(path: Path) -> str:
    """Return what a module does, whatever its texts and its layout."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _be_quiet() -> None:
    os.nice(5)


def _one(of: Hospital, seed: int, strategies: Sequence[Strategy], path: Path) -> dict:
    """Return one world's curves, and write them."""
    here = world(of, seed)
    found = {strategy.name: loop.run(here, strategy) for strategy in strategies}
    found[REFERENCE] = loop.run(here, acquisition.Random(), averaged=False)
    document = {
        "aucs": {name: curve.aucs.tolist() for name, curve in found.items()},
        "junk": {name: curve.junk for name, curve in found.items()},
        "positives": {name: curve.positives for name, curve in found.items()},
        "whole": loop.whole_pool(here),
        "pool": len(here.pool),
    }
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(document))
    unfinished.replace(path)
    return document


def _gathered(worlds: list[dict]) -> Curves:
    names = list(worlds[0]["aucs"])
    steps = min(len(one["aucs"][names[0]]) for one in worlds)
    return Curves(
        labels=loop.BATCH * np.arange(steps),
        aucs={name: np.array([one["aucs"][name][:steps] for one in worlds]) for name in names},
        whole=np.array([one["whole"] for one in worlds]),
        junk={name: np.array([one["junk"][name] for one in worlds]) for name in names},
        positives={name: np.array([one["positives"][name] for one in worlds]) for name in names},
        pool=float(np.mean([one["pool"] for one in worlds])),
    )
