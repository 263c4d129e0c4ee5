"""The generator registers each film by itself."""

import cv2
import numpy as np

from orthanc_al.learn.factory.generator import SIDE, _register


def test_films_that_lie_differently_get_flows_of_their_own() -> None:
    rng = np.random.default_rng(0)
    film = cv2.GaussianBlur(rng.random((SIDE, SIDE), dtype=np.float32), (0, 0), SIDE / 24)
    film = (film - film.min()) / np.ptp(film)
    films = np.stack([np.roll(film, shift, axis=1) for shift in (-4, -2, 0, 2, 4)]).astype(np.float32)
    flows, warped, kept = _register(films)
    assert len({flow.tobytes() for flow in flows}) == kept.sum() == len(warped)
