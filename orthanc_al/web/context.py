"""What the routes share: the ledger and the plain values that the composition root gives."""

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import Depends, Request
from sqlalchemy import Connection

from orthanc_al.domain import Finding
from orthanc_al.ledger import Ledger
from orthanc_al.ledger.shadow import ShadowRule
from orthanc_al.observe import Clock
from orthanc_al.web.kept import Kept

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
    training_cache
        Folder of the model inputs that outlive the spool.
    keep_seconds
        How long the spool keeps files that nothing needs.
    budget_per_day
        Studies a day that a radiologist is asked about.
    shadow_rule
        What a candidate must have done before it may go live.
    min_free_bytes
        Below it the listener takes nothing.
    roles
        Processes that must live.
    pages
        Paths that are served: the navigation names no page that is not there.
    schema
        Revision of the ledger's schema at the start.
    secret
        Of the site; the reader's cookie is signed with it, so that it outlives a restart.
    findings
        Returns what the models of a ledger look for.
    stopping
        Set when the service ends: streams of events end then.
    kept
        Pictures that were made.
    """

    ledger: Ledger
    site_name: str
    zone: ZoneInfo
    viewers: Mapping[str, str]
    origins: tuple[str, ...]
    spool: Path
    training_cache: Path
    keep_seconds: float
    budget_per_day: int
    shadow_rule: ShadowRule
    min_free_bytes: int
    roles: tuple[str, ...]
    pages: frozenset[str]
    schema: str
    secret: bytes
    findings: KnownFindings
    stopping: threading.Event
    kept: Kept
    clock: Clock


def _of_request(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Here = Annotated[Context, Depends(_of_request)]
"""The application's context, as a parameter of a route."""
