"""The pages: the worklist in reading order, a study, the models. Rendered here, without a build."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from orthanc_al.domain import StudyState, Tier
from orthanc_al.ledger import details, models, worklist
from orthanc_al.web import readiness, words
from orthanc_al.web.api import registry, set_paused
from orthanc_al.web.auth import OrderedHere
from orthanc_al.web.context import Context, Here

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

PER_PAGE: Final = 100
REFRESH_SECONDS: Final = 5

_environment: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(
    person_name=words.person_name, percent=words.percent, duration=words.duration, size=words.size
)
_environment.globals.update(Tier=Tier, StudyState=StudyState, tier_words=words.TIER_WORDS)
_environment.globals.update(state_words=words.STATE_WORDS, Listed=worklist.Listed)


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
def show_worklist(here: Here, view: Asked) -> str:
    """Show the worklist in reading order."""
    with here.ledger.read() as connection:
        modalities = worklist.modalities(connection)
    return render(here, "worklist.html", modalities=modalities, **_worklist(here, view))


@router.get("/live")
def show_live_part(here: Here, view: Asked) -> str:
    """Show the part of the worklist page that its script asks for again and again."""
    return render(here, "live.html", **_worklist(here, view))


@router.get("/studies/{study_instance_uid}")
def show_study(here: Here, study_instance_uid: str) -> str:
    """Show all that may be shown of a study."""
    with here.ledger.read() as connection:
        found = details.study(connection, study_instance_uid)
    if found is None:
        raise HTTPException(404, f"There is no study {study_instance_uid} in the ledger.")
    return render(here, "study.html", details=found, entry=found.entry)


@router.get("/models")
def show_models(here: Here) -> str:
    """Show the registry."""
    return render(here, "models.html", registry=registry(here))


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


def render(here: Context, template: str, **values: Any) -> str:
    """Return a page; its times are in the site's time zone, and its "now" is one moment."""
    now = here.clock()
    return _environment.get_template(template).render(
        site_name=here.site_name,
        zone=here.zone.key,
        now=now,
        refresh_seconds=REFRESH_SECONDS,
        clock_time=partial(words.clock_time, zone=here.zone, now=now),
        machine_time=partial(words.machine_time, zone=here.zone),
        due=partial(words.due, now=now),
        age=partial(words.age, zone=here.zone),
        viewer_links=partial(words.viewer_links, here.viewers),
        **values,
    )


def _worklist(here: Context, view: View) -> dict[str, Any]:
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
    }
