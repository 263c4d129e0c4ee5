"""What a reader says by page or API: once, of what she saw, and beside what others say."""

import pytest
from sqlalchemy import select, update

from orthanc_al.domain import ConfirmedRead, ReadSource, ReadValue, StudyState
from orthanc_al.domain.precedence import ReadState
from orthanc_al.errors import ReadError, StudyChangedError
from orthanc_al.ledger import Ledger, learning, reads, schema, statements, studies
from orthanc_al.ledger.statements import Statement, Taken
from tests.support.worklist_ledger import DIGESTS, NOW, Case, add

pytestmark = pytest.mark.both_databases

UID = "2.25.1"


@pytest.fixture(autouse=True)
def _one_study(ledger: Ledger) -> None:
    with ledger.write() as connection:
        add(connection, Case(UID, probability=0.9), completed_revision=1)


def _say(ledger: Ledger, value: str, reader: str = "Brandt^Karin", at: float = NOW, **more: object) -> Taken:
    values = {
        "study_instance_uid": UID,
        "finding": "pneumonia",
        "value": ReadValue(value),
        "revision": 1,
        "reader": reader,
        "identified_by": "asked",
    }
    with ledger.write() as connection:
        return statements.confirm(connection, Statement(**(values | more)), at)  # type: ignore[arg-type]


def _states(ledger: Ledger) -> list[tuple[str, str, str]]:
    table = schema.reads
    with ledger.read() as connection:
        rows = connection.execute(select(table.c.reader, table.c.value, table.c.state).order_by(table.c.id))
        return [tuple(row) for row in rows]


def _jobs(ledger: Ledger) -> set[tuple[str, str]]:
    with ledger.read() as connection:
        return set(map(tuple, connection.execute(select(schema.jobs.c.step, schema.jobs.c.subject))))


def _state(ledger: Ledger) -> StudyState:
    with ledger.read() as connection:
        found = studies.get(connection, UID)
    assert found is not None
    return found.state


def test_a_read_counts_at_once_and_the_study_is_off_the_list(ledger: Ledger) -> None:
    taken = _say(ledger, "present")
    assert (taken.state, taken.new, taken.unblinded) == (ReadState.COUNTS, True, False)
    assert _state(ledger) is StudyState.READ
    assert _jobs(ledger) == {("sign", taken.reference), ("mirror", UID)}


def test_a_double_click_is_one_read(ledger: Ledger) -> None:
    first, second = _say(ledger, "present"), _say(ledger, "present", at=NOW + 1)
    assert first.reference == second.reference
    assert (first.new, second.new) == (True, False)
    assert _states(ledger) == [("Brandt^Karin", "present", "counts")]


def test_there_and_back_is_three_words_and_the_last_one_counts(ledger: Ledger) -> None:
    # All at one moment: a clock that stands still must not decide.
    references = [_say(ledger, value).reference for value in ("present", "absent", "present")]
    assert len(set(references)) == 3
    assert [state for _, _, state in _states(ledger)] == ["superseded", "superseded", "counts"]


def test_two_readers_are_both_kept_and_neither_counts_until_one_decides(ledger: Ledger) -> None:
    first = _say(ledger, "present")
    second = _say(ledger, "absent", "Weiss^Hannah", NOW + 5)
    assert second.state is ReadState.CONFLICT
    assert [state for *_, state in _states(ledger)] == ["conflict", "conflict"]
    third = _say(ledger, "absent", "Okafor^Amara", NOW + 9, settles=[first.reference, second.reference])
    assert third.state is ReadState.COUNTS
    assert [state for *_, state in _states(ledger)] == ["superseded", "superseded", "counts"]


def test_one_of_two_readers_may_decide_herself(ledger: Ledger) -> None:
    first = _say(ledger, "present")
    second = _say(ledger, "absent", "Weiss^Hannah", NOW + 5)
    _say(ledger, "absent", NOW and "Brandt^Karin", NOW + 9, settles=[first.reference, second.reference])
    assert [state for *_, state in _states(ledger)][-1] == "counts"


def test_a_read_that_waited_for_a_name_is_settled(ledger: Ledger) -> None:
    with ledger.write() as connection:
        unnamed = ConfirmedRead(
            UID, "pneumonia", ReadValue.PRESENT, ReadSource.VIEWER_SR, "", NOW - 60, "1.2.3"
        )
        reads.record(connection, unnamed, received_at=NOW - 60, actor="report", waits=True)
    _say(ledger, "absent", settles=["1.2.3"])
    assert [state for *_, state in _states(ledger)] == ["superseded", "counts"]
    _say(ledger, "absent", "Weiss^Hannah", NOW + 3)  # settling again leaves it settled
    assert _states(ledger)[0][2] == "superseded"


def test_what_is_settled_must_be_of_this_study(ledger: Ledger) -> None:
    _say(ledger, "present", settles=["1.2.840.999", "2.25.7"])
    with ledger.read() as connection:
        assert connection.execute(select(schema.reads.c.supersedes)).scalar() == []


def test_images_that_came_meanwhile_refuse_the_read_and_write_nothing(ledger: Ledger) -> None:
    with ledger.write() as connection:
        connection.execute(update(schema.studies).values(revision=2))
    with pytest.raises(StudyChangedError, match="look at it again"):
        _say(ledger, "present")
    with pytest.raises(StudyChangedError), ledger.write() as connection:
        statements.done(connection, UID, 1, "Brandt^Karin", NOW)
    assert _states(ledger) == []
    assert _state(ledger).on_worklist
    assert _say(ledger, "present", revision=2).state is ReadState.COUNTS


@pytest.mark.parametrize("fault", ["unknown", "two patients"])
def test_a_read_of_nobody_is_refused(ledger: Ledger, fault: str) -> None:
    with ledger.write() as connection:
        connection.execute(update(schema.studies).values(reason=studies.TWO_PATIENTS))
    with pytest.raises(ReadError):
        _say(ledger, "present", study_instance_uid="2.25.404" if fault == "unknown" else UID)


def test_a_read_ends_a_blind_and_lets_the_result_leave(ledger: Ledger) -> None:
    with ledger.write() as connection:
        add(connection, Case("2.25.2", probability=0.9, blind=True), 2)
    assert _say(ledger, "present", study_instance_uid="2.25.2").unblinded
    assert ("report", "2.25.2") in _jobs(ledger)
    with ledger.read() as connection:
        shown = select(schema.reads.c.ai_shown, schema.reads.c.identified_by, schema.reads.c.revision)
        assert connection.execute(shown).one() == (False, "asked", 1)


def test_done_says_nothing_and_reopening_brings_it_back(ledger: Ledger) -> None:
    with ledger.write() as connection:
        assert statements.done(connection, UID, 1, "Brandt^Karin", NOW)
        assert not statements.done(connection, UID, 1, "Brandt^Karin", NOW)
    assert _state(ledger) is StudyState.READ
    assert _states(ledger) == []
    with ledger.write() as connection:
        assert statements.reopen(connection, UID, "Brandt^Karin", NOW)
        assert not statements.reopen(connection, UID, "Brandt^Karin", NOW)
    assert _state(ledger) is StudyState.SCORED


def test_the_same_word_on_a_reopened_study_takes_it_off_again(ledger: Ledger) -> None:
    _say(ledger, "present")
    with ledger.write() as connection:
        statements.reopen(connection, UID, "Brandt^Karin", NOW)
    assert not _say(ledger, "present", at=NOW + 60).new
    assert _state(ledger) is StudyState.READ


@pytest.mark.parametrize(
    ("columns", "state"),
    [
        ({"completed_revision": None}, StudyState.ARRIVING),
        ({"reason": "no model for modality CT"}, StudyState.INELIGIBLE),
        ({"revision": 2, "completed_revision": 2}, StudyState.COMPLETE),
    ],
)
def test_a_reopened_study_is_what_it_was(
    ledger: Ledger, columns: dict[str, object], state: StudyState
) -> None:
    with ledger.write() as connection:
        connection.execute(update(schema.studies).values(state="read", closed_at=NOW, **columns))
        assert statements.reopen(connection, UID, "Brandt^Karin", NOW)
    assert _state(ledger) is state


def test_what_was_said_here_is_learned_from(ledger: Ledger) -> None:
    _say(ledger, "present")
    with ledger.read() as connection:
        [case] = learning.labelled_cases(connection, [DIGESTS["1.1.0"]])
    assert (case.study_instance_uid, case.finding, case.present) == (UID, "pneumonia", True)
