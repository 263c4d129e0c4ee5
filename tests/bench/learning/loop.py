"""The nights of one world: some labels, a new head, some labels more."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from orthanc_al.methods.acquisition import Pool, Strategy
from orthanc_al.methods.calibration import FITTED_HEAD, Calibrator, Prior, fit_calibrator
from orthanc_al.methods.delong import auc
from orthanc_al.methods.head import Head, fit_head
from tests.bench.learning.service_rule import ServiceRule
from tests.bench.learning.world import Cases, World

BATCH: Final = 10
AUDITS: Final = 2
MOST_LABELS: Final = 200
LEAST_OF_A_CLASS: Final = 5
"""As the gate has it (orthanc_al.learn.gate): with fewer reads of a class no night replaces the head."""

LEAST_REST: Final = 3
"""The pool holds at least this many times as many studies as will be labelled."""


@dataclass(frozen=True)
class Curve:
    """AUC on the locked test set after 0, 10, 20 ... labels, and what was asked.

    Attributes
    ----------
    aucs
        Shape (steps + 1,).
    asked
        Rows of the pool, in the order of asking; audits are not among them.
    positives
        Share of the asked that have the finding.
    junk
        Share of the asked that were junk.
    """

    aucs: np.ndarray
    asked: np.ndarray
    positives: float
    junk: float


def steps_of(world: World) -> int:
    """Return how many batches there are: fewer in a small pool."""
    return max(1, min(MOST_LABELS, len(world.pool) // LEAST_REST) // BATCH)


def audits_of(world: World) -> np.ndarray:
    """Return the audited rows of the pool in their order: the same whatever the strategy."""
    rng = np.random.default_rng((world.seed, 12))
    return rng.permutation(len(world.pool))[: AUDITS * steps_of(world)]


def run(world: World, strategy: Strategy, *, averaged: bool = True, most: int = MOST_LABELS) -> Curve:
    """Ask night by night.

    Parameters
    ----------
    averaged
        Whether the head is the average over prior centres, or has one prior about the factory's head.
    most
        Labels at which it ends.
    """
    audits, pool = audits_of(world), world.pool
    free = np.ones(len(pool), np.bool_)
    free[audits] = False
    asked: list[int] = []
    head, aucs = world.factory.head, []
    for step in range(min(steps_of(world), most // BATCH)):
        aucs.append(auc(head.logits(world.test.embeddings), world.test.labels))
        audited = audits[: AUDITS * (step + 1)]
        calibrator = calibrated(head, pool.rows(audited), world)
        rows = np.flatnonzero(free & ~np.isin(pool.patients, pool.patients[asked]))
        view = view_of(world, head, calibrator, rows, np.array(asked, np.intp), step)
        tonight = _told(strategy, world, rows, np.array(asked + audited.tolist(), np.intp))
        chosen = rows[tonight.choose(view, BATCH - AUDITS)]
        asked += chosen.tolist()
        free[chosen] = False
        head = fitted(world, pool.rows(np.array(asked, np.intp)), averaged=averaged)
    aucs.append(auc(head.logits(world.test.embeddings), world.test.labels))
    taken = pool.rows(np.array(asked, np.intp))
    return Curve(
        np.array(aucs), np.array(asked, np.intp), float(taken.labels.mean()), float(taken.junk.mean())
    )


def _told(strategy: Strategy, world: World, rows: np.ndarray, known: np.ndarray) -> Strategy:
    """Tell the service's rule what the service would know; other strategies know nothing more."""
    if not isinstance(strategy, ServiceRule):
        return strategy
    positives = int(world.pool.labels[known].sum())
    ood = world.factory.domain.ratio(world.pool.embeddings[rows])
    return replace(strategy, positives=positives, weak=world.setting.cold, ood=ood)


def whole_pool(world: World) -> float:
    """Return the AUC of a head that has the labels of the whole pool."""
    head = fitted(world, world.pool, averaged=True)
    return auc(head.logits(world.test.embeddings), world.test.labels)


def fitted(world: World, cases: Cases, *, averaged: bool) -> Head:
    """Return the head of a night: the factory's, until there are reads enough of either class."""
    prior = world.factory.head
    if not world.setting.cold and np.bincount(cases.labels, minlength=2).min() < LEAST_OF_A_CLASS:
        return prior
    if averaged:
        return fit_head(cases.embeddings, cases.labels, prior.weight, prior.bias)
    return fit_head(
        cases.embeddings, cases.labels, prior.weight, prior.bias, centres=(1.0,), logit_variances=(30.0,)
    )


def calibrated(head: Head, audited: Cases, world: World) -> Calibrator:
    """Return the calibrator of a night, as `orthanc_al.learn.fit.recalibrate` makes it."""
    prior = Prior(world.factory.calibrator) if head is world.factory.head else FITTED_HEAD
    return fit_calibrator(head.logits(audited.embeddings), audited.labels, prior=prior)


def view_of(
    world: World, head: Head, calibrator: Calibrator, rows: np.ndarray, asked: np.ndarray, step: int
) -> Pool:
    """Return the pool as a strategy sees it."""
    embeddings = world.pool.embeddings[rows]
    return Pool(
        logits=calibrator.calibrated_logit(head.logits(embeddings)),
        embeddings=embeddings,
        uniforms=np.random.default_rng((world.seed, 13, step)).uniform(1e-12, 1.0, len(world.pool))[rows],
        variances=head.variances(embeddings),
        labelled=world.pool.embeddings[asked],
    )
