"""Which studies were drawn: for the blind audit, or to be asked of the radiologist, and with what chance.

What was drawn once stays drawn, with the propensity that it was drawn with.
"""

from dataclasses import asdict, dataclass
from typing import Final

from sqlalchemy import Connection, Integer, bindparam, func, select, update

from orthanc_al.domain import StudyState, Tier
from orthanc_al.ledger.schema import reads, selections, studies
from orthanc_al.ledger.upserts import upsert

AUDIT: Final = "audit"
QUERY: Final = "query"

# Asked for with each study: to make a statement costs more than to run it.
_OF_STUDY: Final = select(selections).where(selections.c.study_instance_uid == bindparam("uid"))
_CANDIDATE: Final = select(studies).where(studies.c.study_instance_uid == bindparam("uid"))
# Of two that disagree neither counts, but the study was read; a read that waits signs nothing.
_FIRST_READ: Final = select(func.min(reads.c.received_at)).where(
    reads.c.study_instance_uid == bindparam("uid"), reads.c.state != "waiting"
)
_SPENT: Final = (
    select(selections.c.kind, func.count())
    .where(selections.c.day == bindparam("on"))
    .group_by(selections.c.kind)
)
_OF_PATIENT: Final = (
    select(selections.c.id)
    .join(studies, studies.c.study_instance_uid == selections.c.study_instance_uid)
    .where(
        studies.c.patient_key == bindparam("patient"),
        selections.c.day == bindparam("on"),
        selections.c.kind == QUERY,
    )
    .limit(1)
)
_PLACE: Final = (
    update(studies)
    .where(studies.c.study_instance_uid == bindparam("uid"))
    .values(
        tier=bindparam("to_tier"),
        why=bindparam("to_why"),
        placed_at=bindparam("at"),
        blind=bindparam("hidden"),
        read_by=func.coalesce(bindparam("to_read_by", type_=Integer), studies.c.read_by),
    )
)


@dataclass(frozen=True, slots=True)
class Selection:
    """A study that was drawn.

    Attributes
    ----------
    kind
        ``audit`` (blind until signed) or ``query`` (asked of the radiologist).
    propensity
        pi: the probability of being drawn, before anything was known of the draw.
    weight
        q: the share that the query step alone gave it; 0 for an audit.
    score
        g of the strategy, None for an audit.
    pool_digest
        SHA-256 of what the threshold was taken from.
    fold
        ``calibration``, ``thresholds`` or ``gate`` for an audit.
    day
        The site's date, by which the budget counts.
    signed_at
        When the read of it was signed, None before.
    """

    study_instance_uid: str
    kind: str
    strategy: str
    propensity: float
    seed: str
    decided_at: float
    day: str
    weight: float = 0.0
    score: float | None = None
    pool_digest: str = ""
    model_digest: str = ""
    reason: str = ""
    fold: str | None = None
    signed_at: float | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A study that is to be decided about.

    Attributes
    ----------
    seen
        Whether a score of it may have been seen: it was placed on the worklist, and not blind.
    signed_at
        When it was first read, whatever became of that read; None where nobody has read it.
    """

    study_instance_uid: str
    patient_key: str
    state: StudyState
    revision: int
    seen: bool
    signed_at: float | None


def of_study(connection: Connection, study_instance_uid: str) -> dict[str, Selection]:
    """Return the selections of a study by their kind."""
    return {
        row["kind"]: Selection(**{key: value for key, value in row.items() if key != "id"})
        for row in connection.execute(_OF_STUDY, {"uid": study_instance_uid}).mappings()
    }


def add(connection: Connection, selection: Selection) -> bool:
    """Write a selection; one that is there already stays as it is, and False is returned."""
    return upsert(connection, selections, asdict(selection), ["study_instance_uid", "kind"]) == 1


def sign(connection: Connection, study_instance_uid: str, at: float) -> bool:
    """Note that the read of a study was signed; return whether that lifted the blind of an audit case."""
    unsigned = (selections.c.study_instance_uid == study_instance_uid, selections.c.signed_at.is_(None))
    lifted = connection.execute(select(selections.c.id).where(*unsigned, selections.c.kind == AUDIT)).first()
    connection.execute(update(selections).where(*unsigned).values(signed_at=at))
    connection.execute(
        update(studies).where(studies.c.study_instance_uid == study_instance_uid).values(blind=False)
    )
    return lifted is not None


def candidate(connection: Connection, study_instance_uid: str) -> Candidate | None:
    """Return a study as selection looks at it, None where there is no such study."""
    row = connection.execute(_CANDIDATE, {"uid": study_instance_uid}).mappings().first()
    if row is None:
        return None
    first_read = connection.execute(_FIRST_READ, {"uid": study_instance_uid}).scalar()
    finished_at = row["closed_at"] if row["state"] == StudyState.READ.value else None
    return Candidate(
        study_instance_uid=study_instance_uid,
        patient_key=row["patient_key"],
        state=StudyState(row["state"]),
        revision=row["revision"],
        seen=row["placed_at"] is not None and not row["blind"],
        signed_at=first_read or finished_at,
    )


def spent(connection: Connection, day: str) -> dict[str, int]:
    """Return how many studies of each kind were drawn on a day of the site."""
    counted: dict[str, int] = {row[0]: row[1] for row in connection.execute(_SPENT, {"on": day})}
    return {AUDIT: 0, QUERY: 0, **counted}


def patient_was_asked(connection: Connection, patient_key: str, day: str) -> bool:
    """Whether the radiologist was asked about this patient on that day."""
    return connection.execute(_OF_PATIENT, {"patient": patient_key, "on": day}).first() is not None


def place(
    connection: Connection, study_instance_uid: str, tier: Tier, why: str, read_by: int | None, at: float
) -> None:
    """Put a study where it belongs on the worklist, and show why.

    Parameters
    ----------
    read_by
        Minutes since 1970; None leaves it where it stands.
    """
    placed = {"to_tier": tier.value, "to_why": why, "to_read_by": read_by, "at": at, "hidden": False}
    connection.execute(_PLACE, {"uid": study_instance_uid, **placed})


def hide(connection: Connection, study_instance_uid: str, at: float) -> None:
    """Make a study blind: its place stays that of a study without a score, and nothing says why."""
    hidden = {"to_tier": Tier.NONE.value, "to_why": "", "to_read_by": None, "at": at, "hidden": True}
    connection.execute(_PLACE, {"uid": study_instance_uid, **hidden})
