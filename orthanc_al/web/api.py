"""The API for programs, under ``/api/v1``; it shows what the page shows and no more."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Query

from orthanc_al.domain import Tier
from orthanc_al.ledger import deliveries, destinations, details, facts, figures, models, trail, worklist
from orthanc_al.ledger.deliveries import DeliveryState
from orthanc_al.web.auth import OrderedHere
from orthanc_al.web.context import Context, Here
from orthanc_al.web.schemas import (
    ChangeRecord,
    DeliveryModel,
    DestinationModel,
    InstanceModel,
    ModelsModel,
    ModelVersion,
    PauseModel,
    PromotionModel,
    ReadModel,
    ResultModel,
    SelectionModel,
    StudyModel,
    WorklistEntry,
    WorklistPage,
)

router = APIRouter(prefix="/api/v1")

_MOST: Final = 1000


@router.get("/worklist")
def read_worklist(
    here: Here,
    modality: str = "",
    tier: Tier | None = None,
    q: Annotated[str, Query(description="Part of a patient's name or ID, or of an accession number.")] = "",
    listed: worklist.Listed = worklist.Listed.OPEN,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=_MOST)] = 100,
) -> WorklistPage:
    """Return the worklist in reading order: by read-by time, then by arrival."""
    wanted = worklist.Filter(modality=modality, tier=tier, text=q, listed=listed)
    with here.ledger.read() as connection:
        page = worklist.page(connection, wanted, limit=limit, offset=offset)
    lines = [line_of(entry, offset + i, here.clock()) for i, entry in enumerate(page.entries, start=1)]
    return WorklistPage(total=page.total, offset=offset, tiers=dict(page.tiers), studies=lines)


@router.get("/studies/{study_instance_uid}", responses={404: {"description": "No such study."}})
def read_study(here: Here, study_instance_uid: str) -> StudyModel:
    """Return all that may be shown of a study."""
    with here.ledger.read() as connection:
        found = details.study(connection, study_instance_uid)
    if found is None:
        raise HTTPException(404, f"The ledger has no study {study_instance_uid}.")
    return StudyModel(
        study=line_of(found.entry, 1, here.clock()),
        instances=[_instance(line) for line in found.instances],
        results=[_result(result) for result in found.results],
        selections=[SelectionModel.model_validate(one, from_attributes=True) for one in found.selections],
        reads=[ReadModel.model_validate(one, from_attributes=True) for one in found.reads],
        faults=list(found.faults),
    )


@router.get("/models")
def read_models(here: Here) -> ModelsModel:
    """Return all model packages, which of them are live, and why."""
    return registry(here)


@router.get("/deliveries")
def read_deliveries(here: Here) -> list[DestinationModel]:
    """Return what waits for each destination, and what became of the rest."""
    with here.ledger.read() as connection:
        counted = deliveries.counts(connection)
        oldest = deliveries.oldest_waiting(connection)
        known = destinations.known(connection)
    names = sorted({key[0] for key in counted})
    return [_destination(name, counted, oldest, known.get(name), here.clock()) for name in names]


@router.post("/pause", responses={403: {"description": "A foreign page, or no X-Orthanc-AL header."}})
def pause(here: Here, actor: OrderedHere) -> PauseModel:
    """Stop scoring and all that follows from it; forwarding goes on."""
    return set_paused(here, actor, paused=True)


@router.post("/resume", responses={403: {"description": "A foreign page, or no X-Orthanc-AL header."}})
def resume(here: Here, actor: OrderedHere) -> PauseModel:
    """Let scoring go on; what came meanwhile is scored now."""
    return set_paused(here, actor, paused=False)


def set_paused(here: Context, actor: str, *, paused: bool) -> PauseModel:
    """Throw the switch that `orthanc-al pause` and `resume` throw (promise 9)."""
    with here.ledger.write() as connection:
        if facts.scoring_paused(connection) != paused:
            facts.put(connection, facts.PAUSED, "yes" if paused else "no")
            trail.record(connection, actor, "scoring_paused" if paused else "scoring_resumed", "service")
    return PauseModel(paused=paused)


def registry(here: Context) -> ModelsModel:
    """Return the registry with the newest first."""
    with here.ledger.read() as connection:
        known = models.versions(connection)
        names = sorted({model.ref.name for model in known})
        changes = [change for name in names for change in models.history(connection, name)]
        records = figures.change_records(connection)
    live = {change.model_name: change.digest for change in reversed(changes)}
    return ModelsModel(
        models=[
            ModelVersion(
                name=model.ref.name,
                version=model.ref.version,
                digest=model.ref.digest,
                origin=model.origin,
                state=model.state,
                parent=model.parent,
                live=live.get(model.ref.name) == model.ref.digest,
                created_at=_time(model.created_at),
            )
            for model in reversed(known)
        ],
        promotions=[PromotionModel.model_validate(change, from_attributes=True) for change in changes],
        change_records=[ChangeRecord.model_validate(record) for record in records],
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def line_of(entry: worklist.Entry, position: int, now: float) -> WorklistEntry:
    """Return a study as a line of the worklist."""
    return WorklistEntry(
        position=position,
        study_instance_uid=entry.study_instance_uid,
        patient_name=entry.patient_name,
        patient_id=entry.patient_id,
        birth_date=entry.birth_date,
        sex=entry.sex,
        accession_number=entry.accession_number,
        modality=entry.modality,
        body_part=entry.body_part,
        description=entry.description,
        state=entry.state,
        reason=entry.reason,
        revision=entry.revision,
        priority=entry.priority,
        arrived_at=_time(entry.arrived_at),
        waiting_seconds=max(0.0, (entry.closed_at or now) - entry.arrived_at),
        read_by=_time(entry.read_by * 60),
        tier=entry.tier,
        why=entry.why,
        asked=entry.asked,
        result=_result(entry.result) if entry.result else None,
    )


def _result(result: worklist.Result) -> ResultModel:
    return ResultModel.model_validate(result, from_attributes=True)


def _instance(line: details.InstanceLine) -> InstanceModel:
    return InstanceModel(
        id=line.id,
        sop_instance_uid=line.sop_instance_uid,
        sop_class_uid=line.sop_class_uid,
        transfer_syntax_uid=line.transfer_syntax_uid,
        source=line.source,
        origin=line.origin,
        kind=line.kind,
        reason=line.reason,
        size=line.size,
        received_at=_time(line.received_at),
        deliveries=[DeliveryModel.model_validate(one, from_attributes=True) for one in line.deliveries],
    )


def _destination(
    name: str,
    counted: dict[tuple[str, DeliveryState], int],
    oldest: dict[str, float],
    known: destinations.Destination | None,
    now: float,
) -> DestinationModel:
    def count(*states: DeliveryState) -> int:
        return sum(counted.get((name, state), 0) for state in states)

    return DestinationModel(
        destination=name,
        waiting=count(DeliveryState.WAITING),
        sent=count(DeliveryState.SENT, DeliveryState.WARNING),
        committed=count(DeliveryState.COMMITTED),
        refused=count(DeliveryState.REFUSED),
        cancelled=count(DeliveryState.CANCELLED),
        oldest_waiting_seconds=max(0.0, now - oldest[name]) if name in oldest else None,
        fault=known.fault if known else None,
        reason=known.reason if known else None,
        since=_time(known.since) if known and known.since is not None else None,
    )
