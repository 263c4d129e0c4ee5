"""Which of several reads counts."""

import itertools

from orthanc_al.domain import ConfirmedRead, ReadSource, ReadValue
from orthanc_al.domain.precedence import Claim, ReadState, settle

P, A, U = ReadValue.PRESENT, ReadValue.ABSENT, ReadValue.UNDETERMINED
SR, VIEWER, LABEL = ReadSource.VERIFIED_SR, ReadSource.VIEWER_SR, ReadSource.LABEL


def _claim(
    reference: str,
    value: ReadValue,
    source: ReadSource = SR,
    reader: str = "",
    at: float = 0.0,
    waits: bool = False,
    supersedes: tuple[str, ...] = (),
) -> Claim:
    read = ConfirmedRead("1.2", "pneumonia", value, source, reader, at, reference)
    return Claim(read, waits, frozenset(supersedes))


def _settled(*claims: Claim) -> dict[str, str]:
    """Return the states, the same for every order of arrival."""
    results = [settle(order) for order in itertools.permutations(claims)]
    assert all(result == results[0] for result in results)
    return {reference: state.value for reference, state in results[0].items()}


def test_one_read_counts() -> None:
    assert _settled(_claim("a", P)) == {"a": "counts"}


def test_no_reads_settle_nothing() -> None:
    assert settle([]) == {}


def test_the_more_trusted_source_decides_alone() -> None:
    assert _settled(_claim("a", P, LABEL, at=9), _claim("b", A, VIEWER), _claim("c", P, LABEL)) == {
        "a": "superseded",
        "b": "counts",
        "c": "superseded",
    }


def test_equals_that_agree_count_once_and_the_latest_does() -> None:
    assert _settled(_claim("a", P, at=1, reader="x"), _claim("b", P, at=2, reader="y")) == {
        "a": "superseded",
        "b": "counts",
    }


def test_equals_that_disagree_are_a_conflict_and_none_counts() -> None:
    states = _settled(_claim("a", P, reader="x"), _claim("b", A, reader="y"), _claim("c", P, LABEL))
    assert states == {"a": "conflict", "b": "conflict", "c": "superseded"}


def test_undetermined_disagrees_with_present() -> None:
    assert set(_settled(_claim("a", P), _claim("b", U)).values()) == {"conflict"}


def test_a_later_read_of_the_same_reader_supersedes() -> None:
    assert _settled(_claim("a", P, reader="x", at=1), _claim("b", A, reader="x", at=2)) == {
        "a": "superseded",
        "b": "counts",
    }


def test_a_later_read_of_the_same_reader_from_a_less_trusted_source_does_not() -> None:
    states = _settled(_claim("a", P, SR, "x", 1), _claim("b", A, VIEWER, "x", 2))
    assert states == {"a": "counts", "b": "superseded"}


def test_nobody_is_not_the_same_reader_twice() -> None:
    assert set(_settled(_claim("a", P, at=1), _claim("b", A, at=2)).values()) == {"conflict"}


def test_an_addendum_supersedes_what_it_names_whoever_wrote_it_and_whatever_the_clocks_say() -> None:
    states = _settled(_claim("a", P, reader="x", at=5), _claim("b", A, reader="y", at=1, supersedes=("a",)))
    assert states == {"a": "superseded", "b": "counts"}


def test_what_an_addendum_replaces_does_not_replace_it_by_its_later_clock() -> None:
    states = _settled(_claim("a", P, reader="x", at=5), _claim("b", A, reader="x", at=1, supersedes=("a",)))
    assert states == {"a": "superseded", "b": "counts"}


def test_two_that_name_each_other_are_judged_as_if_neither_did() -> None:
    states = _settled(_claim("a", P, supersedes=("b",)), _claim("b", A, supersedes=("a",)))
    assert set(states.values()) == {"conflict"}


def test_a_ring_of_predecessors_counts_nothing() -> None:
    ring = [
        _claim("a", P, supersedes=("c",)),
        _claim("b", P, supersedes=("a",)),
        _claim("c", P, supersedes=("b",)),
    ]
    assert set(_settled(*ring).values()) == {"superseded"}


def test_what_waits_takes_no_part() -> None:
    states = _settled(_claim("a", P, VIEWER, waits=True, supersedes=("b",)), _claim("b", A, LABEL))
    assert states == {"a": "waiting", "b": "counts"}
    assert settle([_claim("a", P, waits=True)]) == {"a": ReadState.WAITING}
