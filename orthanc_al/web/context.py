"""What the routes share: the ledger and the plain values that the composition root gives."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import Depends, Request

from orthanc_al.ledger import Ledger
from orthanc_al.observe import Clock


@dataclass(frozen=True, slots=True)
class Context:
    """The values of one application.

    Attributes
    ----------
    zone
        Of the site: in it the page shows times.
    viewer
        Link template with ``{study_instance_uid}``, ``{accession_number}`` or ``{orthanc_id}``.
    spool
        Folder whose free space is watched.
    min_free_bytes
        Below it the listener takes nothing.
    roles
        Processes that must live.
    schema
        Revision of the ledger's schema at the start.
    """

    ledger: Ledger
    site_name: str
    zone: ZoneInfo
    viewer: str
    spool: Path
    min_free_bytes: int
    roles: tuple[str, ...]
    schema: str
    clock: Clock


def _of_request(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Here = Annotated[Context, Depends(_of_request)]
"""The application's context, as a parameter of a route."""
