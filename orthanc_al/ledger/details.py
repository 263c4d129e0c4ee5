"""All that may be shown of one study: instances and where they went, results, reads, history."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, or_, select

from orthanc_al.domain import ReadValue
from orthanc_al.ledger import curtain, worklist
from orthanc_al.ledger.schema import (
    audit_trail,
    deliveries,
    instances,
    jobs,
    reads,
    reports,
    selections,
    studies,
)
from orthanc_al.pipeline import Step

# A job that failed after the score tells that there is one.
_BEFORE_THE_SCORE = (Step.ARRIVE.value, Step.SCORE_IMAGE.value, Step.ASSEMBLE.value, Step.SCORE.value)


@dataclass(frozen=True, slots=True)
class Delivery:
    """An instance on its way to one destination."""

    destination: str
    state: str
    attempts: int
    done_at: float | None
    error: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class InstanceLine:
    """A receive event with its deliveries; ``size`` in bytes, ``received_at`` in seconds since 1970."""

    id: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    source: str
    origin: str
    kind: str
    reason: str
    modality: str
    size: int
    received_at: float
    deliveries: Sequence[Delivery]


@dataclass(frozen=True, slots=True)
class SelectionLine:
    """Why the study was drawn, with the probability of being drawn."""

    kind: str
    strategy: str
    propensity: float
    reason: str
    decided_at: float
    signed_at: float | None


@dataclass(frozen=True, slots=True)
class ReadLine:
    """A person's statement; ``state`` tells whether it counts."""

    finding: str
    value: ReadValue
    source: str
    reader: str
    read_at: float
    state: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the study; ``at`` in seconds since 1970."""

    at: float
    what: str


@dataclass(frozen=True, slots=True)
class StudyDetails:
    """A study as its page shows it. What the curtain covers is empty, as where there is nothing."""

    entry: worklist.Entry
    completion: str
    instances: Sequence[InstanceLine]
    results: Sequence[worklist.Result]
    selections: Sequence[SelectionLine]
    reads: Sequence[ReadLine]
    faults: Sequence[str]
    history: Sequence[Event]


def study(connection: Connection, study_instance_uid: str) -> StudyDetails | None:
    """Return what may be shown of a study, None where the ledger has none."""
    entry = worklist.get(connection, study_instance_uid)
    if entry is None:
        return None
    row = connection.execute(
        select(curtain.lifted().label("lifted"), studies.c.completion).where(
            studies.c.study_instance_uid == study_instance_uid
        )
    ).one()
    shown = bool(row.lifted)
    came = _instances(connection, study_instance_uid)
    return StudyDetails(
        entry=entry,
        completion=row.completion or "",
        instances=came,
        results=worklist.results(connection, [study_instance_uid]).get(study_instance_uid, []),
        selections=_selections(connection, study_instance_uid) if shown else [],
        reads=_reads(connection, study_instance_uid),
        faults=_faults(connection, study_instance_uid, [line.id for line in came], shown=shown),
        history=_history(connection, entry, shown=shown),
    )


def _instances(connection: Connection, uid: str) -> list[InstanceLine]:
    of_study = instances.c.study_instance_uid == uid
    sent: dict[str, list[Delivery]] = {}
    query = (
        select(deliveries)
        .join(instances, instances.c.id == deliveries.c.instance_id)
        .where(of_study)
        .order_by(deliveries.c.destination)
    )
    for row in connection.execute(query):
        sent.setdefault(row.instance_id, []).append(
            Delivery(
                row.destination,
                row.state,
                row.attempts,
                row.done_at,
                row.error or "",
                row.transfer_syntax_uid or "",
            )
        )
    rows = connection.execute(select(instances).where(of_study).order_by(instances.c.received_at))
    return [
        InstanceLine(
            id=row.id,
            sop_instance_uid=row.sop_instance_uid,
            sop_class_uid=row.sop_class_uid,
            transfer_syntax_uid=row.transfer_syntax_uid,
            source=row.source,
            origin=row.origin,
            kind=row.kind or "",
            reason=row.reason or "",
            modality=row.modality or "",
            size=row.size,
            received_at=row.received_at,
            deliveries=sent.get(row.id, []),
        )
        for row in rows
    ]


def _selections(connection: Connection, uid: str) -> list[SelectionLine]:
    query = select(selections).where(selections.c.study_instance_uid == uid).order_by(selections.c.decided_at)
    return [
        SelectionLine(row.kind, row.strategy, row.propensity, row.reason, row.decided_at, row.signed_at)
        for row in connection.execute(query)
    ]


def _reads(connection: Connection, uid: str) -> list[ReadLine]:
    query = select(reads).where(reads.c.study_instance_uid == uid).order_by(reads.c.read_at)
    return [
        ReadLine(row.finding, ReadValue(row.value), row.source, row.reader, row.read_at, row.state)
        for row in connection.execute(query)
    ]


def _faults(connection: Connection, uid: str, instance_ids: Sequence[str], *, shown: bool) -> list[str]:
    """Return what went wrong for good, with the step."""
    query = (
        select(jobs.c.step, jobs.c.error)
        .where(jobs.c.state == "quarantined", or_(jobs.c.subject == uid, jobs.c.subject.in_(instance_ids)))
        .order_by(jobs.c.id)
    )
    if not shown:
        query = query.where(jobs.c.step.in_(_BEFORE_THE_SCORE))
    return [f"{row.step}: {row.error or 'no reason given'}" for row in connection.execute(query)]


def _history(connection: Connection, entry: worklist.Entry, *, shown: bool) -> list[Event]:
    uid = entry.study_instance_uid
    events = [Event(entry.arrived_at, "first image arrived")]
    if entry.completed_at is not None:
        events.append(Event(entry.completed_at, "complete"))
    if entry.closed_at is not None:
        events.append(Event(entry.closed_at, f"off the worklist ({entry.state})"))
    if shown:
        made = select(reports.c.created_at, reports.c.kind).where(reports.c.study_instance_uid == uid)
        noted = select(audit_trail.c.at, audit_trail.c.action).where(audit_trail.c.subject == uid)
        events += [Event(row.created_at, f"{row.kind.upper()} made") for row in connection.execute(made)]
        events += [Event(row.at, row.action.replace("_", " ")) for row in connection.execute(noted)]
    return sorted(events, key=lambda event: event.at)
