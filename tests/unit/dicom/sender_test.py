"""`send` sends what is DICOM as it is, says what is not, and stops for neither."""

from pathlib import Path
from typing import Any

import pytest
from pynetdicom import _config

from orthanc_al.dicom import Peer, part10
from orthanc_al.dicom.sender import FileResult, send_files
from orthanc_al.errors import NotAnInstanceError, PeerUnreachableError
from tests.support.wire import CR, CT, EXPLICIT, IMPLICIT, Scp, data_set, free_port


@pytest.fixture(autouse=True)
def _restricted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", False)


def _file(folder: Path, uid: str, sop_class: str = CT, *, head: bool = True) -> Path:
    path = folder / f"{uid}.dcm"
    start = part10.head(sop_class, uid, EXPLICIT) if head else b""
    path.write_bytes(start + data_set(uid, sop_class))
    return path


def test_files_arrive_as_they_are_with_and_without_preamble(tmp_path: Path) -> None:
    paths = [_file(tmp_path, "1.2.1"), _file(tmp_path, "1.2.2", head=False)]
    bare = tmp_path / "1.2.3.dcm"
    bare.write_bytes(part10.head(CT, "1.2.3", EXPLICIT)[132:] + data_set("1.2.3"))
    seen: list[FileResult] = []
    with Scp([(CT, [EXPLICIT])]).running() as scp:
        report = send_files([*paths, bare], scp.peer(), "US", seen.append)
        assert scp.got == [(uid, EXPLICIT, data_set(uid)) for uid in ("1.2.1", "1.2.2", "1.2.3")]
    assert report.delivered == 3
    assert report.failed == []
    assert seen == report.results


def test_what_can_not_be_sent_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    text, empty = tmp_path / "text.txt", tmp_path / "empty"
    text.write_text("Dear colleague, thank you for sending me this interesting patient.")
    empty.write_bytes(b"")

    def answer(event: Any) -> int:
        return 0xA700 if event.request.AffectedSOPInstanceUID == "1.2.2" else 0

    paths = [text, empty, _file(tmp_path, "1.2.1"), _file(tmp_path, "1.2.2"), _file(tmp_path, "1.2.3", CR)]
    with Scp([(CT, [EXPLICIT])], answer=answer).running() as scp:
        report = send_files(paths, scp.peer(), "US")
    told = {result.path.name: result for result in report.failed}
    assert set(told) == {"text.txt", "empty", "1.2.2.dcm", "1.2.3.dcm"}
    assert told["1.2.2.dcm"].status == 0xA700
    assert "does not accept" in told["1.2.3.dcm"].text
    assert report.delivered == 1


def test_a_file_that_ends_the_association_costs_only_itself(tmp_path: Path) -> None:
    def answer(event: Any) -> int:
        if event.request.AffectedSOPInstanceUID == "1.2.1":
            event.assoc.abort()
        return 0

    paths = [_file(tmp_path, f"1.2.{number}") for number in range(4)]
    with Scp([(CT, [EXPLICIT])], answer=answer).running() as scp:
        report = send_files(paths, scp.peer(), "US")
    assert [result.path.name for result in report.failed] == ["1.2.1.dcm"]
    assert "aborted" in report.failed[0].text


def test_more_kinds_than_one_association_has_room_for_take_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", True)
    kinds = [f"1.2.840.{number}" for number in range(130)]
    paths = [_file(tmp_path, f"1.2.{number}", kind) for number, kind in enumerate(kinds)]
    with Scp([]).running() as scp:
        report = send_files(paths, scp.peer(), "US")
        assert len(scp.callers) == 2
    assert report.delivered == 130


def test_nobody_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(PeerUnreachableError):
        send_files([_file(tmp_path, "1.2.1")], Peer("x", "X", "127.0.0.1", free_port()), "US")


@pytest.mark.parametrize(
    ("encoding", "syntax"),
    [((True, True), IMPLICIT), ((False, True), EXPLICIT), ((False, False), "1.2.840.10008.1.2.2")],
)
def test_the_syntax_of_a_bare_data_set_is_the_one_it_reads_in(
    encoding: tuple[bool, bool], syntax: str
) -> None:
    assert part10._guessed_syntax(encoding) == syntax


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7 not a DICOM file at all", b"\xff" * 400])
def test_what_is_no_dicom_file_is_told_by_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "thing"
    path.write_bytes(content)
    with pytest.raises(NotAnInstanceError, match="thing"):
        part10.read(path)


def test_what_can_not_be_read_is_told_by_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "folder.dcm"
    folder.mkdir()
    with pytest.raises(NotAnInstanceError, match="is no DICOM file"):
        part10.read(folder)
