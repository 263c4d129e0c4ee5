"""Reads beside what the model said of the study when it was read: for the figure of automation bias."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from orthanc_al.domain import ReadValue
from orthanc_al.ledger.schema import predictions, reads, selections
from orthanc_al.ledger.selections import AUDIT


@dataclass(frozen=True, slots=True)
class ComparedRead:
    """A counting read of a finding, and the probability that the model gave it.

    Attributes
    ----------
    probability
        Calibrated, of the newest scoring before the read.
    present
        What the reader said.
    shown
        Whether a result could be seen: False is a blind read of an audit case.
    """

    probability: float
    present: bool
    shown: bool


def compared_reads(
    connection: Connection, model_name: str, finding: str, *, since: float = 0.0
) -> list[ComparedRead]:
    """Return the reads that `orthanc_al.methods.automation_bias` compares, in the order of their time.

    Those are reads with a result in view, and blind reads of audit cases. A read that was made before any
    result was there, of a study that nobody drew, is neither.

    Parameters
    ----------
    since
        Seconds since 1970: reads from then on.
    """
    query = (
        select(
            reads.c.id,
            reads.c.value,
            reads.c.ai_shown,
            predictions.c.probability,
        )
        .join(
            predictions,
            (predictions.c.study_instance_uid == reads.c.study_instance_uid)
            & (predictions.c.finding == reads.c.finding),
        )
        .join(
            selections,
            (selections.c.study_instance_uid == reads.c.study_instance_uid) & (selections.c.kind == AUDIT),
            isouter=True,
        )
        .where(
            reads.c.state == "counts",
            reads.c.value.in_((ReadValue.PRESENT.value, ReadValue.ABSENT.value)),
            reads.c.finding == finding,
            reads.c.read_at >= since,
            predictions.c.model_name == model_name,
            predictions.c.scored_at <= reads.c.read_at,
            reads.c.ai_shown | selections.c.id.is_not(None),
        )
        .order_by(reads.c.read_at, reads.c.id, predictions.c.scored_at, predictions.c.id)
    )
    newest = {
        row["id"]: ComparedRead(row["probability"], row["value"] == ReadValue.PRESENT.value, row["ai_shown"])
        for row in connection.execute(query).mappings()
    }
    return list(newest.values())
