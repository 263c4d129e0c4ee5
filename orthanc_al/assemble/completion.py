"""Is a study complete? Evidence first, quiet time last. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

COUNT: Final = "count"
QUIET: Final = "quiet"
STALLED: Final = "quiet, association open"
SET_BACK: Final = "clock set back"

_POLL_SECONDS: Final = 1.0
_PATIENCE: Final = 10.0
"""Quiet times after which an association that stays open holds a study up no longer."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a study's arrival.

    Attributes
    ----------
    revision, completed_revision
        The current one, and the one that was completed last (None: none was).
    instances
        Distinct instances that are here.
    expected
        How many the sender said there are (0020,1208), None where it did not.
    last_received_at, now
        Seconds since 1970.
    endings
        How each association that brought instances ended; None for one that is open.
    """

    revision: int
    completed_revision: int | None
    instances: int
    expected: int | None
    last_received_at: float
    now: float
    endings: Sequence[Literal["released", "aborted", "lost"] | None] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """``complete`` with its evidence, ``waiting`` with when to look again, or ``unchanged``."""

    outcome: Literal["waiting", "complete", "unchanged"]
    evidence: str = ""
    look_again_at: float = 0.0


def decide(evidence: Evidence, quiet_seconds: float) -> Decision:
    """Decide about a study.

    A count needs a clean release as well: an association that broke off may have more to send of an
    instance that is counted already. Quiet time counts from the last instance, and not while an
    association that brought instances of the study is open, but for one that has been silent for ten
    quiet times: some senders never hang up. Where the last instance came in the future by more than the
    quiet time, the clock was set back, and nobody waits until it is there again: what comes late opens the
    study anew.
    """
    if evidence.completed_revision == evidence.revision:
        return Decision("unchanged")
    quiet = evidence.now - evidence.last_received_at
    if quiet < -quiet_seconds:
        return Decision("complete", SET_BACK)
    if None in evidence.endings:
        return _while_open(evidence.now, quiet, quiet_seconds)
    clean = all(ending == "released" for ending in evidence.endings)
    if clean and evidence.expected is not None and evidence.instances >= evidence.expected:
        return Decision("complete", COUNT)
    if quiet >= quiet_seconds:
        return Decision("complete", QUIET)
    return Decision("waiting", look_again_at=evidence.last_received_at + quiet_seconds)


def _while_open(now: float, quiet: float, quiet_seconds: float) -> Decision:
    if quiet >= _PATIENCE * quiet_seconds:
        return Decision("complete", STALLED)
    return Decision("waiting", look_again_at=now + min(quiet_seconds, _POLL_SECONDS))


def quiet_seconds_for(modality: str, quiet_seconds: Mapping[str, float]) -> float:
    """Return the quiet time of a modality; ``default`` holds for those that are not named."""
    return quiet_seconds.get(modality, quiet_seconds["default"])
