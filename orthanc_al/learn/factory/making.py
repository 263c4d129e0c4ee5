"""From radiographs to a model package and the demo's films, step by step."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from orthanc_al.domain.preprocessing import PreprocessingSpec
from orthanc_al.imaging.preprocess import preprocess
from orthanc_al.inference.contents import PackageContents
from orthanc_al.inference.manifest import Calibration, FindingEntry, Manifest, Metric, Origin
from orthanc_al.inference.package import write_package
from orthanc_al.inference.thresholds import Thresholds
from orthanc_al.learn.factory.augment import SHIFT_S2, SHIFT_S4, random_film
from orthanc_al.learn.factory.card import model_card
from orthanc_al.learn.factory.dataset import FilmSet, Part, load_films
from orthanc_al.learn.factory.export import embed, export_onnx
from orthanc_al.learn.factory.figures import Scored, calibrate, discrimination, operation, outside
from orthanc_al.learn.factory.films import demo_films
from orthanc_al.learn.factory.generator import fit_generator
from orthanc_al.learn.factory.junk import JUNK
from orthanc_al.learn.factory.network import Network
from orthanc_al.learn.factory.training import Recipe, Trainer
from orthanc_al.methods.calibration import Calibrator
from orthanc_al.methods.head import Head, fit_head
from orthanc_al.methods.ood import Domain, fit_domain

NAME: Final = "cxr-pneumonia"
VERSION: Final = "1.0.0"
FINDING: Final = "pneumonia"
LOOKS: Final = {"scanner look S2": SHIFT_S2, "scanner look S4": SHIFT_S4}

_VIEWS = 2
"""How many random views of each training film the head and the domain are fitted on."""

Change = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]


def make(data: Path, out: Path, *, seed: int, work_dir: Path, console: Console) -> None:
    """Do what :func:`orthanc_al.learn.factory.train_factory` promises."""
    films = load_films(data)
    training, calibration, judge = (films.part(part, seed) for part in Part)
    console.print(f"{len(training)} films train, {len(calibration)} calibrate, {len(judge)} judge")
    work_dir.mkdir(parents=True, exist_ok=True)
    spec = PreprocessingSpec()
    network = Trainer(training, spec, Recipe(seed=seed)).run(work_dir / "checkpoint.pt", console)
    model = _Model(network, spec, training, seed)
    calibrator, thresholds = calibrate(model.scored(calibration))
    model.fit_domain(calibration)
    metrics = _judge(model, judge, calibrator, thresholds)
    contents = model.contents()
    entry = FindingEntry(
        name=FINDING,
        code_value="233604007",
        code_scheme="SCT",
        code_meaning="Pneumonia",
        calibrator=calibrator,
        thresholds=thresholds,
    )
    manifest = Manifest(
        name=NAME,
        version=VERSION,
        training_data=films.digest(),
        files=contents.digests(),
        preprocessing=spec,
        calibration=_calibration(calibration),
        findings=(entry,),
        metrics=metrics,
    )
    package = write_package(out, manifest, contents, model_card(manifest, len(films), recipe_seed=seed))
    console.print(f"wrote {package.ref} to {out}")
    _write_films(model, calibrator, thresholds, work_dir / "films.npz", console)


class _Model:
    """The trained network with its head and domain."""

    def __init__(self, network: Network, spec: PreprocessingSpec, training: FilmSet, seed: int) -> None:
        self.network, self.spec, self.training, self.seed = network, spec, training, seed
        views = [self.embedded(training.images, random_film, stream) for stream in range(_VIEWS)]
        self.views = np.concatenate(views)
        self.head = self._fit_head()
        self.domain: Domain | None = None

    def _fit_head(self) -> Head:
        """Fit the head on augmented embeddings: on clean ones it serves this hospital alone."""
        labels = np.tile(self.training.labels, _VIEWS)
        once = np.full(len(labels), 1.0 / _VIEWS)
        nothing = np.zeros(self.views.shape[1])
        return fit_head(self.views, labels, nothing, sample_weight=once, centres=(0.0,))

    def fit_domain(self, unseen: FilmSet) -> None:
        """Set the border of the domain on films of patients that did not train."""
        self.domain = fit_domain(self.views, self.embedded(unseen.images))

    def embedded(
        self, images: NDArray[np.uint8], change: Change | None = None, stream: int = 0
    ) -> NDArray[np.float32]:
        """Return embeddings (n, d) of films (n, h, w), each changed with its own random numbers."""

        def one(row: int) -> NDArray[np.float32]:
            rng = np.random.default_rng((self.seed, 3, stream, row))
            return preprocess(change(images[row], rng) if change else images[row], self.spec)

        with ThreadPoolExecutor(2) as pool:
            return embed(self.network, np.stack(list(pool.map(one, range(len(images))))))

    def scored(self, films: FilmSet) -> Scored:
        """Return the films with embeddings and logits."""
        embeddings = self.embedded(films.images)
        return Scored(embeddings, self.head.logits(embeddings), films.labels, films.patients)

    def contents(self) -> PackageContents:
        """Return the files of the package."""
        weight, bias = self.head.weight[:, np.newaxis], [self.head.bias]
        model = export_onnx(self.network, weight, bias, self.spec.size)
        covariance = self.head.covariance[np.newaxis].astype(np.float32)
        return PackageContents(model, self.domain, covariance)


def _judge(
    model: _Model, judge: FilmSet, calibrator: Calibrator, thresholds: Thresholds
) -> tuple[Metric, ...]:
    """Return all figures, on patients that served for nothing else."""
    assert model.domain is not None
    scored = model.scored(judge)
    shifted = {name: model.embedded(judge.images, look.apply) for name, look in LOOKS.items()}
    junk = {f"junk: {name}": model.embedded(judge.images, change) for name, change in JUNK.items()}
    kinds = {"held-out patients": scored.embeddings, **shifted, **junk}
    return (
        *discrimination(FINDING, scored, {name: model.head.logits(rows) for name, rows in shifted.items()}),
        *operation(FINDING, scored, calibrator, thresholds),
        *outside(FINDING, model.domain, kinds, judge.patients),
    )


def _calibration(films: FilmSet) -> Calibration:
    positives = int(films.labels.sum())
    return Calibration(
        origin=Origin.FACTORY,
        by="orthanc-al train-factory",
        positives=positives,
        negatives=len(films) - positives,
    )


def _write_films(
    model: _Model, calibrator: Calibrator, thresholds: Thresholds, path: Path, console: Console
) -> None:
    """Sample the demo's films and write them, if they are nobody's."""
    generator = fit_generator(model.training, model.seed)
    score = partial(_score, model, calibrator)
    high = thresholds.operating if thresholds.high is None else thresholds.high
    films, check = demo_films(generator, model.training, score, high, model.seed)
    if not check.passed:
        raise RuntimeError(
            "a demo film is nearer to a training film than different patients are to each other"
        )
    np.savez_compressed(path, films=films)
    console.print(
        f"wrote {len(films)} films to {path}; nearest to a training film {check.nearest.min():.3f} "
        f"(median {np.median(check.nearest):.3f}), between patients {check.floor:.3f} "
        f"(median {np.median(check.between_patients):.3f})"
    )


def _score(
    model: _Model, calibrator: Calibrator, films: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    assert model.domain is not None
    embeddings = model.embedded(films)
    return calibrator.probability(model.head.logits(embeddings)), model.domain.ratio(embeddings)
