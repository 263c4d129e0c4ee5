"""Taking files out of the spool once nothing needs them."""

from collections.abc import Collection
from typing import Final

from orthanc_al.ledger import Ledger, deliveries, facts, instances
from orthanc_al.observe import now
from orthanc_al.spool import Spool

_AT_ONCE: Final = 500


def clean(
    ledger: Ledger,
    spool: Spool,
    keep_seconds: float,
    destinations: Collection[str],
    committing: Collection[str] = (),
    wanted: Collection[str] = (),
) -> int:
    """Remove files that are delivered, old enough and without open work; return how many.

    Parameters
    ----------
    keep_seconds
        ``storage.keep_days``, counted from when the instance was received.
    destinations
        Names of the peers that have a copy of what they send us.
    committing
        Names of those whose commitment is waited for.
    wanted
        Ids of instances whose files stay all the same.
    """
    before = now() - keep_seconds
    removed = 0
    while True:
        with ledger.read() as connection:
            # Those that are wanted are found again each time: so many more are asked for.
            found = deliveries.cleanable(connection, before, _AT_ONCE + len(wanted), destinations, committing)
        ids = [instance_id for instance_id in found if instance_id not in wanted]
        if not ids:
            return removed
        with ledger.write() as connection:  # the disk has all that was done of them: it was not forced, maybe
            facts.put(connection, facts.CLEANED, str(now()))
        for instance_id in ids:
            spool.remove(instance_id)
        # Files first: after a crash in between the same ids are found again.
        with ledger.write() as connection:
            instances.set_cleaned(connection, ids)
        removed += len(ids)
