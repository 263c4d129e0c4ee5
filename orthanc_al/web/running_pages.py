"""The pages of those who run it: models, and deliveries."""

from fastapi import APIRouter, HTTPException
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from orthanc_al.errors import ModelError
from orthanc_al.inference.package import load_known
from orthanc_al.ledger import deliveries, destinations, models, trail, undelivered
from orthanc_al.web.api import read_deliveries, registry
from orthanc_al.web.auth import OrderedHere
from orthanc_al.web.context import Here
from orthanc_al.web.frame import Fields, Page, ask_who_first
from orthanc_al.web.reader import TheReader

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/models")
def show_models(here: Here, frame: Page) -> str:
    """Show the registry: versions, verdicts of the gate, changes of the live version."""
    return frame.render("models.html", registry=registry(here))


@router.post("/models/promote")
def promote(here: Here, reader: TheReader, _: OrderedHere, fields: Fields) -> Response:
    """Let a package go live, once it has been in shadow as long as the plan of changes asks."""
    if not reader.name:
        return ask_who_first("/models")
    reason = _reason(fields)
    try:
        with here.ledger.write() as connection:
            model = models.get(connection, fields.get("digest", ""))
            load_known(model.folder, model.ref)
            here.shadow_rule.check(connection, model, here.clock())
            models.promote(connection, model.ref.digest, approver=reader.name, reason=reason)
    except (ModelError, OSError) as error:
        raise HTTPException(409, str(error)) from error
    return RedirectResponse("/models", 303)


@router.post("/models/rollback")
def roll_back(here: Here, reader: TheReader, _: OrderedHere, fields: Fields) -> Response:
    """Go back to the package that was live before: head, calibrator and thresholds as one."""
    if not reader.name:
        return ask_who_first("/models")
    reason = _reason(fields)
    try:
        with here.ledger.write() as connection:
            models.rollback(connection, fields.get("name", ""), reader.name, reason, holds=load_known)
    except (ModelError, OSError) as error:
        raise HTTPException(409, str(error)) from error
    return RedirectResponse("/models", 303)


@router.get("/deliveries")
def show_deliveries(here: Here, frame: Page) -> str:
    """Show what waits for whom, and why."""
    with here.ledger.read() as connection:
        found = undelivered.listed(connection)
        known = destinations.known(connection)
    return frame.render("deliveries.html", destinations=read_deliveries(here), known=known, undelivered=found)


@router.post("/deliveries/retry")
def try_again(here: Here, reader: TheReader, actor: OrderedHere, fields: Fields) -> Response:
    """Try what a destination lacks at once: all of it, or one object."""
    destination, subject = _which(fields)
    with here.ledger.write() as connection:
        taken_up = deliveries.try_again(connection, destination, subject)
        trail.record(
            connection,
            reader.name or actor,
            "deliveries_tried_again",
            subject or "all",
            destination=destination,
            number=taken_up,
        )
    return RedirectResponse("/deliveries", 303)


@router.post("/deliveries/cancel")
def cancel(here: Here, reader: TheReader, _: OrderedHere, fields: Fields) -> Response:
    """Give a delivery up, with a name and a reason; `orthanc-al requeue` takes it up again."""
    if not reader.name:
        return ask_who_first("/deliveries")
    destination, subject = _which(fields)
    if not subject:
        raise HTTPException(422, "The form names no object: all of a destination is given up by command.")
    reason = _reason(fields)
    with here.ledger.write() as connection:
        given_up = deliveries.cancel(
            connection, destination, subject, f"cancelled by {reader.name}: {reason}"
        )
        trail.record(
            connection,
            reader.name,
            "deliveries_cancelled",
            subject,
            destination=destination,
            reason=reason,
            number=given_up,
        )
    return RedirectResponse("/deliveries", 303)


def _which(fields: Fields) -> tuple[str, str | None]:
    destination = fields.get("destination", "")
    if not destination:
        raise HTTPException(422, "The form names no destination.")
    return destination, fields.get("subject") or None


def _reason(fields: Fields) -> str:
    reason = " ".join(fields.get("reason", "").split())
    if not 3 <= len(reason) <= 500:
        raise HTTPException(422, "Give a reason (3 to 500 characters): it stays in the record.")
    return reason
