"""Every answer that a peer can give has one meaning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_al.dicom import Verdict, describe, verdict


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0x0000, Verdict.DELIVERED),
        (0xB000, Verdict.DELIVERED_WITH_WARNING),
        (0xB006, Verdict.DELIVERED_WITH_WARNING),
        (0xB007, Verdict.DELIVERED_WITH_WARNING),
        (0x0001, Verdict.DELIVERED_WITH_WARNING),
        (0x0107, Verdict.DELIVERED_WITH_WARNING),
        (0x0116, Verdict.DELIVERED_WITH_WARNING),
        (0x0111, Verdict.DELIVERED_WITH_WARNING),
        (0xA700, Verdict.BUSY),
        (0xA7FF, Verdict.BUSY),
        (0x0213, Verdict.BUSY),
        (0x0110, Verdict.DOUBTFUL),
        (0xC000, Verdict.DOUBTFUL),
        (0xCFFF, Verdict.DOUBTFUL),
        (0x1234, Verdict.DOUBTFUL),
        (0xA900, Verdict.REFUSED),
        (0x0122, Verdict.REFUSED),
        (0x0124, Verdict.REFUSED),
    ],
)
def test_the_standards_statuses_mean_what_the_standard_says(status: int, expected: Verdict) -> None:
    assert verdict(status) is expected


@given(st.integers(0, 0xFFFF))
def test_every_status_has_a_verdict_and_words(status: int) -> None:
    assert f"0x{status:04X}" in describe(status)
    assert (verdict(status) is Verdict.DELIVERED) == (status == 0)


def test_the_peers_own_words_are_kept() -> None:
    assert describe(0xA700, "disk full") == "0xA700 out of resources: disk full"
