"""Score one film: how long after its acknowledgement its score is in the ledger, by transfer syntax."""

import copy
from pathlib import Path
from typing import Final

import pydicom
from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from tests.bench.decoding import OURS, films_of_noise, name_of
from tests.bench.scoring_gateway import scoring_gateway
from tests.bench.sending import Payload
from tests.bench.series import Series, Step
from tests.support.site import PACKAGE

_SYNTAXES: Final = (JPEG2000Lossless, ExplicitVRLittleEndian)
_FILMS: Final = 7  # of each syntax, at the least


def measure(folder: Path, rounds: int, step: Step) -> list[Series]:
    """Take the waits by turns, after a film of each syntax that is not counted."""
    paths = films_of_noise(folder / "films to wait for")
    films = {syntax: pydicom.dcmread(paths[syntax]) for syntax in _SYNTAXES}
    waits = {
        syntax: Series(
            f"last acknowledgement to the score in the ledger, film 3000 x 2500, {name_of(syntax)}",
            "s",
            higher_is_better=False,
        )
        for syntax in _SYNTAXES
    }
    models = [{"package": str(PACKAGE), "modality": ["DX"]}]
    with scoring_gateway(folder / "film house", models) as gateway:
        for film in films.values():
            gateway.wait_for_score([_fresh(film)])
        for _ in range(rounds):
            for _ in range(-(-_FILMS // rounds)):
                for syntax, series in waits.items():
                    series.add(OURS, gateway.wait_for_score([_fresh(films[syntax])]))
            step()
    return list(waits.values())


def _fresh(film: FileDataset) -> Payload:
    """Return a film as the only image of a new study."""
    made = copy.copy(film)
    made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID = (generate_uid() for _ in range(3))
    made.NumberOfStudyRelatedInstances = 1
    return Payload.of(made, str(film.file_meta.TransferSyntaxUID))
