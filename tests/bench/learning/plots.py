"""The plots, as SVG of modest size that is the same for the same figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np

from tests.bench.learning.bars import OURS, Measured
from tests.bench.learning.calibration import ALPHA, DELTA, Guarantee
from tests.bench.learning.curves import Curves
from tests.bench.learning.watching import MOST_DAYS

mpl.use("svg")
from matplotlib import pyplot as plt

_SHOWN: Final = {
    OURS: "#b2182b",
    "strat_p": "#2166ac",
    "random": "#555555",
    "margin": "#e08214",
    "k_center": "#5aae61",
}


def draw(of: Measured, tiers: Mapping[float, Guarantee], folder: Path) -> dict[str, str]:
    """Write all plots; return their files by title."""
    folder.mkdir(parents=True, exist_ok=True)
    mpl.rcParams.update({"svg.hashsalt": "orthanc_al", "font.size": 8, "axes.spines.top": False})
    made = {
        "Learning curves: mean over seeds, with the middle half of the seeds": _curves(of.curves),
        "Reliability with 80 audit labels": _reliability(of),
        "Tier guarantee against alpha": _tiers(tiers),
        "120 nights of gates": _creep(of),
        "Days until drift is told": _drift(of),
    }
    files = ("curves", "reliability", "tiers", "creep", "drift")
    for figure, name in zip(made.values(), files, strict=True):
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight")
        plt.close(figure)
    return {title: f"{folder.name}/{name}.svg" for title, name in zip(made, files, strict=True)}


def _curves(curves: Mapping[str, Curves]) -> Any:
    names = list(curves)
    figure, axes = plt.subplots(2, (len(names) + 1) // 2, figsize=(10, 5), squeeze=False)
    for axis, name in zip(axes.ravel(), names, strict=False):
        one = curves[name]
        for strategy, colour in _SHOWN.items():
            rows = one.aucs[strategy]
            low, high = np.quantile(rows, (0.25, 0.75), axis=0)
            axis.plot(one.labels, rows.mean(0), color=colour, label=strategy, linewidth=1)
            if strategy in (OURS, "random"):
                axis.fill_between(one.labels, low, high, color=colour, alpha=0.12, linewidth=0)
        axis.axhline(one.whole.mean(), color="black", linewidth=0.6, linestyle=":")
        axis.set(title=name, xlabel="labels", ylabel="AUC")
        axis.set_ylim(bottom=max(0.5, float(np.quantile(one.aucs["random"], 0.02)) - 0.01))
    axes.ravel()[0].legend(frameon=False)
    for axis in axes.ravel()[len(names) :]:
        axis.axis("off")
    figure.tight_layout()
    return figure


def _reliability(of: Measured) -> Any:
    figure, axes = plt.subplots(1, len(of.calibrations), figsize=(6, 3), squeeze=False)
    for axis, (name, one) in zip(axes[0], of.calibrations.items(), strict=True):
        p, y, w = one.pooled
        edges = np.array([0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0])
        place = np.clip(np.searchsorted(edges, p, side="right") - 1, 0, len(edges) - 2)
        mass = np.bincount(place, w, len(edges) - 1)
        kept = mass > 0
        said = np.bincount(place, w * p, len(edges) - 1)[kept] / mass[kept]
        true = np.bincount(place, w * y, len(edges) - 1)[kept] / mass[kept]
        axis.plot([0, 1], [0, 1], color="black", linewidth=0.6)
        axis.plot(said, true, "o-", color=_SHOWN[OURS], linewidth=1, markersize=3)
        axis.set(title=name, xlabel="probability said", ylabel="share with the finding")
    figure.tight_layout()
    return figure


def _tiers(tiers: Mapping[float, Guarantee]) -> Any:
    figure, axis = plt.subplots(figsize=(4, 3))
    alphas = sorted(tiers)
    axis.plot(alphas, [tiers[a].broken for a in alphas], "o-", color=_SHOWN[OURS], label="miss rate > alpha")
    axis.plot(
        alphas, [tiers[a].low for a in alphas], "s-", color=_SHOWN["strat_p"], label="share in the low tier"
    )
    axis.axhline(DELTA, color="black", linewidth=0.6, linestyle=":")
    axis.axvline(ALPHA, color="black", linewidth=0.3)
    axis.set(xlabel="alpha", ylabel="share", ylim=(0, 1))
    axis.legend(frameon=False)
    return figure


def _creep(of: Measured) -> Any:
    figure, axis = plt.subplots(figsize=(5, 3))
    colours: Sequence[str] = list(_SHOWN.values())
    for colour, (rule, rows) in zip(colours, of.creep.aucs.items(), strict=False):
        axis.plot(np.quantile(rows, 0.05, axis=0), color=colour, label=f"{rule}, 5th percentile", linewidth=1)
    axis.set(xlabel="night", ylabel="true AUC")
    axis.legend(frameon=False)
    return figure


def _drift(of: Measured) -> Any:
    figure, axis = plt.subplots(figsize=(4, 3))
    for colour, (share, days) in zip(_SHOWN.values(), of.drift.days.items(), strict=False):
        told = [float((days <= day).mean()) for day in range(MOST_DAYS + 1)]
        axis.step(range(MOST_DAYS + 1), told, where="post", color=colour, label=f"{100 * share:.0f} %")
    axis.set(xlabel="days", ylabel="share of runs with an alarm", ylim=(0, 1.02))
    axis.legend(frameon=False, title="from the new scanner")
    return figure
