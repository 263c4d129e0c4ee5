"""The spool is the journal: rows that the ledger lacks are rebuilt from its files."""

from collections.abc import Sequence

from sqlalchemy.exc import DataError, IntegrityError

from orthanc_al.errors import SpoolFileError
from orthanc_al.ledger import Ledger, instances
from orthanc_al.observe import logger
from orthanc_al.spool import Spool

_log = logger("receive")


def missing(spool: Spool, ledger: Ledger) -> set[str]:
    """Return ids of received files that the ledger has no row for (`orthanc-al doctor` asks this too)."""
    # Files first: an instance that comes meanwhile has its file before its row.
    files = set(spool.ids())
    with ledger.read() as connection:
        unknown = files - instances.known_ids(connection)
    return {instance_id for instance_id in unknown if not _is_own(spool, instance_id)}


def recover(spool: Spool, ledger: Ledger, destinations: Sequence[str]) -> int:
    """Rebuild the rows of files that the ledger lacks, and remove what interrupted writers left.

    Objects of our own are left alone: their row is written by the job that makes them, which runs again.

    Returns
    -------
    int
        Number of rows that were rebuilt.
    """
    spool.remove_stale_parts()
    rebuilt = 0
    for instance_id in missing(spool, ledger):
        try:
            instance, origin = spool.describe(instance_id)
        except SpoolFileError as error:
            _log.error("spool_file_unreadable", instance=instance_id, error=str(error))
            continue
        try:
            with ledger.write() as connection:
                rebuilt += instances.add(connection, instance, origin, destinations)
        except (DataError, IntegrityError) as error:  # one that the ledger can't hold stops no other
            _log.error("not_for_the_ledger", instance=instance_id, error=str(error.orig))
    if rebuilt:
        _log.warning("instances_recovered", instances=rebuilt)
    return rebuilt


def _is_own(spool: Spool, instance_id: str) -> bool:
    try:
        return spool.describe(instance_id)[1].kind == "own"
    except SpoolFileError:
        return False
