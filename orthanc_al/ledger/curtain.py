"""The curtain (promise 6): which results of the model may be shown, as SQL conditions in one place.

A result is shown once ``select`` has let it out, and for a blind audit case once its read is signed.
Until then a study looks as one that has no score for any other reason: its state is ``complete``, its
tier ``none``, its reason and its place those of its arrival. Whatever shows studies to a person or to
a program (page, API, command line, metrics) takes its conditions from here.
"""

from typing import Final

from sqlalchemy import ColumnElement, String, and_, case, exists, literal, or_

from orthanc_al.domain import StudyState, Tier
from orthanc_al.ledger.schema import predictions, selections, studies

AUDIT: Final = "audit"
"""Kind of the selections that are blind."""


def lifted() -> ColumnElement[bool]:
    """Whether results of a row of ``studies`` may be shown at all."""
    signed = exists().where(
        selections.c.study_instance_uid == studies.c.study_instance_uid,
        selections.c.kind == AUDIT,
        selections.c.signed_at.is_not(None),
    )
    return and_(studies.c.placed_at.is_not(None), or_(studies.c.blind.is_(False), signed))


def hidden(study_instance_uid: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a row is about a study of which nothing may be shown; one that is not known hides nothing."""
    return exists().where(studies.c.study_instance_uid == study_instance_uid, ~lifted())


def shown_prediction() -> ColumnElement[bool]:
    """Whether a row of ``predictions``, joined to its row of ``studies``, may be shown.

    What was scored after the study got its place has not been through ``select`` yet.
    """
    return and_(predictions.c.scored_at <= studies.c.placed_at, lifted())


def shown_tier() -> ColumnElement[str]:
    """Return the tier of a row of ``studies`` as it may be shown."""
    return case((lifted(), studies.c.tier), else_=literal(Tier.NONE.value, String))


def shown_state() -> ColumnElement[str]:
    """Return the state of a row of ``studies`` as it may be shown: ``scored`` would tell of a score."""
    return case(
        (lifted(), studies.c.state),
        (studies.c.state == StudyState.SCORED.value, literal(StudyState.COMPLETE.value, String)),
        else_=studies.c.state,
    )
