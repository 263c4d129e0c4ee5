"""The steps ``score_image`` and ``score``: what the champions say of an image and of a study."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from orthanc_al.domain import ImageScore, Study, StudyState
from orthanc_al.errors import InstanceError, SpoolFileError
from orthanc_al.imaging.header import body_part
from orthanc_al.imaging.reading import read_header
from orthanc_al.inference.running import Models, RunningModel
from orthanc_al.ledger import Job, Ledger, Outcome, instances, models, predictions, shadow, studies
from orthanc_al.ledger.instances import KnownInstance
from orthanc_al.ledger.predictions import ScoredImage, StoredPrediction
from orthanc_al.methods.urgency import Targets, unscored_read_by
from orthanc_al.observe import Clock, logger, now
from orthanc_al.pipeline import Step
from orthanc_al.score.aggregate import aggregate
from orthanc_al.score.images import score_images
from orthanc_al.score.match import EAGER, ModelUse, no_match, reason_for_none
from orthanc_al.spool import Spool

_SHADOW_WAITS = 5.0
"""Seconds that a candidate in shadow lets the studies that wait for a place go first."""

_log = logger("score")


class Scorer:
    """Runs the champions on images of the spool.

    Parameters
    ----------
    ledger, spool
        Where champions and images are.
    running
        Loads packages.
    uses
        Which model is for which images.
    """

    def __init__(self, ledger: Ledger, spool: Spool, running: Models, uses: Sequence[ModelUse]) -> None:
        self._ledger = ledger
        self._spool = spool
        self._running = running
        self.uses = uses

    def champion(self, use: ModelUse) -> RunningModel | None:
        """Return the live package of a model, None where none was ever installed."""
        with self._ledger.read() as connection:
            registered = models.champion(connection, use.name)
        return None if registered is None else self._running.get(registered.folder, registered.ref)

    def no_match(self, use: ModelUse, known: KnownInstance) -> str | None:
        """Return why a model is not for an instance, None where it is.

        Raises
        ------
        InstanceError, SpoolFileError
            Its header can't be read.
        """
        modality = known.instance.modality or ""
        reason = no_match(use, modality, "")
        if reason is not None or not use.body_part:
            return reason
        header = read_header(self._spool.path(known.instance.id))
        return no_match(use, modality, body_part(header))

    def score(self, known: KnownInstance, model: RunningModel) -> list[ScoredImage]:
        """Return the scores of all frames of an instance.

        Raises
        ------
        UndecodableError
            No grey pixels can be had.
        SpoolFileError
            Its file is not in the spool any more.
        """
        return score_images(self._spool.path(known.instance.id), known.instance.id, model)


class ScoreImageStage:
    """Scores images of `EAGER` modalities as they arrive."""

    def __init__(self, ledger: Ledger, scorer: Scorer) -> None:
        self._ledger = ledger
        self._scorer = scorer

    def run(self, job: Job) -> Outcome:
        """Score the instance that is the job's subject; outcome scored, later or unusable."""
        with self._ledger.read() as connection:
            known = instances.get(connection, job.subject)
        if known is None or known.kind != "image" or known.instance.modality not in EAGER:
            return Outcome("later")
        scored: list[ScoredImage] = []
        try:
            for use in self._scorer.uses:
                model = self._scorer.champion(use)
                if model is not None and self._scorer.no_match(use, known) is None:
                    scored += self._scorer.score(known, model)
        except InstanceError as error:
            return _unusable(known, str(error))
        if not scored:
            return Outcome("later")
        return Outcome("scored", lambda connection: predictions.put_image_scores(connection, scored))


@dataclass(slots=True)
class _Findings:
    """What scoring a study came to, gathered image by image."""

    made: list[StoredPrediction] = field(default_factory=list)
    scored: list[ScoredImage] = field(default_factory=list)
    unusable: dict[str, tuple[KnownInstance, str]] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


class ScoreStage:
    """Scores complete studies: what is left of their images, then the aggregation.

    Parameters
    ----------
    ledger
        Where they are.
    scorer
        Runs the champions.
    targets
        The tiers' target times: a study that gets no score keeps the place of one without.
    clock
        Seconds since 1970; tests pass their own.
    """

    def __init__(self, ledger: Ledger, scorer: Scorer, targets: Targets, clock: Clock = now) -> None:
        self._ledger = ledger
        self._scorer = scorer
        self._targets = targets
        self._clock = clock

    def run(self, job: Job) -> Outcome:
        """Score the study that is the job's subject; outcome scored(_beside), ineligible or superseded."""
        with self._ledger.read() as connection:
            study = studies.get(connection, job.subject)
            known = instances.of_study(connection, job.subject)
            priority = studies.priority(connection, job.subject)
            beside = any(shadow.in_shadow(connection, use.name) for use in self._scorer.uses)
        if study is None or study.state is StudyState.ARRIVING:
            return Outcome("superseded")
        if study.reason == studies.TWO_PATIENTS:
            return self._ineligible(study, priority, _Findings(reasons=[studies.TWO_PATIENTS]), known)
        found = self._findings(study, known)
        if not found.made:
            return self._ineligible(study, priority, found, known)

        def write(connection: Connection) -> None:
            _write_images(connection, found)
            if studies.mark_scored(connection, study):
                predictions.put(connection, found.made)

        if not beside:
            return Outcome("scored", write)
        return Outcome("scored_beside", write, run_at={Step.SHADOW: self._clock() + _SHADOW_WAITS})

    def _findings(self, study: Study, known: Sequence[KnownInstance]) -> _Findings:
        found = _Findings()
        images = instances.images_of(known)
        if images and not self._scorer.uses:
            found.reasons.append("no model is configured")
        for use in self._scorer.uses if images else ():
            model = self._scorer.champion(use)
            if model is None:
                found.reasons.append(f"no package of the model {use.name} is installed")
                continue
            scores = self._scores(use, model, images, found)
            if scores:
                found.made += aggregate(study, scores, model.package, self._clock())
        return found

    def _scores(
        self, use: ModelUse, model: RunningModel, images: Sequence[KnownInstance], found: _Findings
    ) -> list[ImageScore]:
        """Return the scores of a study's images by one model; those that are missing are made."""
        ids = [image.instance.id for image in images]
        with self._ledger.read() as connection:
            scores = predictions.image_scores_of(connection, ids, model.package.ref.digest)
        there = {score.instance_id for score in scores}
        for image in images:
            if image.instance.id not in there and image.instance.id not in found.unusable:
                scores += self._score_one(use, model, image, found)
        return scores

    def _score_one(
        self, use: ModelUse, model: RunningModel, image: KnownInstance, found: _Findings
    ) -> list[ImageScore]:
        try:
            reason = self._scorer.no_match(use, image)
            scored = [] if reason is not None else self._scorer.score(image, model)
        except InstanceError as error:
            reason = str(error)
            found.unusable[image.instance.id] = (image, reason)
            scored = []
        except SpoolFileError:
            reason = "an image's file is not in the spool any more (storage.keep_days)"
            scored = []
        if reason is not None:
            found.reasons.append(reason)
        found.scored += scored
        return [one.score for one in scored]

    def _ineligible(
        self, study: Study, priority: str, found: _Findings, known: Sequence[KnownInstance]
    ) -> Outcome:
        reason = reason_for_none(known, found.reasons)
        read_by = unscored_read_by(study.arrived_at, priority, self._targets)
        _log.info("study_not_scored", study=study.study_instance_uid, reason=reason)

        def write(connection: Connection) -> None:
            _write_images(connection, found)
            studies.mark_ineligible(connection, study, reason, read_by)

        return Outcome("ineligible", write)


def _write_images(connection: Connection, found: _Findings) -> None:
    predictions.put_image_scores(connection, found.scored)
    for image, reason in found.unusable.values():
        _mark_unusable(connection, image, reason)


def _unusable(known: KnownInstance, reason: str) -> Outcome:
    _log.info("image_unusable", instance=known.instance.id, reason=reason)
    return Outcome("unusable", lambda connection: _mark_unusable(connection, known, reason))


def _mark_unusable(connection: Connection, known: KnownInstance, reason: str) -> None:
    instances.set_header(
        connection,
        known.instance.id,
        kind="unusable",
        study_instance_uid=known.instance.study_instance_uid,
        series_instance_uid=known.instance.series_instance_uid,
        modality=known.instance.modality,
        sha256=known.instance.sha256,
        reason=reason,
    )
