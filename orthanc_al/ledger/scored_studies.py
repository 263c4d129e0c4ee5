"""What selection chooses from, and what it knows by then: scored studies, audits, and what was asked."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, RowMapping, func, literal, select

from orthanc_al.domain import StudyState
from orthanc_al.ledger.predictions import unpack
from orthanc_al.ledger.schema import predictions, reads, selections, studies
from orthanc_al.ledger.selections import AUDIT, QUERY


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
        float32, shape (d,); empty where it was not asked for.
    """

    study_instance_uid: str
    patient_key: str
    probabilities: tuple[float, ...]
    ood: float
    model_digest: str
    scanner: str = ""
    embedding: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))


def recently_scored(connection: Connection, limit: int, *, but: str = "") -> list[ScoredStudy]:
    """Return studies of the ``limit`` newest predictions, newest first, the one named by ``but`` left out."""
    rows = select(predictions.c.study_instance_uid).order_by(predictions.c.id.desc()).limit(limit).subquery()
    return [one for one in _scored(connection, rows.c.study_instance_uid) if one.study_instance_uid != but]


def unasked_since(connection: Connection, since: float) -> list[ScoredStudy]:
    """Return studies placed since a time that are neither drawn nor read: whom the day's end may ask.

    They come with their embeddings.
    """
    drawn = select(selections.c.study_instance_uid)
    waiting = select(studies.c.study_instance_uid).where(
        studies.c.placed_at >= since,
        studies.c.state == StudyState.SCORED.value,
        studies.c.blind.is_(False),
        studies.c.study_instance_uid.not_in(drawn),
        studies.c.study_instance_uid.not_in(select(reads.c.study_instance_uid)),
    )
    return _scored(connection, waiting.subquery().c.study_instance_uid, embeddings=True)


def scored_since(connection: Connection, since: float) -> tuple[int, float | None]:
    """Return how many studies were scored since a time, and when the first of them was."""
    query = select(
        func.count(func.distinct(predictions.c.study_instance_uid)), func.min(predictions.c.scored_at)
    ).where(predictions.c.scored_at >= since)
    row = connection.execute(query).one()
    return int(row[0]), row[1]


def confirmed_positives(connection: Connection) -> int:
    """Return how many studies have a finding that a person confirmed."""
    query = select(func.count(func.distinct(reads.c.study_instance_uid))).where(
        reads.c.state == "counts", reads.c.value == "present"
    )
    return int(connection.execute(query).scalar_one())


def audited_scores(connection: Connection, model_digest: str) -> list[tuple[float, bool]]:
    """Return logit and confirmed presence of each audited finding that a package scored."""
    query = (
        select(predictions.c.logit, reads.c.value)
        .join(selections, selections.c.study_instance_uid == predictions.c.study_instance_uid)
        .join(
            reads,
            (reads.c.study_instance_uid == predictions.c.study_instance_uid)
            & (reads.c.finding == predictions.c.finding),
        )
        .where(
            selections.c.kind == AUDIT,
            predictions.c.model_digest == model_digest,
            reads.c.state == "counts",
            reads.c.value.in_(("present", "absent")),
        )
    )
    return [(float(row[0]), row[1] == "present") for row in connection.execute(query)]


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


def _scored(connection: Connection, uids: object, *, embeddings: bool = False) -> list[ScoredStudy]:
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
            predictions.c.embedding if embeddings else literal(b"").label("embedding"),
        )
        .join(studies, studies.c.study_instance_uid == predictions.c.study_instance_uid)
        .where(predictions.c.study_instance_uid.in_(select(uids)))  # type: ignore[call-overload]  # a column
        .order_by(predictions.c.id.desc())
    ).mappings()
    found: dict[str, list[RowMapping]] = {}
    for row in rows:
        found.setdefault(row["study_instance_uid"], []).append(row)
    return [_newest(uid, mine) for uid, mine in found.items()]


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
