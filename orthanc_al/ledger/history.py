"""Embeddings of labelled cases from before a fine-tuned backbone, made from the training cache."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from orthanc_al.ledger.predictions import pack, unpack
from orthanc_al.ledger.schema import history_embeddings
from orthanc_al.ledger.upserts import upsert


@dataclass(frozen=True, slots=True)
class HistoryEmbedding:
    """What a backbone gives for a finding of a study that it never scored.

    Attributes
    ----------
    embedding
        float32, shape (d,).
    ood
        Distance over the limit of the package's domain.
    """

    study_instance_uid: str
    finding: str
    embedding: NDArray[np.float32]
    ood: float


def put(connection: Connection, digest: str, rows: Sequence[HistoryEmbedding], at: float) -> None:
    """Write the embeddings by the backbone of the package ``digest``."""
    keys = ["study_instance_uid", "finding", "model_digest"]
    for row in rows:
        values = {
            "study_instance_uid": row.study_instance_uid,
            "finding": row.finding,
            "model_digest": digest,
            "embedding": pack(row.embedding),
            "ood": row.ood,
            "at": at,
        }
        upsert(connection, history_embeddings, values, keys, ["embedding", "ood", "at"])


def of(connection: Connection, digest: str) -> dict[tuple[str, str], tuple[NDArray[np.float32], float]]:
    """Return embedding and distance by (Study Instance UID, finding) that a package's backbone gave."""
    query = select(history_embeddings).where(history_embeddings.c.model_digest == digest)
    return {
        (row["study_instance_uid"], row["finding"]): (unpack(row["embedding"]), row["ood"])
        for row in connection.execute(query).mappings()
    }
