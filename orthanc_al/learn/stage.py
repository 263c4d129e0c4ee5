"""The step ``retrain``: one night's learning of one model, from the ledger's reads to a verdict."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from orthanc_al.domain import ModelRef
from orthanc_al.errors import ModelError, PackageRefusedError
from orthanc_al.inference.package import ModelPackage, load_package
from orthanc_al.learn.finding_model import finding_models
from orthanc_al.learn.fit import Guarantee
from orthanc_al.learn.judgement import Verdict
from orthanc_al.learn.pccp import Plan
from orthanc_al.learn.proposals import FindingResult, result_of
from orthanc_al.learn.records import change_record, page, verdict_of
from orthanc_al.learn.registry import make_package, version_of
from orthanc_al.learn.snapshot import Snapshot, build
from orthanc_al.ledger import Job, Ledger, Outcome, learning, models, trail
from orthanc_al.observe import Clock, logger, now

_DAY = 86400.0
_APPROVER = "gate"
_log = logger("learn")


@dataclass(frozen=True, slots=True)
class _Night:
    """What a night started from, and what came of it."""

    champion: ModelPackage
    anchor: ModelPackage
    snapshot: Snapshot
    version: str
    results: tuple[FindingResult, ...]
    verdict: Verdict
    refusal: str
    made: ModelPackage | None
    time: float


class RetrainStage:
    """Fits, judges and, where the site lets it, promotes; runs in the learner's process.

    Work may run twice: the same reads give the same snapshot, the same version and the same bytes.

    Parameters
    ----------
    ledger
        Where reads, predictions and packages are.
    folder
        For the packages that are made, one folder a model.
    guarantee
        What the tiers promise.
    plan
        What may change, and by how much.
    automatic
        Whether a candidate that is better goes live without a person's word.
    shown_weight
        How much a read counts in training that was made with a result in view, 0 to 1.
    clock
        Seconds since 1970; tests pass their own.
    """

    def __init__(
        self,
        ledger: Ledger,
        folder: Path,
        guarantee: Guarantee,
        plan: Plan,
        *,
        automatic: bool,
        shown_weight: float = 1.0,
        clock: Clock = now,
    ) -> None:
        self._ledger = ledger
        self._folder = folder
        self._guarantee = guarantee
        self._plan = plan
        self._automatic = automatic
        self._shown_weight = shown_weight
        self._clock = clock

    def run(self, job: Job) -> Outcome:
        """Learn for the model that is the job's subject; outcome promoted, candidate, kept or nothing_new.

        Raises
        ------
        ModelError
            No package of that name is live.
        PackageRefusedError
            The champion's or the factory's package is not what the ledger says.
        """
        name, time = job.subject, self._clock()
        with self._ledger.read() as connection:
            champion = models.champion(connection, name)
            if champion is None:
                raise ModelError(f"No package of {name} is live; the configuration names none of that name.")
            anchor = models.anchor(connection, champion.ref.digest)
            snapshot = self._snapshot(connection, champion.ref.digest, anchor.ref.digest, time)
            version = version_of(
                snapshot, anchor.ref, champion.ref, self._guarantee, self._plan.model_dump_json()
            )
            judged = learning.was_judged(connection, champion.ref.digest, snapshot.digest, version)
        if judged or not snapshot.cases:
            _log.info("nothing_new_to_learn", model=name, cases=len(snapshot.cases))
            return Outcome("nothing_new")
        _log.info("snapshot_taken", model=name, digest=snapshot.digest[:12], cases=len(snapshot.cases))
        night = self._judge(_load(champion), _load(anchor), snapshot, version, time)
        _log.info("candidate_judged", model=name, version=night.version, verdict=night.verdict.value)
        return Outcome(self._outcome(night), lambda connection: self._write(connection, night))

    def _snapshot(self, connection: Connection, champion: str, anchor: str, time: float) -> Snapshot:
        return build(
            anchor,
            learning.labelled_cases(connection, models.family(connection, champion)),
            learning.folds(connection),
            learning.audited_patients(connection),
            learning.audit_response(connection, time - self._plan.audit.unread_after_days * _DAY),
            self._plan.audit.max_unread_share,
            shown_weight=self._shown_weight,
        )

    def _judge(
        self, champion: ModelPackage, anchor: ModelPackage, snapshot: Snapshot, version: str, time: float
    ) -> _Night:
        results = tuple(
            result_of(snapshot, factory, live, self._guarantee, self._plan)
            for factory, live in zip(finding_models(anchor), finding_models(champion), strict=True)
        )
        verdict, refusal, made = verdict_of(results), "", None
        if verdict is Verdict.BETTER:
            try:
                made = make_package(
                    self._folder / champion.ref.name / version,
                    champion,
                    [result.chosen for result in results],
                    snapshot,
                    version,
                    parity=self._plan.gate.parity,
                )
            except PackageRefusedError as error:
                verdict, refusal = Verdict.REFUSED, str(error)
        return _Night(champion, anchor, snapshot, version, results, verdict, refusal, made, time)

    def _outcome(self, night: _Night) -> str:
        if night.made is None:
            return "kept"
        return "promoted" if self._automatic else "candidate"

    def _write(self, connection: Connection, night: _Night) -> None:
        """Write all that the night came to, in the transaction that ends the job."""
        record = self._record(night)
        learning.keep_folds(connection, night.snapshot.folds, night.time)
        learning.add_dataset(connection, night.snapshot.digest, night.snapshot.content(), night.time)
        if night.made is not None:
            self._register(connection, night.made, night.champion.ref)
        learning.add_change_record(
            connection,
            model_name=night.champion.ref.name,
            champion=night.champion.ref.digest,
            candidate=None if night.made is None else night.made.ref.digest,
            dataset_digest=night.snapshot.digest,
            verdict=night.verdict.value,
            content=record,
            at=night.time,
        )
        trail.record(connection, _APPROVER, "candidate_judged", night.version, verdict=night.verdict.value)

    def _register(self, connection: Connection, made: ModelPackage, champion: ModelRef) -> None:
        models.add(
            connection, made.ref, made.folder, parent=champion.digest, origin="retrained", state="candidate"
        )
        live = models.champion(connection, champion.name)
        if self._automatic and live is not None and live.ref.digest == champion.digest:
            # Else somebody promoted or rolled back meanwhile: the candidate was judged against another one.
            models.promote(connection, made.ref.digest, _APPROVER, "all checks of the gate hold")

    def _record(self, night: _Night) -> dict[str, Any]:
        record = change_record(
            champion=night.champion.ref,
            anchor=night.anchor.ref,
            version=night.version,
            snapshot=night.snapshot,
            results=night.results,
            verdict=night.verdict,
            refusal=night.refusal,
            plan=self._plan,
            at=night.time,
        )
        _write_page(self._folder / night.champion.ref.name / f"{night.version}.md", page(record))
        return record


def _load(model: models.RegisteredModel) -> ModelPackage:
    package = load_package(model.folder)
    if package.ref.digest != model.ref.digest:
        raise PackageRefusedError(
            f"{model.folder} holds {package.ref}, and the ledger says {model.ref}: restore the package."
        )
    return package


def _write_page(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    Path(unfinished).replace(path)
