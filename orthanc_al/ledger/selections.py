"""Which studies were drawn: for the blind audit, or to be asked of the radiologist, and with what chance.

What was drawn once stays drawn, with the propensity that it was drawn with.
"""

from dataclasses import asdict, dataclass
from typing import Final

from sqlalchemy import Connection, func, select, update

from orthanc_al.domain import StudyState, Tier
from orthanc_al.ledger.engine import upsert
from orthanc_al.ledger.schema import reads, selections, studies

AUDIT: Final = "audit"
QUERY: Final = "query"


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
    query = select(selections).where(selections.c.study_instance_uid == study_instance_uid)
    return {
        row["kind"]: Selection(**{key: value for key, value in row.items() if key != "id"})
        for row in connection.execute(query).mappings()
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
    query = select(studies).where(studies.c.study_instance_uid == study_instance_uid)
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    # Of two that disagree neither counts, but the study was read; a read that waits signs nothing.
    first_read = select(func.min(reads.c.received_at)).where(
        reads.c.study_instance_uid == study_instance_uid, reads.c.state != "waiting"
    )
    finished_at = row["closed_at"] if row["state"] == StudyState.READ.value else None
    return Candidate(
        study_instance_uid=study_instance_uid,
        patient_key=row["patient_key"],
        state=StudyState(row["state"]),
        revision=row["revision"],
        seen=row["placed_at"] is not None and not row["blind"],
        signed_at=connection.execute(first_read).scalar() or finished_at,
    )


def spent(connection: Connection, day: str) -> dict[str, int]:
    """Return how many studies of each kind were drawn on a day of the site."""
    query = select(selections.c.kind, func.count()).where(selections.c.day == day).group_by(selections.c.kind)
    counted: dict[str, int] = {row[0]: row[1] for row in connection.execute(query)}
    return {AUDIT: 0, QUERY: 0, **counted}


def patient_was_asked(connection: Connection, patient_key: str, day: str) -> bool:
    """Whether the radiologist was asked about this patient on that day."""
    query = (
        select(selections.c.id)
        .join(studies, studies.c.study_instance_uid == selections.c.study_instance_uid)
        .where(studies.c.patient_key == patient_key, selections.c.day == day, selections.c.kind == QUERY)
        .limit(1)
    )
    return connection.execute(query).first() is not None


def place(
    connection: Connection, study_instance_uid: str, tier: Tier, why: str, read_by: int | None, at: float
) -> None:
    """Put a study where it belongs on the worklist, and show why.

    Parameters
    ----------
    read_by
        Minutes since 1970; None leaves it where it stands.
    """
    moved = {} if read_by is None else {"read_by": read_by}
    connection.execute(
        update(studies)
        .where(studies.c.study_instance_uid == study_instance_uid)
        .values(tier=tier.value, why=why, placed_at=at, blind=False, **moved)
    )


def hide(connection: Connection, study_instance_uid: str, at: float) -> None:
    """Make a study blind: its place stays that of a study without a score, and nothing says why."""
    connection.execute(
        update(studies)
        .where(studies.c.study_instance_uid == study_instance_uid)
        .values(tier=Tier.NONE.value, why="", placed_at=at, blind=True)
    )
