"""The demo's films: nobody's, and spread over the tiers."""

import cv2
import numpy as np
import pytest

from orthanc_al.errors import ModelError
from orthanc_al.learn.factory.films import copy_check, demo_films
from orthanc_al.learn.factory.generator import FilmGenerator, fit_generator
from tests.support.factory import made_up_films

FILMS = made_up_films(160)


@pytest.fixture(scope="module")
def generator() -> FilmGenerator:
    return fit_generator(FILMS, seed=0)


def test_a_copy_of_a_training_film_is_found() -> None:
    check = copy_check(FILMS.images[:3], FILMS, np.random.default_rng(0))
    assert check.nearest.max() < 1e-6
    assert check.floor > 0.0
    assert not check.passed


def test_a_brighter_copy_is_found_too() -> None:
    brighter = np.clip(FILMS.images[:3] * 0.6 + 50.0, 0, 255).astype(np.uint8)
    assert not copy_check(brighter, FILMS, np.random.default_rng(0)).passed


def test_a_film_of_another_world_is_no_copy() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64)).astype(np.uint8)
    assert copy_check(noise, FILMS, np.random.default_rng(0)).passed


def test_the_same_patients_other_film_is_not_what_distances_are_compared_with() -> None:
    twice = made_up_films(40)
    images = np.repeat(twice.images[::2], 2, axis=0)
    pairs = type(twice)(images, twice.labels, twice.subtypes, twice.patients)
    assert copy_check(images[:1], pairs, np.random.default_rng(0)).between_patients.min() > 0.05


def test_samples_resemble_their_class_more_than_the_other(generator: FilmGenerator) -> None:
    """What tells the sampled classes apart is what tells the films' apart: each film at its own contrast."""
    rng = np.random.default_rng(0)
    sampled = [[generator.sample(float(t), (64, 64), rng) for _ in range(150)] for t in (0, 1)]
    real = [[cv2.resize(film, (64, 64)) for film in FILMS.images[FILMS.labels == t]] for t in (0, 1)]
    apart = [
        np.subtract(*(np.mean([(f - f.mean()) / f.std() for f in films], axis=0) for films in classes[::-1]))
        for classes in (sampled, real)
    ]
    assert np.corrcoef(apart[0].ravel(), apart[1].ravel())[0, 1] > 0.3


def test_a_sample_is_repeatable_and_has_the_size_that_was_asked_for(generator: FilmGenerator) -> None:
    first, second = (generator.sample(0.5, (40, 56), np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (first.shape, first.dtype) == ((40, 56), np.uint8)


def test_the_demo_has_all_tiers_and_two_images_that_are_no_chest_films(generator: FilmGenerator) -> None:
    seen: dict[bytes, float] = {}

    def score(films: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        probability = np.linspace(0.0, 1.0, len(films))
        seen.update({film.tobytes(): p for film, p in zip(films, probability, strict=True)})
        return probability, np.where(np.arange(len(films)) % 10, 0.5, 2.0)

    films, check = demo_films(generator, FILMS, score, high=0.6, seed=0)
    known = [seen[film.tobytes()] for film in films if film.tobytes() in seen]
    assert len(films) == len(known) + 2
    assert sum(p >= 0.6 for p in known) == 10
    assert sum(0.09 <= p < 0.6 for p in known) == 7
    assert len(check.nearest) == len(known)
    assert check.passed


def test_a_model_that_knows_none_of_the_films_gives_no_demo(generator: FilmGenerator) -> None:
    def score(films: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(len(films)), np.full(len(films), 2.0)

    with pytest.raises(ModelError, match="only 0 of"):
        demo_films(generator, FILMS, score, high=0.6, seed=0)
