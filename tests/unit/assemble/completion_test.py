"""When a study is complete."""

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from orthanc_al.assemble.completion import (
    COUNT,
    QUIET,
    SET_BACK,
    STALLED,
    Decision,
    Evidence,
    decide,
    quiet_seconds_for,
)

BASE = Evidence(
    revision=2,
    completed_revision=None,
    instances=2,
    expected=None,
    last_received_at=100.0,
    now=101.0,
    endings=("released",),
)


@pytest.mark.parametrize(
    ("change", "decision"),
    [
        ({"completed_revision": 2}, Decision("unchanged")),
        ({"completed_revision": 1}, Decision("waiting", look_again_at=105.0)),
        ({}, Decision("waiting", look_again_at=105.0)),
        ({"now": 105.0}, Decision("complete", QUIET)),
        ({"now": 105.0, "endings": ()}, Decision("complete", QUIET)),
        ({"expected": 2}, Decision("complete", COUNT)),
        ({"expected": 1}, Decision("complete", COUNT)),
        ({"expected": 3}, Decision("waiting", look_again_at=105.0)),
        ({"expected": 3, "now": 106.0}, Decision("complete", QUIET)),
        ({"expected": 2, "endings": ("released", "aborted")}, Decision("waiting", look_again_at=105.0)),
        ({"expected": 2, "endings": ("lost",)}, Decision("waiting", look_again_at=105.0)),
        ({"expected": 2, "endings": ("released", None)}, Decision("waiting", look_again_at=102.0)),
        ({"now": 120.0, "endings": (None,)}, Decision("waiting", look_again_at=121.0)),
        ({"now": 150.0, "endings": (None,)}, Decision("complete", STALLED)),
        ({"now": 96.0}, Decision("waiting", look_again_at=105.0)),
        ({"now": 94.0}, Decision("complete", SET_BACK)),
    ],
)
def test_evidence_comes_first_and_quiet_time_last(change, decision):
    assert decide(replace(BASE, **change), 5.0) == decision


def test_a_short_quiet_time_is_looked_at_as_often():
    assert decide(replace(BASE, now=100.1, endings=(None,)), 0.2).look_again_at == pytest.approx(100.3)


@pytest.mark.parametrize(("modality", "seconds"), [("CR", 5), ("CT", 30), ("", 30)])
def test_quiet_time_goes_by_modality(modality, seconds):
    assert quiet_seconds_for(modality, {"default": 30, "CR": 5}) == seconds


_EVIDENCE = st.builds(
    Evidence,
    revision=st.integers(0, 5),
    completed_revision=st.none() | st.integers(0, 5),
    instances=st.integers(0, 9),
    expected=st.none() | st.integers(1, 9),
    last_received_at=st.floats(0, 1e6),
    now=st.floats(1e6, 1e7),
    endings=st.lists(st.sampled_from(["released", "aborted", "lost", None]), max_size=4).map(tuple),
)


@given(_EVIDENCE, st.floats(0.1, 1e4))
def test_every_study_is_completed_in_the_end_and_waiting_ends_in_the_future(evidence, quiet):
    decision = decide(evidence, quiet)
    if decision.outcome == "waiting":
        assert decision.look_again_at > evidence.now
    assert decide(replace(evidence, now=evidence.last_received_at + 10.1 * quiet), quiet).outcome != "waiting"


@given(_EVIDENCE, st.floats(0.1, 1e4))
def test_a_revision_is_completed_once(evidence, quiet):
    done = replace(evidence, completed_revision=evidence.revision)
    assert decide(done, quiet).outcome == "unchanged"
