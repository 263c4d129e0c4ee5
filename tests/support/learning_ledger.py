"""Studies, predictions and reads put straight into a ledger: what selection and learning start from."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from sqlalchemy import Connection, insert, update

from orthanc_al.domain import ModelRef, Prediction, ReadSource, ReadValue, StudyState, Tier
from orthanc_al.ledger import predictions
from orthanc_al.ledger.predictions import StoredPrediction
from orthanc_al.ledger.schema import reads, studies

MODEL = ModelRef("cxr", "1", "a" * 64)
FINDING = "pneumonia"


def put_study(
    connection: Connection,
    uid: str,
    *,
    patient: str | None = None,
    arrived_at: float = 0.0,
    state: StudyState = StudyState.SCORED,
    **columns: object,
) -> None:
    """A complete study of one revision, at its neutral place on the worklist."""
    connection.execute(
        insert(studies).values(
            study_instance_uid=uid,
            patient_key=patient or f"patient-of-{uid}",
            modality="CR",
            state=state.value,
            revision=1,
            completed_revision=1,
            arrived_at=arrived_at,
            last_received_at=arrived_at,
            read_by=int(arrived_at / 60) + 240,
            **columns,
        )
    )


def put_prediction(
    connection: Connection,
    uid: str,
    logit: float,
    *,
    scored_at: float = 0.0,
    embedding: ArrayLike = (0.0,),
    ood: float = 0.5,
    model: ModelRef = MODEL,
    revision: int = 1,
    finding: str = FINDING,
    triaged: bool = True,
) -> None:
    """What score and triage write; the tier is high above one half."""
    probability = float(expit(logit))
    tier = Tier.HIGH if probability > 0.5 else Tier.REVIEW
    said = Prediction(uid, revision, model.digest, finding, logit, probability, 0.0, ood, tier)
    placed = {"why": f"{finding} {probability:.2f}", "read_by": int(scored_at / 60) + 15} if triaged else {}
    predictions.put(
        connection,
        [
            StoredPrediction(
                said, model, "i" * 32, 1, 1, np.asarray(embedding, np.float32), scored_at, **placed
            )
        ],
    )


def put_read(
    connection: Connection,
    uid: str,
    present: bool,
    *,
    at: float = 0.0,
    finding: str = FINDING,
    state: str = "counts",
    ai_shown: bool = False,
) -> None:
    """A verified read by a person."""
    connection.execute(
        insert(reads).values(
            study_instance_uid=uid,
            finding=finding,
            value=(ReadValue.PRESENT if present else ReadValue.ABSENT).value,
            source=ReadSource.VERIFIED_SR.name,
            rank=int(ReadSource.VERIFIED_SR),
            reader="Reader^One",
            read_at=at,
            received_at=at,
            reference=f"read-of-{uid}",
            ai_shown=ai_shown,
            state=state,
        )
    )


def add_revision(connection: Connection, uid: str, revision: int) -> None:
    """More images came."""
    connection.execute(update(studies).where(studies.c.study_instance_uid == uid).values(revision=revision))
