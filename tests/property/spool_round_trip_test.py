"""Whatever a peer sends as names and bytes comes back from the spool as it was."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthanc_al.domain import Instance, Origin
from orthanc_al.errors import SpoolFileError
from orthanc_al.spool import Spool, part10

_uid = st.from_regex(r"[0-2](\.(0|[1-9][0-9]{0,5})){1,8}", fullmatch=True)
# PS3.5 6.2 AE: no control characters, no backslash; leading and trailing spaces mean nothing.
_ae = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\\"), max_size=16)
_origin = st.builds(
    Origin,
    calling_ae=_ae,
    called_ae=_ae,
    receiving_ae=_ae,
    source=st.text(max_size=40),
    association_id=st.none() | st.text("0123456789abcdef", min_size=32, max_size=32),
    kind=st.sampled_from(["dicom", "own", "orthanc"]),
)


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Spool:
    return Spool(tmp_path_factory.mktemp("spool"), 0)


@settings(max_examples=60, deadline=None)
@given(_uid, _uid, _uid, _origin, st.lists(st.binary(max_size=9000), max_size=4))
def test_files_round_trip(
    spool: Spool, sop_class: str, uid: str, syntax: str, origin: Origin, chunks: list[bytes]
) -> None:
    with spool.open_writer(sop_class, uid, syntax, origin) as writer:
        for chunk in chunks:
            writer.write(chunk)
        instance = writer.commit()
    with spool.open(instance.id) as file:
        assert bytes(file.data_set) == b"".join(chunks)
        assert (file.instance, file.origin) == (instance, origin)
    assert (instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid) == (
        sop_class,
        uid,
        syntax,
    )
    spool.remove(instance.id)


@given(st.binary(max_size=600), st.booleans())
def test_other_bytes_are_refused_and_never_crash(noise: bytes, with_magic: bool) -> None:
    head = b"\0" * 128 + b"DICM\x02\0\0\0UL\x04\0" + noise if with_magic else noise
    with pytest.raises(SpoolFileError):
        part10.decode(head, "0" * 32)


@given(_origin, st.integers(0, 600), st.binary(min_size=1, max_size=4))
def test_a_head_with_damage_is_read_or_refused(origin: Origin, place: int, damage: bytes) -> None:
    head = part10.encode(Instance("0" * 32, "1.2", "1.2.3", "1.2.840", 0, 1.5), origin)
    broken = head[:place] + damage + head[place + len(damage) :]
    try:
        part10.decode(broken, "0" * 32)
    except SpoolFileError:
        return
