"""An association while it lasts."""

from dataclasses import dataclass

from orthanc_al.domain import Origin
from orthanc_al.ledger.associations import Ended


@dataclass(eq=False)
class Session:
    """An association while it lasts; it is written into the ledger with its first instance.

    Attributes
    ----------
    origin
        What all its instances have in common.
    address
        The peer's IP address.
    opened_at
        When it was established, in seconds since 1970.
    may_store
        Whether its peer is one that sends to us.
    stored
        Instances that came by it.
    ended
        How it ended, None while it lasts.
    known
        Whether the ledger has its row.
    over
        How it ended, once all that came by it before is on its way into the ledger.
    """

    origin: Origin
    address: str
    opened_at: float
    may_store: bool = True
    stored: int = 0
    ended: Ended | None = None
    known: bool = False
    over: Ended | None = None

    @property
    def id(self) -> str:
        """The association's id."""
        return self.origin.association_id or ""
