"""The worklist, and what the monitor saw, as tables in a terminal."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Final
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orthanc_al.dicom.sender import FileResult
from orthanc_al.domain import Tier
from orthanc_al.inference.half import LARGEST
from orthanc_al.inference.running import PARITY
from orthanc_al.inference.variant import SCORE, Figures
from orthanc_al.ledger.monitoring import StoredPoint
from orthanc_al.ledger.worklist import Entry

_NAME_WIDTH: Final = 16
_WHY_WIDTH: Final = 24
_FAILURES_SHOWN: Final = 20
_STYLE: Final = {Tier.HIGH: "bold red", Tier.REVIEW: "yellow", Tier.NONE: "default", Tier.LOW: "dim"}


def show_worklist(console: Console, entries: Sequence[Entry], timezone: str) -> None:
    """Print studies in reading order, as far as results may be shown (`orthanc_al.ledger.curtain`)."""
    zone = ZoneInfo(timezone)
    table = Table(title="Worklist, in reading order", title_justify="left", box=None, pad_edge=False)
    for column in ("#", "read by", "tier"):
        table.add_column(column, no_wrap=True)
    for column in ("patient", "accession"):
        table.add_column(column, no_wrap=True, max_width=_NAME_WIDTH)
    table.add_column("why here", min_width=_WHY_WIDTH)
    for place, entry in enumerate(entries, start=1):
        table.add_row(
            str(place),
            datetime.fromtimestamp(entry.read_by * 60, zone).strftime("%H:%M"),
            entry.tier.value,
            # Text of others: brackets in it are no markup.
            escape(entry.patient_name),
            escape(entry.accession_number),
            escape(entry.reason or entry.why) + (" (a read is asked for)" if entry.asked else ""),
            style=_STYLE[entry.tier],
        )
    console.print(table)


def show_failures(console: Console, failed: Sequence[FileResult]) -> None:
    """Print which files a peer has not, and why."""
    for result in failed[:_FAILURES_SHOWN]:
        console.print(f"[yellow]not sent:[/] {escape(f'{result.path.name}: {result.text}')}", highlight=False)
    if len(failed) > _FAILURES_SHOWN:
        console.print(f"... and {len(failed) - _FAILURES_SHOWN} more")


def show_monitor(console: Console, seen: Sequence[StoredPoint]) -> None:
    """Print what the monitor saw of each model's newest day: alarms and guarantee in words, then all."""
    if not seen:
        console.print("No model is configured, so there is nothing to look at.")
    for name, own in groupby(seen, key=lambda one: one.model_name):
        points = list(own)
        for one in points:
            said = " ".join(part for part in (one.point.finding, one.point.part) if part)
            if one.point.alarm or one.point.measure == "guarantee":
                mark = f"[bold red]alarm, {one.point.measure}[/]" if one.point.alarm else one.point.measure
                console.print(f"{mark}{escape(f' ({said})' if said else '')}: {escape(one.point.reason)}")
        table = Table(title=f"{name}, {points[0].day}", title_justify="left", box=None, pad_edge=False)
        for column in ("measure", "finding", "part", "value", "95 %", "cases"):
            table.add_column(column, no_wrap=column == "measure")
        for one in points:
            point = one.point
            has_interval = point.low is not None and point.high is not None
            table.add_row(
                point.measure,
                escape(point.finding),
                escape(point.part),
                f"{point.value:.3g}",
                f"{point.low:.3g} to {point.high:.3g}" if has_interval else "",
                str(point.cases),
            )
        console.print(table)


def show_variant(console: Console, figures: Figures) -> None:
    """Print what a network in half precision costs and gives, and to whom it is of use."""
    sizes = Table(title=f"On {figures.provider}", title_justify="left", box=None, pad_edge=False)
    for column in ("", "fp32", "fp16"):
        sizes.add_column(column, justify="left" if not column else "right")
    sizes.add_row("size, MB", *(f"{size / 1e6:.2f}" for size in figures.sizes))
    sizes.add_row("one film, ms", *(f"{spent:.2f}" for spent in figures.milliseconds))
    console.print(sizes)
    apart = Table(
        title=f"fp16 against fp32, {figures.films} film(s) and noise",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for column in ("difference", "mean", "worst", "borne"):
        apart.add_column(column, justify="left" if column == "difference" else "right")
    apart.add_row("logit", f"{figures.logit_mean:.5f}", f"{figures.logit_worst:.5f}", f"{PARITY:g}")
    worst = f"{figures.probability_worst:.5f}"
    apart.add_row("probability", f"{figures.probability_mean:.5f}", worst, f"{SCORE:g}")
    apart.add_row("distance from the domain", "", f"{figures.domain_worst:.5f}", "")
    apart.add_row("results across the threshold", "", str(figures.crossed), "")
    apart.add_row("largest value inside", "", f"{figures.largest:.4g}", f"{LARGEST:.0f}")
    console.print(apart)
    if figures.on_cpu:
        console.print(
            f"On this CPU half precision is {figures.faster:.2f}x as fast: it is computed in float32, with "
            "casts to and fro. It is for GPUs; stay with float32 here."
        )
