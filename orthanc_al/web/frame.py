"""What all pages share: templates, the reader, light or dark, and times in the site's zone."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, quote

from fastapi import Depends, HTTPException, Request
from fastapi.responses import RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from orthanc_al.domain import ReadValue, StudyState, Tier
from orthanc_al.ledger import worklist
from orthanc_al.web import words
from orthanc_al.web.context import Context, Here
from orthanc_al.web.reader import Reader, TheReader

THEMES: Final = ("system", "dark", "light")
THEME_COOKIE: Final = "orthanc_al_theme"
_LONGEST_FORM: Final = 16_384  # bytes

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
_environment.globals.update(
    value_words=words.VALUE_WORDS, source_words=words.SOURCE_WORDS, ReadValue=ReadValue, THEMES=THEMES
)


@dataclass(frozen=True, slots=True)
class Frame:
    """A page's surroundings.

    Attributes
    ----------
    theme
        ``dark`` or ``light``; ``system`` follows the browser.
    address
        Of this page, to come back to.
    """

    here: Context
    reader: Reader
    theme: str
    address: str

    def render(self, template: str, **values: Any) -> str:
        """Return a page; its times are in the site's time zone, and its "now" is one moment."""
        here = self.here
        now = here.clock()
        return _environment.get_template(template).render(
            site_name=here.site_name,
            zone=here.zone.key,
            now=now,
            frame=self,
            clock_time=partial(words.clock_time, zone=here.zone, now=now),
            machine_time=partial(words.machine_time, zone=here.zone),
            due=partial(words.due, now=now),
            age=partial(words.age, zone=here.zone),
            viewer_links=partial(words.viewer_links, here.viewers),
            **values,
        )


def frame_of(request: Request, here: Here, reader: TheReader) -> Frame:
    """Return the surroundings of the page that a request is for."""
    theme = request.cookies.get(THEME_COOKIE, "system")
    query = f"?{request.url.query}" if request.url.query else ""
    return Frame(
        here=here,
        reader=reader,
        theme=theme if theme in THEMES else "system",
        address=f"{request.url.path}{query}" if request.method == "GET" else "/",
    )


Page = Annotated[Frame, Depends(frame_of)]
"""The surroundings of a page, as a parameter of its route."""


async def _fields(request: Request) -> Mapping[str, str]:
    """Return the fields of a form (application/x-www-form-urlencoded), the last of each name.

    Raises
    ------
    HTTPException
        413 or 422.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LONGEST_FORM:
            raise HTTPException(413, "The form is too long.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True))
    except (UnicodeDecodeError, ValueError) as error:
        raise HTTPException(422, "The form can't be read.") from error


Fields = Annotated[Mapping[str, str], Depends(_fields)]
"""The fields of a form, as a parameter of a route."""


def back(fields: Mapping[str, str], default: str = "/") -> str:
    """Return where a form leads back to: a page of ours, and never another site."""
    wanted = fields.get("back", default)
    ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if ours and "\\" not in wanted else default


def ask_who_first(to: str) -> RedirectResponse:
    """Return the way to the page that asks for a name, and from there back to ``to``."""
    return RedirectResponse(f"/reader?back={quote(to, safe='')}", 303)
