"""What one night of learning came to, and how it is written: all of it in the job's last transaction."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from orthanc_al.domain.change_page import page
from orthanc_al.inference.package import ModelPackage
from orthanc_al.learn.judgement import Verdict
from orthanc_al.learn.pccp import Plan
from orthanc_al.learn.proposals import FindingResult
from orthanc_al.learn.records import change_record
from orthanc_al.learn.snapshot import Snapshot
from orthanc_al.ledger import datasets, history, learning, models, trail
from orthanc_al.ledger.history import HistoryEmbedding

GATE: Final = "gate"
"""Who approves what goes live by itself."""


@dataclass(frozen=True, slots=True)
class Night:
    """What a night started from, and what came of it.

    Attributes
    ----------
    origin
        ``retrained`` or ``finetuned``.
    refusal
        Why no package could be made of what the gate let through.
    made
        The candidate's package, None where there is none.
    history
        What a new backbone gives for the cases from before it.
    time
        Seconds since 1970.
    """

    champion: ModelPackage
    anchor: ModelPackage
    snapshot: Snapshot
    version: str
    results: tuple[FindingResult, ...]
    verdict: Verdict
    refusal: str
    made: ModelPackage | None
    time: float
    origin: str = "retrained"
    history: Sequence[HistoryEmbedding] = ()


def write_night(connection: Connection, night: Night, folder: Path, plan: Plan, *, at_once: bool) -> None:
    """Write folds, data set, candidate and change record, and the record's page beside the packages.

    Parameters
    ----------
    folder
        ``storage.models``.
    plan
        What the record states as the rules.
    at_once
        Whether the candidate goes live now, without a person's word and without a time in shadow.
    """
    record = change_record(
        champion=night.champion.ref,
        anchor=night.anchor.ref,
        version=night.version,
        snapshot=night.snapshot,
        results=night.results,
        verdict=night.verdict,
        refusal=night.refusal,
        plan=plan,
        at=night.time,
    )
    learning.keep_folds(connection, night.snapshot.folds, night.time)
    datasets.add(connection, night.snapshot.digest, night.snapshot.content(), night.time)
    if night.made is not None:
        _register(connection, night, night.made, at_once=at_once)
    write_record(
        connection,
        record,
        folder,
        candidate=None if night.made is None else night.made.ref.digest,
        at=night.time,
    )
    trail.record(connection, GATE, "candidate_judged", night.version, verdict=night.verdict.value)


def write_record(
    connection: Connection, record: dict[str, Any], folder: Path, *, candidate: str | None, at: float
) -> None:
    """Write a change record to the ledger, and its page to the folder of the model's packages."""
    learning.add_change_record(
        connection,
        model_name=record["model"],
        champion=record["champion"]["digest"],
        candidate=candidate,
        dataset_digest=record["dataset"]["digest"],
        verdict=record["verdict"],
        content=record,
        at=at,
    )
    name = record["candidate_version"] + (f".{record['verdict']}" if "charts" in record else "")
    _write_page(folder / record["model"] / f"{name}.md", page(record))


def _register(connection: Connection, night: Night, made: ModelPackage, *, at_once: bool) -> None:
    champion = night.champion.ref
    models.add(
        connection,
        made.ref,
        made.folder,
        parent=champion.digest,
        origin=night.origin,
        state="candidate",
        at=night.time,
    )
    history.put(connection, made.ref.digest, night.history, night.time)
    live = models.champion(connection, champion.name)
    if at_once and live is not None and live.ref.digest == champion.digest:
        # Else somebody promoted or rolled back meanwhile: the candidate was judged against another one.
        models.promote(connection, made.ref.digest, GATE, "all checks of the gate hold")


def _write_page(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    Path(unfinished).replace(path)
