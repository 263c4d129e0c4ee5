"""The spool is the journal: rows that the ledger lacks are rebuilt from its files.

Some hundred files at a time, whatever the spool holds: neither the listener's memory nor its start may grow
with it, and a ledger that was lost is rebuilt by few transactions.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from sqlalchemy.exc import DataError, IntegrityError

from orthanc_al.domain import Instance, Origin
from orthanc_al.errors import SpoolFileError
from orthanc_al.ledger import Ledger, instances
from orthanc_al.ledger.trouble import cause_of
from orthanc_al.observe import logger
from orthanc_al.spool import Spool

OF_THE_ROW: Final = (DataError, IntegrityError, UnicodeError)
"""What a row that the ledger can't hold is refused with, by the database or by its driver."""

_AT_ONCE: Final = 500

_log = logger("receive")

Arrived = tuple[Instance, Origin]


def missing(spool: Spool, ledger: Ledger) -> set[str]:
    """Return ids of received files that the ledger has no row for, and of those that can't be read."""
    unknown = (instance_id for batch in _unknown(spool, ledger) for instance_id in batch)
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
    spool.take_up_prepared()
    rebuilt = 0
    for batch in _unknown(spool, ledger):
        rebuilt += _add(ledger, list(_described(spool, batch)), destinations)
    if rebuilt:
        _log.warning("instances_recovered", instances=rebuilt)
    return rebuilt


def _unknown(spool: Spool, ledger: Ledger) -> Iterator[Sequence[str]]:
    """Yield the ids of files that the ledger lacks, some at a time."""
    ids = spool.ids()
    # Files first: an instance that comes meanwhile has its file before its row.
    while some := list(islice(ids, _AT_ONCE)):
        with ledger.read() as connection:
            unknown = set(some) - instances.known_among(connection, some)
        yield sorted(unknown)


def _described(spool: Spool, ids: Sequence[str]) -> Iterator[Arrived]:
    """Yield what came from peers; our own objects are not meant, and what can't be read is told."""
    for instance_id in ids:
        try:
            instance, origin = spool.describe(instance_id)
        except SpoolFileError as error:
            _log.error("spool_file_unreadable", instance=instance_id, error=str(error))
            continue
        if origin.kind != "own":
            yield instance, origin


def _is_own(spool: Spool, instance_id: str) -> bool:
    try:
        return spool.describe(instance_id)[1].kind == "own"
    except SpoolFileError:
        return False


def _add(ledger: Ledger, batch: Sequence[Arrived], destinations: Sequence[str]) -> int:
    if not batch:
        return 0
    try:
        with ledger.write(forced=ledger.falls_alone) as connection:  # it is done again at the next start
            return instances.add_all(connection, batch, destinations)
    except OF_THE_ROW as error:
        if len(batch) > 1:  # one that the ledger can't hold stops no other
            return sum(_add(ledger, [one], destinations) for one in batch)
        _log.error("not_for_the_ledger", instance=batch[0][0].id, error=str(cause_of(error)))
        return 0
