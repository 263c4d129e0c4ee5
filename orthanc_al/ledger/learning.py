"""What is learned from: labelled cases, patients' folds, data sets, and the record of each decision."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, RowMapping, and_, insert, select, true

from orthanc_al.domain import Attributes, ReadValue
from orthanc_al.ledger import history
from orthanc_al.ledger.predictions import unpack
from orthanc_al.ledger.schema import (
    change_records as records,
)
from orthanc_al.ledger.schema import (
    patient_folds,
    predictions,
    reads,
    selections,
    studies,
)
from orthanc_al.ledger.selections import AUDIT
from orthanc_al.ledger.upserts import upsert


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
    instance_id, frame
        The image that decided the study.
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
    instance_id: str | None = None
    frame: int = 1

    @property
    def attributes(self) -> Attributes:
        """What of it makes groups."""
        return Attributes(
            self.station, self.sex, self.birth_date, self.modality, self.body_part, self.arrived_at
        )


def labelled_cases(
    connection: Connection, model_digests: Collection[str], backbone: str = ""
) -> list[LabelledCase]:
    """Return each counting read (present or absent) with the newest prediction by one of these packages.

    Parameters
    ----------
    model_digests
        Packages whose embeddings are the same (`orthanc_al.ledger.lineage.family`).
    backbone
        The package that gave them their backbone: where it was fine-tuned, cases from before it have the
        embeddings that it gave out of the training cache (`orthanc_al.ledger.history`).

    Returns
    -------
    list[LabelledCase]
        Ordered by Study Instance UID and finding.
    """
    newest = _newest(connection, predictions.c.model_digest.in_(model_digests))
    embedded = history.of(connection, backbone) if backbone else {}
    if set(embedded) - set(newest):
        for key, known in _newest(connection, true()).items():
            if key in embedded and key not in newest:
                embedding, ood = embedded[key]
                newest[key] = replace(known, embedding=embedding, ood=ood)
    return [newest[key] for key in sorted(newest)]


def _newest(connection: Connection, by: ColumnElement[bool]) -> dict[tuple[str, str], LabelledCase]:
    """Return the case of each (Study Instance UID, finding) with the newest of these predictions."""
    query = (
        select(
            reads.c.value,
            reads.c.ai_shown,
            predictions.c.finding,
            predictions.c.embedding,
            predictions.c.ood,
            predictions.c.instance_id,
            predictions.c.frame,
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
            by,
        )
        .order_by(
            predictions.c.revision,
            predictions.c.id,
            reads.c.received_at,
            reads.c.id,
            selections.c.kind.desc(),
        )
    )
    return {
        (row["study_instance_uid"], row["finding"]): _case(row)
        for row in connection.execute(query).mappings()  # an audit's row comes after a query's
    }


def audited_patients(connection: Connection) -> dict[str, str]:
    """Return the fold of each patient that has an audited study, read or not: that of the first draw."""
    query = (
        select(studies.c.patient_key, selections.c.fold)
        .join(studies, studies.c.study_instance_uid == selections.c.study_instance_uid)
        .where(selections.c.kind == AUDIT)
        .order_by(selections.c.decided_at.desc(), selections.c.id.desc())  # the first draw is written last
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


def was_judged(connection: Connection, champion: str, version: str) -> bool:
    """Whether the candidate that has this version was judged against this champion already.

    Parameters
    ----------
    version
        Or what its version begins with, up to a dot.
    """
    query = select(records.c.content).where(records.c.champion == champion)
    judged = (content for content in connection.execute(query).scalars() if "charts" not in content)
    return any(f"{content['candidate_version']}.".startswith(f"{version}.") for content in judged)


def was_told(connection: Connection, champion: str, since: float) -> bool:
    """Whether an alarm of a champion's audits has been recorded from a time on."""
    query = select(records.c.id).where(
        records.c.champion == champion, records.c.verdict.in_(("alarm", "withdrawn")), records.c.at >= since
    )
    return connection.execute(query).first() is not None


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
        instance_id=row["instance_id"],
        frame=row["frame"],
        modality=row["modality"],
        body_part=row["body_part"],
    )
