"""Whether the audits that were drawn are read: those that are not are not missing at random.

Taken off the worklist without a word on any finding, left undetermined, in conflict or read with the result
in view: such an audit is as silent as one that nobody read, and counts as unread here.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, exists, func, select

from orthanc_al.domain import ReadValue, Tier
from orthanc_al.ledger.schema import predictions, reads, selections
from orthanc_al.ledger.selections import AUDIT
from orthanc_al.methods.nonresponse import worst_miss_rate

_ENOUGH: Final = 10
"""Audits ranked low from which their own share of unread ones is looked at."""


def _answers() -> ColumnElement[bool]:
    """Whether a row of ``reads`` is an answer to a row of ``selections``."""
    return and_(
        reads.c.study_instance_uid == selections.c.study_instance_uid,
        reads.c.state == "counts",
        reads.c.value.in_((ReadValue.PRESENT.value, ReadValue.ABSENT.value)),
        reads.c.ai_shown.is_(False),
    )


# Asked for with each study: to make a statement costs more than to run it.
_DRAWN: Final = (selections.c.kind == AUDIT, selections.c.decided_at < bindparam("before"))
_ANSWERED: Final = select(func.count(), func.count(case((exists().where(_answers()), 1)))).where(*_DRAWN)
_TIERS: Final = (
    select(selections.c.study_instance_uid, predictions.c.finding, predictions.c.tier, reads.c.value)
    .join(predictions, predictions.c.study_instance_uid == selections.c.study_instance_uid)
    .join(reads, and_(_answers(), reads.c.finding == predictions.c.finding), isouter=True)
    .where(*_DRAWN, predictions.c.tier.is_not(None))
    .order_by(predictions.c.revision, predictions.c.scored_at, predictions.c.id)
)


@dataclass(frozen=True, slots=True)
class TierResponse:
    """Audits whose finding was ranked in a tier (which nobody saw), and what came of them.

    Attributes
    ----------
    drawn, answered
        How many were drawn long enough ago, and how many of them gave a label for the finding.
    positives
        How many of these labels are "present".
    """

    finding: str
    tier: str
    drawn: int
    answered: int
    positives: int

    @property
    def unread_share(self) -> float:
        """Share that gave no label; 0 where none was drawn."""
        return 1.0 - self.answered / self.drawn if self.drawn else 0.0


@dataclass(frozen=True, slots=True)
class Response:
    """How many audits were drawn long enough ago, and how many of them gave a label for any finding."""

    drawn: int
    answered: int
    tiers: tuple[TierResponse, ...] = ()

    @property
    def unread_share(self) -> float:
        """Share that gave no label; 0 where none was drawn."""
        return 1.0 - self.answered / self.drawn if self.drawn else 0.0

    def within(self, share: float) -> bool:
        """Whether no more than a share is unread: of all, and of those that a finding ranks low.

        The latter since they are what the guarantee speaks of: were they alone left unread, the misses would
        never be seen.
        """
        low = [one for one in self.tiers if one.tier == Tier.LOW.value and one.drawn >= _ENOUGH]
        return self.unread_share <= share and all(one.unread_share <= share for one in low)

    def worst_miss_rate(self, finding: str) -> float:
        """Return the miss rate if every unread audit had the finding and were ranked low."""
        own = [one for one in self.tiers if one.finding == finding]
        low = [one for one in own if one.tier == Tier.LOW.value]
        return worst_miss_rate(
            missed=sum(one.positives for one in low),
            positives=sum(one.positives for one in own),
            unread=sum(one.drawn - one.answered for one in own),
        )


@dataclass(frozen=True, slots=True)
class ResponseRule:
    """When audits that nobody answers take the low tier away.

    Attributes
    ----------
    after_seconds
        From the draw on, until an answer is missed.
    max_unread_share
        Share of the audits that may lack one.
    """

    after_seconds: float
    max_unread_share: float

    def holds(self, connection: Connection, time: float) -> bool:
        """Whether enough of the audits that were drawn long enough before ``time`` are answered."""
        return audit_response(connection, time - self.after_seconds).within(self.max_unread_share)


def audit_response(connection: Connection, drawn_before: float) -> Response:
    """Return how many of the audits that were drawn before a time gave a label."""
    row = connection.execute(_ANSWERED, {"before": drawn_before}).one()
    return Response(int(row[0]), int(row[1]), tuple(_by_tier(connection, drawn_before)))


def _by_tier(connection: Connection, drawn_before: float) -> Iterable[TierResponse]:
    """Return the response of each finding's tiers, as the newest prediction of each study has them."""
    rows = connection.execute(_TIERS, {"before": drawn_before})
    newest = {(row[0], row[1]): (row[1], row[2], row[3]) for row in rows}
    return _counted(list(newest.values()))


def _counted(rows: Sequence[tuple[str, str, str | None]]) -> Iterable[TierResponse]:
    drawn = Counter((finding, tier) for finding, tier, _ in rows)
    answered = Counter((finding, tier) for finding, tier, value in rows if value is not None)
    positive = Counter((f, t) for f, t, value in rows if value == ReadValue.PRESENT.value)
    for key in sorted(drawn):
        yield TierResponse(*key, drawn=drawn[key], answered=answered[key], positives=positive[key])
