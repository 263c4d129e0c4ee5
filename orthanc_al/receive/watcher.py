"""The watcher: takes studies from Orthanc by following its changes (sidecar), each as a receive event.

The log of changes is followed by a cursor that moves only when everything before it is durable here. Each
look begins one change early: the change that was dealt with last must stand there again (the anchor). Where
it does not, because it was deleted, the log was emptied or another database took its place, all instances
that Orthanc has are compared with those that were dealt with (the sweep), as when the watcher starts.
"""

import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from orthanc_al.dicom import part10
from orthanc_al.domain import Instance, Origin
from orthanc_al.errors import NotAnInstanceError, OrthancError
from orthanc_al.ledger import Ledger, associations, instances, watched
from orthanc_al.ledger.watched import Cursor
from orthanc_al.observe import Clock, logger, now
from orthanc_al.receive.change_log import ChangeLog
from orthanc_al.spool import Spool

_NEW: Final = "NewInstance"
_AT_ONCE: Final = 100
_log = logger("receive")


class Watcher:
    """Takes in what is new in an Orthanc.

    Parameters
    ----------
    orthanc
        Its log of changes.
    spool, ledger
        Where instances go.
    destinations
        Names of the peers that get every instance; the one that is this Orthanc gets none of these.
    source
        Name of the peer that is this Orthanc.
    orthanc_ae, own_ae
        Its AE title and ours: what came to it from us is no news.
    days
        At the first start, studies that it received within so many days are taken; older ones are left.
    stop
        Ends a long look early; it goes on from there the next time.
    clock
        Seconds since 1970; tests pass their own.
    """

    def __init__(
        self,
        orthanc: ChangeLog,
        spool: Spool,
        ledger: Ledger,
        *,
        destinations: Sequence[str],
        source: str,
        orthanc_ae: str,
        own_ae: str,
        days: float,
        stop: threading.Event,
        clock: Clock = now,
    ) -> None:
        self._orthanc = orthanc
        self._spool = spool
        self._ledger = ledger
        self._destinations = tuple(destinations)
        self._source = source
        self._orthanc_ae = orthanc_ae
        self._own_ae = own_ae
        self._days = days
        self._stop = stop
        self._clock = clock

    def start(self) -> None:
        """Find the place in the log, and everything that an earlier watcher missed.

        Raises
        ------
        OrthancError
            Orthanc can't be asked.
        StorageError
            The spool can't take more.
        """
        with self._ledger.write() as connection:
            associations.lose_open(connection, over_rest=True)
            since = watched.watched_since(connection, self._clock() - self._days * 86400)
            at = watched.cursor(connection)
        if at is None:
            self._begin(since)
        while self.follow():
            continue
        self._sweep(since)

    def follow(self) -> bool:
        """Deal with the next changes; return whether there may be more.

        Raises
        ------
        OrthancError, StorageError
            As `start`; what was dealt with until then is not looked at again.
        """
        at = self._cursor()
        page = self._orthanc.page(at.seq - (at.anchor is not None))
        changes = list(page.changes)
        if at.anchor is not None:
            if not changes or (changes[0].seq, changes[0].anchor) != (at.seq, at.anchor):
                self._find_the_place()
                return True
            changes = changes[1:]
        elif page.last < at.seq:
            self._find_the_place()
            return True
        if changes:
            self._take_all([(one.orthanc_id, one.seq) for one in changes if one.kind == _NEW])
            if not self._stop.is_set():
                self._move(Cursor(changes[-1].seq, changes[-1].anchor))
        return not page.done and not self._stop.is_set()

    def _begin(self, since: float) -> None:
        """Find the place in the log for the first time; what was there before is none of ours."""
        place = self._orthanc.number_before(since)
        old = set(self._orthanc.instances())
        old -= {change.orthanc_id for change in self._orthanc.new_instances(place)}
        with self._ledger.write() as connection:
            watched.note(connection, sorted(old), "before", place)
            watched.move_cursor(connection, Cursor(place))
        _log.info("orthanc_watched", older_instances=len(old))

    def _find_the_place(self) -> None:
        """Go on where the log goes on: it is not the one that it was, or its newest lines are gone."""
        _log.warning("orthanc_changes_differ", reason="the last change is not there: all is compared")
        with self._ledger.read() as connection:
            since = watched.watched_since(connection, self._clock())
        last = self._sweep(since)
        if not self._stop.is_set():
            self._move(last)

    def _sweep(self, since: float) -> Cursor:
        """Take all that Orthanc has and that was never dealt with; return the newest change before that."""
        there = self._orthanc.instances()
        newest = self._orthanc.newest()
        last = Cursor(newest.last, newest.changes[-1].anchor if newest.changes else None)
        with self._ledger.read() as connection:
            missed = sorted(set(there) - watched.known(connection, there))
        if missed:
            _log.info("orthanc_instances_missed", instances=len(missed))
        self._take_all([(one, last.seq) for one in missed], since)
        return last

    def _take_all(self, wanted: Sequence[tuple[str, int]], since: float = 0.0) -> None:
        """Take instances in batches; a study is not complete while a batch that has some of it is open."""
        for start in range(0, len(wanted), _AT_ONCE):
            with self._batch() as origin:
                for orthanc_id, seq in wanted[start : start + _AT_ONCE]:
                    if self._stop.is_set():
                        return
                    self._take(orthanc_id, seq, since, origin)

    @contextmanager
    def _batch(self) -> Iterator[Origin]:
        batch = uuid.uuid4().hex
        origin = Origin(self._orthanc_ae, self._own_ae, self._own_ae, self._source, batch, "orthanc")
        how: associations.Ended = "aborted"
        try:
            yield origin
            how = "released"
        finally:
            with self._ledger.write() as connection:
                associations.closed(connection, batch, how)

    def _take(self, orthanc_id: str, seq: int, since: float, origin: Origin) -> None:
        """Take one instance, unless it is known, gone, ours, or was there before we came."""
        with self._ledger.read() as connection:
            if watched.is_dealt_with(connection, orthanc_id, seq):
                return
        said = self._orthanc.describe(orthanc_id)
        if said is None:
            return
        if said.received_at < since:
            self._note(orthanc_id, "before", seq)
        elif said.remote_ae == self._own_ae and self._is_known(orthanc_id):
            self._note(orthanc_id, "ours", seq)
        else:
            self._fetch(orthanc_id, seq, origin)

    def _fetch(self, orthanc_id: str, seq: int, origin: Origin) -> None:
        try:
            instance = self._spooled(orthanc_id, origin)
        except (NotAnInstanceError, OrthancError) as error:
            if isinstance(error, OrthancError) and not error.is_about_one_thing:
                raise
            _log.warning("orthanc_instance_not_had", orthanc_id=orthanc_id, reason=str(error))
            self._note(orthanc_id, "failed", seq, str(error))
            return
        if instance is None:
            return
        with self._ledger.write() as connection:
            batch = origin.association_id or ""
            associations.opened(
                connection, batch, origin.calling_ae, origin.called_ae, associations.OVER_REST
            )
            instances.add(connection, instance, origin, self._destinations)
            watched.note(connection, [orthanc_id], "taken", seq, instance_id=instance.id)

    def _spooled(self, orthanc_id: str, origin: Origin) -> Instance | None:
        """Make an instance durable in the spool, byte for byte; return None where it is gone."""
        with self._orthanc.file(orthanc_id) as pieces:
            if pieces is None:
                return None
            file = part10.split(pieces)
            with self._spool.open_writer(
                file.sop_class_uid, file.sop_instance_uid, file.transfer_syntax_uid, origin
            ) as writer:
                for piece in file.data_set:
                    writer.write(piece)
                return writer.commit()

    def _is_known(self, orthanc_id: str) -> bool:
        uid = self._orthanc.sop_instance_uid(orthanc_id)
        with self._ledger.read() as connection:
            return bool(uid) and watched.has_instance(connection, uid)

    def _note(self, orthanc_id: str, state: watched.State, seq: int, reason: str | None = None) -> None:
        with self._ledger.write() as connection:
            watched.note(connection, [orthanc_id], state, seq, reason=reason)

    def _cursor(self) -> Cursor:
        with self._ledger.read() as connection:
            return watched.cursor(connection) or Cursor(0)

    def _move(self, to: Cursor) -> None:
        with self._ledger.write() as connection:
            watched.move_cursor(connection, to)
