"""Runs everything once and gathers it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from orthanc_al.methods.bootstrap import by_patient
from orthanc_al.methods.delong import auc
from tests.bench import head_fit
from tests.bench.learning import backbone, bars, calibration, creep, curves, estimates, watching
from tests.bench.learning.backbone import Seen
from tests.bench.learning.bars import Measured
from tests.bench.learning.images import Images
from tests.bench.learning.sites import Sites
from tests.bench.learning.statistics import Estimate
from tests.bench.learning.world import SETTINGS, Cases, Hospital, Setting, hospital

P, T = ParamSpec("P"), TypeVar("T")
AUDITS: Final = (600, 1500)
ALPHAS: Final = (0.02, 0.05, 0.08, 0.12, 0.2)
Begin = Callable[[str, int], Callable[[], object]]


@dataclass(frozen=True)
class Effort:
    """How often everything is repeated."""

    seeds: int = 24
    resamples: int = 2000
    hospitals: int = 40
    rounds: int = 3
    drift_repeats: int = 5
    queue_seeds: int = 20
    queue_studies: int = 10_000


SHORT: Final = Effort(
    1, resamples=100, hospitals=2, rounds=0, drift_repeats=1, queue_seeds=2, queue_studies=2000
)


def measure(
    images: Images, sites: Sites, seen: Seen, effort: Effort, folder: Path, console: Console
) -> tuple[Measured, dict[float, calibration.Guarantee]]:
    """Return everything that is measured, and the tiers by alpha.

    Settings about kinds of disease are left out where the data names none.
    """
    settings = [one for one in SETTINGS if one.task == "finding" or images.kinds]
    hospitals = {one.name: hospital(one, images, sites, seen) for one in settings}
    warm = {name: hospitals[name] for name in bars.WARM}
    with _progress(console) as begin:
        tick = begin("calibration", len(warm))
        calibrations = {
            name: _ticked(tick, calibration.calibration, of, effort.seeds) for name, of in warm.items()
        }
        guarantees, tiers = _tiers(warm, effort, begin)
        tick = begin("propensities", len(warm))
        biases = {
            name: _ticked(tick, estimates.error_rate, of, repeats=effort.resamples)
            for name, of in warm.items()
        }
        nights = _ticked(begin("nights of gates", 1), creep.simulate, effort.hospitals)
        ratios = _head_fit(begin("head fit", max(1, effort.rounds)), effort.rounds)
        drift = _ticked(
            begin("drift", 1),
            watching.drift_delays,
            hospitals["H"],
            _site(images, sites, seen, "plain").embeddings,
            effort.drift_repeats,
        )
        queue = _ticked(begin("queue", 1), watching.queue, effort.queue_seeds, effort.queue_studies)
        tick = begin("learning curves", len(hospitals) * effort.seeds)
        found = curves.measure(list(hospitals.values()), effort.seeds, folder, tick)
    factory = {look: _zero_shot(hospitals["H"], look, images, sites, seen) for look in backbone.LOOKS}
    done = Measured(
        seen.training_seconds, factory, found, calibrations, guarantees, biases, nights, ratios, drift, queue
    )
    return done, tiers


def _tiers(
    warm: dict[str, Hospital], effort: Effort, begin: Begin
) -> tuple[dict[str, list[calibration.Guarantee]], dict[float, calibration.Guarantee]]:
    tick = begin("tiers", len(warm) * len(AUDITS) + len(ALPHAS))
    many = effort.resamples
    guarantees = {
        name: [_ticked(tick, calibration.guarantee, of, audits, resamples=many) for audits in AUDITS]
        for name, of in warm.items()
    }
    tiers = {
        alpha: _ticked(tick, calibration.guarantee, warm["H"], AUDITS[-1], alpha, resamples=many)
        for alpha in ALPHAS
    }
    return guarantees, tiers


def _ticked(tick: Callable[[], object], work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    done = work(*args, **kwargs)
    tick()
    return done


@contextmanager
def _progress(console: Console) -> Iterator[Begin]:
    """Give what begins a progress bar and returns what moves it."""
    columns = (TextColumn("{task.description:16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:

        def begin(title: str, total: int) -> Callable[[], object]:
            task = progress.add_task(title, total=total)
            return lambda: progress.advance(task)

        yield begin


def _head_fit(tick: Callable[[], object], rounds: int) -> np.ndarray:
    """Return our average over all priors against scikit-learn's one fit, round by round."""
    if not rounds:
        return np.empty(0)
    found = head_fit.measure(rounds, tick)
    ours = next(series for series in found if "15 priors" in series.measure)
    return np.array(ours.rounds["orthanc_al"]) / np.array(ours.rounds[head_fit.SKLEARN])


def _zero_shot(augmented: Hospital, look: str, images: Images, sites: Sites, seen: Seen) -> Estimate:
    """Return the AUC of the head that was fitted on augmented embeddings, with an interval over patients."""
    site = _site(images, sites, seen, look)
    logits = augmented.factory.head.logits(site.embeddings)

    def area(rows: np.ndarray) -> float:
        labels = site.labels[rows]
        return auc(logits[rows], labels) if 0 < labels.sum() < len(labels) else float("nan")

    low, high = np.quantile(by_patient(area, site.patients.tolist(), resamples=500), (0.025, 0.975))
    return Estimate(area(np.arange(len(site))), float(low), float(high))


def _site(images: Images, sites: Sites, seen: Seen, look: str) -> Cases:
    return hospital(Setting(look, "", look), images, sites, seen).site
