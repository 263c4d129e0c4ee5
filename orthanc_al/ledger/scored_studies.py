"""What selection chooses from, and what it knows by then: scored studies, audits, and what was asked."""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Float, RowMapping, bindparam, func, select

from orthanc_al.domain import StudyState
from orthanc_al.ledger.predictions import unpack
from orthanc_al.ledger.schema import predictions, reads, selections, studies
from orthanc_al.ledger.selections import AUDIT, QUERY

# Asked for with each study: to make a statement costs more than to run it.
_NEWEST: Final = (
    select(predictions.c.study_instance_uid)
    .order_by(predictions.c.id.desc())
    .limit(bindparam("limit"))
    .subquery()
)
_RECENT: Final = (
    select(
        predictions.c.study_instance_uid, predictions.c.revision, predictions.c.probability, predictions.c.ood
    )
    .where(
        predictions.c.study_instance_uid.in_(select(_NEWEST.c.study_instance_uid)),
        predictions.c.study_instance_uid != bindparam("but"),
    )
    .order_by(predictions.c.id.desc())
)
# Of an index alone: the rows hold embeddings, and there are two weeks of them.
_SINCE: Final = select(
    func.count(func.distinct(predictions.c.study_instance_uid)), func.min(predictions.c.scored_at)
).where(predictions.c.scored_at >= bindparam("since", type_=Float))
_CONFIRMED: Final = select(func.count(func.distinct(reads.c.study_instance_uid))).where(
    reads.c.state == "counts", reads.c.value == "present"
)
_AUDITED: Final = (
    select(predictions.c.logit, reads.c.value)
    .join(selections, selections.c.study_instance_uid == predictions.c.study_instance_uid)
    .join(
        reads,
        (reads.c.study_instance_uid == predictions.c.study_instance_uid)
        & (reads.c.finding == predictions.c.finding),
    )
    .where(
        selections.c.kind == AUDIT,
        predictions.c.model_digest == bindparam("digest"),
        reads.c.state == "counts",
        reads.c.value.in_(("present", "absent")),
    )
)


class RecentStudy(NamedTuple):
    """The newest scoring of a study, as far as one that comes after it is compared with it.

    Attributes
    ----------
    probabilities
        Of each finding of each model.
    ood
        The greatest distance over limit.
    """

    study_instance_uid: str
    probabilities: tuple[float, ...]
    ood: float


@dataclass(frozen=True, slots=True)
class ScoredStudy:
    """The newest scoring of a study, as far as selection looks at it.

    Attributes
    ----------
    probabilities
        Of each finding of each model.
    ood
        The greatest distance over limit.
    model_digest
        The package of the first of them.
    scanner
        Its station's name, empty where nothing tells.
    embedding
        float32, shape (d,).
    """

    study_instance_uid: str
    patient_key: str
    probabilities: tuple[float, ...]
    ood: float
    model_digest: str
    scanner: str
    embedding: NDArray[np.float32]


def recently_scored(connection: Connection, limit: int, *, but: str = "") -> list[RecentStudy]:
    """Return studies of the ``limit`` newest predictions, newest first, the one named by ``but`` left out."""
    found: dict[str, list[tuple[int, float, float]]] = {}
    for uid, revision, probability, ood in connection.execute(_RECENT, {"limit": limit, "but": but}):
        found.setdefault(uid, []).append((revision, probability, ood))
    return [_recent(uid, rows) for uid, rows in found.items()]


def unasked_since(connection: Connection, since: float) -> list[ScoredStudy]:
    """Return studies placed since a time that are neither drawn nor read: whom the day's end may ask."""
    drawn = select(selections.c.study_instance_uid)
    waiting = select(studies.c.study_instance_uid).where(
        studies.c.placed_at >= since,
        studies.c.state == StudyState.SCORED.value,
        studies.c.blind.is_(False),
        studies.c.study_instance_uid.not_in(drawn),
        studies.c.study_instance_uid.not_in(select(reads.c.study_instance_uid)),
    )
    return _scored(connection, waiting.subquery().c.study_instance_uid)


def scored_since(connection: Connection, since: float) -> tuple[int, float | None]:
    """Return how many studies were scored since a time, and when the first of them was."""
    row = connection.execute(_SINCE, {"since": since}).one()
    return int(row[0]), row[1]


def confirmed_positives(connection: Connection) -> int:
    """Return how many studies have a finding that a person confirmed."""
    return int(connection.execute(_CONFIRMED).scalar_one())


def audited_scores(connection: Connection, model_digest: str) -> list[tuple[float, bool]]:
    """Return logit and confirmed presence of each audited finding that a package scored."""
    rows = connection.execute(_AUDITED, {"digest": model_digest})
    return [(float(row[0]), row[1] == "present") for row in rows]


def asked_embeddings(connection: Connection, model_digest: str, limit: int = 2000) -> NDArray[np.float64]:
    """Return the embeddings, shape (m, d), of the studies that were asked about last, by one package."""
    rows = connection.execute(
        select(predictions.c.study_instance_uid, predictions.c.embedding)
        .join(selections, selections.c.study_instance_uid == predictions.c.study_instance_uid)
        .where(selections.c.kind == QUERY, predictions.c.model_digest == model_digest)
        .order_by(predictions.c.id.desc())
        .limit(limit)
    )
    found = {uid: unpack(embedding) for uid, embedding in rows}
    return np.array(list(found.values()), np.float64) if found else np.empty((0, 0))


def _scored(connection: Connection, uids: object) -> list[ScoredStudy]:
    """Return the newest revision's scoring of each of the studies that a subquery names, newest first."""
    rows = connection.execute(
        select(
            predictions.c.study_instance_uid,
            predictions.c.revision,
            predictions.c.probability,
            predictions.c.ood,
            predictions.c.model_digest,
            studies.c.patient_key,
            studies.c.station,
            predictions.c.embedding,
        )
        .join(studies, studies.c.study_instance_uid == predictions.c.study_instance_uid)
        .where(predictions.c.study_instance_uid.in_(select(uids)))  # type: ignore[call-overload]  # a column
        .order_by(predictions.c.id.desc())
    ).mappings()
    found: dict[str, list[RowMapping]] = {}
    for row in rows:
        found.setdefault(row["study_instance_uid"], []).append(row)
    return [_newest(uid, mine) for uid, mine in found.items()]


def _recent(uid: str, rows: list[tuple[int, float, float]]) -> RecentStudy:
    if len(rows) == 1:  # nearly all: there are a thousand of them for each study that comes
        return RecentStudy(uid, (rows[0][1],), rows[0][2])
    newest = max(revision for revision, _, _ in rows)
    counting = [row for row in rows if row[0] == newest]
    return RecentStudy(
        uid, tuple(probability for _, probability, _ in counting), max(ood for _, _, ood in counting)
    )


def _newest(uid: str, rows: list[RowMapping]) -> ScoredStudy:
    revision = max(row["revision"] for row in rows)
    counting = [row for row in rows if row["revision"] == revision]
    return ScoredStudy(
        study_instance_uid=uid,
        patient_key=counting[0]["patient_key"],
        probabilities=tuple(row["probability"] for row in counting),
        ood=max(row["ood"] for row in counting),
        model_digest=counting[0]["model_digest"],
        scanner=counting[0]["station"],
        embedding=unpack(counting[0]["embedding"]),
    )
