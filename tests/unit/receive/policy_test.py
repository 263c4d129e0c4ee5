"""Who may send is decided by title, address and role, and a refusal says how to allow it."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_al.dicom import Peer
from orthanc_al.receive.policy import Accept, Decision, Diagnostic, decide
from orthanc_al.settings import Peer as ConfiguredPeer

CT = Peer("ct1", "CT", "10.0.0.1", 104, ("source",))
PACS = Peer("pacs", "PACS", "10.0.0.2", 104, ("destination",))


def _decide(accept: Accept = "listed", **changes: str) -> Decision:
    request = {"own_ae": "US", "calling_ae": "CT", "called_ae": "US", "address": "10.0.0.1"} | changes
    addresses = [frozenset({"10.0.0.1"}), frozenset({"10.0.0.2"})]
    return decide(accept, [CT, PACS], addresses, **request)


def test_a_listed_source_is_admitted_by_its_name() -> None:
    assert _decide() == Decision("ct1", admitted=True)


@pytest.mark.parametrize(
    ("changes", "source", "words"),
    [
        ({"calling_ae": "MR"}, "ae:MR", '[[dicom.peers]]\nname = "mr"\nae_title = "MR"\nhost = "10.0.0.1"'),
        ({"address": "10.9.9.9"}, "ct1", 'host = "10.9.9.9"'),
        ({"called_ae": "OTHER"}, "ct1", 'ae_title = "OTHER" in [dicom]'),
        ({"calling_ae": "PACS", "address": "10.0.0.2"}, "pacs", 'roles = ["source", "destination"]'),
    ],
)
def test_others_are_refused_with_what_to_configure(changes: dict[str, str], source: str, words: str) -> None:
    decision = _decide(**changes)
    assert not decision.admitted
    assert decision.source == source
    assert words in (decision.objection or "")
    observed = _decide("observe", **changes)
    assert observed.admitted
    assert observed.objection == decision.objection
    anybody = _decide("any", **changes)
    assert (anybody.admitted, anybody.objection, anybody.source) == (True, None, source)


def test_the_rejection_says_which_title_is_wrong() -> None:
    assert _decide(called_ae="OTHER").diagnostic is Diagnostic.CALLED_AE_TITLE_NOT_RECOGNISED
    assert _decide(calling_ae="MR").diagnostic is Diagnostic.CALLING_AE_TITLE_NOT_RECOGNISED


def test_an_unknown_source_is_never_mistaken_for_a_peer_of_that_name() -> None:
    assert _decide("any", calling_ae="pacs").source == "ae:pacs"


def test_of_two_entries_of_one_peer_one_admits_it_and_what_it_sent_does_not_go_back_to_the_other() -> None:
    peers = [
        Peer("in", "X", "10.0.0.1", 104, ("destination",)),
        Peer("out", "X", "10.0.0.1", 105, ("source",)),
    ]
    here = frozenset({"10.0.0.1"})
    decision = decide(
        "listed", peers, [here, here], own_ae="US", calling_ae="X", called_ae="US", address="10.0.0.1"
    )
    # Deliveries to a source are left out by its name, so it has the destination's.
    assert decision == Decision("in", admitted=True)


@given(
    st.text(
        st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\"), min_size=1, max_size=16
    )
)
def test_what_a_refusal_proposes_is_a_peer_that_the_configuration_takes(title: str) -> None:
    objection = _decide(calling_ae=f"?{title}"[:16], address="10.0.0.7").objection or ""
    proposed = tomllib.loads(objection[objection.index("[[") :])
    (peer,) = proposed["dicom"]["peers"]
    assert ConfiguredPeer(**peer).roles == ("source",)
