"""Fills a ledger with studies of all tiers and states, for the tests of the pages and for looking at them.

``python -m tests.support.worklist_ledger FOLDER [STUDIES [PORT]]`` makes one and shows it. The people in it
are made up.
"""

import hashlib
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select, update

from orthanc_al.demo.studies import demo_films
from orthanc_al.domain import Code, Finding, StudyState, Tier
from orthanc_al.ledger import Ledger, facts, processes
from orthanc_al.ledger import schema as s
from orthanc_al.spool import Spool
from tests.support.monitor_points import put_points
from tests.support.radiographs import wrap

PNEUMONIA = Finding("pneumonia", Code("233604007", "SCT", "Pneumonia"))
NOW = 1_790_000_000.0  # 2026-09-21 14:13:20 UTC
DIGESTS = {"1.0.0": "a1" * 32, "1.1.0": "b2" * 32}
_TARGETS = {Tier.HIGH: 15, Tier.REVIEW: 60, Tier.NONE: 240, Tier.LOW: 480}
_FAMILIES = (
    "Okafor",
    "Lindqvist",
    "Moreau",
    "Haddad",
    "Silva",
    "Novak",
    "Tanaka",
    "Weiss",
    "Rossi",
    "Keller",
)
_GIVEN = ("Amara", "Jonas", "Claire", "Samir", "Beatriz", "Pavel", "Yuki", "Hannah", "Zofia", "Marco", "Linh")


@dataclass(frozen=True)
class Case:
    """What a study is to look like; the rest is filled in."""

    uid: str
    tier: Tier = Tier.NONE
    state: StudyState = StudyState.SCORED
    probability: float | None = None
    minutes_ago: float = 30.0
    blind: bool = False
    signed: bool = False
    placed: bool = True
    asked: bool = False
    ood: float = 0.4
    reason: str | None = None
    priority: str = ""
    modality: str = "DX"
    revision: int = 1


def add(connection: Connection, case: Case, number: int = 0, **columns: Any) -> None:
    """Write a study as the stages do: arrived, scored, triaged, selected."""
    arrived = NOW - case.minutes_ago * 60
    target = _TARGETS[case.tier]
    why = {
        Tier.HIGH: "Pneumonia probable",
        Tier.REVIEW: "The model is not sure",
        Tier.LOW: "Pneumonia unlikely",
    }
    year = 1931 + number * 7 % 90
    values = {
        "study_instance_uid": case.uid,
        "patient_key": hashlib.sha256(case.uid.encode()).hexdigest()[:32],
        "patient_id": f"{48213 + 977 * number}",
        "patient_name": f"{_FAMILIES[number % 10]}^{_GIVEN[number * 5 % 11]}",
        "birth_date": f"{year}0{1 + number % 9}1{number % 9}",
        "sex": "FM"[number % 2],
        "accession_number": f"A26{70000 + number}",
        "description": ("Chest PA", "Chest AP portable", "Chest PA and lateral")[number % 3],
        "modality": case.modality,
        "body_part": "CHEST",
        "state": case.state.value,
        "reason": case.reason,
        "revision": case.revision,
        "arrived_at": arrived,
        "last_received_at": arrived + 4,
        "completed_at": None if case.state is StudyState.ARRIVING else arrived + 9,
        "completion": "count_confirmed",
        "priority": case.priority,
        "read_by": int(arrived // 60) + (30 if case.priority else target),
        "tier": case.tier.value,
        "why": f"{why[case.tier]}: read within {target} min" if case.tier in why else "",
        "placed_at": arrived + 12 if case.probability is not None and case.placed else None,
        "blind": case.blind and not case.signed,
        "closed_at": None if case.state.on_worklist else NOW - 60,
    }
    connection.execute(insert(s.studies).values(values | columns))
    _add_instance(connection, case, arrived)
    if case.probability is not None:
        _add_result(connection, case, arrived, values["why"] or "Pneumonia probable: read within 15 min")
        _add_region(connection, case)
    if case.blind or case.asked:
        _add_selection(connection, case, arrived)


def _add_instance(connection: Connection, case: Case, arrived: float) -> None:
    instance = instance_of(case.uid)
    connection.execute(
        insert(s.instances).values(
            id=instance,
            association_id="0" * 32,
            origin="dicom",
            source="radiography-2",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
            sop_instance_uid=f"{case.uid}.1.1",
            transfer_syntax_uid="1.2.840.10008.1.2.4.70",
            size=7_812_440,
            received_at=arrived,
            study_instance_uid=case.uid,
            series_instance_uid=f"{case.uid}.1",
            modality=case.modality,
            kind="image",
        )
    )
    for destination, done in (("pacs", arrived + 1), ("research", None)):
        connection.execute(
            insert(s.deliveries).values(
                instance_id=instance,
                destination=destination,
                state="sent" if done else "waiting",
                attempts=1 if done else 3,
                next_at=NOW,
                done_at=done,
                error=None if done else "no association with RESEARCH at 127.0.0.1:4299",
            )
        )


def _add_result(connection: Connection, case: Case, arrived: float, why: str) -> None:
    connection.execute(
        insert(s.predictions).values(
            study_instance_uid=case.uid,
            revision=case.revision,
            model_name="cxr-pneumonia",
            model_version="1.1.0",
            model_digest=DIGESTS["1.1.0"],
            finding="pneumonia",
            logit=0.0,
            probability=case.probability,
            std=0.2,
            ood=case.ood,
            instance_id=instance_of(case.uid),
            embedding=b"",
            tier=(Tier.HIGH if case.blind else case.tier).value,
            why=why,
            read_by=int(arrived // 60) + 15,
            scored_at=arrived + 11,
        )
    )


def _add_region(connection: Connection, case: Case) -> None:
    connection.execute(
        insert(s.image_scores).values(
            instance_id=instance_of(case.uid),
            frame=1,
            model_digest=DIGESTS["1.1.0"],
            logits=[0.0],
            embedding=b"",
            regions=[[30.0, 60.0, 90.0, 130.0]],
        )
    )


def instance_of(uid: str) -> str:
    """Return the id of a study's one instance."""
    return hashlib.sha256(f"i{uid}".encode()).hexdigest()[:32]


def put_films(ledger: Ledger, folder: Path) -> None:
    """Put a synthetic film of the demo into the spool for each instance."""
    films = demo_films()
    with ledger.read() as connection:
        ids = list(connection.execute(select(s.instances.c.id).order_by(s.instances.c.received_at)).scalars())
    for number, instance in enumerate(ids):
        path = Spool(folder, 0).path(instance)
        path.parent.mkdir(parents=True, exist_ok=True)
        wrap(films[number % len(films)], number).save_as(path, enforce_file_format=True)


def _add_selection(connection: Connection, case: Case, arrived: float) -> None:
    connection.execute(
        insert(s.selections).values(
            study_instance_uid=case.uid,
            kind="audit" if case.blind else "query",
            strategy="random" if case.blind else "power_margin",
            propensity=0.04,
            seed="5eed",
            reason="drawn at random" if case.blind else "near the threshold",
            decided_at=arrived + 12,
            day="2026-09-21",
            signed_at=NOW - 60 if case.signed else None,
        )
    )


def cases(count: int, seed: int = 7) -> list[Case]:
    """Return ``count`` made-up studies; the first dozen has one of each kind."""
    first = [
        Case("2.25.1", Tier.HIGH, probability=0.97, minutes_ago=24),
        Case("2.25.2", Tier.HIGH, probability=0.91, minutes_ago=9, asked=True),
        Case("2.25.3", Tier.REVIEW, probability=0.46, minutes_ago=31, asked=True),
        Case("2.25.4", Tier.REVIEW, probability=0.08, ood=1.7, minutes_ago=20),
        Case("2.25.5", probability=0.93, blind=True, minutes_ago=41),
        Case("2.25.6", state=StudyState.COMPLETE, minutes_ago=1.2),
        Case("2.25.7", state=StudyState.ARRIVING, minutes_ago=0.2),
        Case("2.25.8", state=StudyState.INELIGIBLE, reason="no model for modality CT", modality="CT"),
        Case(
            "2.25.9", state=StudyState.INELIGIBLE, reason="no pixels: no decoder for 1.2.840.10008.1.2.4.100"
        ),
        Case("2.25.10", state=StudyState.COMPLETE, priority="STAT", minutes_ago=12),
        Case("2.25.11", Tier.LOW, probability=0.004, minutes_ago=55),
        Case("2.25.12", Tier.HIGH, StudyState.READ, probability=0.95, minutes_ago=120),
    ]
    draw = random.Random(seed)
    tiers = (Tier.HIGH, Tier.REVIEW, Tier.REVIEW, Tier.LOW, Tier.LOW, Tier.LOW)
    spans = {Tier.HIGH: (0.8, 0.999), Tier.REVIEW: (0.06, 0.8), Tier.LOW: (0.001, 0.06)}
    for number in range(13, count + 1):
        tier = draw.choice(tiers)
        first.append(
            Case(
                f"2.25.{number}",
                tier,
                probability=draw.uniform(*spans[tier]),
                minutes_ago=draw.expovariate(1 / 50) * (0.3 if tier is Tier.HIGH else 1),
                modality=draw.choice(("DX", "DX", "CR")),
                asked=tier is Tier.REVIEW and draw.random() < 0.2,
            )
        )
    return first[:count]


def fill(ledger: Ledger, count: int) -> None:
    """Write ``count`` studies, two model versions and the processes."""
    with ledger.write() as connection:
        for number, case in enumerate(cases(count)):
            add(connection, case, number)
        _add_models(connection)
        put_points(connection, NOW)
        facts.put(connection, facts.PAUSED, "no")


def keep_alive(ledger: Ledger) -> None:
    """Let all processes have shown a sign of life at ``NOW``."""
    with ledger.write() as connection:
        for role in ("listener", "forwarder", "worker", "learner", "web"):
            detail = {"provider": "CPUExecutionProvider"} if role == "worker" else {}
            processes.report_alive(connection, role, 4000, NOW, detail)
        connection.execute(update(s.processes).values(seen_at=NOW))


def _add_models(connection: Connection) -> None:
    for index, (version, digest) in enumerate(DIGESTS.items()):
        parent = DIGESTS["1.0.0"] if index else None
        connection.execute(
            insert(s.models).values(
                digest=digest,
                name="cxr-pneumonia",
                version=version,
                folder="models/cxr-pneumonia",
                parent=parent,
                origin="retrained" if index else "factory",
                state="promoted",
                created_at=NOW - (2 - index) * 86400,
            )
        )
        connection.execute(
            insert(s.promotions).values(
                model_name="cxr-pneumonia",
                digest=digest,
                previous=parent,
                kind="promoted" if index else "installed",
                approver="K. Brandt" if index else "configuration",
                reason="better on the audit slice" if index else "named in the configuration",
                at=NOW - (2 - index) * 86400,
            )
        )
    connection.execute(
        insert(s.change_records).values(
            at=NOW - 86000,
            model_name="cxr-pneumonia",
            candidate=DIGESTS["1.1.0"],
            champion=DIGESTS["1.0.0"],
            verdict="better",
            content={"labels": 84, "auc": {"champion": 0.931, "candidate": 0.958, "lower_bound": 0.011}},
        )
    )


def _main() -> None:
    import uvicorn  # noqa: PLC0415 - only to look at the page

    from orthanc_al.web import create_app  # noqa: PLC0415

    folder, *numbers = sys.argv[1:]
    count, port = (int(value) for value in (*numbers, *("40", "8099")[len(numbers) :]))
    ledger = Ledger.create(f"sqlite:///{folder}/ledger.sqlite")
    fill(ledger, count)
    keep_alive(ledger)
    put_films(ledger, Path(folder))
    app = create_app(
        ledger,
        spool=Path(folder),
        site_name="Example Hospital",
        viewer_template="http://127.0.0.1:3000/viewer?StudyInstanceUIDs={study_instance_uid}",
        clock=lambda: NOW,
        budget_per_day=20,
        known_findings=lambda _: (PNEUMONIA,),
    )
    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False)


if __name__ == "__main__":
    _main()
