"""The step ``assemble`` decides whether a study is complete."""

from collections.abc import Mapping

from sqlalchemy import Connection

from orthanc_al.assemble.completion import Evidence, decide, quiet_seconds_for
from orthanc_al.domain import Study
from orthanc_al.ledger import Job, Ledger, Outcome, associations, instances, studies, waiting
from orthanc_al.methods.urgency import place_in_line
from orthanc_al.observe import Clock, now
from orthanc_al.pipeline import Step

_IGNORED = frozenset({"own", "duplicate"})


class AssembleStage:
    """Completes studies.

    Parameters
    ----------
    ledger
        Where they are.
    quiet_seconds
        Seconds of quiet by modality, with a ``default``.
    clock
        Seconds since 1970; tests pass their own.
    """

    def __init__(self, ledger: Ledger, quiet_seconds: Mapping[str, float], clock: Clock = now) -> None:
        self._ledger = ledger
        self._quiet_seconds = quiet_seconds
        self._clock = clock

    def run(self, job: Job) -> Outcome:
        """Decide about the study that is the job's subject; outcome waiting, complete or unchanged."""
        time = self._clock()
        with self._ledger.read() as connection:
            study = studies.get(connection, job.subject)
            if study is None:
                return Outcome("unchanged")
            evidence = self._evidence(connection, study, time)
        decision = decide(evidence, quiet_seconds_for(study.modality, self._quiet_seconds))
        if decision.outcome == "waiting":
            return Outcome("waiting", run_at={Step.ASSEMBLE: decision.look_again_at})
        if decision.outcome == "unchanged":
            return Outcome("unchanged")

        def write(connection: Connection) -> None:
            studies.complete(connection, study, decision.evidence, time)
            if not waiting.is_in_first_try(connection, Step.SCORE_IMAGE, job.subject, time):
                # It keeps the place of its arrival: before the images of what came later.
                came_at = min(study.last_received_at, job.place(time))
                place = place_in_line(came_at, studies.priority(connection, job.subject))
                waiting.enqueue(connection, Step.SCORE, job.subject, place)

        return Outcome("complete", write, run_at={Step.SCORE: time + waiting.IMAGES_WAIT})

    @staticmethod
    def _evidence(connection: Connection, study: Study, time: float) -> Evidence:
        uid = study.study_instance_uid
        return Evidence(
            revision=study.revision,
            completed_revision=studies.completed_revision(connection, uid),
            instances=instances.count_of_study(connection, uid, _IGNORED),
            expected=studies.expected_instances(connection, uid),
            last_received_at=study.last_received_at,
            now=time,
            endings=tuple(one.ended for one in associations.of_study(connection, uid)),
        )
