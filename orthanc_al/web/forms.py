"""The forms of the pages: reading works without JavaScript, by the same rules as the API."""

from typing import Final, TypeVar

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, ValidationError

from orthanc_al.errors import ReadError
from orthanc_al.web import reader as readers
from orthanc_al.web.auth import OrderedHere
from orthanc_al.web.context import Here
from orthanc_al.web.frame import THEME_COOKIE, THEMES, Fields, Page, ask_who_first, back
from orthanc_al.web.reader import Reader, TheReader, person_name_of
from orthanc_al.web.reading import confirm, finish, reopen
from orthanc_al.web.reading_schemas import DoneIn, ReadIn, ReopenIn

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

_A_YEAR: Final = 365 * 86400
_Said = TypeVar("_Said", bound=BaseModel)


@router.get("/reader")
def ask_who_reads(frame: Page, back: str = "/") -> str:
    """Ask for the name that reads are signed with."""
    return frame.render("reader.html", to=back)


@router.post("/reader")
def say_who_reads(
    here: Here, reader: TheReader, _: OrderedHere, fields: Fields, request: Request
) -> Response:
    """Keep the name, or forget it where none is given, and go back."""
    if not reader.may_speak_for_others:
        raise HTTPException(403, "You are known by your password.")
    answer = RedirectResponse(back(fields), 303)
    if "forget" in fields:
        readers.forget(answer)
        return answer
    try:
        name = person_name_of(fields.get("reader", ""))
    except ReadError as error:
        raise HTTPException(422, str(error)) from error
    readers.remember(answer, here, name, secure=request.url.scheme == "https")
    return answer


@router.post("/theme")
def choose_theme(_: OrderedHere, fields: Fields) -> Response:
    """Keep light or dark with the browser."""
    answer = RedirectResponse(back(fields), 303)
    theme = fields.get("theme", "")
    if theme in THEMES:
        answer.set_cookie(THEME_COOKIE, theme, max_age=_A_YEAR, samesite="lax", httponly=True, path="/")
    return answer


@router.post("/studies/{study_instance_uid}/read")
def read(here: Here, reader: TheReader, _: OrderedHere, study_instance_uid: str, fields: Fields) -> Response:
    """Confirm, reject, be unsure, be done, or put a study back."""
    if not reader.name:
        return ask_who_first(back(fields))
    value = fields.get("value", "")
    if value == "done":
        finish(here, reader, study_instance_uid, _checked(DoneIn, fields, "revision"))
    elif value == "reopen":
        reopen(here, reader, study_instance_uid, ReopenIn())
    else:
        return _signed(here, reader, study_instance_uid, fields)
    return RedirectResponse(back(fields), 303)


def _signed(here: Here, reader: Reader, uid: str, fields: Fields) -> Response:
    said = _checked(ReadIn, fields, "value", "revision", "finding", "comment")
    settles = [one for one in fields.get("settles", "").split(" ") if one][:50]
    _, _, taken = confirm(here, reader, uid, said.model_copy(update={"settles": settles}))
    to = back(fields)
    if to.partition("?")[0] == "/":  # the worklist says what was signed, and offers the way back
        to += ("&" if "?" in to else "?") + f"said={taken.reference}"
    return RedirectResponse(to, 303)


def _checked(kind: type[_Said], fields: Fields, *names: str) -> _Said:
    try:
        return kind.model_validate({name: fields[name] for name in names if name in fields})
    except ValidationError as error:
        wrong = ", ".join(str(fault["loc"][0]) for fault in error.errors())
        raise HTTPException(422, f"The form lacks or spoils: {wrong}.") from error
