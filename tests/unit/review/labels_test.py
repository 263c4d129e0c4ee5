"""Reads by Orthanc's labels."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from orthanc_al.domain import ReadSource, ReadValue, StudyState
from orthanc_al.domain.precedence import ReadState
from orthanc_al.ledger import Ledger, studies, waiting
from orthanc_al.review.labels import poll_labels
from tests.support.radiographs import wrap
from tests.support.reading_room import ReadingRoom, reads_of
from tests.support.verified_sr import verified_sr

PIXELS = np.full((16, 16), 100, np.uint8)
IMAGE = wrap(PIXELS, 1)
UID = str(IMAGE.StudyInstanceUID)


class Shelf:
    """Labels of studies, as Orthanc would list them."""

    def __init__(self, **labels: list[str]) -> None:
        self.labels = {name.replace("_", "-"): uids for name, uids in labels.items()}

    def labelled(self, label: str) -> Iterable[str]:
        return self.labels.get(label, [])


@pytest.fixture
def room(ledger: Ledger, tmp_path: Path) -> ReadingRoom:
    made = ReadingRoom(ledger, tmp_path)
    made.take_in(IMAGE)
    made.score(UID)
    return made


@pytest.mark.parametrize(
    ("label", "value"), [("al_confirmed_pos", ReadValue.PRESENT), ("al_confirmed_neg", ReadValue.ABSENT)]
)
def test_a_label_is_one_read_however_often_it_is_seen(
    room: ReadingRoom, label: str, value: ReadValue
) -> None:
    shelf = Shelf(**{label: [UID, "1.2.3"]})
    assert poll_labels(room.ledger, shelf) == 1
    assert poll_labels(room.ledger, shelf) == 0
    with room.ledger.read() as connection:
        [read] = reads_of(connection, UID)
    assert (read.source, read.value, read.state) == (ReadSource.LABEL, value, ReadState.COUNTS)


def test_labels_that_contradict_are_a_conflict(room: ReadingRoom) -> None:
    poll_labels(room.ledger, Shelf(al_confirmed_pos=[UID], al_confirmed_neg=[UID]))
    with room.ledger.read() as connection:
        assert {read.state for read in reads_of(connection, UID)} == {ReadState.CONFLICT}


def test_a_signed_report_wins_over_a_label(room: ReadingRoom) -> None:
    room.read(verified_sr([IMAGE], "absent"))
    poll_labels(room.ledger, Shelf(al_confirmed_pos=[UID]))
    with room.ledger.read() as connection:
        assert [(read.value, read.state) for read in reads_of(connection, UID)] == [
            (ReadValue.ABSENT, ReadState.COUNTS),
            (ReadValue.PRESENT, ReadState.SUPERSEDED),
        ]


def test_with_two_findings_a_label_must_name_one(ledger: Ledger, tmp_path: Path) -> None:
    room = ReadingRoom(ledger, tmp_path, findings=("pneumonia", "effusion"))
    room.take_in(IMAGE)
    assert poll_labels(ledger, Shelf(al_confirmed_pos=[UID])) == 0
    assert poll_labels(ledger, Shelf(al_confirmed_neg_effusion=[UID])) == 1


def test_a_finished_label_takes_the_study_off_once_and_says_nothing(room: ReadingRoom) -> None:
    room.select(UID, "blind")
    shelf = Shelf(al_read=[UID, "1.2.3"])
    assert poll_labels(room.ledger, shelf) == 1
    with room.ledger.read() as connection:
        assert reads_of(connection, UID) == []
        assert waiting.counts(connection)["report", "ready"] == 1
    room.take_in(wrap(PIXELS, 1, image=2))
    assert poll_labels(room.ledger, shelf) == 0
    with room.ledger.read() as connection:
        study = studies.get(connection, UID)
        assert study is not None
        assert study.state is StudyState.ARRIVING


def test_a_label_that_ends_a_blind_asks_for_the_report(room: ReadingRoom) -> None:
    room.select(UID, "blind")
    poll_labels(room.ledger, Shelf(al_confirmed_neg=[UID]))
    with room.ledger.read() as connection:
        assert waiting.counts(connection)["report", "ready"] == 1
        assert [read.ai_shown for read in reads_of(connection, UID)] == [False]


@pytest.mark.parametrize("label", ["al_confirmed_pos", "al_read"])
def test_a_label_takes_what_we_wrote_into_orthanc_off_again(room: ReadingRoom, label: str) -> None:
    room.select(UID)
    poll_labels(room.ledger, Shelf(**{label: [UID]}))
    with room.ledger.read() as connection:
        assert waiting.counts(connection)["mirror", "ready"] == 1


def test_a_label_that_was_taken_off_and_put_on_again_finishes_again(room: ReadingRoom) -> None:
    room.select(UID)
    assert poll_labels(room.ledger, Shelf(al_read=[UID]), trusted=False) == 1
    room.take_in(wrap(PIXELS, 1, image=2))
    assert poll_labels(room.ledger, Shelf(), trusted=False) == 0
    assert poll_labels(room.ledger, Shelf(al_read=[UID]), trusted=False) == 1
    with room.ledger.read() as connection:
        study = studies.get(connection, UID)
    assert study is not None
    assert study.state is StudyState.READ


def test_a_site_that_does_not_trust_labels_takes_no_read_from_them(room: ReadingRoom) -> None:
    shelf = Shelf(al_read=[UID], al_confirmed_pos=[UID])
    assert poll_labels(room.ledger, shelf, trusted=False) == 1
    with room.ledger.read() as connection:
        assert reads_of(connection, UID) == []


def test_a_label_with_other_letters_or_spaces_is_none_of_ours(room: ReadingRoom) -> None:
    assert poll_labels(room.ledger, Shelf(**{"al read": [UID], "AL-READ": [UID], "al-read-me": [UID]})) == 0
