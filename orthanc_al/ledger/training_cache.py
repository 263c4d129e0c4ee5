"""The rows of the training cache, and how a person is taken out of the ledger."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, delete, func, select, update

from orthanc_al.ledger import datasets, patients
from orthanc_al.ledger.schema import (
    history_embeddings,
    image_scores,
    instances,
    patient_folds,
    predictions,
    reads,
    selections,
    shadow_scores,
    studies,
    training_cache,
)
from orthanc_al.ledger.upserts import upsert

_FORGOTTEN: Final = "forgotten"


@dataclass(frozen=True, slots=True)
class WantedInput:
    """An image whose model input should be kept: it decided a study that is labelled or audited."""

    study_instance_uid: str
    patient_key: str
    instance_id: str
    frame: int
    model_name: str


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was removed of a person, in rows; ``files`` are those of the training cache, to be removed.

    Attributes
    ----------
    spooled
        Files that the spool still has; they go with ``storage.keep_days``.
    """

    studies: int
    reads: int
    predictions: int
    selections: int
    files: tuple[str, ...]
    spooled: int


def wanted(connection: Connection) -> list[WantedInput]:
    """Return the images of labelled and audited studies that the cache lacks and the spool still has."""
    labelled = select(reads.c.study_instance_uid).where(reads.c.state == "counts")
    drawn = select(selections.c.study_instance_uid)
    kept = select(training_cache.c.instance_id)
    query = (
        select(
            predictions.c.study_instance_uid,
            studies.c.patient_key,
            predictions.c.instance_id,
            predictions.c.frame,
            predictions.c.model_name,
        )
        .distinct()
        .join(instances, instances.c.id == predictions.c.instance_id)
        .join(studies, studies.c.study_instance_uid == predictions.c.study_instance_uid)
        .where(
            instances.c.spooled,
            predictions.c.instance_id.not_in(kept),
            predictions.c.study_instance_uid.in_(labelled.union(drawn)),
        )
        .order_by(predictions.c.study_instance_uid, predictions.c.instance_id, predictions.c.frame)
    )
    return [WantedInput(*row) for row in connection.execute(query)]


def add(connection: Connection, image: WantedInput, file: str, preprocessing: str, at: float) -> None:
    """Note that the input of an image is kept in ``file``."""
    values = {
        "study_instance_uid": image.study_instance_uid,
        "instance_id": image.instance_id,
        "frame": image.frame,
        "patient_key": image.patient_key,
        "file": file,
        "preprocessing": preprocessing,
        "created_at": at,
    }
    keys = ["study_instance_uid", "instance_id", "frame"]
    upsert(connection, training_cache, values, keys, ["file", "preprocessing"])


def files(connection: Connection) -> dict[tuple[str, str, int], str]:
    """Return the names of the cached inputs by (Study Instance UID, instance, frame)."""
    rows = connection.execute(select(training_cache)).mappings()
    return {(row["study_instance_uid"], row["instance_id"], row["frame"]): row["file"] for row in rows}


def forget(connection: Connection, patient_key: str) -> Forgotten:
    """Remove a person: reads, predictions, draws, folds and cache rows go, studies lose their identity.

    What stays are instances and deliveries by UID: that an object was received and passed on is the
    record that nothing was lost (promise 3), and holds no person.
    """
    own = select(studies.c.study_instance_uid).where(studies.c.patient_key == patient_key)
    uids = list(connection.execute(own).scalars())
    images = select(instances.c.id).where(instances.c.study_instance_uid.in_(uids))
    spooled = select(func.count()).where(instances.c.study_instance_uid.in_(uids), instances.c.spooled)
    files = select(training_cache.c.file).where(training_cache.c.patient_key == patient_key)
    forgotten = Forgotten(
        studies=len(uids),
        files=tuple(connection.execute(files).scalars()),
        spooled=int(connection.execute(spooled).scalar_one()),
        reads=_drop(connection, reads, uids),
        predictions=_drop(connection, predictions, uids),
        selections=_drop(connection, selections, uids),
    )
    connection.execute(delete(image_scores).where(image_scores.c.instance_id.in_(images)))
    connection.execute(delete(training_cache).where(training_cache.c.patient_key == patient_key))
    connection.execute(delete(patient_folds).where(patient_folds.c.patient_key == patient_key))
    patients.drop(connection, patient_key)
    for table in (shadow_scores, history_embeddings):
        _drop(connection, table, uids)
    datasets.drop(connection, set(uids))
    nobody = dict.fromkeys(
        ("patient_id", "patient_name", "birth_date", "sex", "accession_number", "description"), ""
    )
    connection.execute(
        update(studies)
        .where(studies.c.study_instance_uid.in_(uids))
        .values(**nobody, patient_key=_FORGOTTEN, tier="none", why="", blind=False)
    )
    return forgotten


def _drop(connection: Connection, table: Any, uids: Collection[str]) -> int:
    return int(connection.execute(delete(table).where(table.c.study_instance_uid.in_(uids))).rowcount)
