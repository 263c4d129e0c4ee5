"""The small archive keeps what it gets, a folder a study, whatever is in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orthanc_al.dicom import Association, Proposal
from orthanc_al.receive import Archive
from tests.support.wire import CT, EXPLICIT, data_set, part10_body


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    made = Archive(ae_title="ARCHIVE", host="127.0.0.1", port=0, folder=tmp_path / "archive")
    made.start()
    yield made
    made.stop()


def _send(archive: Archive, uid: str, body: bytes) -> int:
    with Association.open(
        "127.0.0.1",
        archive.port,
        called_ae="ARCHIVE",
        calling_ae="US",
        proposals=[Proposal(CT, (EXPLICIT,))],
    ) as association:
        return association.store(association.contexts[0], uid, body).status


def test_objects_lie_by_study_with_their_bytes_as_they_came(archive: Archive, tmp_path: Path) -> None:
    assert _send(archive, "1.2.3", data_set("1.2.3", study="1.2.9")) == 0
    assert part10_body(tmp_path / "archive" / "1.2.9" / "1.2.3.dcm") == data_set("1.2.3", study="1.2.9")


def test_the_same_object_again_is_one_file(archive: Archive, tmp_path: Path) -> None:
    for _ in range(2):
        assert _send(archive, "1.2.3", data_set("1.2.3")) == 0
    assert len(list((tmp_path / "archive").rglob("*.*"))) == 2  # the folder of the study, and the file


@pytest.mark.parametrize("body", [b"no data set", b"", data_set("1.2.3", study="../../x")])
def test_what_names_no_usable_study_is_kept_too(archive: Archive, tmp_path: Path, body: bytes) -> None:
    _send(archive, "../../escape", body)
    (found,) = (path for path in (tmp_path / "archive").rglob("*.dcm"))
    assert found.parent == tmp_path / "archive" / "study-unknown"
    assert part10_body(found) == body


def test_a_disk_that_fails_is_told(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "archive").rmdir()
    assert _send(archive, "1.2.3", data_set("1.2.3")) == 0xA700
