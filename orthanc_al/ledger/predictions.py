"""What models said: of each image (`image_scores`) and of each study (`predictions`).

None of it may be shown while the study is blind; `orthanc_al.ledger.worklist` is what pages read.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, RowMapping, Table, bindparam, delete, func, select, update

from orthanc_al.domain import ImageScore, ModelRef, Prediction, Region, Tier
from orthanc_al.domain.geometry import SlicePlace
from orthanc_al.ledger.schema import image_scores, predictions
from orthanc_al.ledger.upserts import upsert

_FLOAT = np.dtype("<f4")

# Asked for with each study: to make a statement costs more than to run it.
_SCORES: Final = (
    select(image_scores)
    .where(
        image_scores.c.instance_id.in_(bindparam("ids", expanding=True)),
        image_scores.c.model_digest == bindparam("digest"),
    )
    .order_by(image_scores.c.instance_id, image_scores.c.frame)
)
_OF_STUDY: Final = select(predictions).where(predictions.c.study_instance_uid == bindparam("uid"))
_OF_REVISION: Final = _OF_STUDY.where(predictions.c.revision == bindparam("of_revision"))
_NEWEST: Final = select(func.max(predictions.c.revision)).where(
    predictions.c.study_instance_uid == bindparam("uid")
)
_LATEST: Final = _OF_STUDY.where(predictions.c.revision == _NEWEST.scalar_subquery())
_PLACE: Final = (
    update(predictions)
    .where(
        predictions.c.study_instance_uid == bindparam("uid"),
        predictions.c.revision == bindparam("of_revision"),
        predictions.c.model_digest == bindparam("digest"),
        predictions.c.finding == bindparam("of_finding"),
    )
    .values(tier=bindparam("to_tier"), why=bindparam("to_why"), read_by=bindparam("to_read_by"))
)


@dataclass(frozen=True, slots=True)
class ScoredImage:
    """What a model's network gave for one frame, and how long that took, in seconds."""

    score: ImageScore
    model_digest: str
    decode_seconds: float = 0.0
    run_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class StoredPrediction:
    """A prediction with where it comes from.

    Attributes
    ----------
    model
        The package that made it.
    instance_id, frame
        The image that decided it.
    images
        How many images were scored.
    embedding
        float32, shape (d,): of the deciding image.
    why, read_by
        By triage, None before it. ``read_by`` is in minutes since 1970.
    scored_at
        Seconds since 1970, UTC.
    """

    prediction: Prediction
    model: ModelRef
    instance_id: str
    frame: int
    images: int
    embedding: NDArray[np.float32]
    scored_at: float
    why: str | None = None
    read_by: int | None = None


def put_image_scores(connection: Connection, scores: Sequence[ScoredImage]) -> None:
    """Write scores of images; the same image and model again is overwritten by the same values."""
    rows = [
        {
            "instance_id": scored.score.instance_id,
            "frame": scored.score.frame,
            "model_digest": scored.model_digest,
            "logits": [float(logit) for logit in scored.score.logits],
            "embedding": pack(scored.score.embedding),
            "regions": [_corners(region) for region in scored.score.regions],
            "place": _numbers(scored.score.place),
            "decode_seconds": scored.decode_seconds,
            "run_seconds": scored.run_seconds,
        }
        for scored in scores
    ]
    _put(connection, image_scores, rows, ["instance_id", "frame", "model_digest"])


def drop_image_scores(connection: Connection, keys: Collection[tuple[str, str, int]]) -> None:
    """Remove scores by model digest, instance id and frame: of slices that have no part in a result."""
    for digest, instance_id, frame in keys:
        key = (
            image_scores.c.model_digest == digest,
            image_scores.c.instance_id == instance_id,
            image_scores.c.frame == frame,
        )
        connection.execute(delete(image_scores).where(*key))


def image_scores_of(
    connection: Connection, instance_ids: Collection[str], model_digest: str
) -> list[ImageScore]:
    """Return the scores that one model gave to images, by instance id and frame."""
    return [
        ImageScore(
            instance_id=row["instance_id"],
            frame=row["frame"],
            logits=np.asarray(row["logits"], np.float32),
            embedding=unpack(row["embedding"]),
            regions=tuple(None if corners is None else Region(*corners) for corners in row["regions"]),
            place=_place(row["place"]),
        )
        for row in connection.execute(_SCORES, {"ids": list(instance_ids), "digest": model_digest}).mappings()
    ]


def put(connection: Connection, stored: Sequence[StoredPrediction]) -> None:
    """Write predictions; those of the same study, revision, model and finding are overwritten."""
    rows = [
        {
            "study_instance_uid": one.prediction.study_instance_uid,
            "revision": one.prediction.revision,
            "model_name": one.model.name,
            "model_version": one.model.version,
            "model_digest": one.model.digest,
            "finding": one.prediction.finding,
            "logit": one.prediction.logit,
            "probability": one.prediction.probability,
            "std": one.prediction.std,
            "ood": one.prediction.ood,
            "instance_id": one.instance_id,
            "frame": one.frame,
            "images": one.images,
            "embedding": pack(one.embedding),
            "tier": None if one.why is None else one.prediction.tier.value,
            "why": one.why,
            "read_by": one.read_by,
            "scored_at": one.scored_at,
        }
        for one in stored
    ]
    _put(connection, predictions, rows, ["study_instance_uid", "revision", "model_digest", "finding"])


def place(connection: Connection, placed: Sequence[tuple[Prediction, Tier, str, int]]) -> None:
    """Write what triage made of predictions; the worklist learns of it by the step ``select`` alone.

    Parameters
    ----------
    placed
        At least one: the prediction, its tier, why, and when it is to be read (minutes since 1970).
    """
    rows = [
        {
            "uid": said.study_instance_uid,
            "of_revision": said.revision,
            "digest": said.model_digest,
            "of_finding": said.finding,
            "to_tier": tier.value,
            "to_why": why,
            "to_read_by": read_by,
        }
        for said, tier, why, read_by in placed
    ]
    connection.execute(_PLACE, rows)


def of_revision(connection: Connection, study_instance_uid: str, revision: int) -> list[StoredPrediction]:
    """Return what the newest scoring of each model says of this revision of a study.

    A model that was promoted between two scorings of a revision leaves the older version's row; only
    the newer one's counts.
    """
    own = {"uid": study_instance_uid, "of_revision": revision}
    return _counting(connection.execute(_OF_REVISION, own).mappings().all())


def latest(connection: Connection, study_instance_uid: str) -> list[StoredPrediction]:
    """Return the predictions of the newest revision that has any, as `of_revision` does."""
    return _counting(connection.execute(_LATEST, {"uid": study_instance_uid}).mappings().all())


def _counting(rows: Sequence[RowMapping]) -> list[StoredPrediction]:
    newest: dict[str, RowMapping] = {}
    for row in rows:
        if row["model_name"] not in newest or row["scored_at"] >= newest[row["model_name"]]["scored_at"]:
            newest[row["model_name"]] = row
    digests = {row["model_digest"] for row in newest.values()}
    counting = [row for row in rows if row["model_digest"] in digests]
    return [_stored(row) for row in sorted(counting, key=lambda row: (row["model_name"], row["finding"]))]


def pack(embedding: NDArray[np.float32]) -> bytes:
    """Return an embedding as the ledger keeps it: float32, little endian."""
    return np.ascontiguousarray(embedding, _FLOAT).tobytes()


def unpack(packed: bytes) -> NDArray[np.float32]:
    """Return the embedding, float32 of shape (d,), that `pack` made bytes of."""
    return np.frombuffer(packed, _FLOAT).astype(np.float32)


def _put(connection: Connection, table: Table, rows: list[dict[str, Any]], keys: Sequence[str]) -> None:
    if rows:
        upsert(connection, table, rows, keys, [name for name in rows[0] if name not in keys])


def _corners(region: Region | None) -> list[float] | None:
    return None if region is None else [region.left, region.top, region.right, region.bottom]


def _numbers(place: SlicePlace | None) -> list[float] | None:
    return None if place is None else [*place.position, *place.orientation, place.rows, place.columns]


def _place(numbers: list[float] | None) -> SlicePlace | None:
    if numbers is None:
        return None
    x, y, z, a, b, c, d, e, f, rows, columns = numbers
    return SlicePlace((x, y, z), (a, b, c, d, e, f), int(rows), int(columns))


def _stored(row: RowMapping) -> StoredPrediction:
    return StoredPrediction(
        prediction=Prediction(
            study_instance_uid=row["study_instance_uid"],
            revision=row["revision"],
            model_digest=row["model_digest"],
            finding=row["finding"],
            logit=row["logit"],
            probability=row["probability"],
            std=row["std"],
            ood=row["ood"],
            tier=Tier(row["tier"] or Tier.NONE),
        ),
        model=ModelRef(row["model_name"], row["model_version"], row["model_digest"]),
        instance_id=row["instance_id"],
        frame=row["frame"],
        images=row["images"],
        embedding=unpack(row["embedding"]),
        scored_at=row["scored_at"],
        why=row["why"],
        read_by=row["read_by"],
    )
