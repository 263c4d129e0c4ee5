"""The shipped package in half precision: converted for real, and compared on radiographs held out."""

from pathlib import Path

import numpy as np
import pytest

from orthanc_al.demo import demo_films
from orthanc_al.imaging.preprocess import preprocess
from orthanc_al.inference.head_swap import read_head, swap_head
from orthanc_al.inference.package import ModelPackage, load_package
from orthanc_al.inference.running import Models
from orthanc_al.inference.session import Session
from orthanc_al.inference.variant import Variant, variant_of
from orthanc_al.learn.factory.dataset import Part, load_films
from tests.conftest import ROOT

pytestmark = pytest.mark.needs_data


@pytest.fixture(scope="module")
def parent() -> ModelPackage:
    return load_package(ROOT / "models" / "cxr-pneumonia")


@pytest.fixture(scope="module")
def films(data: Path, parent: ModelPackage) -> np.ndarray:
    """Held-out radiographs, every third of them, and the demo's: ordinary ones, junk and what is between."""
    held_out = load_films(data / "labelled" / "kermany_cxr_224").part(Part.JUDGE, 0).images[::3]
    return np.stack([preprocess(film, parent.manifest.preprocessing) for film in [*held_out, *demo_films()]])


@pytest.fixture(scope="module")
def variant(parent: ModelPackage, films: np.ndarray) -> Variant:
    return variant_of(parent, list(films))


def test_scores_of_real_radiographs_are_those_of_float32(
    parent: ModelPackage, films: np.ndarray, variant: Variant
) -> None:
    """Counted here once more, from the networks' own outputs."""
    assert len(films) > 150
    one, other = (Session(model).run(films) for model in (parent.contents.model, variant.model))
    entry = parent.manifest.findings[0]
    apart = np.abs(one.logits - other.logits)
    shift = np.abs(entry.calibrator.probability(one.logits) - entry.calibrator.probability(other.logits))
    assert 0.0 < apart.max() < 0.01  # a quarter of what is borne
    assert shift.max() < 0.002
    assert shift.mean() < 0.0002
    figures = variant.figures
    assert figures.films == len(films)
    assert figures.logit_worst >= apart.max() - 1e-6
    assert figures.probability_worst >= shift.max() - 1e-6
    assert figures.largest < 1000.0
    sides = [entry.calibrator.probability(by.logits) >= entry.thresholds.operating for by in (one, other)]
    assert (sides[0] != sides[1]).mean() < 0.01
    domain = parent.contents.domain
    assert np.abs(domain.ratio(one.embedding) - domain.ratio(other.embedding)).max() < 0.01


def test_the_package_is_half_as_large_and_is_used(tmp_path: Path, variant: Variant) -> None:
    package = variant.write(tmp_path / "half")
    before, after = variant.figures.sizes
    assert after < 0.51 * before
    assert sum(path.stat().st_size for path in package.folder.iterdir()) < 0.55 * before + 600_000
    assert Models().get(package.folder, package.ref).session.run(np.zeros((1, 1, 128, 128), np.float32))


def test_a_new_head_leaves_its_embeddings_bit_equal(films: np.ndarray, variant: Variant) -> None:
    """What the nightly learning relies on, in half precision as in float32."""
    weight, bias = read_head(variant.model)
    swapped = swap_head(variant.model, weight * 2.0, bias + 1.0)
    one, other = (Session(model).run(films[:8]) for model in (variant.model, swapped))
    np.testing.assert_array_equal(one.embedding, other.embedding)
    np.testing.assert_allclose(other.logits, one.logits * 2.0 - bias + 1.0, atol=1e-4)
