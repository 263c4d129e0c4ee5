"""One setting and seed: a site's pool to ask about, and a locked test set, as studies with embeddings."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from orthanc_al.learn.factory.figures import prevalence_weights
from orthanc_al.methods.calibration import Calibrator, fit_calibrator
from orthanc_al.methods.head import Head, fit_head
from orthanc_al.methods.ood import Domain, fit_domain
from tests.bench.learning.backbone import COPIES, Seen
from tests.bench.learning.images import Images
from tests.bench.learning.sites import Sites

PREVALENCE: Final = 0.1
POOL_SHARE: Final = 0.7
JUNK_SHARE: Final = 0.08
COPIED_SHARE: Final = 0.25


@dataclass(frozen=True)
class Setting:
    """What differs between the rows of the tables.

    Attributes
    ----------
    look
        Of site B's scanner.
    clean
        Whether the factory's head was fitted on plain embeddings alone, which transfers badly.
    """

    name: str
    text: str
    look: str
    clean: bool = False
    task: str = "finding"
    cold: bool = False
    copies: bool = False
    junk: bool = False
    all_strategies: bool = False


SETTINGS: Final = (
    Setting("M", "S2, factory head fitted on plain embeddings", "S2", clean=True, all_strategies=True),
    Setting("H", "S4, factory head fitted on augmented embeddings", "S4", all_strategies=True),
    Setting("N", "S4, factory head fitted on plain embeddings", "S4", clean=True),
    Setting("H copies", "H, a quarter of the pool four times with slight noise", "S4", copies=True),
    Setting("H junk", "H, 8 % junk with random labels", "S4", junk=True),
    Setting("H cold", "H without a factory head", "S4", cold=True),
    Setting("V", "one kind of disease against the other, S2", "S2", task="kind", all_strategies=True),
    Setting("V cold", "V without a factory head", "S2", task="kind", cold=True),
)


@dataclass(frozen=True)
class Cases:
    """Studies row by row.

    Attributes
    ----------
    embeddings
        float64, shape (n, d): the mean of a study's images.
    labels
        0 or 1, shape (n,).
    patients
        Number of the patient, shape (n,).
    junk
        True for what is no image of this kind.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    patients: np.ndarray
    junk: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, chosen: np.ndarray) -> "Cases":
        """Return some of the studies."""
        return Cases(self.embeddings[chosen], self.labels[chosen], self.patients[chosen], self.junk[chosen])


@dataclass(frozen=True)
class Factory:
    """Head, calibrator and domain of site A."""

    head: Head
    calibrator: Calibrator
    domain: Domain


@dataclass(frozen=True)
class Hospital:
    """Everything of a setting that its seeds share.

    Attributes
    ----------
    copies
        Of the rows of ``site`` that have any: the same exposed again, one of :data:`COPIES` each.
    """

    setting: Setting
    factory: Factory
    site: Cases
    copied_rows: np.ndarray
    copies: tuple[np.ndarray, ...]
    junk: np.ndarray


@dataclass(frozen=True)
class World:
    """A hospital under one seed.

    Attributes
    ----------
    weights
        Of the test's studies, so that a share :data:`PREVALENCE` of their sum is positive.
    """

    setting: Setting
    factory: Factory
    pool: Cases
    test: Cases
    weights: np.ndarray
    seed: int


def hospital(setting: Setting, images: Images, sites: Sites, seen: Seen) -> Hospital:
    """Return the setting's hospital."""
    kept_a, labels_a = _task(images, sites.a, setting)
    of_a = [seen.embeddings[name][kept_a] for name in (("A",) if setting.clean else ("A0", "A1"))]
    views = np.concatenate([seen.embeddings[name][kept_a] for name in ("A0", "A1")])
    domain = fit_domain(views, views)
    factory = _factory(np.concatenate(of_a), np.tile(labels_a, len(of_a)), setting, len(of_a), domain)
    kept, labels = _task(images, sites.b, setting)
    rows = sites.b[kept]
    names, group = np.unique(images.studies[rows], return_inverse=True)
    firsts = np.array([np.flatnonzero(group == number)[0] for number in range(len(names))])
    patients = np.unique([images.films.patients[row] for row in rows[firsts]], return_inverse=True)[1]
    site = Cases(
        _means(seen.embeddings[setting.look][kept], group),
        labels[firsts],
        patients,
        np.zeros(len(names), np.bool_),
    )
    every_fourth = np.flatnonzero(np.isin(kept[firsts] % 4, 0))
    places = kept[firsts][every_fourth] // 4
    copies = tuple(seen.embeddings[f"copy{n}"][places].astype(np.float64) for n in range(COPIES))
    return Hospital(setting, factory, site, every_fourth, copies, seen.embeddings["junk"].astype(np.float64))


def world(of: Hospital, seed: int) -> World:
    """Return the hospital with its patients split anew, the pool at the prevalence of a clinic."""
    rng = np.random.default_rng((seed, 11))
    positive = np.unique(of.site.patients[of.site.labels == 1])
    in_pool: set[int] = set()
    for group in (positive, np.setdiff1d(of.site.patients, positive)):
        order = rng.permutation(group)
        in_pool |= set(order[: round(POOL_SHARE * len(order))].tolist())
    rows = np.flatnonzero(np.isin(of.site.patients, list(in_pool)))
    negatives, positives = (rows[of.site.labels[rows] == label] for label in (0, 1))
    wanted = max(1, round(len(negatives) * PREVALENCE / (1.0 - PREVALENCE)))
    if len(positives) < wanted:
        negatives = rng.permutation(negatives)[
            : max(20, round(len(positives) * (1 - PREVALENCE) / PREVALENCE))
        ]
    pool_rows = rng.permutation(np.concatenate([negatives, rng.permutation(positives)[:wanted]]))
    test = of.site.rows(np.setdiff1d(np.arange(len(of.site)), rows))
    pool = of.site.rows(pool_rows)
    if of.setting.copies:
        pool = _with_copies(pool, pool_rows, of, rng)
    if of.setting.junk:
        pool = _with_junk(pool, of.junk, rng)
    return World(of.setting, of.factory, pool, test, prevalence_weights(test.labels, PREVALENCE), seed)


def _task(images: Images, rows: np.ndarray, setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Return which of the rows are in the task, as places in ``rows``, and their labels."""
    labels = images.films.labels[rows]
    if setting.task == "finding":
        return np.arange(len(rows)), labels
    kept = np.flatnonzero(labels == 1)
    return kept, (images.films.subtypes[rows[kept]] == 2).astype(np.int64)


def _factory(views: np.ndarray, labels: np.ndarray, setting: Setting, times: int, domain: Domain) -> Factory:
    nothing = np.zeros(views.shape[1])
    once = np.full(len(labels), 1.0 / times)
    head = fit_head(views, labels, nothing, sample_weight=once, centres=(0.0,))
    weights = prevalence_weights(labels, PREVALENCE)
    calibrator = fit_calibrator(head.logits(views), labels, sample_weight=weights * once)
    if setting.cold:
        head, calibrator = replace(head, weight=nothing, bias=0.0), Calibrator()
    return Factory(head, calibrator, domain)


def _means(embeddings: np.ndarray, group: np.ndarray) -> np.ndarray:
    summed = np.zeros((int(group.max()) + 1, embeddings.shape[1]))
    np.add.at(summed, group, embeddings.astype(np.float64))
    return np.asarray(summed / np.bincount(group)[:, np.newaxis])


def _with_copies(pool: Cases, pool_rows: np.ndarray, of: Hospital, rng: np.random.Generator) -> Cases:
    """Add the copies of a quarter of the pool: the same study and label, exposed again."""
    place = {int(row): number for number, row in enumerate(of.copied_rows)}
    able = [number for number, row in enumerate(pool_rows) if int(row) in place]
    chosen = rng.permutation(able)[: round(COPIED_SHARE * len(pool))]
    again = [place[int(pool_rows[number])] for number in chosen]
    parts = [pool] + [replace(pool.rows(chosen), embeddings=copy[again]) for copy in of.copies]
    return _shuffled(parts, rng)


def _with_junk(pool: Cases, junk: np.ndarray, rng: np.random.Generator) -> Cases:
    """Add junk, each of a patient of its own, with labels of chance."""
    count = min(len(junk), round(JUNK_SHARE * len(pool)))
    rows = rng.permutation(len(junk))[:count]
    strangers = pool.patients.max() + 1 + np.arange(count)
    labels = (rng.random(count) < 0.5).astype(np.int64)
    return _shuffled([pool, Cases(junk[rows], labels, strangers, np.ones(count, np.bool_))], rng)


def _shuffled(parts: list[Cases], rng: np.random.Generator) -> Cases:
    whole = Cases(
        np.concatenate([part.embeddings for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.patients for part in parts]),
        np.concatenate([part.junk for part in parts]),
    )
    return whole.rows(rng.permutation(len(whole)))
