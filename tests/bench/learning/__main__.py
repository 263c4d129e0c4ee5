"""`make bench-learning`: train the factory of site A, let site B learn, print and plot what comes of it.

Everything that takes long is kept in ``--work`` by its digest, so a run that was ended goes on where it was.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.bench.learning import backbone, bars, images, measuring, plots, report, sites
from tests.bench.learning.bars import Bar
from tests.bench.learning.measuring import Effort

ROOT: Final = Path(__file__).parents[3]


def main() -> None:
    """Measure, print, plot and write."""
    options = _options()
    console = Console(width=150)
    run(options.data, options.out, options.work, Effort(seeds=options.seeds), console)


def run(data: Path, out: Path, work: Path, effort: Effort, console: Console) -> list[Bar]:
    """Do all of it for a folder of images; return the table of bars."""
    start = time.perf_counter()
    with console.status("reading images"):
        loaded = images.load(data)
    where = sites.split(loaded)
    console.print(f"{len(loaded.films)} images of {len(set(loaded.studies))} studies")
    console.print(f"left out: {loaded.left_out or 'nothing'}")
    seen = backbone.see(
        loaded, where, work, console, backbone.recipe_for(len(where.a), short=effort.seeds < 4)
    )
    measured, tiers = measuring.measure(loaded, where, seen, effort, work / "curves", console)
    lines = bars.table(measured)
    _print(console, lines)
    about = {
        "data": data.name,
        "images": len(loaded.films),
        "studies": len(set(loaded.studies)),
        "seeds": effort.seeds,
        "resamples of patients": effort.resamples,
        "simulated hospitals": effort.hospitals,
        "run": f"{(time.perf_counter() - start) / 60:.0f} min (without what an earlier run had kept)",
    }
    made = plots.draw(measured, tiers, out / "learning-figures")
    report.write(out / "learning-figures.md", measured, lines, made, about)
    console.print(f"Written to {out / 'learning-figures.md'}")
    return lines


def _options() -> argparse.Namespace:
    shared = Path(os.environ.get("ORTHANC_AL_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with manifest.csv (path,label,patient)")
    parser.add_argument("--seeds", type=int, default=Effort.seeds)
    parser.add_argument("--work", type=Path, default=Path("var/bench-learning"), help="what is kept")
    parser.add_argument("--out", type=Path, help="where the page and the plots go")
    options = parser.parse_args()
    own = options.data is not None
    options.data = options.data or shared / "labelled" / "kermany_cxr_224"
    options.out = options.out or (Path("bench-results") / options.data.name if own else ROOT / "docs")
    return options


def _print(console: Console, lines: list[Bar]) -> None:
    shown = Table(title="Bars", title_justify="left")
    for column in ("measure", "bar", "seen", ""):
        shown.add_column(column)
    for bar in lines:
        shown.add_row(bar.measure, bar.bar, bar.seen, {True: "holds", False: "MISSED", None: ""}[bar.holds])
    console.print(shown)


if __name__ == "__main__":
    main()
