"""A candidate in shadow: it scores what the champion scores, nothing of it is shown, agreement is counted.

In shadow is the newest candidate that was judged against the package that is live. What it says has no
tier and no place; it is read here alone.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Connection, func, select

from orthanc_al.errors import ModelError
from orthanc_al.ledger import curtain, models
from orthanc_al.ledger.models import RegisteredModel
from orthanc_al.ledger.schema import shadow_scores
from orthanc_al.ledger.upserts import upsert
from orthanc_al.methods.agreement import Agreement, agreement

_HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True)
class ShadowScore:
    """What a candidate and the champion say of one finding of a study.

    Attributes
    ----------
    finding
        Empty where the candidate could not score the study; ``error`` says why.
    flagged, champion_flagged
        Whether the calibrated probability is at or above each package's own operating threshold.
    at
        Seconds since 1970, UTC.
    """

    study_instance_uid: str
    candidate: str
    champion: str
    finding: str
    at: float
    logit: float = 0.0
    probability: float = 0.0
    flagged: bool = False
    champion_logit: float = 0.0
    champion_probability: float = 0.0
    champion_flagged: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class ShadowRule:
    """Check (h) of the gate: what a candidate must have done before it may go live.

    Attributes
    ----------
    min_studies
        Studies that it scored beside the champion.
    min_hours
        Since it was made.
    min_agreement
        Share of them that must lie on the same side of both operating thresholds, each finding.
    """

    min_studies: int
    min_hours: float
    min_agreement: float

    @property
    def asks(self) -> bool:
        """Whether there is anything to wait for."""
        return self.min_studies > 0 or self.min_hours > 0.0

    def missing(self, connection: Connection, candidate: RegisteredModel, time: float) -> str:
        """Return in words what a candidate has not done yet, empty where it may go live."""
        if candidate.state != "candidate" or not self.asks:
            return ""
        seen = seen_by(connection, candidate.ref.digest, blind=True)
        hours = (time - candidate.created_at) / _HOUR
        if seen.failures:
            return f"it could not score {seen.failures} studies in shadow: {seen.error}"
        if seen.studies < self.min_studies or hours < self.min_hours:
            return (
                f"it scored {seen.studies} of {self.min_studies} studies in shadow, and is "
                f"{max(hours, 0.0):.1f} of {self.min_hours:g} hours old"
            )
        apart = [
            finding for finding, figures in seen.findings.items() if figures.same_side < self.min_agreement
        ]
        if apart:
            return (
                f"in shadow it agrees with the champion on less than {self.min_agreement:.0%} of studies "
                f"({', '.join(apart)})"  # no figure: blind audits are in it
            )
        return ""

    def check(self, connection: Connection, candidate: RegisteredModel, time: float) -> None:
        """Refuse to let a candidate go live too early.

        Raises
        ------
        ModelError
            Says what it has not done yet.
        """
        missing = self.missing(connection, candidate, time)
        if missing:
            raise ModelError(
                f"{candidate.ref} may not go live yet: {missing}. The plan of changes ([shadow]) asks for it."
            )


NO_SHADOW: Final = ShadowRule(min_studies=0, min_hours=0.0, min_agreement=0.0)
"""Asks for nothing."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a candidate did in shadow.

    Attributes
    ----------
    studies, failures
        How many it scored, and could not score; ``error`` is the reason of the last of these.
    findings
        Agreement with the champion, by finding.
    """

    studies: int
    failures: int
    error: str
    findings: dict[str, Agreement]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, for records and programs."""
        return asdict(self)

    def __str__(self) -> str:
        """Return it in a line."""
        parts = [
            f"{finding} {figures.same_side:.1%} on the same side of the operating thresholds"
            for finding, figures in self.findings.items()
        ]
        return f"{self.studies} {'study' if self.studies == 1 else 'studies'} in shadow" + "".join(
            f", {part}" for part in parts
        )


def in_shadow(connection: Connection, name: str) -> RegisteredModel | None:
    """Return the candidate of model ``name`` that scores beside its champion, None where there is none."""
    return models.candidate(connection, name)


def put(connection: Connection, scores: Sequence[ShadowScore]) -> None:
    """Write what a candidate said; of the same study and finding again, the newer word stays."""
    keys = ["study_instance_uid", "candidate", "finding"]
    for score in scores:
        values = asdict(score)
        upsert(connection, shadow_scores, values, keys, [name for name in values if name not in keys])


def seen_by(connection: Connection, candidate: str, *, blind: bool = False) -> Seen:
    """Return what a candidate did in shadow, beside whatever champion.

    Studies of which nothing may be shown are counted, and are in no agreement: who knows the others could
    tell from it what the models say of a blind audit. It is in there as soon as its read is signed.

    Parameters
    ----------
    candidate
        Its digest.
    blind
        Let them be in the agreement too: to decide by, and not to be told.
    """
    own = shadow_scores.c.candidate == candidate
    scored = (own, shadow_scores.c.finding != "")
    told = scored if blind else (*scored, ~curtain.hidden(shadow_scores.c.study_instance_uid))
    counted = select(func.count(shadow_scores.c.study_instance_uid.distinct()))
    failed = select(shadow_scores.c.error).where(own, shadow_scores.c.finding == "")
    errors = list(connection.execute(failed.order_by(shadow_scores.c.at)).scalars())
    rows = connection.execute(select(shadow_scores).where(*told).order_by(shadow_scores.c.finding)).mappings()
    by_finding: dict[str, list[Any]] = {}
    for row in rows:
        by_finding.setdefault(row["finding"], []).append(row)
    return Seen(
        studies=int(connection.execute(counted.where(*scored)).scalar_one()),
        failures=len(errors),
        error=errors[-1] if errors else "",
        findings={finding: _agreement(rows) for finding, rows in by_finding.items()},
    )


def _agreement(rows: Sequence[Any]) -> Agreement:
    columns = ("logit", "champion_logit", "flagged", "champion_flagged")
    return agreement(*([row[column] for row in rows] for column in columns))
