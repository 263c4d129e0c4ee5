"""What is learned from: labelled cases, patients' folds, data sets, and the record of each decision."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, RowMapping, and_, case, exists, func, insert, select

from orthanc_al.domain import Attributes, ReadValue
from orthanc_al.ledger.engine import upsert
from orthanc_al.ledger.predictions import unpack
from orthanc_al.ledger.schema import (
    change_records as records,
)
from orthanc_al.ledger.schema import (
    datasets,
    patient_folds,
    predictions,
    reads,
    selections,
    studies,
)
from orthanc_al.ledger.selections import AUDIT


@dataclass(frozen=True, slots=True)
class LabelledCase:
    """A finding of a study that a person confirmed or denied, and what the network gave for it.

    Attributes
    ----------
    kind
        ``audit``, ``query``, or ``unasked``: read without having been drawn.
    propensity
        pi of the draw; 0 where it was not drawn.
    fold
        Of an audit: what its label may serve for. None else.
    ai_shown
        Whether the reader could see a result of ours.
    embedding
        float32, shape (d,): of the image that decided the study.
    ood
        Distance over the domain's limit.
    birth_date
        As DICOM writes it (YYYYMMDD), empty where it is not known.
    arrived_at
        Seconds since 1970, UTC.
    """

    study_instance_uid: str
    finding: str
    present: bool
    patient_key: str
    kind: str
    propensity: float
    fold: str | None
    ai_shown: bool
    embedding: NDArray[np.float32]
    ood: float
    station: str
    sex: str
    birth_date: str
    arrived_at: float
    modality: str = ""
    body_part: str = ""

    @property
    def attributes(self) -> Attributes:
        """What of it makes groups."""
        return Attributes(
            self.station, self.sex, self.birth_date, self.modality, self.body_part, self.arrived_at
        )


@dataclass(frozen=True, slots=True)
class Response:
    """How many audits were drawn long enough ago, and how many of them gave a label.

    Taken off the worklist without a word on any finding, left undetermined, in conflict or read with the
    result in view: such an audit is as silent as one that nobody read, and no more missing at random.
    """

    drawn: int
    answered: int

    @property
    def unread_share(self) -> float:
        """Share that gave no label; 0 where none was drawn."""
        return 1.0 - self.answered / self.drawn if self.drawn else 0.0


@dataclass(frozen=True, slots=True)
class ResponseRule:
    """When audits that nobody answers take the low tier away.

    Attributes
    ----------
    after_seconds
        From the draw on, until an answer is missed.
    max_unread_share
        Share of the audits that may lack one.
    """

    after_seconds: float
    max_unread_share: float

    def holds(self, connection: Connection, time: float) -> bool:
        """Whether enough of the audits that were drawn long enough before ``time`` are answered."""
        response = audit_response(connection, time - self.after_seconds)
        return response.unread_share <= self.max_unread_share


def labelled_cases(connection: Connection, model_digests: Collection[str]) -> list[LabelledCase]:
    """Return each counting read (present or absent) with the newest prediction by one of these packages.

    Parameters
    ----------
    model_digests
        Packages whose embeddings are the same (`orthanc_al.ledger.models.family`).

    Returns
    -------
    list[LabelledCase]
        Ordered by Study Instance UID and finding.
    """
    query = (
        select(
            reads.c.value,
            reads.c.ai_shown,
            predictions.c.finding,
            predictions.c.embedding,
            predictions.c.ood,
            studies.c.study_instance_uid,
            studies.c.patient_key,
            studies.c.station,
            studies.c.sex,
            studies.c.birth_date,
            studies.c.arrived_at,
            studies.c.modality,
            studies.c.body_part,
            selections.c.kind,
            selections.c.propensity,
            selections.c.fold,
        )
        .join(predictions, _same_finding())
        .join(studies, studies.c.study_instance_uid == reads.c.study_instance_uid)
        .join(selections, selections.c.study_instance_uid == reads.c.study_instance_uid, isouter=True)
        .where(
            reads.c.state == "counts",
            reads.c.value.in_((ReadValue.PRESENT.value, ReadValue.ABSENT.value)),
            predictions.c.model_digest.in_(model_digests),
        )
        .order_by(
            predictions.c.revision,
            predictions.c.id,
            reads.c.received_at,
            reads.c.id,
            selections.c.kind.desc(),
        )
    )
    newest = {
        (row["study_instance_uid"], row["finding"]): _case(row)
        for row in connection.execute(query).mappings()  # an audit's row comes after a query's
    }
    return [newest[key] for key in sorted(newest)]


def audited_patients(connection: Connection) -> dict[str, str]:
    """Return the fold of each patient that has an audited study, read or not."""
    query = (
        select(studies.c.patient_key, selections.c.fold)
        .join(studies, studies.c.study_instance_uid == selections.c.study_instance_uid)
        .where(selections.c.kind == AUDIT)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def folds(connection: Connection) -> dict[str, str]:
    """Return the fold that each patient has, by patient key."""
    query = select(patient_folds.c.patient_key, patient_folds.c.fold)
    return {row[0]: row[1] for row in connection.execute(query)}


def keep_folds(connection: Connection, assigned: Mapping[str, str], at: float) -> None:
    """Write the folds of patients that have none; a patient stays in the fold that she first had."""
    rows = [{"patient_key": patient, "fold": fold, "at": at} for patient, fold in sorted(assigned.items())]
    if rows:
        upsert(connection, patient_folds, rows, ["patient_key"])


def audit_response(connection: Connection, drawn_before: float) -> Response:
    """Return how many of the audits that were drawn before a time gave a label."""
    answered = exists().where(
        reads.c.study_instance_uid == selections.c.study_instance_uid,
        reads.c.state == "counts",
        reads.c.value.in_((ReadValue.PRESENT.value, ReadValue.ABSENT.value)),
        reads.c.ai_shown.is_(False),
    )
    query = select(func.count(), func.count(case((answered, 1)))).where(
        selections.c.kind == AUDIT, selections.c.decided_at < drawn_before
    )
    row = connection.execute(query).one()
    return Response(int(row[0]), int(row[1]))


def add_dataset(connection: Connection, digest: str, content: dict[str, Any], at: float) -> None:
    """Write a data set under its digest; the same one again is the same row."""
    upsert(connection, datasets, {"digest": digest, "created_at": at, "content": content}, ["digest"])


def add_change_record(
    connection: Connection,
    *,
    model_name: str,
    champion: str,
    candidate: str | None,
    dataset_digest: str,
    verdict: str,
    content: dict[str, Any],
    at: float,
) -> None:
    """Write what was judged, on which data, and what came of it.

    Parameters
    ----------
    champion, candidate
        Digests; a candidate that is no package (it was not better) has None.
    verdict
        better, not_better, not_enough or refused.
    content
        All figures, as `orthanc_al.learn.records` writes them.
    """
    connection.execute(
        insert(records).values(
            at=at,
            model_name=model_name,
            candidate=candidate,
            champion=champion,
            dataset_digest=dataset_digest,
            verdict=verdict,
            content=content,
        )
    )


def change_records(connection: Connection, model_name: str) -> list[dict[str, Any]]:
    """Return the change records of a model, newest first."""
    query = select(records).where(records.c.model_name == model_name).order_by(records.c.id.desc())
    return [dict(row) for row in connection.execute(query).mappings()]


def was_judged(connection: Connection, champion: str, dataset_digest: str, version: str) -> bool:
    """Whether the candidate that has this version was judged against this champion already."""
    query = select(records.c.content).where(
        records.c.champion == champion, records.c.dataset_digest == dataset_digest
    )
    return any(content["candidate_version"] == version for content in connection.execute(query).scalars())


def _same_finding() -> ColumnElement[bool]:
    return and_(
        predictions.c.study_instance_uid == reads.c.study_instance_uid,
        predictions.c.finding == reads.c.finding,
    )


def _case(row: RowMapping) -> LabelledCase:
    return LabelledCase(
        study_instance_uid=row["study_instance_uid"],
        finding=row["finding"],
        present=row["value"] == ReadValue.PRESENT.value,
        patient_key=row["patient_key"],
        kind=row["kind"] or "unasked",
        propensity=row["propensity"] or 0.0,
        fold=row["fold"],
        ai_shown=row["ai_shown"],
        embedding=unpack(row["embedding"]),
        ood=row["ood"],
        station=row["station"],
        sex=row["sex"],
        birth_date=row["birth_date"],
        arrived_at=row["arrived_at"],
        modality=row["modality"],
        body_part=row["body_part"],
    )
