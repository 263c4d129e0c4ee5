"""What Orthanc's plugin asks of us beside reads: to look at what is new, and to score a study again."""

from typing import Final

from fastapi import APIRouter, HTTPException

from orthanc_al.domain import StudyState
from orthanc_al.ledger import enqueue, studies, trail, waiting, watched
from orthanc_al.pipeline import Step
from orthanc_al.web.auth import OrderedHere
from orthanc_al.web.context import Here
from orthanc_al.web.schemas import RescoreModel

router = APIRouter(prefix="/api/v1")

_COMPLETE: Final = (StudyState.COMPLETE, StudyState.SCORED, StudyState.INELIGIBLE, StudyState.READ)


@router.post("/orthanc/changed", status_code=202)
def say_changed(here: Here, _: OrderedHere) -> None:
    """Take the hint that Orthanc has something new: the watcher looks at once."""
    with here.ledger.write() as connection:
        watched.give_hint(connection)


@router.post(
    "/studies/{study_instance_uid}/rescore",
    status_code=202,
    responses={403: {"description": "A foreign page, or no X-Orthanc-AL header."}, 404: {}},
)
def score_again(here: Here, actor: OrderedHere, study_instance_uid: str) -> RescoreModel:
    """Put a study that is complete back on the queue, and whatever of it was quarantined."""
    with here.ledger.write() as connection:
        study = studies.get(connection, study_instance_uid)
        if study is None:
            raise HTTPException(404, f"The ledger has no study {study_instance_uid}.")
        jobs = waiting.requeue(connection, study_instance_uid)
        if study.state in _COMPLETE:
            enqueue(connection, Step.SCORE, study_instance_uid, here.clock())
            jobs += 1
        trail.record(connection, actor, "score_asked_again", study_instance_uid, jobs=jobs)
    return RescoreModel(study_instance_uid=study_instance_uid, jobs=jobs)
