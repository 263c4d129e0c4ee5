"""`orthanc-al reads import FILE`: confirmed reads from another system, as CSV or JSON rows."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from orthanc_al.domain import ConfirmedRead, ReadSource, ReadValue
from orthanc_al.errors import ReadError
from orthanc_al.ledger import Ledger, enqueue, reads, studies
from orthanc_al.observe import Clock, now
from orthanc_al.pipeline import Step
from orthanc_al.review.vocabulary import known_findings

_COLUMNS: Final = ("study_instance_uid", "accession_number", "finding", "value", "reader", "time")
_CLOCKS_APART: Final = 300.0  # seconds that another system's clock may be ahead


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What came of an import.

    Attributes
    ----------
    taken, known
        Rows that are new, and rows that were imported before.
    faults
        Rows left out, each with its line (CSV) or number (JSON, from 1) and the reason.
    """

    taken: int
    known: int
    faults: tuple[str, ...]


def import_reads(ledger: Ledger, file: Path, clock: Clock = now) -> ImportReport:
    """Take in the good rows of a file, and tell all faults of the others; doing it twice is doing it once.

    Parameters
    ----------
    file
        ``.json``: a list of objects; anything else: CSV with a header line. Keys: study_instance_uid or
        accession_number, finding, value (present, absent, undetermined), reader, time (ISO 8601; UTC where
        it names no zone).

    Raises
    ------
    ReadError
        The file can't be read as a whole.
    """
    rows = list(_rows(file))
    taken, known, faults = 0, 0, []
    with ledger.write() as connection:
        findings = {finding.name for finding in known_findings(connection)}
        for place, row in rows:
            try:
                read = _read(connection, row, findings, clock())
            except ReadError as error:
                faults.append(f"{place}: {error}")
                continue
            recorded = reads.record(connection, read, received_at=clock(), actor="import")
            taken, known = taken + recorded.new, known + (not recorded.new)
            if recorded.new:  # as after a report: what ends a blind goes out, and what was shown comes off
                after = Step.REPORT if recorded.unblinded else Step.MIRROR
                enqueue(connection, after, read.study_instance_uid, clock())
    return ImportReport(taken, known, tuple(faults))


def _rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each row with the place to look for it."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(f"{file} can't be read as UTF-8 text: {error}") from error
    return _json_rows(file, text) if file.suffix.lower() == ".json" else _csv_rows(file, text)


def _json_rows(file: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        rows = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ReadError(f"{file} is not JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ReadError(f"{file} is not a JSON list of objects")
    return ((f"row {number}", row) for number, row in enumerate(rows, 1))


def _csv_rows(file: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="", strict=True)
    try:
        columns = set(reader.fieldnames or ())
        if not {"finding", "value"} <= columns:
            raise ReadError(f"{file} has no header line with the columns {', '.join(_COLUMNS)}")
        rows = [(f"line {reader.line_num}", row) for row in reader]
    except csv.Error as error:
        raise ReadError(f"{file} is not CSV after line {reader.line_num}: {error}") from error
    return iter(rows)


def _read(
    connection: Connection, row: Mapping[str, Any], findings: set[str], present: float
) -> ConfirmedRead:
    """Return the read that a row tells of.

    Raises
    ------
    ReadError
        Names all that is wrong with the row.
    """
    faults = [f"unknown column {name!r}" for name in row if name not in _COLUMNS]
    fields = {name: str(row.get(name) or "").strip() for name in _COLUMNS}
    uid = read_at = None
    try:
        uid = _study(connection, fields["study_instance_uid"], fields["accession_number"])
    except ReadError as error:
        faults.append(str(error))
    try:
        read_at = _time(fields["time"], present)
    except ReadError as error:
        faults.append(str(error))
    if fields["finding"] not in findings:
        faults.append(
            f"finding {fields['finding']!r} is none of {', '.join(sorted(findings)) or '(no model)'}"
        )
    if fields["value"] not in set(ReadValue):
        faults.append(f"value {fields['value']!r} is none of {', '.join(ReadValue)}")
    if faults or uid is None or read_at is None:
        raise ReadError("; ".join(faults))
    return ConfirmedRead(
        study_instance_uid=uid,
        finding=fields["finding"],
        value=ReadValue(fields["value"]),
        source=ReadSource.IMPORTED,
        reader=fields["reader"],
        read_at=read_at,
        reference=_reference(uid, fields),
    )


def _study(connection: Connection, uid: str, accession_number: str) -> str:
    """Return the one study that a row is about.

    Raises
    ------
    ReadError
        There is none, or there are several.
    """
    if uid and studies.get(connection, uid) is not None:
        return uid
    if uid and not accession_number:  # with one: the PACS may have given the study another UID
        raise ReadError(f"study {uid} is not known")
    if not accession_number:
        raise ReadError("neither study_instance_uid nor accession_number")
    found = studies.of_accession(connection, accession_number)
    if len(found) != 1:
        raise ReadError(f"{len(found) or 'no'} studies have this accession_number: give study_instance_uid")
    return found[0].study_instance_uid


def _time(text: str, present: float) -> float:
    """Return an ISO 8601 time as seconds since 1970.

    Raises
    ------
    ReadError
        It is none, or has not come yet.
    """
    try:
        when = datetime.fromisoformat(text)
        time = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise ReadError(f"time {text!r} is not ISO 8601, e.g. 2026-01-02T12:00:00+00:00") from error
    if time > present + _CLOCKS_APART:
        raise ReadError(f"time {text!r} has not come yet")
    return time


def _reference(uid: str, fields: Mapping[str, str]) -> str:
    """Return what makes the row the same row when it comes again."""
    parts = [uid, *(fields[name] for name in ("finding", "value", "reader", "time"))]
    return "import:" + hashlib.sha256("\x1f".join(parts).encode()).hexdigest()
