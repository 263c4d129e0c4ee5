"""The page: the table of bars, every strategy in every setting, and what the figures do not say."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from tests.bench.learning.bars import OURS, Bar, Measured
from tests.bench.learning.curves import REFERENCE, Curves
from tests.bench.learning.statistics import median_of
from tests.bench.learning.world import SETTINGS

BEGIN: Final = "<!-- written by `make bench-learning`: do not edit by hand -->"
END: Final = "<!-- end of what `make bench-learning` writes -->"
_READING: Final = (
    "AULC: mean AUC over all label counts. Differences: median over seeds, 95 % interval of the paired "
    "bootstrap. Below: share of points more than .01 under the factory. What loses stays in the table."
)
_VERDICT: Final = {True: "holds", False: "**missed**", None: ""}


def write(
    path: Path, of: Measured, bars: list[Bar], plots: Mapping[str, str], about: Mapping[str, object]
) -> None:
    """Put the figures between the markers of the page; a page that is not there is begun."""
    text = path.read_text() if path.is_file() else f"# Figures of the learning loop\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(before + BEGIN + "\n\n" + _body(of, bars, plots, about) + "\n" + END + after)


def _body(of: Measured, bars: list[Bar], plots: Mapping[str, str], about: Mapping[str, object]) -> str:
    parts = [
        ", ".join(f"{name}: {value}" for name, value in {**about, **_machine()}.items()) + ".",
        "## Bars",
        _bars(bars),
        "## Every strategy in every setting",
        _READING,
    ]
    for name, curves in of.curves.items():
        text = next(setting.text for setting in SETTINGS if setting.name == name)
        parts += [f"### {name}: {text}", _strategies(curves)]
    for title, file in plots.items():
        parts += [f"![{title}]({file})"]
    return "\n\n".join(parts) + "\n"


def _bars(bars: list[Bar]) -> str:
    lines = ["| measure | bar | seen | |", "|---|---|---|---|"]
    lines += [f"| {bar.measure} | {bar.bar} | {bar.seen} | {_VERDICT[bar.holds]} |" for bar in bars]
    return "\n".join(lines)


def _strategies(curves: Curves) -> str:
    steps = [k for k in (1, 2, 5, 10, 20) if k < len(curves.labels)]
    whole, start = curves.whole.mean(), curves.aucs[OURS][:, 0].mean()
    head = f"Pool of {curves.pool:.0f} studies. AUC of the factory {start:.4f}, of all labels {whole:.4f}."
    heads = " | ".join(f"at {curves.labels[k]}" for k in steps)
    lines = [
        head,
        "",
        f"| strategy | {heads} | AULC - random | AULC - strat_p | below | positives asked |",
        "|---|" + "--:|" * (len(steps) + 4),
    ]
    order = sorted(curves.aucs, key=lambda name: -float(np.median(curves.aulc(name) - curves.aulc("random"))))
    for name in order:
        at = " | ".join(f"{curves.aucs[name][:, k].mean():.4f}" for k in steps)
        below = (curves.aucs[name][:, 1:] < curves.aucs[name][:, :1] - 0.01).mean()
        differences = " | ".join(_difference(curves, name, against) for against in ("random", "strat_p"))
        shown = f"**{name}**" if name == OURS else name
        cells = f"{100 * below:.1f} % | {100 * curves.positives[name].mean():.0f} %"
        lines.append(f"| {shown} | {at} | {differences} | {cells} |")
    lines += ["", f"`{REFERENCE}`: random with one prior about the factory's head, not the average."]
    return "\n".join(lines)


def _difference(curves: Curves, name: str, against: str) -> str:
    if name == against:
        return ""
    seen = median_of(curves.aulc(name) - curves.aulc(against))
    return f"{seen.value:+.4f} ({seen.low:+.4f} to {seen.high:+.4f})"


def _machine() -> dict[str, str]:
    return {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "Python": platform.python_version()}
