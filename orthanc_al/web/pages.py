"""The pages of reading: the worklist in its order, and a study. Rendered here, without a build."""

from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import HTMLResponse, RedirectResponse

from orthanc_al.domain import Tier
from orthanc_al.ledger import details, models, statements, worklist
from orthanc_al.web import readiness
from orthanc_al.web.api import set_paused
from orthanc_al.web.auth import OrderedHere
from orthanc_al.web.context import Context, Here
from orthanc_al.web.frame import Page
from orthanc_al.web.reading import findings_of

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

PER_PAGE: Final = 100
REFRESH_SECONDS: Final = 5


@dataclass(frozen=True, slots=True)
class View:
    """What of the worklist is looked at: the query string of its address."""

    wanted: worklist.Filter
    number: int

    def address(self, path: str = "/", **changes: Any) -> str:
        """Return the address of this view with other values for some parameters."""
        values = {
            "modality": self.wanted.modality,
            "tier": self.wanted.tier or "",
            "q": self.wanted.text,
            "listed": self.wanted.listed if self.wanted.listed is not worklist.Listed.OPEN else "",
            "page": self.number if self.number > 1 else "",
            **changes,
        }
        query = urlencode({name: str(value) for name, value in values.items() if value})
        return f"{path}?{query}" if query else path


def _view(
    modality: str = "",
    tier: Tier | None = None,
    q: Annotated[str, Query(max_length=64)] = "",
    listed: worklist.Listed = worklist.Listed.OPEN,
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> View:
    return View(worklist.Filter(modality=modality, tier=tier, text=q, listed=listed), page)


Asked = Annotated[View, Depends(_view)]


@router.get("/")
def show_worklist(here: Here, frame: Page, view: Asked, said: str = "") -> str:
    """Show the worklist in reading order; ``said`` is the read that was just given."""
    with here.ledger.read() as connection:
        modalities = worklist.modalities(connection)
        rows = statements.of_reference(connection, said) if said else []
        about = worklist.get(connection, rows[0]["study_instance_uid"]) if rows else None
    notice = (rows[0], about) if about is not None else None
    return frame.render("worklist.html", modalities=modalities, notice=notice, **live_part(here, view))


@router.get("/live")
def show_live_part(here: Here, frame: Page, view: Asked) -> str:
    """Show the part of the worklist page that its script asks for when there is news."""
    return frame.render("live.html", **live_part(here, view))


@router.get("/studies/{study_instance_uid}")
def show_study(here: Here, frame: Page, study_instance_uid: str) -> str:
    """Show all that may be shown of a study."""
    with here.ledger.read() as connection:
        found = details.study(connection, study_instance_uid)
    if found is None:
        raise HTTPException(404, f"There is no study {study_instance_uid} in the ledger.")
    return frame.render("study.html", details=found, entry=found.entry, findings=findings_of(here))


@router.post("/pause", response_class=RedirectResponse, status_code=303)
def pause(here: Here, actor: OrderedHere) -> str:
    """Stop scoring and show the worklist."""
    set_paused(here, actor, paused=True)
    return "/"


@router.post("/resume", response_class=RedirectResponse, status_code=303)
def resume(here: Here, actor: OrderedHere) -> str:
    """Let scoring go on and show the worklist."""
    set_paused(here, actor, paused=False)
    return "/"


def live_part(here: Context, view: View) -> dict[str, Any]:
    """Return what the live part of the worklist is made of."""
    offset = (view.number - 1) * PER_PAGE
    with here.ledger.read() as connection:
        page = worklist.page(connection, view.wanted, limit=PER_PAGE, offset=offset)
        names = sorted({model.ref.name for model in models.versions(connection)})
        live = [model.ref for name in names if (model := models.champion(connection, name))]
    return {
        "view": view,
        "page": page,
        "pages": max(1, -(-page.total // PER_PAGE)),
        "models_live": live,
        "state": readiness.check(here),
        "findings": findings_of(here),
        "refresh_seconds": REFRESH_SECONDS,
    }
