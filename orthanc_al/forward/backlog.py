"""What one destination has before it: deliveries that were looked up, and those that are in hand."""

import threading
from collections import deque
from collections.abc import Collection, Sequence
from itertools import islice

from orthanc_al.domain import Instance
from orthanc_al.ledger.deliveries import Delivery, Note

_AHEAD = 64  # deliveries that the contexts of an association are made for


class Backlog:
    """Hands deliveries of one destination to its lanes, each to one; thread-safe.

    A delivery is in hand from when it is looked up until its note is in the ledger, so that it is not
    taken a second time meanwhile.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._waiting: deque[Delivery] = deque()
        self._in_hand: set[int] = set()
        self._notes: list[Note] = []
        self._sending = 0

    @property
    def waiting(self) -> int:
        """How many wait for a lane."""
        return len(self._waiting)

    @property
    def in_hand(self) -> int:
        """How many were looked up and are not in the ledger yet as done."""
        return len(self._in_hand)

    @property
    def notes(self) -> int:
        """How many answers wait to be written."""
        return len(self._notes)

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing waits for a lane, and nothing is being sent."""
        return not self._waiting and not self._sending

    def held(self) -> frozenset[int]:
        """Return the ids of what is in hand now."""
        with self.changed:
            return frozenset(self._in_hand)

    def put(self, found: Collection[Delivery], held: frozenset[int] = frozenset()) -> int:
        """Add what was looked up; return how many that are.

        Not what is in hand, nor what was (``held``) when it was looked up: it may have been done since.
        """
        with self.changed:
            new = [one for one in found if one.id not in self._in_hand and one.id not in held]
            self._in_hand.update(delivery.id for delivery in new)
            self._waiting.extend(new)
            if new:
                self.changed.notify_all()
        return len(new)

    def ahead(self) -> list[Instance]:
        """Return the instances that come next."""
        with self.changed:
            return [delivery.instance for delivery in islice(self._waiting, _AHEAD)]

    def take(self) -> Delivery | None:
        """Take the next one; who takes it gives it back or notes what came of it."""
        with self.changed:
            if not self._waiting:
                return None
            self._sending += 1
            return self._waiting.popleft()

    def give_back(self, delivery: Delivery) -> None:
        """Put one back in front, untried."""
        with self.changed:
            self._sending -= 1
            self._waiting.appendleft(delivery)

    def note(self, note: Note) -> None:
        """Keep what came of a delivery until it is written."""
        with self.changed:
            self._sending -= 1
            self._notes.append(note)
            self.changed.notify_all()

    def forget_waiting(self) -> None:
        """Let go of what no lane has taken: it is looked up again."""
        with self.changed:
            self._in_hand.difference_update(delivery.id for delivery in self._waiting)
            self._waiting.clear()

    def unwritten(self) -> Sequence[Note]:
        """Return the notes that are to be written; they stay until `written`."""
        with self.changed:
            return tuple(self._notes)

    def written(self, notes: Sequence[Note]) -> None:
        """Let go of notes that the ledger has."""
        with self.changed:
            del self._notes[: len(notes)]
            self._in_hand.difference_update(note.delivery_id for note in notes)
