"""The step ``score``: what the champions say of a study."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

from sqlalchemy import Connection

from orthanc_al.domain import ImageScore, Study, StudyState
from orthanc_al.errors import InstanceError, SpoolFileError
from orthanc_al.inference.running import RunningModel
from orthanc_al.ledger import Job, Ledger, Outcome, batches, instances, predictions, studies, waiting
from orthanc_al.ledger.instances import KnownInstance
from orthanc_al.ledger.predictions import ScoredImage, StoredPrediction
from orthanc_al.methods.urgency import Targets, unscored_read_by
from orthanc_al.observe import Clock, logger, now
from orthanc_al.pipeline import Step
from orthanc_al.score.aggregate import aggregate
from orthanc_al.score.champions import Champions, SpooledImage
from orthanc_al.score.match import ModelUse, no_study_match, reason_for_none
from orthanc_al.score.series import arrange
from orthanc_al.score.view import View, look

_SHADOW_WAITS = 5.0
"""Seconds that a candidate in shadow lets the studies that wait for a place go first."""

_REASON = 500
_PACKAGE_WAITS = 30.0
"""Seconds after which a study looks again whether the package that it waits for can be run."""

_TOGETHER = 32
"""Images that are looked at together."""

_log = logger("score")


@dataclass(slots=True)
class _Findings:
    """What scoring a study came to, gathered image by image.

    Attributes
    ----------
    remarks
        What is to be said of images that stay images: why no model is for one, why a slice was left out.
    left_out
        Slices that have no part in the result: model digest, instance id and frame.
    waits
        Why a model that the study is for can't be run now.
    """

    made: list[StoredPrediction] = field(default_factory=list)
    scored: list[ScoredImage] = field(default_factory=list)
    unusable: dict[str, tuple[KnownInstance, str]] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    remarks: dict[str, str | None] = field(default_factory=dict)
    left_out: list[tuple[str, str, int]] = field(default_factory=list)
    waits: str = ""

    def add_error(self, known: KnownInstance, error: InstanceError | SpoolFileError) -> None:
        """Note why an image has no scores."""
        reason = str(error)
        if isinstance(error, InstanceError):
            self.unusable[known.instance.id] = (known, reason)
        else:
            reason = "an image's file is not in the spool any more (storage.keep_days)"
        self.reasons.append(reason)


@dataclass(frozen=True, slots=True)
class _ScoreEffect:
    """What is written of a study that has scores."""

    study: Study
    found: _Findings

    def __call__(self, connection: Connection) -> None:
        self.write_with(connection, ())

    def write_with(self, connection: Connection, others: Sequence["_ScoreEffect"]) -> None:
        effects = (self, *others)
        for effect in effects:
            _write_images(connection, effect.found)
        marked = studies.mark_all_scored(connection, [effect.study for effect in effects])
        made = [
            one
            for effect in effects
            if effect.study.study_instance_uid in marked
            for one in effect.found.made
        ]
        predictions.put(connection, made)


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

    def __init__(self, ledger: Ledger, scorer: Champions, targets: Targets, clock: Clock = now) -> None:
        self._ledger = ledger
        self._scorer = scorer
        self._targets = targets
        self._clock = clock

    def run(self, job: Job) -> Outcome:
        """Score the study that is the job's subject.

        Outcome scored or scored_beside, ineligible, waiting (for its images or its package) or superseded.
        """
        return next(iter(self.run_all([job])))

    def run_all(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Score the studies that are the jobs' subjects, looked up together.

        Where they take long, as when images have to be decoded, those that are left are not begun.
        """
        began = monotonic()
        view = look(self._ledger, self._scorer, [job.subject for job in jobs], self._clock())
        for job in batches.in_time(jobs, began):
            yield self._outcome(job, view)

    def _outcome(self, job: Job, view: View) -> Outcome:
        uid = job.subject
        study = view.studies.get(uid)
        if study is None or study.state is StudyState.ARRIVING:
            return Outcome("superseded")
        if uid in view.in_first_try:
            return Outcome("waiting", run_at={Step.SCORE: view.time + waiting.IMAGES_WAIT})
        return self._scored(study, view, job)

    def _scored(self, study: Study, view: View, job: Job) -> Outcome:
        known = view.known.get(study.study_instance_uid, [])
        if study.reason == studies.TWO_PATIENTS:
            return self._ineligible(study, _Findings(reasons=[studies.TWO_PATIENTS]), known)
        found = self._findings(study, known, view)
        if not found.made:
            return self._waiting(study, found) if found.waits else self._ineligible(study, found, known)

        write = _ScoreEffect(study, found)
        # On the worklist by the place of its arrival or before: not after the images of what came later.
        run_at = {Step.TRIAGE: min(study.last_received_at, job.place(self._clock()))}
        if not view.beside:
            return Outcome("scored", write, run_at=run_at)
        run_at[Step.SHADOW] = self._clock() + _SHADOW_WAITS
        return Outcome("scored_beside", write, run_at=run_at)

    def _findings(self, study: Study, known: Sequence[KnownInstance], view: View) -> _Findings:
        found = _Findings()
        images = instances.images_of(known)
        if images and not self._scorer.uses:
            found.reasons.append("no model is configured")
        for use in self._scorer.uses if images else ():
            if use.fault:
                self._look_for_waiting(use, images, found)
                continue
            registered = view.champions.get(use.name)
            if registered is None:
                found.reasons.append(f"no package of the model {use.name} is installed")
                continue
            model = self._scorer.running(registered)
            against = no_study_match(use, model.package.manifest, len(images))
            if against is not None:
                found.reasons.append(against)
                continue
            made = view.scores[model.package.ref.digest]
            self._aggregate(study, use, model, images, made, found)
        return found

    def _look_for_waiting(self, use: ModelUse, images: Sequence[KnownInstance], found: _Findings) -> None:
        """Note the images that a model is for that can't be run now."""
        for image in images:
            if self._scorer.waits(use, self._scorer.image(image)):
                found.waits = f"the model {use.name} can't be run: {use.fault}"
                found.remarks.setdefault(image.instance.id, found.waits[:_REASON])

    def _waiting(self, study: Study, found: _Findings) -> Outcome:
        """Have the study wait for its model; its images say why."""
        _log.warning("study_waits_for_model", study=study.study_instance_uid, reason=found.waits)
        return Outcome(
            "waiting",
            lambda connection: _write_images(connection, found),
            run_at={Step.SCORE: self._clock() + _PACKAGE_WAITS},
        )

    def _aggregate(
        self,
        study: Study,
        use: ModelUse,
        model: RunningModel,
        images: Sequence[KnownInstance],
        made: Mapping[str, Sequence[ImageScore]],
        found: _Findings,
    ) -> None:
        """Add what one model says of a study, of whose images it scored some already (``made``)."""
        ids = {image.instance.id for image in images}
        scores = [score for instance_id, of_image in made.items() if instance_id in ids for score in of_image]
        missing = [
            image
            for image in images
            if image.instance.id not in made and image.instance.id not in found.unusable
        ]
        for start in range(0, len(missing), _TOGETHER):
            scores += self._score(use, model, missing[start : start + _TOGETHER], found)
        series = {image.instance.id: image.instance.series_instance_uid or "" for image in images}
        kind = model.package.manifest.series
        if kind is not None:
            arranged = arrange(scores, series, placed=kind.placed)
            scores = arranged.kept
            found.remarks |= arranged.remarks
            found.reasons += arranged.left_out.values()
            found.left_out += [(model.package.ref.digest, *key) for key in arranged.left_out]
        if scores:
            found.made += aggregate(study, scores, model.package, self._clock(), series)

    def _score(
        self, use: ModelUse, model: RunningModel, known: Sequence[KnownInstance], found: _Findings
    ) -> list[ImageScore]:
        """Return the scores of images that have none yet, and note why others get none."""
        images = [image for image in map(self._scorer.image, known) if self._is_for(use, model, image, found)]
        scores: list[ImageScore] = []
        for image, made in zip(images, self._scorer.score(images, model), strict=True):
            if isinstance(made, Exception):
                found.add_error(image.known, made)
            else:
                found.scored += made
                scores += [one.score for one in made]
        return scores

    def _is_for(self, use: ModelUse, model: RunningModel, image: SpooledImage, found: _Findings) -> bool:
        """Whether a model is for an image; why it is not is noted."""
        known = image.known
        try:
            reason = self._scorer.no_match(use, model, image)
        except (InstanceError, SpoolFileError) as error:
            found.add_error(known, error)
            return False
        if reason is not None:
            found.remarks.setdefault(known.instance.id, reason)
            found.reasons.append(reason)
        elif known.reason is not None:  # what was said while its package could not be run
            found.remarks[known.instance.id] = None
        return reason is None

    def _ineligible(self, study: Study, found: _Findings, known: Sequence[KnownInstance]) -> Outcome:
        reason = reason_for_none(known, found.reasons)
        _log.info("study_not_scored", study=study.study_instance_uid, reason=reason)

        def write(connection: Connection) -> None:
            _write_images(connection, found)
            priority = studies.priority(connection, study.study_instance_uid)
            read_by = unscored_read_by(study.arrived_at, priority, self._targets)
            studies.mark_ineligible(connection, study, reason, read_by)

        return Outcome("ineligible", write)


def _write_images(connection: Connection, found: _Findings) -> None:
    predictions.put_image_scores(connection, found.scored)
    predictions.drop_image_scores(connection, found.left_out)
    for instance_id, remark in found.remarks.items():
        instances.set_reason(connection, instance_id, remark)
    for image, reason in found.unusable.values():
        instances.mark_unusable(connection, image, reason)
