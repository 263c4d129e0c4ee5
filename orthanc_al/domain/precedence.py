"""Which of several reads of one finding counts: pure rules, in order.

1. A read that waits (nobody is named, and the site does not trust that) takes no part; who adjudicates it
   replaces it by a read of her own.
2. A report that names another one as its predecessor replaces it; a later read of the same reader replaces
   her earlier ones from sources that are not trusted more.
3. Of what is left, the most trusted source alone decides (`orthanc_al.domain.ReadSource`).
4. Where those of that source agree, the latest counts; where they don't, none does: it is a conflict, to
   be adjudicated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from orthanc_al.domain.read import ConfirmedRead


class ReadState(StrEnum):
    """What became of a read."""

    COUNTS = "counts"
    SUPERSEDED = "superseded"
    CONFLICT = "conflict"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Claim:
    """A read as the rules look at it.

    Attributes
    ----------
    waits
        For a name or an adjudication, so that it does not count yet.
    supersedes
        References of the reads that it says it replaces.
    """

    read: ConfirmedRead
    waits: bool = False
    supersedes: frozenset[str] = frozenset()


def settle(claims: Sequence[Claim]) -> dict[str, ReadState]:
    """Return the state of each claim about one finding of one study, by its reference.

    The order in which the claims came does not matter: an addendum may arrive before what it replaces.
    """
    taking_part = [claim for claim in claims if not claim.waits]
    replaced = frozenset[str]().union(*(claim.supersedes for claim in taking_part))
    states = {
        claim.read.reference: ReadState.SUPERSEDED if claim.read.reference in replaced else ReadState.WAITING
        for claim in claims
        if claim.waits
    }
    states |= {claim.read.reference: ReadState.SUPERSEDED for claim in taking_part}
    standing = [one for one in taking_part if not any(_replaces(other, one) for other in taking_part)]
    if not standing:
        return states
    highest = max(claim.read.source for claim in standing)
    deciding = [claim.read for claim in standing if claim.read.source == highest]
    if len({read.value for read in deciding}) > 1:
        return states | {read.reference: ReadState.CONFLICT for read in deciding}
    latest = max(deciding, key=lambda read: (read.read_at, read.reference))
    return states | {latest.reference: ReadState.COUNTS}


def _replaces(later: Claim, earlier: Claim) -> bool:
    if (
        later.read.reference in earlier.supersedes
    ):  # what it replaces can't replace it, whatever the clocks say
        return False
    if earlier.read.reference in later.supersedes:
        return True
    same_reader = later.read.reader != "" and later.read.reader == earlier.read.reader
    return same_reader and later.read.source >= earlier.read.source and _order(later) > _order(earlier)


def _order(claim: Claim) -> tuple[float, str]:
    return (claim.read.read_at, claim.read.reference)
