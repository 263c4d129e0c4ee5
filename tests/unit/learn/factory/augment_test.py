"""Other scanners and junk: what they change and what they leave."""

import numpy as np
import pytest

from orthanc_al.learn.factory.augment import SHIFT_S2, SHIFT_S4, ScannerShift, random_film
from orthanc_al.learn.factory.junk import JUNK, random_junk
from tests.support.factory import made_up_films

FILM = made_up_films(4).images[2]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_scanner_that_changes_nothing_changes_nothing() -> None:
    np.testing.assert_array_equal(ScannerShift().apply(FILM, rng()), FILM)


def test_gain_clips_what_exceeds_full_range() -> None:
    shifted = ScannerShift(gain=1.5).apply(FILM, rng())
    assert (shifted[FILM >= 170] == 255).all()
    np.testing.assert_allclose(shifted[FILM < 160], FILM[FILM < 160] * 1.5, atol=1)


def test_gamma_above_1_darkens_and_below_1_brightens() -> None:
    assert ScannerShift(gamma=1.9).apply(FILM, rng()).mean() < FILM.mean()
    assert ScannerShift(gamma=0.5).apply(FILM, rng()).mean() > FILM.mean()


def test_a_vignette_darkens_corners_and_not_the_centre() -> None:
    flat = np.full((64, 64), 200, np.uint8)
    shifted = ScannerShift(vignette=0.4).apply(flat, rng())
    assert shifted[32, 32] >= 199
    assert shifted[0, 0] == pytest.approx(120, abs=1)


def test_zoom_enlarges_about_the_centre() -> None:
    dot = np.zeros((65, 65), np.uint8)
    dot[28:37, 28:37] = 255
    grown = ScannerShift(zoom=2.0).apply(dot, rng())
    assert grown.sum() / dot.sum() == pytest.approx(4.0, rel=0.15)
    assert grown[32, 32] == 255


@pytest.mark.parametrize("look", [SHIFT_S2, SHIFT_S4])
def test_a_look_is_the_same_for_the_same_seed_and_leaves_its_film_alone(look: ScannerShift) -> None:
    before = FILM.copy()
    np.testing.assert_array_equal(look.apply(FILM, rng(1)), look.apply(FILM, rng(1)))
    assert (look.apply(FILM, rng(1)) != look.apply(FILM, rng(2))).any()
    np.testing.assert_array_equal(FILM, before)


def test_a_training_view_is_a_film_of_the_same_kind_and_never_the_same_twice() -> None:
    before = FILM.copy()
    views = [random_film(FILM, rng(seed)) for seed in range(20)]
    assert {(view.shape, view.dtype) for view in views} == {(FILM.shape, FILM.dtype)}
    assert len({view.tobytes() for view in views}) == 20
    np.testing.assert_array_equal(FILM, before)


@pytest.mark.parametrize("kind", JUNK)
def test_junk_has_the_films_form_and_leaves_the_film_alone(kind: str) -> None:
    before = FILM.copy()
    for seed in range(8):
        image = JUNK[kind](FILM, rng(seed))
        assert (image.shape, image.dtype) == (FILM.shape, FILM.dtype)
        assert (image != FILM).any()
    np.testing.assert_array_equal(FILM, before)


def test_random_junk_draws_every_kind() -> None:
    blank = np.full((64, 64), 255, np.uint8)
    drawn = [random_junk(blank, rng(seed)) for seed in range(60)]
    assert any((image == 0).all() for image in drawn)
    assert any((image == 255).all() for image in drawn)
    assert any(len(np.unique(image)) > 100 for image in drawn)
