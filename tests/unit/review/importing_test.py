"""`orthanc-al reads import`: good rows in, each fault told, twice is once."""

import json
from pathlib import Path

import numpy as np
import pytest

from orthanc_al.domain import ReadSource, ReadValue, StudyState
from orthanc_al.errors import ReadError
from orthanc_al.ledger import Ledger, studies, waiting
from orthanc_al.review.importing import import_reads
from tests.support.radiographs import wrap
from tests.support.reading_room import ReadingRoom, reads_of

PIXELS = np.full((16, 16), 100, np.uint8)
FIRST, SECOND = wrap(PIXELS, 1), wrap(PIXELS, 2)
UID = str(FIRST.StudyInstanceUID)
HEAD = "study_instance_uid,accession_number,finding,value,reader,time\n"


@pytest.fixture
def room(ledger: Ledger, tmp_path: Path) -> ReadingRoom:
    made = ReadingRoom(ledger, tmp_path)
    for image in (FIRST, SECOND):
        made.take_in(image)
        made.score(str(image.StudyInstanceUID))
    return made


def _file(tmp_path: Path, text: str, name: str = "reads.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_come_in_by_study_or_by_accession_number(room: ReadingRoom, tmp_path: Path) -> None:
    file = _file(
        tmp_path,
        HEAD
        + f"{UID},,pneumonia,present,Reader^Rosa,2026-01-02T12:00:00+01:00\n"
        + f",{SECOND.AccessionNumber},pneumonia,absent,,2026-01-02T12:00:00\n",
    )
    report = import_reads(room.ledger, file)
    assert (report.taken, report.known, report.faults) == (2, 0, ())
    with room.ledger.read() as connection:
        [read] = reads_of(connection, UID)
        assert read.value is ReadValue.PRESENT
        assert read.source is ReadSource.IMPORTED
        assert read.read_at == 1767351600.0
        study = studies.get(connection, str(SECOND.StudyInstanceUID))
        assert study is not None
        assert study.state is StudyState.READ


def test_doing_it_twice_is_doing_it_once(room: ReadingRoom, tmp_path: Path) -> None:
    file = _file(tmp_path, HEAD + f"{UID},,pneumonia,present,R,2026-01-02T12:00:00Z\n" * 2)
    first = import_reads(room.ledger, file)
    assert (first.taken, first.known) == (1, 1)
    second = import_reads(room.ledger, file)
    assert (second.taken, second.known) == (0, 2)


def test_every_fault_is_told_with_its_line_and_the_good_rows_come_in(
    room: ReadingRoom, tmp_path: Path
) -> None:
    file = _file(
        tmp_path,
        HEAD
        + "1.2.3,,pneumonia,present,R,2026-01-02T12:00:00Z\n"
        + ",,gout,maybe,R,yesterday\n"
        + ",nobody's,pneumonia,present,R,2999-01-01T00:00:00Z\n"
        + f"{UID},,pneumonia,present,R,2026-01-02T12:00:00Z\n",
    )
    report = import_reads(room.ledger, file)
    assert report.taken == 1
    first, second, third = report.faults
    assert first == "line 2: study 1.2.3 is not known"
    assert second.startswith("line 3: ")
    for fault in ("neither study_instance_uid nor", "'gout' is none of pneumonia", "'maybe'", "'yesterday'"):
        assert fault in second
    assert third == (
        "line 4: no studies have this accession_number: give study_instance_uid; "
        "time '2999-01-01T00:00:00Z' has not come yet"
    )


def test_json_rows_are_the_same_as_csv_rows(room: ReadingRoom, tmp_path: Path) -> None:
    row = {
        "study_instance_uid": UID,
        "finding": "pneumonia",
        "value": "present",
        "time": "2026-01-02T12:00:00Z",
    }
    file = _file(tmp_path, json.dumps([row, {**row, "grade": 3}]), "reads.json")
    report = import_reads(room.ledger, file)
    assert report.taken == 1
    assert report.faults == ("row 2: unknown column 'grade'",)
    same = _file(tmp_path, HEAD + f"{UID},,pneumonia,present,,2026-01-02T12:00:00Z\n")
    assert import_reads(room.ledger, same).known == 1


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("x.json", "{", "is not JSON"),
        ("x.json", '{"a": 1}', "list of objects"),
        ("x.json", "[1]", "list of objects"),
        ("x.csv", "", "no header line"),
        ("x.csv", "a,b\n1,2\n", "no header line"),
        ("x.csv", HEAD + '"open', "not CSV after line 1"),
    ],
)
def test_a_file_that_is_no_table_is_refused_as_a_whole(
    room: ReadingRoom, tmp_path: Path, name: str, text: str, reason: str
) -> None:
    with pytest.raises(ReadError, match=reason):
        import_reads(room.ledger, _file(tmp_path, text, name))


def test_a_file_that_can_not_be_read_is_refused(room: ReadingRoom, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="can't be read"):
        import_reads(room.ledger, tmp_path / "absent.csv")
    (tmp_path / "latin.csv").write_bytes("Müller".encode("latin-1"))
    with pytest.raises(ReadError, match="UTF-8"):
        import_reads(room.ledger, tmp_path / "latin.csv")


def test_a_row_too_long_is_a_fault_of_its_own(room: ReadingRoom, tmp_path: Path) -> None:
    file = _file(tmp_path, HEAD + f"{UID},,pneumonia,present,R,2026-01-02T12:00:00Z,more\n")
    assert import_reads(room.ledger, file).faults == ("line 2: unknown column ''",)


def test_an_import_that_ends_a_blind_asks_for_the_report(room: ReadingRoom, tmp_path: Path) -> None:
    room.select(UID, "blind")
    import_reads(room.ledger, _file(tmp_path, HEAD + f"{UID},,pneumonia,absent,R,2026-01-02T12:00:00Z\n"))
    with room.ledger.read() as connection:
        assert waiting.counts(connection)["report", "ready"] == 1
    assert room.report(UID).name == "reported"


def test_an_import_takes_what_we_wrote_into_orthanc_off_again(room: ReadingRoom, tmp_path: Path) -> None:
    room.select(UID)
    import_reads(room.ledger, _file(tmp_path, HEAD + f"{UID},,pneumonia,absent,R,2026-01-02T12:00:00Z\n"))
    with room.ledger.read() as connection:
        assert waiting.counts(connection)["mirror", "ready"] == 1


def test_a_row_with_the_uid_of_another_system_is_found_by_its_accession_number(
    room: ReadingRoom, tmp_path: Path
) -> None:
    row = f"1.2.3.99,{FIRST.AccessionNumber},pneumonia,present,R,2026-01-02T12:00:00Z\n"
    assert import_reads(room.ledger, _file(tmp_path, HEAD + row)).taken == 1
    with room.ledger.read() as connection:
        assert len(reads_of(connection, UID)) == 1
