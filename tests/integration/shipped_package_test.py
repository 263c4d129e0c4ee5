"""models/cxr-pneumonia: what its card says holds, on films that it was not trained on."""

import csv
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pydicom
import pytest
from scipy.stats import spearmanr

from orthanc_al.demo import demo_films
from orthanc_al.imaging.preprocess import preprocess
from orthanc_al.inference.package import ModelPackage, load_package
from orthanc_al.learn.factory.augment import SHIFT_S2, SHIFT_S4
from orthanc_al.learn.factory.dataset import FilmSet, Part, load_films
from orthanc_al.learn.factory.junk import JUNK
from orthanc_al.methods.delong import auc
from tests.conftest import ROOT

FOLDER = ROOT / "models" / "cxr-pneumonia"
UNCOMPRESSED = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"}


class Scorer:
    """The package, run plainly."""

    def __init__(self, package: ModelPackage) -> None:
        self.package = package
        self.session = onnxruntime.InferenceSession(
            package.contents.model, providers=["CPUExecutionProvider"]
        )

    def __call__(self, films: list[np.ndarray] | np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return logits, distances from the domain and class activation maps of films."""
        images = np.stack([preprocess(film, self.package.manifest.preprocessing) for film in films])
        logits, embeddings, maps = self.session.run(["logits", "embedding", "feature_map"], {"image": images})
        return logits[:, 0], self.package.contents.domain.ratio(embeddings), maps


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(load_package(FOLDER))


@pytest.fixture(scope="module")
def held_out(data: Path) -> FilmSet:
    return load_films(data / "labelled" / "kermany_cxr_224").part(Part.JUDGE, 0)


def test_the_package_is_small_enough_to_commit() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 15_000_000
    assert (ROOT / "orthanc_al" / "demo" / "films.npz").stat().st_size < 3_000_000


def test_the_factory_supports_no_low_tier(scorer: Scorer) -> None:
    assert scorer.package.manifest.calibration.origin == "factory"
    assert scorer.package.manifest.findings[0].thresholds.low is None


def test_the_stated_auc_is_what_the_package_has(scorer: Scorer, held_out: FilmSet) -> None:
    stated = {m.on: m.value for m in scorer.package.manifest.metrics if m.name == "auc"}
    measured = auc(scorer(held_out.images)[0], held_out.labels)
    assert measured == pytest.approx(stated["held-out patients"], abs=5e-4)
    assert measured >= 0.985


@pytest.mark.parametrize(("look", "bar"), [(SHIFT_S2, 0.985), (SHIFT_S4, 0.97)])
def test_another_scanner_costs_little(scorer: Scorer, held_out: FilmSet, look: object, bar: float) -> None:
    films = [look.apply(film, np.random.default_rng(row)) for row, film in enumerate(held_out.images)]
    assert auc(scorer(films)[0], held_out.labels) >= bar


def test_ordinary_films_are_rarely_outside_of_the_domain(scorer: Scorer, held_out: FilmSet) -> None:
    assert (scorer(held_out.images)[1] > 1.0).mean() <= 0.03


@pytest.mark.parametrize("kind", JUNK)
def test_junk_is_outside_of_the_domain(scorer: Scorer, held_out: FilmSet, kind: str) -> None:
    films = [JUNK[kind](film, np.random.default_rng(row)) for row, film in enumerate(held_out.images[:150])]
    assert (scorer(films)[1] > 1.0).mean() >= 0.9


def test_images_of_other_modalities_are_mostly_outside_of_the_domain(scorer: Scorer, data: Path) -> None:
    films = _other_modalities(data)
    assert len(films) >= 40
    assert (scorer(films)[1] > 1.0).mean() >= 0.8


def test_full_size_films_score_as_their_small_copies_did_in_training(scorer: Scorer, data: Path) -> None:
    folder = data / "labelled" / "kermany_cxr_fullres"
    with (folder / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    large = [cv2.imread(str(folder / row["path"]), cv2.IMREAD_GRAYSCALE) for row in rows]
    small = [cv2.resize(film, (224, 224), interpolation=cv2.INTER_AREA) for film in large]
    of_large, of_small = scorer(large)[0], scorer(small)[0]
    assert spearmanr(of_large, of_small).statistic > 0.98
    assert np.abs(of_large - of_small).mean() < 0.5


def test_sixteen_bits_and_a_linear_window_change_nothing(scorer: Scorer, held_out: FilmSet) -> None:
    films = held_out.images[:20]
    deep = films.astype(np.uint16) * 13 + 1000
    np.testing.assert_allclose(scorer(deep)[0], scorer(films)[0], atol=0.02)


def test_the_demo_has_every_tier_that_the_factory_supports(scorer: Scorer) -> None:
    logits, outside, _ = scorer(demo_films())
    entry = scorer.package.manifest.findings[0]
    probability = entry.calibrator.probability(logits)
    inside = outside <= 1.0
    assert (~inside).sum() == 2
    assert 8 <= (inside & (probability > entry.thresholds.high)).sum() <= 14
    assert (inside & (probability < 0.1 * entry.thresholds.high)).sum() >= 8
    assert (
        inside & (probability > 0.2 * entry.thresholds.high) & (probability < entry.thresholds.high)
    ).any()


def _other_modalities(data: Path) -> list[np.ndarray]:
    """Grey CT, MR, MG and US images whose pixels are stored as they are."""
    films = []
    with (data / "dicom" / "INDEX.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["modality"] not in {"CT", "MR", "MG", "US"} or row["ts_uid"] not in UNCOMPRESSED:
            continue
        if row["decode"] != "ok":
            continue
        pixels = pydicom.dcmread(data / "dicom" / row["source"] / row["path"], force=True).pixel_array
        if pixels.ndim == 2 and min(pixels.shape) >= 64 and np.ptp(pixels) > 0:
            films.append(pixels)
    return films
