"""What the day left of the budget, asked at once: one batch of the studies that are still unread."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from orthanc_al.methods import audit
from orthanc_al.methods.acquisition import DiversePowerMargin, Pool, PowerMargin, Random, Scoring, TopRisk
from orthanc_al.methods.acquisition.diverse_power_margin import CANDIDATES
from orthanc_al.select import batch
from orthanc_al.select.rules import REASONS, Case, Known, Query

Matrix = NDArray[np.float64]


def ask_at_days_end(
    pool: Sequence[Case], count: int, known: Known, seed: str, day: str, labelled: Matrix
) -> list[Query]:
    """Return the best ``count`` of the pool together (`orthanc_al.select.batch`).

    The noise is a fresh one of that ``day``: what is left over has lost the draw on arrival. The weight
    of a query by doubt is its probability of being among the candidates, those with the greatest g, given
    the others' noise (priority sampling: Duffield, Lund & Thorup, JACM 54:32, 2007), and given that it was
    left over; which of the candidates are taken, for their difference, is no chance any more. It is so an
    upper bound, of use to see who could not be asked. A query by risk has weight 1.

    Parameters
    ----------
    labelled
        Embeddings of the studies that were asked about before, float64, shape (m, d).
    """
    cases = distinct([case for case in pool if case.askable], labelled)
    if not cases or count <= 0:
        return []
    doubtful = [case.probability_for(PowerMargin()) for case in cases]
    noise = np.array([audit.uniform(seed, "query", day, case.study_instance_uid) for case in cases])
    view = Pool(
        logits=logit(np.clip(doubtful, 1e-12, 1.0 - 1e-12)),
        embeddings=np.array([case.embedding for case in cases], np.float64),
        uniforms=noise,
        variances=np.zeros(len(cases)),
        labelled=labelled if len(labelled) else np.empty((0, len(cases[0].embedding))),
    )
    chosen = batch.choose(
        view,
        count,
        positives=known.positives,
        weak=known.weak,
        groups=[case.scanner for case in cases],
        risks=np.array([max(case.probabilities) for case in cases]),
    )
    return [_of_batch(cases[one.row], one, view, noise, len(chosen)) for one in chosen]


def distinct(cases: Sequence[Case], labelled: Matrix) -> list[Case]:
    """Return the cases without copies: of those whose embeddings are the same but for rounding, the first.

    A film sent again under another UID, or a copy of a labelled one, would cost a question and teach nothing.
    Cases whose embedding has another length (another model's) are left out: they can't be compared.
    """
    lengths = [len(case.embedding) for case in cases]
    usual = labelled.shape[1] if len(labelled) else (max(set(lengths), key=lengths.count) if cases else 0)
    known = [row.tobytes() for row in _rounded(labelled)]
    kept, seen = [], set(known)
    for case in cases:
        if len(case.embedding) != usual:
            continue
        mark = _rounded(np.asarray([case.embedding], np.float64))[0].tobytes()
        if usual == 0 or mark not in seen:
            seen.add(mark)
            kept.append(case)
    return kept


def _rounded(rows: Matrix) -> NDArray[np.float32]:
    """Return rows to three digits of their length; -0 is 0."""
    length = np.sqrt((rows**2).mean(1, keepdims=True)) if rows.size else np.ones((len(rows), 1))
    return np.asarray(np.round(rows / np.maximum(length, 1e-30), 3) + 0.0, np.float32)


def _of_batch(case: Case, one: batch.Chosen, view: Pool, noise: Matrix, count: int) -> Query:
    """Return the query with the score and the weight of the strategy that took it."""
    strategy: Scoring
    if one.strategy.name == DiversePowerMargin.name:
        strategy, wanted = PowerMargin(), CANDIDATES * count
    elif one.strategy.name == Random.name:
        strategy, wanted = Random(), count
    else:
        p = case.probability_for(TopRisk())
        return Query(case.study_instance_uid, TopRisk.name, p, 1.0, REASONS[TopRisk.name].format(p=p))
    scores = strategy.score(view.probabilities, noise)
    threshold = np.sort(scores)[-wanted - 1] if wanted < len(scores) else -np.inf
    chance = float(strategy.chance(view.probabilities[[one.row]], float(threshold))[0])
    p = case.probability_for(strategy)
    reason = REASONS[one.strategy.name].format(p=p)
    return Query(case.study_instance_uid, one.strategy.name, float(scores[one.row]), chance, reason)
