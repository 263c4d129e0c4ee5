"""What a night proposes for each finding, and what the gate says of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from orthanc_al.domain import Grouping, group_of
from orthanc_al.learn.finding_model import FindingModel
from orthanc_al.learn.fit import Guarantee, recalibrate, refit, set_borders
from orthanc_al.learn.gate import judge
from orthanc_al.learn.judgement import GateCases, Judgement, Scores, Training, Verdict
from orthanc_al.learn.pccp import Plan
from orthanc_al.learn.snapshot import Cases, Role, Snapshot
from orthanc_al.ledger.learning import LabelledCase

HEAD: Final = "head"
BORDERS: Final = "calibrator and thresholds"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A finding's candidate and its judgement.

    Attributes
    ----------
    change
        `HEAD` (calibrator and thresholds with it) or `BORDERS` alone.
    """

    change: str
    model: FindingModel
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class FindingResult:
    """All proposals of one finding, and the one that holds, or the champion where none does."""

    chosen: FindingModel
    proposals: tuple[Proposal, ...]

    @property
    def verdict(self) -> Verdict:
        """``better`` where a proposal is; else what the first came to, ``not_better`` where there is none."""
        verdicts = [proposal.judgement.verdict for proposal in self.proposals]
        return Verdict.BETTER if Verdict.BETTER in verdicts else [*verdicts, Verdict.NOT_BETTER][0]


def result_of(
    snapshot: Snapshot, anchor: FindingModel, champion: FindingModel, guarantee: Guarantee, plan: Plan
) -> FindingResult:
    """Propose a new head and, where that is not better, new borders for the champion's.

    Parameters
    ----------
    snapshot
        Of this night.
    anchor, champion
        The finding in the factory's package, and in the one that is live.
    guarantee
        What the tiers promise.
    plan
        What may change, and by how much.
    """
    judged: list[Proposal] = []
    for change, model in _candidates(snapshot, anchor, champion, guarantee, plan):
        judgement = _judge(snapshot, model, anchor, champion, plan, new_head=change == HEAD)
        judged.append(Proposal(change, model, judgement))
        if judgement.verdict is Verdict.BETTER:
            return FindingResult(model, tuple(judged))
    return FindingResult(champion, tuple(judged))


def _candidates(
    snapshot: Snapshot, anchor: FindingModel, champion: FindingModel, guarantee: Guarantee, plan: Plan
) -> Iterator[tuple[str, FindingModel]]:
    may = plan.change.may

    def complete(model: FindingModel) -> FindingModel:
        calibrated = recalibrate(snapshot, model, anchor) if "calibrator" in may else model
        if "thresholds" not in may:
            return calibrated
        return set_borders(snapshot, calibrated, anchor, guarantee)

    if "head" in may:
        refitted = refit(snapshot, anchor)
        yield (
            HEAD,
            complete(replace(refitted, calibrator=champion.calibrator, borders=champion.borders)),
        )
    moved = complete(champion)
    if (moved.calibrator, moved.borders) != (champion.calibrator, champion.borders):
        yield BORDERS, moved


def _judge(
    snapshot: Snapshot,
    model: FindingModel,
    anchor: FindingModel,
    champion: FindingModel,
    plan: Plan,
    *,
    new_head: bool,
) -> Judgement:
    train = snapshot.select(model.name, Role.TRAIN)
    training = Training(
        positives=train.positives,
        negatives=train.negatives,
        patients=frozenset(case.patient_key for case in train.rows),
        audit_overlap=snapshot.audit_overlap,
        new_head=new_head,
    )
    return judge(training, gate_cases(snapshot.select(model.name, Role.GATE), model, anchor, champion), plan)


def gate_cases(cases: Cases, model: FindingModel, anchor: FindingModel, champion: FindingModel) -> GateCases:
    """Return what three models say of the audited cases of the fold ``gate``."""
    return GateCases(
        labels=cases.labels,
        patients=tuple(case.patient_key for case in cases.rows),
        candidate=_scores(model, cases),
        champion=_scores(champion, cases),
        anchor=_scores(anchor, cases),
        subgroups=subgroups_of(cases.rows),
    )


def subgroups_of(rows: Sequence[LabelledCase]) -> dict[str, tuple[str, ...]]:
    """Return what each case belongs to, by the kind of group."""
    return {
        "scanner": tuple(case.station for case in rows),
        "sex": tuple(case.sex for case in rows),
        "age": tuple(group_of(Grouping.AGE, case.attributes) for case in rows),
    }


def _scores(model: FindingModel, cases: Cases) -> Scores:
    logits = model.logits(cases.embeddings)
    return Scores(logits, model.calibrator.probability(logits), model.borders.operating)
