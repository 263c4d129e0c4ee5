"""What a night of learning starts from: the live package, its anchor, the reads, and who is in shadow."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from orthanc_al.learn.pccp import Plan
from orthanc_al.learn.snapshot import Snapshot, build
from orthanc_al.ledger import learning, lineage, models, response, shadow
from orthanc_al.ledger.models import RegisteredModel
from orthanc_al.observe import logger

_DAY: Final = 86400.0
_log = logger("learn")


@dataclass(frozen=True, slots=True)
class Evening:
    """What a night finds in the ledger.

    Attributes
    ----------
    candidate
        In shadow, None where there is none.
    missing
        What that one has not done yet, empty where it may go live.
    live_since
        When the champion went live, in seconds since 1970.
    """

    champion: RegisteredModel
    anchor: RegisteredModel
    snapshot: Snapshot
    candidate: RegisteredModel | None
    missing: str
    live_since: float
    time: float


def evening_of(connection: Connection, name: str, plan: Plan, time: float, *, shown_weight: float) -> Evening:
    """Look at what there is to learn for a model.

    Parameters
    ----------
    plan
        What may change, and by how much.
    time
        Seconds since 1970.
    shown_weight
        How much a read counts in training that was made with a result in view, 0 to 1.

    Raises
    ------
    ModelError
        No package of that name is live.
    """
    champion = models.live(connection, name)
    anchor = lineage.anchor(connection, champion.ref.digest)
    candidate = shadow.in_shadow(connection, name)
    made = build(
        anchor.ref.digest,
        learning.labelled_cases(
            connection, lineage.family(connection, champion.ref.digest), anchor.ref.digest
        ),
        learning.folds(connection),
        learning.audited_patients(connection),
        response.audit_response(connection, time - plan.audit.unread_after_days * _DAY),
        plan.audit.max_unread_share,
        shown_weight=shown_weight,
    )
    for fault in made.faults:
        _log.warning("case_left_out", reason=fault)
    return Evening(
        champion=champion,
        anchor=anchor,
        snapshot=made,
        candidate=candidate,
        missing="" if candidate is None else plan.shadow.rule.missing(connection, candidate, time),
        live_since=models.history(connection, name)[0].at,
        time=time,
    )
