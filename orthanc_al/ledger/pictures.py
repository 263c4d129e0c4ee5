"""Which image stands for a study on a list, behind the curtain: of a hidden study the first that came."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select

from orthanc_al.domain import Region
from orthanc_al.ledger import curtain
from orthanc_al.ledger.schema import image_scores, instances, models, predictions, studies, training_cache


@dataclass(frozen=True, slots=True)
class Marking:
    """The regions of one image by one model, a finding each, in the order of its package."""

    model_digest: str
    folder: Path
    finding: str
    regions: tuple[Region | None, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """The image that stands for a study.

    Attributes
    ----------
    frame
        1-based frame number.
    spooled
        Whether its file is in the spool.
    cached
        Name of its model input in the training cache; empty where none is, or none may be shown.
    marking
        None where there is no result, or none to be shown.
    """

    instance_id: str
    frame: int
    spooled: bool
    cached: str
    marking: Marking | None


def of_study(connection: Connection, study_instance_uid: str, hidden_since: float) -> Picture | None:
    """Return the image that stands for a study, None where there is none.

    Parameters
    ----------
    hidden_since
        Seconds since 1970: a study without a shown result is shown only while each study's files are
        sure to be here. The files of a blind one are kept longer, and must not tell that it is one.
    """
    shown = _deciding(connection, study_instance_uid)
    if shown is not None:
        return shown
    query = (
        select(instances.c.id)
        .join(studies, studies.c.study_instance_uid == instances.c.study_instance_uid)
        .where(
            instances.c.study_instance_uid == study_instance_uid,
            instances.c.kind == "image",
            instances.c.spooled,
            instances.c.received_at >= hidden_since,
        )
        .order_by(instances.c.received_at, instances.c.id)
        .limit(1)
    )
    found = connection.execute(query).scalar()
    return None if found is None else Picture(found, 1, spooled=True, cached="", marking=None)


def _deciding(connection: Connection, uid: str) -> Picture | None:
    """Return the image that decided the newest result that may be shown."""
    query = (
        select(
            predictions.c.instance_id,
            predictions.c.frame,
            predictions.c.finding,
            predictions.c.model_digest,
            models.c.folder,
            instances.c.spooled,
            image_scores.c.regions,
            training_cache.c.file,
        )
        .join(studies, studies.c.study_instance_uid == predictions.c.study_instance_uid)
        .join(instances, instances.c.id == predictions.c.instance_id)
        .outerjoin(models, models.c.digest == predictions.c.model_digest)
        .outerjoin(
            image_scores,
            (image_scores.c.instance_id == predictions.c.instance_id)
            & (image_scores.c.frame == predictions.c.frame)
            & (image_scores.c.model_digest == predictions.c.model_digest),
        )
        .outerjoin(
            training_cache,
            (training_cache.c.instance_id == predictions.c.instance_id)
            & (training_cache.c.frame == predictions.c.frame),
        )
        .where(predictions.c.study_instance_uid == uid, curtain.shown_prediction())
        .order_by(predictions.c.revision.desc(), predictions.c.read_by, predictions.c.probability.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    marking = None
    if row.regions and row.folder is not None:
        regions = tuple(None if corners is None else Region(*corners) for corners in row.regions)
        marking = Marking(row.model_digest, Path(row.folder), row.finding, regions)
    return Picture(row.instance_id, row.frame, bool(row.spooled), row.file or "", marking)
