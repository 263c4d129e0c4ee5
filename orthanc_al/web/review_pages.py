"""What is asked of the radiologist today, and reads that are to be decided between."""

from datetime import datetime

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from orthanc_al.ledger import questions
from orthanc_al.web.context import Here
from orthanc_al.web.frame import Page

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/review")
def show_questions(here: Here, frame: Page) -> str:
    """Show the studies that a read is asked of, with the day's budget."""
    today = datetime.fromtimestamp(here.clock(), here.zone).date().isoformat()
    with here.ledger.read() as connection:
        waiting = questions.asked(connection)
        asked, answered = questions.asked_on(connection, today)
    return frame.render(
        "review.html", questions=waiting, asked=asked, answered=answered, budget=here.budget_per_day
    )


@router.get("/adjudication")
def show_disputes(here: Here, frame: Page) -> str:
    """Show reads that disagree, and reads that name nobody."""
    with here.ledger.read() as connection:
        found = questions.disputes(connection)
    return frame.render("adjudication.html", disputes=found)
