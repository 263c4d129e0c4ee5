"""The step ``triage``: tier, reason and read-by time of each prediction.

They are written beside the predictions only; the step ``select`` decides what of them may be seen.
"""

from orthanc_al.domain import Grouping, Study, StudyState, Tier, group_of
from orthanc_al.inference.running import Models
from orthanc_al.ledger import Job, Ledger, Outcome, models, predictions, studies
from orthanc_al.ledger.models import RegisteredModel
from orthanc_al.ledger.predictions import StoredPrediction
from orthanc_al.ledger.response import ResponseRule
from orthanc_al.methods import urgency
from orthanc_al.observe import Clock, now
from orthanc_al.triage.tier import tier_of


class TriageStage:
    """Places the predictions of a study.

    Parameters
    ----------
    ledger
        Where they are.
    running
        The packages, whose manifests hold the thresholds.
    targets
        The tiers' target times.
    response
        When unanswered audits take the low tier away: at once, whatever package is live.
    groups
        In each group of which studies the guarantee shall hold.
    clock
        Seconds since 1970; tests pass their own.
    """

    def __init__(
        self,
        ledger: Ledger,
        running: Models,
        targets: urgency.Targets,
        response: ResponseRule,
        clock: Clock = now,
        groups: Grouping = Grouping.NONE,
    ) -> None:
        self._ledger = ledger
        self._running = running
        self._targets = targets
        self._response = response
        self._groups = groups
        self._clock = clock

    def run(self, job: Job) -> Outcome:
        """Place the study that is the job's subject; outcome placed or superseded."""
        with self._ledger.read() as connection:
            study = studies.get(connection, job.subject)
            if study is None or study.state is StudyState.ARRIVING:
                return Outcome("superseded")
            stored = predictions.of_revision(connection, study.study_instance_uid, study.revision)
            if not stored:
                return Outcome("superseded")
            priority = studies.priority(connection, study.study_instance_uid)
            group = group_of(self._groups, studies.attributes(connection, study.study_instance_uid))
            packages = {one.model.digest: models.get(connection, one.model.digest) for one in stored}
        placed = [
            (one.prediction, *self._place(one, study, priority, packages[one.model.digest], group))
            for one in stored
        ]
        return Outcome("placed", lambda connection: predictions.place(connection, placed))

    def _place(
        self, stored: StoredPrediction, study: Study, priority: str, package: RegisteredModel, group: str
    ) -> tuple[Tier, str, int]:
        said = stored.prediction
        low, high = self._thresholds(stored, package, group)
        tier, why = tier_of(said.finding, said.probability, said.ood, low, high)
        believed = (
            said.probability if said.ood <= 1.0 else 0.0
        )  # outside of the domain: the plain review target
        minutes = urgency.target_minutes(tier, believed, low, high, self._targets)
        return tier, why, urgency.read_by(study.arrived_at, minutes, priority, self._targets)

    def _thresholds(
        self, stored: StoredPrediction, known: RegisteredModel, group: str
    ) -> tuple[float | None, float | None]:
        manifest = self._running.get(known.folder, stored.model).package.manifest
        entry = next(entry for entry in manifest.findings if entry.name == stored.prediction.finding)
        # Whatever a manifest says of itself: only a package made here, from this site's own audit,
        # supports a low tier, and only as long as that audit is answered (promise 5).
        low, high = entry.thresholds.borders(self._groups, group)
        if low is None or known.origin == "factory" or not self._is_answered():
            return None, high
        return low, high

    def _is_answered(self) -> bool:
        """Whether enough of the audits are: all are counted for it, and only where it matters."""
        with self._ledger.read() as connection:
            return self._response.holds(connection, self._clock())
