"""What a reduced decode does to the score is bounded (the long form: tests/bench/decode_shift.py)."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import HTJ2KLossless, JPEG2000Lossless

from orthanc_al.imaging.decode import Wanted, stored_frames
from orthanc_al.imaging.reading import map_image
from tests.bench.decode_shift import ENCODERS, HALVINGS, SHORTER, Shift, films, recompressed

BOUND = 0.01


@pytest.mark.needs_data
def test_a_reduced_decode_moves_no_probability_by_more_than_the_bound(data: Path):
    shift = Shift()
    moved = [shift.of(film, syntax) for film in films(data, 4) for syntax in ENCODERS]
    for decode in SHORTER:
        assert max(one[decode] for one in moved) <= BOUND
        # It is reduced, and not full decode under another name.
        assert np.count_nonzero([one[decode] for one in moved]) >= len(moved) / 2


@pytest.mark.needs_data
@pytest.mark.parametrize("syntax", ENCODERS, ids=lambda uid: uid.name)
@pytest.mark.parametrize("decode", SHORTER)
def test_the_films_are_halved_as_often_as_they_are_measured_for(data: Path, tmp_path: Path, decode, syntax):
    (published,) = films(data, 1)
    film = published.enlarged(SHORTER[decode])
    path = tmp_path / "film.dcm"
    recompressed(film, syntax).save_as(path, enforce_file_format=True)
    (frame,) = stored_frames(map_image(path), wanted=Wanted(decode, 128))
    assert Shift().halvings(film, decode) == HALVINGS[decode]
    assert frame.pixels.shape == tuple(-(-side // 2 ** HALVINGS[decode]) for side in film.shape)


@pytest.mark.needs_data
@pytest.mark.parametrize("syntax", [JPEG2000Lossless, HTJ2KLossless], ids=lambda uid: uid.name)
def test_the_model_sees_another_picture_by_each_size(data: Path, syntax):
    (published,) = films(data, 1)
    shift, dataset = Shift(), recompressed(published.enlarged(SHORTER["auto"]), syntax)
    seen = [shift.model_input(dataset, decode).tobytes() for decode in ("full", "half", "quarter", "auto")]
    assert len(set(seen)) == len(seen)
