"""The step ``arrive``: what a spooled instance is, from its header, and which study it belongs to."""

import hashlib
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
from orthanc_al.methods.urgency import Targets, unscored_read_by
from orthanc_al.observe import logger
from orthanc_al.pipeline import Step
from orthanc_al.spool import Spool

_log = logger("assemble")
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class _Arrived:
    """An instance that has been looked at."""

    instance_id: str
    received_at: float
    header: Header
    kind: str
    reason: str | None
    sha256: str
    changed: bool = False  # another one with this SOP Instance UID has other bytes


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

    def run(self, job: Job) -> Outcome:
        """Look at the instance that is the job's subject.

        Outcome image, other, report, duplicate, own or unusable.
        """
        with self._ledger.read() as connection:
            known = instances.get(connection, job.subject)
        if known is None:
            raise SpoolFileError(f"The ledger has no instance {job.subject}; `orthanc-al doctor` rebuilds it")
        if known.kind == "own":
            return Outcome("own")
        try:
            header = header_of(read_header(self._spool.path(job.subject)))
        except NotAnInstanceError as error:
            return self._unusable(known, str(error))
        arrived = self._arrived(known, header)
        subjects = dict.fromkeys((Step.ASSEMBLE,), header.study_instance_uid)
        return Outcome(arrived.kind, lambda connection: self._write(connection, arrived), subjects)

    def _arrived(self, known: KnownInstance, header: Header) -> _Arrived:
        sha256 = self._sha256(known.instance.id)
        kind, reason = kind_of(header)
        arrived = _Arrived(known.instance.id, known.instance.received_at, header, kind, reason, sha256)
        with self._ledger.read() as connection:
            arrived = _beside_twins(connection, arrived)
            twins = _twins(connection, arrived) if arrived.changed else []
        same = next((twin for twin in twins if self._is_written_anew(known, twin)), None)
        # With the other's digest: what is the same shall count as the same from here on.
        return replace(arrived, sha256=same.instance.sha256 or sha256) if same else arrived

    def _is_written_anew(self, one: KnownInstance, other: KnownInstance) -> bool:
        """Whether both say the same and one came by Orthanc, which writes anew what it receives."""
        return "orthanc" in (one.origin, other.origin) and same_content(
            self._spool.path(one.instance.id), self._spool.path(other.instance.id)
        )

    def _write(self, connection: Connection, arrived: _Arrived) -> None:
        # Once more, under the lock: another worker may have looked at its twin at the same time.
        arrived = _beside_twins(connection, arrived)
        before = instances.get(connection, arrived.instance_id)
        first_time = before is not None and before.kind is None
        instances.set_header(
            connection,
            arrived.instance_id,
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
        before = studies.get(connection, header.study_instance_uid)
        study = studies.arrive(
            connection,
            header,
            _patient(connection, header),
            arrived.received_at,
            unscored_read_by(arrived.received_at, header.priority, self._targets),
            image=arrived.kind == "image",
            key_without_issuer=_patient(connection, replace(header, issuer="")),
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


def _beside_twins(connection: Connection, arrived: _Arrived) -> _Arrived:
    """Return what an instance is, given the others that have its SOP Instance UID."""
    if arrived.kind == "own":
        return arrived
    twins = _twins(connection, arrived)
    if any(twin.instance.sha256 == arrived.sha256 for twin in twins):
        return replace(
            arrived, kind="duplicate", reason="the same instance with the same bytes is here already"
        )
    return replace(arrived, changed=bool(twins))


def _twins(connection: Connection, arrived: _Arrived) -> list[KnownInstance]:
    """Return the other instances of this SOP Instance UID that were looked at."""
    return [
        twin
        for twin in instances.of_sop(connection, arrived.header.sop_instance_uid)
        if twin.instance.id != arrived.instance_id
        and twin.instance.sha256 is not None
        and twin.kind not in ("own", "duplicate")
    ]


def _patient(connection: Connection, header: Header) -> str:
    """Return the patient's key; one without an ID is a patient of her own, known by her study."""
    salt = facts.patient_salt(connection)
    if header.patient_id:
        return patients.resolve(connection, patient_key(salt, header.patient_id, header.issuer))
    return patient_key(salt, "", header.study_instance_uid)
