"""Score a CT: how long after the last acknowledgement of its slices its score is in the ledger."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.bench.decoding import OURS
from tests.bench.scoring_gateway import scoring_gateway
from tests.bench.sending import Payload
from tests.bench.series import Series, Step
from tests.support.ct import ct_package, ct_slices

SLICES: Final = 300


def measure(folder: Path, rounds: int, step: Step) -> list[Series]:
    """Take the wait of slices of 512 x 512 pixels for a small model, after a study that is not counted."""
    wait = Series(
        f"last acknowledgement to the study's score, CT of {SLICES} slices", "s", higher_is_better=False
    )
    package = ct_package(folder / "ct package")
    models = [{"package": str(package.folder), "modality": ["CT"]}]
    with scoring_gateway(folder / "ct house", models) as gateway:
        gateway.wait_for_score(list(_volume(0)))
        for number in range(rounds):
            wait.add(OURS, gateway.wait_for_score(list(_volume(1 + number))))
            step()
    return [wait]


def _volume(number: int) -> Iterator[Payload]:
    for dataset in ct_slices(1000 + number, SLICES, size=512):
        dataset.NumberOfStudyRelatedInstances = SLICES
        yield Payload.of(dataset)
