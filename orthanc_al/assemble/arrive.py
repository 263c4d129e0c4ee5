"""The step ``arrive``: what a spooled instance is, from its header, and which study it belongs to."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection

from orthanc_al.assemble.kind import kind_of
from orthanc_al.domain import patient_key
from orthanc_al.domain.header import Header
from orthanc_al.errors import NotAnInstanceError, SpoolFileError
from orthanc_al.imaging.header import header_of
from orthanc_al.imaging.reading import read_header
from orthanc_al.imaging.sameness import same_content
from orthanc_al.ledger import Job, Ledger, Outcome, facts, instances, patients, studies, trail
from orthanc_al.ledger.instances import KnownInstance
from orthanc_al.methods.urgency import Targets, place_in_line, unscored_read_by
from orthanc_al.observe import logger, now
from orthanc_al.pipeline import Step
from orthanc_al.spool import Spool

_log = logger("assemble")
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class _Arrived:
    """An instance that has been looked at.

    Attributes
    ----------
    changed
        Another one with this SOP Instance UID has other bytes.
    compared
        Ids of those whose content was compared with its own.
    """

    known: KnownInstance
    header: Header
    kind: str
    reason: str | None
    sha256: str
    changed: bool = False
    compared: frozenset[str] = frozenset()


class ArriveStage:
    """Looks at instances that the spool took in.

    Parameters
    ----------
    ledger, spool
        Where they are.
    targets
        The tiers' target times: a new study stands on the worklist from its first instance on.
    """

    def __init__(self, ledger: Ledger, spool: Spool, targets: Targets) -> None:
        self._ledger = ledger
        self._spool = spool
        self._targets = targets
        self._salt = b""  # the site's, once it is known

    def run(self, job: Job) -> Outcome:
        """Look at the instance that is the job's subject.

        Outcome image, other, report, duplicate, own or unusable.
        """
        return self.run_all([job])[0]

    def run_all(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Look at the instances that are the jobs' subjects."""
        if not self._salt:  # made here, and not in a transaction that may be undone
            with self._ledger.write() as connection:
                self._salt = facts.patient_salt(connection)
        with self._ledger.read() as connection:
            known = {
                one.instance.id: one for one in instances.get_all(connection, [job.subject for job in jobs])
            }
        looked_at = [self._look(job, known.get(job.subject)) for job in jobs]
        uids = {one.header.sop_instance_uid for one in looked_at if not isinstance(one, Outcome)}
        with self._ledger.read() as connection:
            events = instances.of_sops(connection, uids)
        judged = [
            one if isinstance(one, Outcome) else _judged(one, events[one.header.sop_instance_uid])
            for one in looked_at
        ]
        return [one if isinstance(one, Outcome) else self._outcome(*one) for one in judged]

    def _look(self, job: Job, known: KnownInstance | None) -> _Arrived | Outcome:
        """Return what the file says; an outcome where it says nothing that counts."""
        if known is None:
            raise SpoolFileError(f"The ledger has no instance {job.subject}; `orthanc-al doctor` rebuilds it")
        if known.kind == "own":
            return Outcome("own")
        try:
            header = header_of(read_header(self._spool.path(job.subject)))
        except NotAnInstanceError as error:
            return self._unusable(known, str(error))
        kind, reason = kind_of(header)
        return _Arrived(known, header, kind, reason, self._sha256(job.subject))

    def _outcome(self, arrived: _Arrived, twins: Sequence[KnownInstance]) -> Outcome:
        compared = self._compared(arrived, twins)
        header = arrived.header
        subjects, time = {Step.ASSEMBLE: header.study_instance_uid}, now()
        place = place_in_line(time, header.priority)
        # Others keep the order in which their headers were looked at.
        ahead = dict.fromkeys((Step.SCORE_IMAGE, Step.ASSEMBLE), place) if place < time else {}
        return Outcome(arrived.kind, lambda connection: self._write(connection, compared), subjects, ahead)

    def _compared(self, arrived: _Arrived, twins: Sequence[KnownInstance]) -> _Arrived:
        """Return it with the digest of a twin that says the same: it shall count as the same from here on."""
        new = [twin for twin in twins if twin.instance.id not in arrived.compared]
        same = next((twin for twin in new if self._is_written_anew(arrived.known, twin)), None)
        sha256 = arrived.sha256 if same is None else same.instance.sha256 or arrived.sha256
        return replace(arrived, sha256=sha256, compared=arrived.compared | {twin.instance.id for twin in new})

    def _is_written_anew(self, one: KnownInstance, other: KnownInstance) -> bool:
        """Whether both say the same and one came by Orthanc, which writes anew what it receives."""
        return "orthanc" in (one.origin, other.origin) and same_content(
            self._spool.path(one.instance.id), self._spool.path(other.instance.id)
        )

    def _write(self, connection: Connection, arrived: _Arrived) -> None:
        # Once more, under the lock: its twin may have been looked at at the same time.
        own = arrived.known.instance.id
        events = instances.of_sop(connection, arrived.header.sop_instance_uid)
        arrived, twins = _judged(arrived, events)
        compared = self._compared(arrived, twins)
        if compared.sha256 != arrived.sha256:
            arrived, _ = _judged(compared, events)
        before = next((event for event in events if event.instance.id == own), None)
        if before is None:  # its sender called it by another UID than the data set does
            before = instances.get(connection, own)
        first_time = before is not None and before.kind is None
        instances.set_header(
            connection,
            own,
            kind=arrived.kind,
            study_instance_uid=arrived.header.study_instance_uid,
            series_instance_uid=arrived.header.series_instance_uid or None,
            modality=arrived.header.modality or None,
            sha256=arrived.sha256,
            reason=arrived.reason,
        )
        if not first_time or arrived.kind in ("own", "duplicate"):
            return
        if arrived.changed:
            self._note_change(connection, arrived)
        self._join_study(connection, arrived)

    def _join_study(self, connection: Connection, arrived: _Arrived) -> None:
        header = arrived.header
        received_at = arrived.known.instance.received_at
        patient, without_issuer = _patient(connection, self._salt, header)
        study, before = studies.arrive(
            connection,
            header,
            patient,
            received_at,
            unscored_read_by(received_at, header.priority, self._targets),
            image=arrived.kind == "image",
            key_without_issuer=without_issuer,
        )
        if study.reason == studies.TWO_PATIENTS and (before is None or before.reason != study.reason):
            _log.warning("two_patients_in_one_study", study=study.study_instance_uid)
            trail.record(connection, "worker", "two_patients_in_one_study", study.study_instance_uid)

    @staticmethod
    def _note_change(connection: Connection, arrived: _Arrived) -> None:
        uid = arrived.header.sop_instance_uid
        _log.warning("instance_changed", sop_instance_uid=uid, study=arrived.header.study_instance_uid)
        trail.record(connection, "worker", "instance_changed", uid, study=arrived.header.study_instance_uid)

    def _unusable(self, known: KnownInstance, reason: str) -> Outcome:
        sha256 = self._sha256(known.instance.id)
        _log.warning("instance_unusable", instance=known.instance.id, reason=reason)
        return Outcome(
            "unusable",
            lambda connection: instances.set_header(
                connection, known.instance.id, kind="unusable", sha256=sha256, reason=reason
            ),
        )

    def _sha256(self, instance_id: str) -> str:
        digest = hashlib.sha256()
        with self._spool.open(instance_id) as file:
            for start in range(0, len(file.data_set), _CHUNK):
                digest.update(file.data_set[start : start + _CHUNK])
        return digest.hexdigest()


def _judged(arrived: _Arrived, events: Sequence[KnownInstance]) -> tuple[_Arrived, list[KnownInstance]]:
    """Return what an instance is, given all of its SOP Instance UID, and those of other bytes."""
    if arrived.kind == "own":
        return arrived, []
    twins = _twins(arrived, events)
    if any(twin.instance.sha256 == arrived.sha256 for twin in twins):
        reason = "the same instance with the same bytes is here already"
        return replace(arrived, kind="duplicate", reason=reason), []
    return replace(arrived, changed=bool(twins)), twins


def _twins(arrived: _Arrived, events: Sequence[KnownInstance]) -> list[KnownInstance]:
    """Return the other instances of this SOP Instance UID that were looked at."""
    return [
        twin
        for twin in events
        if twin.instance.id != arrived.known.instance.id
        and twin.instance.sha256 is not None
        and twin.kind not in ("own", "duplicate")
    ]


def _patient(connection: Connection, salt: bytes, header: Header) -> tuple[str, str]:
    """Return the patient's key, and as it would be if the instance named no issuer of the ID.

    A patient without an ID is one of her own, known by her study.
    """
    if not header.patient_id:
        alone = patient_key(salt, "", header.study_instance_uid)
        return alone, alone
    key = patients.resolve(connection, patient_key(salt, header.patient_id, header.issuer))
    if not header.issuer:
        return key, key
    return key, patients.resolve(connection, patient_key(salt, header.patient_id, ""))
