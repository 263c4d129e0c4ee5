"""The pages of those who run it: models, and deliveries."""

from urllib.parse import quote

from fastapi import APIRouter, HTTPException
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from orthanc_al.errors import ModelError
from orthanc_al.inference.package import load_package
from orthanc_al.ledger import deliveries, models, trail, undelivered
from orthanc_al.web.api import read_deliveries, registry
from orthanc_al.web.auth import OrderedHere
from orthanc_al.web.context import Here
from orthanc_al.web.frame import Fields, Page
from orthanc_al.web.reader import Reader, TheReader

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/models")
def show_models(here: Here, frame: Page) -> str:
    """Show the registry: versions, verdicts of the gate, changes of the live version."""
    return frame.render("models.html", registry=registry(here))


@router.post("/models/promote")
def promote(here: Here, reader: TheReader, _: OrderedHere, fields: Fields) -> Response:
    """Let a package go live."""
    if not reader.name:
        return _ask_first("/models")
    reason = _reason(fields)
    try:
        with here.ledger.write() as connection:
            model = models.get(connection, fields.get("digest", ""))
            load_package(model.folder)  # one that does not hold would stop scoring
            models.promote(connection, model.ref.digest, approver=reader.name, reason=reason)
    except (ModelError, OSError) as error:
        raise HTTPException(409, str(error)) from error
    return RedirectResponse("/models", 303)


@router.post("/models/rollback")
def roll_back(here: Here, reader: TheReader, _: OrderedHere, fields: Fields) -> Response:
    """Go back to the package that was live before: head, calibrator and thresholds as one."""
    if not reader.name:
        return _ask_first("/models")
    reason = _reason(fields)
    try:
        with here.ledger.write() as connection:
            models.rollback(connection, fields.get("name", ""), approver=reader.name, reason=reason)
    except ModelError as error:
        raise HTTPException(409, str(error)) from error
    return RedirectResponse("/models", 303)


@router.get("/deliveries")
def show_deliveries(here: Here, frame: Page) -> str:
    """Show what waits for whom, and why."""
    with here.ledger.read() as connection:
        found = undelivered.listed(connection)
    return frame.render("deliveries.html", destinations=read_deliveries(here), undelivered=found)


@router.post("/deliveries/retry")
def try_again(here: Here, reader: TheReader, actor: OrderedHere, fields: Fields) -> Response:
    """Try one delivery at once, or all that a destination refused."""
    with here.ledger.write() as connection:
        if destination := fields.get("destination"):
            tried = deliveries.try_again(connection, destination)
            trail.record(connection, _who(reader, actor), "deliveries_tried_again", destination, count=tried)
        else:
            undelivered.try_now(connection, _delivery(fields), _who(reader, actor))
    return RedirectResponse("/deliveries", 303)


@router.post("/deliveries/cancel")
def cancel(here: Here, reader: TheReader, _: OrderedHere, fields: Fields) -> Response:
    """Give a delivery up, with a name and a reason."""
    if not reader.name:
        return _ask_first("/deliveries")
    reason = _reason(fields)
    with here.ledger.write() as connection:
        undelivered.cancel(connection, _delivery(fields), reader.name, reason)
    return RedirectResponse("/deliveries", 303)


def _ask_first(to: str) -> Response:
    return RedirectResponse(f"/reader?back={quote(to, safe='')}", 303)


def _who(reader: Reader, actor: str) -> str:
    return reader.name or actor


def _delivery(fields: Fields) -> int:
    number = fields.get("id", "")
    if not number.isascii() or not number.isdigit() or len(number) > 15:
        raise HTTPException(422, "The form names no delivery.")
    return int(number)


def _reason(fields: Fields) -> str:
    reason = " ".join(fields.get("reason", "").split())
    if not 3 <= len(reason) <= 500:
        raise HTTPException(422, "Give a reason (3 to 500 characters): it stays in the record.")
    return reason
