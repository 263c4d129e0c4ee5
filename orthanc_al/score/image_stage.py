"""The step ``score_image``: what the champions say of images as they arrive."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from sqlalchemy import Connection

from orthanc_al.errors import InstanceError
from orthanc_al.inference.running import RunningModel
from orthanc_al.ledger import Job, Ledger, Outcome, batches, haste, instances, predictions, studies, waiting
from orthanc_al.ledger.instances import KnownInstance
from orthanc_al.ledger.predictions import ScoredImage
from orthanc_al.methods.urgency import HEAD_START
from orthanc_al.observe import logger, now
from orthanc_al.pipeline import Step
from orthanc_al.score.aggregate import looks_urgent
from orthanc_al.score.champions import Champions, SpooledImage
from orthanc_al.score.match import ModelUse, is_eager

_HASTENED: Final = (Step.SCORE_IMAGE, Step.ASSEMBLE, Step.SCORE)

_Champions = Sequence[tuple[ModelUse, RunningModel]]
_log = logger("score")


@dataclass(slots=True)
class _Found:
    """What the models say of an image, or why none can."""

    image: SpooledImage
    scored: list[ScoredImage] = field(default_factory=list)
    error: InstanceError | None = None
    urgent: bool = False

    @property
    def study(self) -> str:
        return self.image.known.instance.study_instance_uid or ""

    @property
    def received_at(self) -> float:
        return self.image.known.instance.received_at


@dataclass(frozen=True, slots=True)
class _ImageEffect:
    """What is written of an image.

    Attributes
    ----------
    leads
        Whether it is the image of its study that tells the queue what this makes of its order.
    urgent
        Whether an image of its study looks urgent.
    """

    found: _Found
    leads: bool
    urgent: bool

    def __call__(self, connection: Connection) -> None:
        self.write_with(connection, ())

    def write_with(self, connection: Connection, others: Sequence["_ImageEffect"]) -> None:
        effects = (self, *others)
        for found in (effect.found for effect in effects):
            if found.error is not None:
                instances.mark_unusable(connection, found.image.known, str(found.error))
        scored = [score for effect in effects if effect.found.error is None for score in effect.found.scored]
        predictions.put_image_scores(connection, scored)
        leading = [effect for effect in effects if effect.leads]
        # It waits for its images, and keeps the place of its arrival: before the images of what came later.
        times: dict[str, float] = {}
        for found in (effect.found for effect in leading):
            times[found.study] = min(found.received_at, times.get(found.study, now()))
        waiting.hurry_all(connection, Step.SCORE, times)
        urgent = {effect.found.study for effect in leading if effect.urgent}
        haste.hasten(connection, _HASTENED, urgent, HEAD_START, now())


class ScoreImageStage:
    """Scores images as they arrive: those of `EAGER` modalities, and slices."""

    def __init__(self, ledger: Ledger, scorer: Champions) -> None:
        self._ledger = ledger
        self._scorer = scorer

    def run(self, job: Job) -> Outcome:
        """Score the instance that is the job's subject; outcome scored, later or unusable."""
        return next(iter(self.run_all([job])))

    def run_all(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Score the instances that are the jobs' subjects.

        The frames of slices run through a network together. Films are scored one after the other; where they
        take long, those that are left are not begun: what is known is to be written.
        """
        began = monotonic()
        with self._ledger.read() as connection:
            known = instances.get_all(connection, [job.subject for job in jobs])
            live = self._scorer.registered(connection)
            stat = studies.ordered_stat(connection, {one.instance.study_instance_uid for one in known})
        champions = [
            (use, self._scorer.running(one))
            for use in self._scorer.uses
            if not use.fault and (one := live[use.name]) is not None
        ]
        found = {
            one.instance.id: _Found(self._scorer.image(one), urgent=one.instance.study_instance_uid in stat)
            for one in known
            if one.kind == "image"
        }
        # One whose twin was looked at in the same batch, say: nothing of it is to be waited for any more.
        others = {one.instance.id: one for one in known if one.kind != "image"}
        slices = all(one.image.known.instance.modality in batches.SLICES for one in found.values())
        for turn in batches.in_time([jobs] if slices else [[job] for job in jobs], began):
            of_turn = [found[job.subject] for job in turn if job.subject in found]
            for job, outcome in zip(turn, self._outcomes(turn, of_turn, champions), strict=True):
                yield _passed_over(others[job.subject]) if job.subject in others else outcome

    def _outcomes(self, jobs: Sequence[Job], found: Sequence[_Found], champions: _Champions) -> list[Outcome]:
        for use, model in champions:
            self._score(use, model, [one for one in found if one.error is None])
        urgent = {one.study for one in found if one.urgent}
        # One that looks urgent, where there is one: what can't be written says nothing to the queue either.
        by_urgency = sorted(found, key=lambda one: not one.urgent)
        first = {one.study: one for one in reversed(by_urgency)}
        of_subject = {one.image.known.instance.id: one for one in found}
        return [_outcome(of_subject.get(job.subject), urgent, first) for job in jobs]

    def _score(self, use: ModelUse, model: RunningModel, found: Sequence[_Found]) -> None:
        """Add what one model says."""
        eager = []
        for one in found:
            try:
                if (
                    is_eager(one.image.known.instance.modality or "", model.package.manifest)
                    and self._scorer.no_match(use, model, one.image) is None
                ):
                    eager.append(one)
            except InstanceError as error:
                one.error = error
        for one, made in zip(eager, self._scorer.score([one.image for one in eager], model), strict=True):
            if isinstance(made, InstanceError):
                one.error = made
            elif isinstance(made, Exception):
                raise made
            else:
                one.scored += made
                one.urgent |= looks_urgent([image.score for image in made], model.package)


def _passed_over(known: KnownInstance) -> Outcome:
    """Return that an instance is no image any more, so that its study does not wait for it."""
    uid, at = known.instance.study_instance_uid or "", known.instance.received_at
    return Outcome("later", lambda connection: waiting.hurry(connection, Step.SCORE, uid, min(at, now())))


def _outcome(found: _Found | None, urgent: Collection[str], first: Mapping[str, _Found]) -> Outcome:
    """Return what is to be written of one image.

    Parameters
    ----------
    urgent
        Studies of which an image looks urgent.
    first
        The image, by study, that tells the queue what this makes of its order: one that looks urgent, where
        there is one.
    """
    if found is None:
        return Outcome("later")
    effect = _ImageEffect(found, leads=first[found.study] is found, urgent=found.study in urgent)
    if found.error is not None:
        _log.info("image_unusable", instance=found.image.known.instance.id, reason=str(found.error))
        return Outcome("unusable", effect)
    return Outcome("scored" if found.scored else "later", effect)
