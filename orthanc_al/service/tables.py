"""The worklist as a table in a terminal."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orthanc_al.dicom.sender import FileResult
from orthanc_al.domain import Tier
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
