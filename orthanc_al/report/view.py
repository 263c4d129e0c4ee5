"""What the ledger says that bears on a study's report, and what follows from it."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from orthanc_al.domain import ImageScore, derived_uid
from orthanc_al.ledger import instances, models, predictions, reports, selections
from orthanc_al.ledger.instances import KnownInstance
from orthanc_al.ledger.models import RegisteredModel
from orthanc_al.ledger.predictions import StoredPrediction
from orthanc_al.ledger.reports import Kind, OwnReport
from orthanc_al.report.described import DescribedFinding
from orthanc_al.report.result import Identity, ImageFinding, StudyFinding

_MOST_IMAGES: Final = 20
_SERIES_NUMBER: Final[Mapping[Kind, int]] = {"sr": 9801, "kos": 9802, "picture": 9805}


@dataclass(frozen=True, slots=True)
class ModelView:
    """What one model says of a study, as the ledger has it."""

    model: RegisteredModel
    predictions: tuple[StoredPrediction, ...]
    scores: tuple[ImageScore, ...]
    predecessor: OwnReport | None


@dataclass(frozen=True, slots=True)
class StudyView:
    """What the ledger says that bears on a study's report.

    Attributes
    ----------
    asked
        Whether the radiologist is asked, and has not answered yet.
    images
        By instance id: those that count for the score and whose file is in the spool.
    made
        SOP Instance UIDs of our objects that there are already.
    """

    study_instance_uid: str
    revision: int
    asked: bool
    images: Mapping[str, KnownInstance]
    models: tuple[ModelView, ...]
    made: Collection[str]


def look(connection: Connection, uid: str, found: Sequence[StoredPrediction]) -> StudyView:
    """Return what bears on the report of a study that has these predictions."""
    images = {
        known.instance.id: known
        for known in instances.images_of(instances.of_study(connection, uid))
        if known.spooled
    }
    query = selections.of_study(connection, uid).get(selections.QUERY)
    by_digest = {one.model.digest: one.model for one in found}
    return StudyView(
        study_instance_uid=uid,
        revision=found[0].prediction.revision if found else 0,
        asked=query is not None and query.signed_at is None,
        images=images,
        models=tuple(_model(connection, uid, digest, found, images) for digest in by_digest),
        made=reports.uids_of(connection, uid),
    )


def _model(
    connection: Connection,
    uid: str,
    digest: str,
    found: Sequence[StoredPrediction],
    images: Mapping[str, KnownInstance],
) -> ModelView:
    model = models.get(connection, digest)
    scores = predictions.image_scores_of(connection, images.keys(), digest)
    return ModelView(
        model=model,
        predictions=tuple(said for said in found if said.model.digest == digest),
        # Instance ids are drawn at random: the order must come from what the report is about.
        scores=tuple(sorted(scores, key=lambda one: (_sop_uid(images, one), one.frame))),
        predecessor=reports.last_sr(connection, uid, model.ref.name),
    )


def identity_of(view: StudyView, one: ModelView, kind: Kind, about: str = "") -> Identity:
    """Return the UIDs of an object: they follow from study, set of instances, model package and kind.

    Parameters
    ----------
    about
        A finding, where there is an object for each; empty where there is one for all.
    """
    uid = view.study_instance_uid
    content = sorted(
        f"{view.images[key].instance.sop_instance_uid} {view.images[key].instance.sha256}"
        for key in scored_ids(one.scores)
    )
    return Identity(
        sop_instance_uid=derived_uid(
            uid,
            hashlib.sha256("\n".join(content).encode()).hexdigest(),
            one.model.ref.digest,
            kind,
            *([about] if about else []),
        ),
        series_instance_uid=derived_uid(uid, one.model.ref.name, kind, "series"),
        series_number=_SERIES_NUMBER[kind],
    )


def finding_of(
    said: StoredPrediction, one: ModelView, view: StudyView, known: Mapping[str, DescribedFinding]
) -> StudyFinding:
    """Return a prediction as the report tells it, with what it says of each scored frame."""
    about = known[said.prediction.finding]
    decided = (said.instance_id, said.frame)
    scores = sorted(one.scores, key=lambda score: (score.instance_id, score.frame) != decided)
    if len(scores) > _MOST_IMAGES:  # a report is read by people: of a stack of slices the highest are told
        highest = sorted(scores[1:], key=lambda score: -float(score.logits[about.index]))
        scores = [scores[0], *highest[: _MOST_IMAGES - 1]]
    return StudyFinding(
        tier=said.prediction.tier,
        std=said.prediction.std,
        images=tuple(
            ImageFinding(
                finding=about.finding,
                sop_instance_uid=_sop_uid(view.images, score),
                frame=score.frame,
                probability=float(about.calibrator.probability(score.logits[about.index])),
                region=score.regions[about.index],
            )
            for score in scores
        ),
    )


def _sop_uid(images: Mapping[str, KnownInstance], score: ImageScore) -> str:
    return images[score.instance_id].instance.sop_instance_uid


def scored_ids(scores: Sequence[ImageScore]) -> list[str]:
    """Return the scored instances, each once, in their order."""
    return list(dict.fromkeys(score.instance_id for score in scores))
