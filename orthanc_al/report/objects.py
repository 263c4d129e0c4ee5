"""Our own objects as files of the spool, and as rows that the forwarder sends from."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from sqlalchemy import Connection

from orthanc_al.domain import Instance, Origin, derived_uid
from orthanc_al.ledger import instances, reports
from orthanc_al.ledger.reports import OwnReport
from orthanc_al.report.encoding import encoded
from orthanc_al.spool import Spool


@dataclass(frozen=True, slots=True)
class OwnObject:
    """One of our objects: its row, and its file in the spool."""

    row: OwnReport
    instance: Instance


class Outbox:
    """Stores what we made and hands it to the forwarder.

    Parameters
    ----------
    ae_title
        Our own: it names this gateway in the reports.
    peers
        Names of the peers that get our objects (role ``results``).
    """

    def __init__(self, spool: Spool, ae_title: str, peers: Sequence[str]) -> None:
        self._spool = spool
        self._origin = Origin(ae_title, ae_title, ae_title, "orthanc_al", None, "own")
        self.peers = tuple(peers)
        self.device_uid = derived_uid("orthanc_al", ae_title)

    def store(self, document: Dataset, instance_id: str) -> Instance:
        """Write an object into the spool; a second run overwrites it with the same bytes."""
        data_set = encoded(document)
        with self._spool.open_writer(
            document.SOPClassUID,
            document.SOPInstanceUID,
            ExplicitVRLittleEndian,
            self._origin,
            instance_id=instance_id,
        ) as writer:
            writer.write(data_set)
            instance = writer.commit()
        return replace(
            instance,
            study_instance_uid=document.StudyInstanceUID,
            series_instance_uid=document.SeriesInstanceUID,
            modality=document.Modality,
            sha256=hashlib.sha256(data_set).hexdigest(),
        )

    def send(self, connection: Connection, made: Sequence[OwnObject]) -> None:
        """Write the rows: from here on the forwarder delivers them."""
        instances.add_all(connection, [(one.instance, self._origin) for one in made], self.peers)
        reports.add_all(connection, [one.row for one in made])


@dataclass(frozen=True, slots=True)
class Sending:
    """What is written of objects that were made, those of several studies at once."""

    outbox: Outbox
    made: Sequence[OwnObject]

    def __call__(self, connection: Connection) -> None:
        """Write it."""
        self.write_with(connection, ())

    def write_with(self, connection: Connection, others: Sequence["Sending"]) -> None:
        """Write it and others, of the same outbox."""
        self.outbox.send(connection, [made for one in (self, *others) for made in one.made])
