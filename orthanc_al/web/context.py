"""What the routes share: the ledger and the plain values that the composition root gives."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import Depends, Request
from sqlalchemy import Connection

from orthanc_al.domain import Finding
from orthanc_al.ledger import Ledger
from orthanc_al.observe import Clock

KnownFindings = Callable[[Connection], Collection[Finding]]


@dataclass(frozen=True, slots=True)
class User:
    """Who has a password of her own.

    Attributes
    ----------
    name
        Value representation PN; empty for a program.
    program
        It says with each request whom it speaks for.
    """

    password: str
    name: str = ""
    program: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """The values of one application.

    Attributes
    ----------
    zone
        Of the site: in it the page shows times.
    viewers
        Words -> link template with ``{study_instance_uid}``, ``{accession_number}`` or ``{orthanc_id}``;
        the first is what a key opens.
    origins
        Of viewers, whose pages may ask the API.
    spool
        Folder whose free space is watched.
    min_free_bytes
        Below it the listener takes nothing.
    roles
        Processes that must live.
    schema
        Revision of the ledger's schema at the start.
    secret
        Of the site; the reader's cookie is signed with it, so that it outlives a restart.
    findings
        Returns what the models of a ledger look for.
    """

    ledger: Ledger
    site_name: str
    zone: ZoneInfo
    viewers: Mapping[str, str]
    origins: tuple[str, ...]
    spool: Path
    min_free_bytes: int
    roles: tuple[str, ...]
    schema: str
    secret: bytes
    findings: KnownFindings
    clock: Clock


def _of_request(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Here = Annotated[Context, Depends(_of_request)]
"""The application's context, as a parameter of a route."""
