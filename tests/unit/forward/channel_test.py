"""A channel proposes what it needs, within what one association has room for."""

from hypothesis import given
from hypothesis import strategies as st

from orthanc_al.dicom.transcode import UNCOMPRESSED
from orthanc_al.forward.channel import _proposals

_needs = st.lists(
    st.tuples(st.integers(0, 150).map(lambda n: f"1.2.{n}"), st.integers(0, 9).map(lambda n: f"1.3.{n}")),
    min_size=1,
    max_size=300,
)


@given(_needs)
def test_contexts_never_exceed_an_association_and_the_latest_needs_are_among_them(
    needs: list[tuple[str, str]],
) -> None:
    wanted = dict.fromkeys(needs)
    proposals, taken = _proposals(wanted)
    assert 1 <= len(proposals) <= 128
    assert len(set(proposals)) == len(proposals)
    assert list(taken) == list(wanted)[len(wanted) - len(taken) :]
    assert len(taken) >= min(len(wanted), 64)
    for sop_class, syntax in taken:
        offered = [p.transfer_syntax_uids for p in proposals if p.sop_class_uid == sop_class]
        assert (syntax,) in offered
        assert UNCOMPRESSED in offered
