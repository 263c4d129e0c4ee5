"""Which jobs are taken together: small ones, of which each would cost two transactions by itself.

Never so many that an urgent film waits long behind them: after a batch the queue's order decides anew, and of
films that take long those that are left are put back. Nor one that was tried before: what kills its process
takes its neighbours with it once, and then is alone.
"""

from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Row, RowMapping, Select, and_, bindparam, exists, select

from orthanc_al.ledger.schema import image_scores, instances, jobs, studies
from orthanc_al.ledger.waiting import WAITS
from orthanc_al.pipeline import Step

_T = TypeVar("_T")

MOST: Final = 32
FILMS: Final = 8
"""As many as the network takes at once; of no use to more is what they spare."""
SHARE: Final = 4
"""Of the films that wait one worker takes one in so many: none is idle while another has several."""
REPORTS: Final = 4
"""What the first of them waits for the others is less than what its delivery takes."""
LONG: Final = 0.25
"""Seconds after which a batch of films ends: what came of them is written, and the order decides anew."""
SLICES: Final = ("CT", "MR")
_SMALL: Final = 4 << 20
"""Bytes of an instance: a slice of 512 x 512 pixels has half a megabyte. What is larger is taken alone."""

# Asked for with each job: to make a statement costs more than to run it.
_OWN: Final = select(instances.c.size, instances.c.modality, instances.c.study_instance_uid).where(
    instances.c.id == bindparam("subject")
)


def _next(*conditions: Any) -> Select[Any]:
    return (
        select(jobs)
        .where(
            WAITS,
            jobs.c.step == bindparam("wanted"),
            jobs.c.run_at <= bindparam("time"),
            jobs.c.id != bindparam("lead"),
            *conditions,
        )
        .order_by(jobs.c.run_at, jobs.c.id)
        .limit(MOST - 1)
    )


_FRESH: Final = jobs.c.attempts == 0
_HEADERS: Final = _next(_FRESH, exists().where(instances.c.id == jobs.c.subject, instances.c.size <= _SMALL))
_OF_STUDY: Final = _next(
    _FRESH,
    jobs.c.subject.in_(
        select(instances.c.id).where(
            instances.c.study_instance_uid == bindparam("study"),
            instances.c.modality == bindparam("modality"),
            instances.c.size <= _SMALL,
        )
    ),
)
_OF_STEP: Final = _next(_FRESH).limit(bindparam("most"))
_IMAGES: Final = _next().add_columns(
    select(instances.c.modality).where(instances.c.id == jobs.c.subject).scalar_subquery().label("modality")
)
_OF_FILMS: Final = exists().where(
    studies.c.study_instance_uid == jobs.c.subject, studies.c.modality.not_in(SLICES)
)
_UNSCORED: Final = exists().where(
    instances.c.study_instance_uid == jobs.c.subject,
    instances.c.kind == "image",
    ~exists().where(image_scores.c.instance_id == instances.c.id),
)
_IS_QUICK: Final = and_(_OF_FILMS, ~_UNSCORED)
_STUDIES: Final = _next().add_columns(_IS_QUICK.label("is_quick")).limit(FILMS - 1)
_AFTER_SCORE: Final = {Step.TRIAGE: FILMS, Step.SELECT: FILMS, Step.REPORT: REPORTS}
_LEAD: Final = select(_IS_QUICK).where(jobs.c.id == bindparam("lead"))


def in_time(turns: Iterable[_T], began: float) -> Iterator[_T]:
    """Yield the first turn, and the next ones for as long as what began then has not been `LONG`.

    Parameters
    ----------
    began
        As `time.monotonic` tells it.
    """
    for turn in turns:
        yield turn
        if monotonic() - began > LONG:
            return


def films_in_time(films: int, seconds: float) -> int:
    """Return how many films a worker has time for (`LONG`) that did some in so many seconds."""
    return max(1, min(FILMS, int(films * LONG / max(seconds, 1e-3))))


def beside(connection: Connection, lead: RowMapping, time: float, films: int) -> list[RowMapping]:
    """Return the jobs that are due and may be done together with a job that is about to be taken.

    Headers are looked at together whatever they are of; slices are scored together with those of their study,
    films one after the other where many wait, and what is said of studies whose images are scored is put
    together for several. What follows a score is done for some studies one after the other and written at
    once.

    Parameters
    ----------
    films
        How many a worker has time for (`LONG`), as far as it knows.
    """
    if lead["state"] != "ready" or lead["attempts"]:
        return []
    asked = {"wanted": lead["step"], "time": time, "lead": lead["id"]}
    if lead["step"] in _AFTER_SCORE:
        most = _AFTER_SCORE[lead["step"]] - 1
        return list(connection.execute(_OF_STEP, asked | {"most": most}).mappings())
    if lead["step"] == Step.SCORE:
        return _studies(connection, asked)
    if lead["step"] in (Step.ARRIVE, Step.SCORE_IMAGE):
        own = connection.execute(_OWN, {"subject": lead["subject"]}).first()
        return [] if own is None else _instances(connection, asked, own, films)
    return []


def _instances(
    connection: Connection, asked: dict[str, Any], own: Row[Any, Any, Any], films: int
) -> list[RowMapping]:
    if asked["wanted"] == Step.SCORE_IMAGE and own.modality not in SLICES:
        return _films(connection, asked, min(films, FILMS))
    if own.size > _SMALL:
        return []
    if asked["wanted"] == Step.ARRIVE:
        return list(connection.execute(_HEADERS, asked).mappings())
    of_study = {"study": own.study_instance_uid, "modality": own.modality}
    return list(connection.execute(_OF_STUDY, asked | of_study).mappings())


def _films(connection: Connection, asked: dict[str, Any], films: int) -> list[RowMapping]:
    """Return the films that come next, where so many wait that each worker has some."""
    if films < 2:
        return []
    waiting = connection.execute(_IMAGES, asked).mappings().all()
    fresh = [row for row in waiting if not row["attempts"] and row["modality"] not in SLICES]
    return fresh[: min(films - 1, len(waiting) // SHARE)]


def _studies(connection: Connection, asked: dict[str, Any]) -> list[RowMapping]:
    """Return the studies of films that come next whose images are scored, if the first is such a study."""
    waiting = connection.execute(_STUDIES, asked).mappings().all()
    quick = [row for row in waiting if not row["attempts"] and row["is_quick"]]
    return quick if quick and connection.execute(_LEAD, {"lead": asked["lead"]}).scalar() else []
