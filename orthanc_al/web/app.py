"""The application: routes, guard, and what becomes of an error."""

import threading
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import HTMLResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy import Connection
from starlette.exceptions import HTTPException as StarletteHTTPException

from orthanc_al.domain import Finding
from orthanc_al.ledger import Ledger, facts
from orthanc_al.ledger.shadow import NO_SHADOW, ShadowRule
from orthanc_al.observe import Clock, now
from orthanc_al.web import (
    api,
    forms,
    frame,
    live,
    metrics,
    monitor,
    pages,
    pictures,
    readiness,
    reading,
    review_pages,
    running_pages,
    sidecar,
)
from orthanc_al.web.auth import OPEN_PATH, ForViewers, Guard
from orthanc_al.web.context import Context, Here, KnownFindings, User
from orthanc_al.web.kept import Kept
from orthanc_al.web.reader import reader_of
from orthanc_al.web.schemas import Readiness

_PAGES: Final = (
    pages.router,
    forms.router,
    live.router,
    pictures.router,
    review_pages.router,
    running_pages.router,
    monitor.router,
)
_PICTURES_KEPT: Final = 600
ROLES: Final = ("listener", "forwarder", "worker", "learner", "web")


def _no_findings(_: Connection) -> Sequence[Finding]:
    return ()


def create_app(
    ledger: Ledger,
    *,
    spool: Path,
    site_name: str = "",
    timezone: str = "UTC",
    viewer_template: str = "",
    viewers: Mapping[str, str] = MappingProxyType({}),
    viewer_origins: Sequence[str] = (),
    password: str = "",
    users: Mapping[str, User] = MappingProxyType({}),
    known_findings: KnownFindings = _no_findings,
    min_free_bytes: int = 0,
    training_cache: Path | None = None,
    keep_seconds: float = 7 * 86400.0,
    budget_per_day: int = 0,
    shadow_rule: ShadowRule = NO_SHADOW,
    stopping: threading.Event | None = None,
    roles: Sequence[str] = ROLES,
    clock: Clock = now,
) -> FastAPI:
    """Build the web application.

    Parameters
    ----------
    ledger
        All that is shown is read from it, and the switch "paused" is written to it.
    spool
        Folder whose free space `/readyz` watches.
    site_name, timezone
        Of the hospital; the page shows its time.
    viewer_template
        Link into the site's viewer with ``{study_instance_uid}``, ``{accession_number}`` or
        ``{orthanc_id}``; empty for none.
    viewers
        More of them, by the words on their links.
    viewer_origins
        Whose pages may ask the API.
    known_findings
        Returns what the models of a ledger look for: what reads may be about.
    users
        Login -> who it is, instead of the one password.
    password
        Asked for on every path but ``/healthz``. Without one only loopback's names are answered.
    min_free_bytes
        Free space under which the listener takes nothing.
    training_cache, keep_seconds
        Where model inputs are kept, and how long files stay in the spool: for pictures.
    budget_per_day
        Studies a day that a radiologist is asked about.
    shadow_rule
        What a candidate must have done before it may go live; by default nothing.
    stopping
        Set when the service ends.
    roles
        Processes that must live for the service to be ready.
    clock
        Seconds since 1970; tests pass their own.
    """
    app = FastAPI(
        title="orthanc_al",
        version=version("orthanc-al"),
        description="The reading worklist and the state of the service. Research use only.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # both load their scripts from elsewhere
        redoc_url=None,
    )
    app.state.context = Context(
        ledger=ledger,
        site_name=site_name,
        zone=ZoneInfo(timezone),
        viewers={**({"viewer": viewer_template} if viewer_template else {}), **viewers},
        origins=tuple(viewer_origins),
        spool=spool,
        training_cache=training_cache or spool,
        keep_seconds=keep_seconds,
        budget_per_day=budget_per_day,
        shadow_rule=shadow_rule,
        stopping=stopping or threading.Event(),
        kept=Kept(_PICTURES_KEPT),
        min_free_bytes=min_free_bytes,
        roles=tuple(roles),
        pages=frozenset(str(getattr(route, "path", "")) for router in _PAGES for route in router.routes),
        schema=ledger.revision() or "none",
        secret=_secret(ledger),
        findings=known_findings,
        clock=clock,
    )
    app.include_router(api.router)
    app.include_router(reading.router)
    app.include_router(monitor.api_router)
    app.include_router(sidecar.router)
    for router in _PAGES:
        app.include_router(router)
    _add_probes(app)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    app.add_exception_handler(StarletteHTTPException, _explain)
    app.add_middleware(Guard, password=password, users=users)
    app.add_middleware(ForViewers, origins=viewer_origins)
    return app


def _secret(ledger: Ledger) -> bytes:
    with ledger.write() as connection:
        return facts.cookie_key(connection)


def _add_probes(app: FastAPI) -> None:
    @app.get(OPEN_PATH, response_class=PlainTextResponse)
    def healthz() -> str:
        """Say that the process lives."""
        return "alive\n"

    @app.get("/readyz", responses={503: {"model": Readiness}})
    def readyz(here: Here, response: Response) -> Readiness:
        """Say whether the service does its work, and why not."""
        state = readiness.check(here)
        response.status_code = 200 if state.ready else 503
        return state

    @app.get("/metrics", response_class=PlainTextResponse)
    def read_metrics(here: Here) -> Response:
        """Return the metrics in the text format of Prometheus."""
        return Response(metrics.exposition(here), media_type=metrics.CONTENT_TYPE)


async def _explain(request: Request, error: Exception) -> Response:
    """Answer a person with a page and a program with JSON."""
    assert isinstance(error, StarletteHTTPException)
    if "text/html" not in request.headers.get("accept", "") or request.url.path.startswith("/api/"):
        return await http_exception_handler(request, error)
    here: Context = request.app.state.context
    around = frame.frame_of(request, here, reader_of(request, here))
    text = around.render("error.html", status=error.status_code, text=error.detail)
    return HTMLResponse(text, error.status_code)
