"""Orthanc's log of changes, as it is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_al.orthanc import ChangeLog, OrthancClient
from orthanc_al.orthanc.changes import moment


class Log(OrthancClient):
    """A log with gaps, as deleted resources leave them; ``at`` has the seconds of each line."""

    def __init__(self, at: dict[int, int]) -> None:
        self.lines = at
        self.asked = 0

    def get(self, path: str, parameters: object = None, *, missing: bool = False) -> object:
        assert path == "/changes"
        assert isinstance(parameters, dict)
        self.asked += 1
        numbers = sorted(self.lines)
        if "last" in parameters:
            chosen = numbers[-1:]
        else:
            chosen = [seq for seq in numbers if seq > parameters["since"]][: parameters["limit"]]
        changes = [
            {
                "Seq": seq,
                "ChangeType": "NewInstance",
                "ID": f"id{seq}",
                "Date": f"20260101T0000{self.lines[seq]:02d}",
            }
            for seq in chosen
        ]
        last = chosen[-1] if chosen else max(numbers, default=0)
        return {"Changes": changes, "Last": last, "Done": not chosen or chosen[-1] == numbers[-1]}


START = moment("20260101T000000")


@given(st.dictionaries(st.integers(1, 300), st.integers(0, 59), max_size=40), st.integers(0, 60))
def test_the_place_of_a_time_is_found_by_halving(lines: dict[int, int], second: int) -> None:
    at = dict(zip(sorted(lines), sorted(lines.values()), strict=True))  # time goes on along the log
    log = Log(at)
    found = ChangeLog(log).number_before(START + second)
    assert {seq for seq in at if seq > found} == {seq for seq, when in at.items() if when >= second}
    assert log.asked <= 12


def test_all_new_instances_behind_a_number_are_told() -> None:
    changes = ChangeLog(Log(dict.fromkeys(range(1, 90, 2), 0))).new_instances(50)
    assert [change.seq for change in changes] == list(range(51, 90, 2))


@pytest.mark.parametrize("text", ["", "yesterday", "20261345T000000"])
def test_a_time_that_is_none_is_long_ago(text: str) -> None:
    assert moment(text) == 0.0
