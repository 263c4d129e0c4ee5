"""Whatever a stream holds, the data path ends it in good order: the short form of `tests.chaos.fuzz_pdu`."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orthanc_al.spool import Spool
from tests.chaos.fuzz_pdu import fuzz, honest, into_stream, mutated
from tests.support.raw_peer import p_data, pdv

_fragments = st.builds(
    pdv, st.integers(0, 7), st.binary(max_size=60), is_command=st.booleans(), last=st.booleans()
)
_pdus = st.one_of(
    st.lists(_fragments, max_size=4).map(lambda some: p_data(*some)),
    st.binary(max_size=40),
    st.integers(0, 1 << 30).map(lambda seed: b"".join(honest(random.Random(seed)))),
)


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spool]:
    spool = Spool(tmp_path_factory.mktemp("fuzz") / "spool", 0)
    spool.prepare(16)
    yield spool
    assert [path for path in spool.folder.glob("ready/*") if path.stat().st_size] == []
    spool.stop_preparing()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(_pdus, max_size=5), st.integers(0, 1 << 30))
def test_every_stream_ends_and_every_file_was_acknowledged(
    spool: Spool, said: list[bytes], seed: int
) -> None:
    sent = mutated(random.Random(seed), said or [b"\0"])
    outcome, records = into_stream(sent, spool)
    assert outcome in ("closed", "no DICOM", "broken")
    assert {path.name for path in spool.folder.glob("??/*")} == {f"{one}.dcm" for one in records.received_ids}
    for path in spool.folder.glob("??/*"):
        path.unlink()


def test_mutated_streams_harm_neither_the_listener_nor_who_is_beside_them(tmp_path: Path) -> None:
    verdict = fuzz(600, 7, tmp_path)
    assert verdict.faults == []
    assert verdict.stored > 0
    assert {"closed", "no DICOM"} <= set(verdict.outcomes)
