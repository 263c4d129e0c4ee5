"""`make bench-learning`: train the factory of site A, let site B learn, print and plot what comes of it.

Everything that takes long is kept in ``--work`` by its digest, so a run that was ended goes on where it was.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from rich.table import Table

from orthanc_al.methods.bootstrap import by_patient
from orthanc_al.methods.delong import auc
from tests.bench import head_fit
from tests.bench.learning import (
    backbone,
    bars,
    calibration,
    creep,
    curves,
    estimates,
    images,
    plots,
    report,
    sites,
)
from tests.bench.learning.bars import Bar, Measured
from tests.bench.learning.statistics import Estimate
from tests.bench.learning.world import SETTINGS, Hospital, Setting, hospital

ROOT: Final = Path(__file__).parents[3]
AUDITS: Final = (600, 1500)
P, T = ParamSpec("P"), TypeVar("T")
ALPHAS: Final = (0.02, 0.05, 0.08, 0.12, 0.2)


def main() -> None:
    """Measure, print, plot and write."""
    options = _options()
    console = Console(width=150)
    start = time.perf_counter()
    data = images.load(options.data)
    where = sites.split(data)
    console.print(f"{len(data.films)} images of {len(set(data.studies))} studies; left out: {data.left_out}")
    seen = backbone.see(data, where, options.work, console)
    settings = [one for one in SETTINGS if one.task == "finding" or data.kinds]
    hospitals = {one.name: hospital(one, data, where, seen) for one in settings}
    measured, tiers = _measure(hospitals, seen.training_seconds, data, where, seen, options, console)
    lines = bars.table(measured)
    _print(console, lines)
    about = {
        "data": options.data.name,
        "images": len(data.films),
        "seeds": options.seeds,
        "run": f"{(time.perf_counter() - start) / 60:.0f} min (without what an earlier run had kept)",
    }
    made = plots.draw(measured, tiers, options.out / "learning-figures")
    report.write(options.out / "learning-figures.md", measured, lines, made, about)
    console.print(f"Written to {options.out / 'learning-figures.md'}")


def _options() -> argparse.Namespace:
    shared = Path(os.environ.get("ORTHANC_AL_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=None, help="folder with manifest.csv (path,label,patient)"
    )
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument(
        "--work", type=Path, default=Path("var/bench-learning"), help="what is kept between runs"
    )
    parser.add_argument("--out", type=Path, default=None, help="where the page and the plots go")
    options = parser.parse_args()
    own = options.data is not None
    options.data = options.data or shared / "labelled" / "kermany_cxr_224"
    options.out = options.out or (Path("bench-results") / options.data.name if own else ROOT / "docs")
    return options


def _measure(
    hospitals: dict[str, Hospital],
    training_seconds: float,
    data: images.Images,
    where: sites.Sites,
    seen: backbone.Seen,
    options: argparse.Namespace,
    console: Console,
) -> tuple[Measured, dict[float, calibration.Guarantee]]:
    """Return everything that is measured, and the tiers by alpha."""
    seeds, warm = options.seeds, {name: hospitals[name] for name in bars.WARM}
    with _bars(console) as task:
        tick = task("learning curves", len(hospitals) * seeds)
        found = curves.measure(list(hospitals.values()), seeds, options.work / "curves", tick)
        tick = task("calibration", len(warm))
        calibrations = {name: _ticked(tick, calibration.calibration, of, seeds) for name, of in warm.items()}
        tick = task("tiers", len(warm) * len(AUDITS) + len(ALPHAS))
        guarantees = {
            name: [_ticked(tick, calibration.guarantee, of, audits) for audits in AUDITS]
            for name, of in warm.items()
        }
        tiers = {alpha: _ticked(tick, calibration.guarantee, hospitals["H"], 1500, alpha) for alpha in ALPHAS}
        tick = task("propensities", len(warm))
        biases = {name: _ticked(tick, estimates.error_rate, of) for name, of in warm.items()}
        nights = _ticked(task("gates", 1), creep.simulate)
        ratios = _head_fit(task("head fit", 3))
    factory = {look: _zero_shot(hospitals, look, data, where, seen) for look in backbone.LOOKS}
    measured = Measured(training_seconds, factory, found, calibrations, guarantees, biases, nights, ratios)
    return measured, tiers


def _ticked(tick: Callable[[], object], work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    done = work(*args, **kwargs)
    tick()
    return done


@contextmanager
def _bars(console: Console) -> Iterator[Callable[[str, int], Callable[[], object]]]:
    """Give what begins a progress bar and returns what moves it."""
    columns = (TextColumn("{task.description:16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:

        def begin(title: str, total: int) -> Callable[[], object]:
            task = progress.add_task(title, total=total)
            return lambda: progress.advance(task)

        yield begin


def _head_fit(tick: Callable[[], object], rounds: int = 3) -> np.ndarray:
    """Return our average over all priors against scikit-learn's one fit, round by round."""
    found = head_fit.measure(rounds, tick)
    ours = next(series for series in found if "15 priors" in series.measure)
    return np.array(ours.rounds["orthanc_al"]) / np.array(ours.rounds[head_fit.SKLEARN])


def _zero_shot(
    hospitals: dict[str, Hospital], look: str, data: images.Images, where: sites.Sites, seen: backbone.Seen
) -> Estimate:
    """Return the AUC of the head that was fitted on augmented embeddings, with an interval over patients."""
    setting = Setting(look, "", look)
    site = hospital(setting, data, where, seen).site
    logits = hospitals["H"].factory.head.logits(site.embeddings)

    def area(rows: np.ndarray) -> float:
        labels = site.labels[rows]
        return auc(logits[rows], labels) if 0 < labels.sum() < len(labels) else float("nan")

    low, high = np.quantile(by_patient(area, site.patients.tolist(), resamples=500), (0.025, 0.975))
    return Estimate(area(np.arange(len(site))), float(low), float(high))


def _print(console: Console, lines: list[Bar]) -> None:
    shown = Table(title="Bars", title_justify="left")
    for column in ("measure", "bar", "seen", ""):
        shown.add_column(column)
    for bar in lines:
        shown.add_row(bar.measure, bar.bar, bar.seen, {True: "holds", False: "MISSED", None: ""}[bar.holds])
    console.print(shown)


if __name__ == "__main__":
    main()
