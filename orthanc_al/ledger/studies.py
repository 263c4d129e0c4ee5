"""Studies and their states.

::

    (new) -> arriving -> complete -> scored | ineligible
    any of them -> read | expired      (off the worklist)
    any of them -> arriving            (a new image came: the revision goes up)
    read | expired -> what it was      (a person put it back on the list)

Each function is one transition and checks, under the write lock, that the study is still where the caller
saw it; it returns False, and writes nothing, where the study has moved on.
"""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Case, Connection, Row, bindparam, case, exists, insert, select, update

from orthanc_al.domain import Attributes, Study, StudyState
from orthanc_al.domain.header import Header
from orthanc_al.ledger import evidence, joining
from orthanc_al.ledger.joining import OFF
from orthanc_al.ledger.schema import predictions, studies

TWO_PATIENTS: Final = joining.TWO_PATIENTS
"""The reason that stays: no later image can heal it."""

_JUDGED: Final = (StudyState.COMPLETE, StudyState.SCORED, StudyState.INELIGIBLE)

# Asked for with each image and each study: to make a statement costs more than to run it.
_OWN: Final = studies.c.study_instance_uid == bindparam("uid")
_ANY: Final = studies.c.study_instance_uid.in_(bindparam("uids", expanding=True))
_STUDY: Final = select(studies).where(_OWN)
_STUDIES: Final = select(studies).where(_ANY)
_STAT: Final = select(studies.c.study_instance_uid).where(_ANY, studies.c.priority == "STAT")
_PRIORITY: Final = select(studies.c.priority).where(_OWN)
_ATTRIBUTES: Final = select(
    *(studies.c[name] for name in ("station", "sex", "birth_date", "modality", "body_part", "arrived_at"))
).where(_OWN)
_STUDY_TO_CHANGE: Final = _STUDY.with_for_update()
_STAND: Final = (
    select(studies.c.study_instance_uid, studies.c.state, studies.c.revision).where(_ANY).with_for_update()
)


def _reason(reason: str | None) -> Case[Any]:
    """Return what a study's reason becomes: that of two patients stays."""
    return case((studies.c.reason == TWO_PATIENTS, TWO_PATIENTS), else_=reason)


# One that was read or has expired meanwhile keeps its state.
_MARK_SCORED: Final = (
    update(studies)
    .where(_ANY)
    .values(
        reason=_reason(None),
        state=case((studies.c.state.in_(OFF), studies.c.state), else_=StudyState.SCORED.value),
    )
)


def get(connection: Connection, study_instance_uid: str) -> Study | None:
    """Return a study, None where it is not known."""
    row = connection.execute(_STUDY, {"uid": study_instance_uid}).mappings().first()
    return None if row is None else _study(row)


def get_all(connection: Connection, uids: Collection[str]) -> dict[str, Study]:
    """Return the studies that are known of these, by Study Instance UID."""
    rows = connection.execute(_STUDIES, {"uids": list(uids)}).mappings()
    return {row["study_instance_uid"]: _study(row) for row in rows}


def of_patient(connection: Connection, patient_key: str) -> list[Study]:
    """Return a patient's studies in the order of their arrival."""
    query = select(studies).where(studies.c.patient_key == patient_key).order_by(studies.c.arrived_at)
    return [_study(row) for row in connection.execute(query).mappings()]


def of_accession(connection: Connection, accession_number: str) -> list[Study]:
    """Return the studies of an order: several where an accession number was used more than once."""
    query = select(studies).where(studies.c.accession_number == accession_number)
    return [_study(row) for row in connection.execute(query.order_by(studies.c.arrived_at)).mappings()]


def arrive(
    connection: Connection,
    header: Header,
    patient_key: str,
    received_at: float,
    read_by: int,
    *,
    image: bool,
    key_without_issuer: str = "",
) -> tuple[Study, Study | None]:
    """Take an instance into its study, which is made where it is new.

    A new image makes a new revision and reopens the study; one that had left the worklist comes back
    as if it had arrived now. Other objects (reports, presentation states) change neither.

    Parameters
    ----------
    patient_key
        Salted hash of the patient.
    received_at
        Seconds since 1970.
    read_by
        Where a study without a score that arrives now belongs, in minutes since 1970.
    image
        Whether the instance is a new image.
    key_without_issuer
        The patient's key as it would be if the instance named no issuer of the patient's ID.

    Returns
    -------
    Study
        As it is now.
    Study or None
        As it was, None where it is new.
    """
    uid = header.study_instance_uid
    row = connection.execute(_STUDY_TO_CHANGE, {"uid": uid}).mappings().first()
    if row is None:
        made = joining.new(header, patient_key, received_at, read_by, image=image)
        connection.execute(insert(studies).values(**made))
        return _study({"reason": None, **made}), None
    changes = joining.reopened(row, received_at, read_by) if image else {}
    changes |= joining.filled(row, header, image=image)
    changes |= joining.patient(row, header, patient_key, key_without_issuer, image=image)
    if changes:
        connection.execute(update(studies).where(studies.c.study_instance_uid == uid).values(**changes))
    return _study({**row, **changes}), _study(row)


def completed_revision(connection: Connection, study_instance_uid: str) -> int | None:
    """Return the revision that was completed last, None where none was."""
    query = select(studies.c.completed_revision).where(studies.c.study_instance_uid == study_instance_uid)
    revision: int | None = connection.execute(query).scalar()
    return revision


def expected_instances(connection: Connection, study_instance_uid: str) -> int | None:
    """Return how many instances there are to be, None where nobody said.

    The most of what the objects say (0020,1208), what the source answered to C-FIND, and what the
    performed procedure steps refer to.
    """
    query = select(studies.c.expected_instances).where(studies.c.study_instance_uid == study_instance_uid)
    said = [connection.execute(query).scalar(), *evidence.counts(connection, study_instance_uid)]
    return max((number for number in said if number is not None), default=None)


def patient_id(connection: Connection, study_instance_uid: str) -> str:
    """Return whose study it is, as the first instance that said so named her; empty where none did."""
    query = select(studies.c.patient_id).where(studies.c.study_instance_uid == study_instance_uid)
    return str(connection.execute(query).scalar() or "")


def priority(connection: Connection, study_instance_uid: str) -> str:
    """Return the order's priority: ``STAT``, ``HIGH`` or empty."""
    return str(connection.execute(_PRIORITY, {"uid": study_instance_uid}).scalar() or "")


def ordered_stat(connection: Connection, uids: Collection[str | None]) -> set[str]:
    """Return which of these studies are ordered with the priority ``STAT``."""
    return set(connection.execute(_STAT, {"uids": list(uids)}).scalars())


def attributes(connection: Connection, study_instance_uid: str) -> Attributes:
    """Return what of a study makes groups; empty where there is no such study."""
    row = connection.execute(_ATTRIBUTES, {"uid": study_instance_uid}).mappings().first()
    return Attributes() if row is None else Attributes(**row)


def complete(connection: Connection, seen: Study, evidence: str, at: float) -> bool:
    """Write that a revision is complete, and by which evidence.

    A study that was read meanwhile stays off the worklist; its revision counts as complete all the same,
    since a score of it can still be learned from.
    """
    done = {"completed_revision": seen.revision, "completion": evidence, "completed_at": at}
    return _move(connection, seen, (StudyState.ARRIVING,), done, StudyState.COMPLETE)


def mark_scored(connection: Connection, seen: Study) -> bool:
    """Write that a complete revision has predictions."""
    return bool(mark_all_scored(connection, [seen]))


def mark_all_scored(connection: Connection, seen: Sequence[Study]) -> set[str]:
    """Write of several studies what `mark_scored` writes of one; return the UIDs of those of which it did."""
    rows = connection.execute(_STAND, {"uids": [one.study_instance_uid for one in seen]})
    stand = {row.study_instance_uid: row for row in rows}
    moved = {
        one.study_instance_uid for one in seen if _may_move(stand.get(one.study_instance_uid), one, _JUDGED)
    }
    if moved:
        connection.execute(_MARK_SCORED, {"uids": list(moved)})
    return moved


def mark_ineligible(connection: Connection, seen: Study, reason: str, read_by: int) -> bool:
    """Write why a complete revision gets no score; it goes to the place of a study without one."""
    place = {"tier": "none", "why": "", "read_by": read_by}
    return _move(connection, seen, _JUDGED, {"reason": _reason(reason)}, StudyState.INELIGIBLE, place)


def close(connection: Connection, study_instance_uid: str, state: StudyState, at: float) -> bool:
    """Take a study off the worklist: it was read, or it expired.

    Returns
    -------
    bool
        False where it is not known, or was off the worklist already.
    """
    if state.on_worklist:
        raise ValueError(f"a study in state {state} is on the worklist")
    changed = connection.execute(
        update(studies)
        .where(
            studies.c.study_instance_uid == study_instance_uid,
            studies.c.state.not_in([off.value for off in OFF]),
        )
        .values(state=state.value, closed_at=at)
    )
    return bool(changed.rowcount)


def reopen(connection: Connection, study_instance_uid: str) -> bool:
    """Put a study back on the worklist where it stood; False where it is unknown, or was not off it."""
    own = studies.c.study_instance_uid == study_instance_uid
    row = connection.execute(_STUDY_TO_CHANGE, {"uid": study_instance_uid}).mappings().first()
    if row is None or StudyState(row["state"]) not in OFF:
        return False
    scored = exists().where(
        predictions.c.study_instance_uid == study_instance_uid, predictions.c.revision == row["revision"]
    )
    state = StudyState.COMPLETE
    if row["completed_revision"] != row["revision"]:
        state = StudyState.ARRIVING
    elif row["reason"]:
        state = StudyState.INELIGIBLE
    elif connection.execute(select(scored)).scalar():
        state = StudyState.SCORED
    connection.execute(update(studies).where(own).values(state=state.value, closed_at=None))
    return True


def _move(
    connection: Connection,
    seen: Study,
    allowed: tuple[StudyState, ...],
    facts: dict[str, Any],
    state: StudyState,
    place: Mapping[str, Any] = MappingProxyType({}),
) -> bool:
    """Change a study that is still at the revision that the caller saw, in one of the states ``allowed``.

    One that was read or has expired meanwhile takes the facts, but neither state nor place.
    """
    own = studies.c.study_instance_uid == seen.study_instance_uid
    row = connection.execute(_STAND, {"uids": [seen.study_instance_uid]}).first()
    if row is None or not _may_move(row, seen, allowed):
        return False
    moved = {} if StudyState(row.state) in OFF else {"state": state.value, **place}
    connection.execute(update(studies).where(own).values(**facts, **moved))
    return True


def _may_move(row: Row[Any, Any, Any] | None, seen: Study, allowed: tuple[StudyState, ...]) -> bool:
    """Whether a study is still at the revision that the caller saw, in one of the states."""
    return row is not None and row.revision == seen.revision and StudyState(row.state) in (*allowed, *OFF)


def _study(row: Mapping[Any, Any]) -> Study:
    return Study(
        study_instance_uid=row["study_instance_uid"],
        patient_key=row["patient_key"],
        modality=row["modality"],
        state=StudyState(row["state"]),
        revision=row["revision"],
        arrived_at=row["arrived_at"],
        last_received_at=row["last_received_at"],
        read_by=row["read_by"],
        reason=row["reason"],
    )
