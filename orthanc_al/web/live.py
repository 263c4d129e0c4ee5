"""News of the worklist as server-sent events (HTML, section 9.2): a word, and the page asks for the rest.

An event is sent when what may be shown has changed, not when something was written: the score of a blind
study changes nothing that is shown, so that no event can tell of it.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from orthanc_al.ledger import worklist
from orthanc_al.web import readiness
from orthanc_al.web.context import Context, Here
from orthanc_al.web.pages import PER_PAGE, Asked, View

router = APIRouter(include_in_schema=False)

_LOOK_SECONDS: Final = 1.0
_LOOK_ANYWAY: Final = 15  # looks after which all is looked at: a process may have gone silent
_LIFE_SECONDS: Final = 600.0
"""A stream ends after a while and the browser opens another: what is forgotten does not stay open."""


@router.get("/live/events")
async def tell_news(here: Here, view: Asked) -> StreamingResponse:
    """Send an event each time when this view of the worklist has changed."""
    return StreamingResponse(_events(here, view), media_type="text/event-stream")


async def _events(here: Context, view: View) -> AsyncIterator[bytes]:
    """Yield "changed" events, and comments in between that keep proxies from closing the line."""
    yield b"retry: 2000\n\n"
    seen = await run_in_threadpool(look, here, view, None, anyway=True)
    for turn in range(1, int(_LIFE_SECONDS / _LOOK_SECONDS)):
        await asyncio.sleep(_LOOK_SECONDS)
        if here.stopping.is_set():
            return
        now = await run_in_threadpool(look, here, view, seen, anyway=turn % _LOOK_ANYWAY == 0)
        if now.shown != seen.shown:
            yield b"event: changed\ndata: \n\n"
        elif turn % _LOOK_ANYWAY == 0:
            yield b": all is as it was\n\n"
        seen = now


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look found: when a study was last written, and the digest of what is shown."""

    written_at: float
    shown: str


def look(here: Context, view: View, before: Seen | None, *, anyway: bool) -> Seen:
    """Return what is shown now; where nothing was written since ``before``, that is returned."""
    with here.ledger.read() as connection:
        written_at = worklist.changed_at(connection)
        if before is not None and written_at == before.written_at and not anyway:
            return before
        page = worklist.page(connection, view.wanted, limit=PER_PAGE, offset=(view.number - 1) * PER_PAGE)
    state = readiness.check(here)
    said = repr((page.entries, page.total, sorted(page.tiers.items()), state.paused, bool(state.reasons)))
    return Seen(written_at, hashlib.sha256(said.encode()).hexdigest())
