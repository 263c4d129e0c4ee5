"""What is written into Orthanc, and that nothing of a blind study's score is."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from orthanc_al.domain import Tier
from orthanc_al.errors import OrthancError
from orthanc_al.ledger import Ledger, Outcome, studies
from orthanc_al.ledger.log_file import NotOnDiskError
from orthanc_al.orthanc import Capabilities
from orthanc_al.pipeline import Step
from orthanc_al.report.mirror import LABELS, MirrorStage
from tests.support.radiographs import wrap
from tests.support.reading_room import ReadingRoom
from tests.support.verified_sr import verified_sr

IMAGE = wrap(np.full((16, 16), 100, np.uint8), 1)
UID = str(IMAGE.StudyInstanceUID)


@dataclass
class Shelf:
    """Remembers what was written."""

    has_labels: bool = True
    known: bool = True
    read_by: dict[str, int] = field(default_factory=dict)
    labels: dict[str, set[str]] = field(default_factory=dict)

    def capabilities(self) -> Capabilities:
        return Capabilities("1.12.10" if self.has_labels else "1.10.1", self.has_labels)

    def find_study(self, study_instance_uid: str) -> str | None:
        return f"orthanc-{study_instance_uid}" if self.known else None

    def put_read_by(self, orthanc_id: str, minutes: int) -> bool:
        self.read_by[orthanc_id] = minutes
        return True

    def put_labels(self, orthanc_id: str, wanted: Collection[str], ours: Collection[str]) -> None:
        assert ours == LABELS
        self.labels[orthanc_id] = set(wanted)


@pytest.fixture
def room(ledger: Ledger, tmp_path: Path) -> ReadingRoom:
    made = ReadingRoom(ledger, tmp_path)
    made.take_in(IMAGE)
    return made


def _mirror(room: ReadingRoom, shelf: Shelf | None) -> Outcome:
    return room.finish(Step.MIRROR, MirrorStage(room.ledger, shelf).run(room.job(Step.MIRROR, UID)))


@pytest.mark.parametrize(
    ("tier", "label"), [(Tier.HIGH, "al-high"), (Tier.REVIEW, "al-review"), (Tier.LOW, "al-low")]
)
def test_place_and_tier_are_written(room: ReadingRoom, tier: Tier, label: str) -> None:
    room.score(UID, tier=tier)
    room.select(UID, tier=tier)
    shelf = Shelf()
    assert _mirror(room, shelf).name == "mirrored"
    assert shelf.read_by == {f"orthanc-{UID}": 29_000_000}
    assert shelf.labels == {f"orthanc-{UID}": {label}}


def test_a_film_outside_of_the_domain_says_so(room: ReadingRoom) -> None:
    room.score(UID, tier=Tier.REVIEW, ood=1.5)
    room.select(UID, tier=Tier.REVIEW)
    shelf = Shelf()
    _mirror(room, shelf)
    assert shelf.labels[f"orthanc-{UID}"] == {"al-review", "al-ood"}


def test_without_labels_the_place_alone_is_written(room: ReadingRoom) -> None:
    room.score(UID)
    room.select(UID)
    shelf = Shelf(has_labels=False)
    assert _mirror(room, shelf).name == "mirrored"
    assert shelf.read_by
    assert not shelf.labels


def test_a_read_study_has_no_label_of_ours_any_more(room: ReadingRoom) -> None:
    room.score(UID)
    room.select(UID)
    room.read(verified_sr([IMAGE], "present"))
    shelf = Shelf()
    _mirror(room, shelf)
    assert shelf.labels == {f"orthanc-{UID}": set()}


def test_a_blind_study_has_the_place_of_one_without_a_score_and_no_label(room: ReadingRoom) -> None:
    """Without a place it would fall out of the order there, and be read at another time than it should."""
    shelf = Shelf()
    with room.ledger.read() as connection:
        arrived = studies.get(connection, UID)
    room.score(UID)
    _mirror(room, shelf)
    before_select = (dict(shelf.read_by), dict(shelf.labels))
    room.select(UID, "blind")
    _mirror(room, shelf)
    assert arrived is not None
    assert before_select == ({f"orthanc-{UID}": arrived.read_by}, {f"orthanc-{UID}": set()})
    assert (shelf.read_by, shelf.labels) == before_select


def test_an_unknown_study_is_not_mirrored(room: ReadingRoom) -> None:
    job = room.job(Step.MIRROR, "1.2.3")
    assert MirrorStage(room.ledger, Shelf()).run(job).name == "absent"


def test_without_an_orthanc_there_is_nothing_to_do(room: ReadingRoom) -> None:
    room.score(UID)
    room.select(UID)
    assert _mirror(room, None).name == "absent"


def test_a_study_that_orthanc_does_not_have_yet_is_tried_again(room: ReadingRoom) -> None:
    room.score(UID)
    room.select(UID)
    with pytest.raises(OrthancError, match=UID) as raised:
        _mirror(room, Shelf(known=False))
    assert raised.value.retryable


def test_nothing_is_written_of_what_the_power_may_take_back(
    room: ReadingRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could be drawn for the audit then, and its tier would have been seen."""
    shelf = Shelf()

    def refuse(_: Ledger) -> None:
        raise NotOnDiskError("Input/output error")

    monkeypatch.setattr(Ledger, "sync", refuse)
    with pytest.raises(NotOnDiskError):
        _mirror(room, shelf)
    assert shelf == Shelf()
