"""The step ``shadow``: a candidate scores a study beside the champion, and nothing of it is shown."""

from collections.abc import Sequence
from typing import Final

from orthanc_al.domain import Study, StudyState
from orthanc_al.errors import InstanceError, ModelError, SpoolFileError
from orthanc_al.inference.package import ModelPackage
from orthanc_al.inference.running import Models, RunningModel
from orthanc_al.ledger import Job, Ledger, Outcome, instances, predictions, shadow, studies
from orthanc_al.ledger.models import RegisteredModel
from orthanc_al.ledger.predictions import StoredPrediction
from orthanc_al.ledger.shadow import ShadowScore
from orthanc_al.observe import Clock, logger, now
from orthanc_al.score.aggregate import aggregate
from orthanc_al.score.champions import Champions
from orthanc_al.score.match import ModelUse
from orthanc_al.score.series import arrange

_ERROR: Final = 500
_log = logger("score")


class ShadowStage:
    """Scores studies with the candidates that are in shadow.

    Parameters
    ----------
    ledger
        Where studies and candidates are.
    scorer
        Runs models on images of the spool.
    running
        Loads the candidates: not what the champions are loaded by, which keeps one package of a name.
    clock
        Seconds since 1970; tests pass their own.
    """

    def __init__(self, ledger: Ledger, scorer: Champions, running: Models, clock: Clock = now) -> None:
        self._ledger = ledger
        self._scorer = scorer
        self._running = running
        self._clock = clock

    def run(self, job: Job) -> Outcome:
        """Score the study that is the job's subject with all candidates; outcome shadowed or superseded."""
        with self._ledger.read() as connection:
            study = studies.get(connection, job.subject)
            if study is None or study.state is StudyState.ARRIVING:
                return Outcome("superseded")
            stored = predictions.of_revision(connection, study.study_instance_uid, study.revision)
        scores = [score for use in self._scorer.uses for score in self._beside(use, study, stored)]
        if not scores:
            return Outcome("superseded")
        return Outcome("shadowed", lambda connection: shadow.put(connection, scores))

    def _beside(
        self, use: ModelUse, study: Study, stored: Sequence[StoredPrediction]
    ) -> Sequence[ShadowScore]:
        champion = self._scorer.champion(use)
        with self._ledger.read() as connection:
            candidate = shadow.in_shadow(connection, use.name)
        if champion is None or candidate is None:
            return ()
        said = {
            one.prediction.finding: one for one in stored if one.model.digest == champion.package.ref.digest
        }
        if not said:
            return ()  # another package was live when it was scored: there is nothing to compare with
        try:
            running = self._running.get(candidate.folder, candidate.ref)
            made = self._score(use, study, running)
        except SpoolFileError:
            return ()
        except ModelError as error:
            _log.warning("shadow_failed", study=study.study_instance_uid, error=str(error))
            return (self._failure(study, candidate, champion, str(error)),)
        return [
            self._compared(one, running.package, said[one.prediction.finding], champion.package)
            for one in made
            if one.prediction.finding in said
        ]

    def _score(self, use: ModelUse, study: Study, running: RunningModel) -> list[StoredPrediction]:
        with self._ledger.read() as connection:
            images = instances.images_of(instances.of_study(connection, study.study_instance_uid))
        scores = []
        for known in images:
            image = self._scorer.image(known)
            try:
                if self._scorer.no_match(use, running, image) is not None:
                    continue
            except InstanceError:
                continue  # the champion could not use it either
            (made,) = self._scorer.score([image], running)
            if isinstance(made, SpoolFileError):
                raise made
            if not isinstance(made, InstanceError):
                scores += [one.score for one in made]
        series = {image.instance.id: image.instance.series_instance_uid or "" for image in images}
        kind = running.package.manifest.series
        if kind is not None:
            scores = arrange(scores, series, placed=kind.placed).kept
        return aggregate(study, scores, running.package, self._clock(), series) if scores else []

    def _compared(
        self,
        one: StoredPrediction,
        candidate: ModelPackage,
        other: StoredPrediction,
        champion: ModelPackage,
    ) -> ShadowScore:
        mine, live = one.prediction, other.prediction
        return ShadowScore(
            study_instance_uid=mine.study_instance_uid,
            candidate=candidate.ref.digest,
            champion=champion.ref.digest,
            finding=mine.finding,
            at=self._clock(),
            logit=mine.logit,
            probability=mine.probability,
            flagged=mine.probability >= _operating(candidate, mine.finding),
            champion_logit=live.logit,
            champion_probability=live.probability,
            champion_flagged=live.probability >= _operating(champion, live.finding),
        )

    def _failure(
        self, study: Study, candidate: RegisteredModel, champion: RunningModel, error: str
    ) -> ShadowScore:
        return ShadowScore(
            study_instance_uid=study.study_instance_uid,
            candidate=candidate.ref.digest,
            champion=champion.package.ref.digest,
            finding="",
            at=self._clock(),
            error=error[:_ERROR],
        )


def _operating(package: ModelPackage, finding: str) -> float:
    return next(entry.thresholds.operating for entry in package.manifest.findings if entry.name == finding)
