"""The way of a study: which step follows which outcome. This table is all there is to it.

::

    receive -> forward                        (bytes; never waits for what is below)
            -> arrive -> score_image
                      -> assemble -> score -> triage -> select -> report -> mirror
                                           -> shadow    (where a candidate scores beside the champion)
                      -> review                (reports by others: is it a read?)
    review -> report -> mirror                 (a signed read lifts the blind of an audit case)
    sign                                       (a read that was given here leaves as a verified report)
    retrain                                    (nightly)
    monitor                                    (daily)

``receive`` and ``forward`` are not in the table: bytes move by the spool and the deliveries, so that
nothing below can hold them up. Every other step is a row of the work queue; the outcome that a step
returns, what it writes and the rows of the steps that follow are committed in one transaction.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Step(StrEnum):
    """A kind of work. Its subject: an instance id, a Study Instance UID, a read's reference or a model."""

    ARRIVE = "arrive"
    SCORE_IMAGE = "score_image"
    ASSEMBLE = "assemble"
    SCORE = "score"
    SHADOW = "shadow"
    TRIAGE = "triage"
    SELECT = "select"
    REPORT = "report"
    MIRROR = "mirror"
    REVIEW = "review"
    SIGN = "sign"
    RETRAIN = "retrain"
    MONITOR = "monitor"


# (step, outcome) -> (next step, ...). A step whose subject is of another kind than its successor's
# names the successor's subject in its outcome.
TRANSITIONS: Final[Mapping[tuple[Step, str], tuple[Step, ...]]] = {
    # What a spooled instance is, from its header.
    (Step.ARRIVE, "image"): (Step.SCORE_IMAGE, Step.ASSEMBLE),
    (Step.ARRIVE, "other"): (Step.ASSEMBLE,),
    (Step.ARRIVE, "report"): (Step.REVIEW, Step.ASSEMBLE),
    (Step.ARRIVE, "duplicate"): (),
    (Step.ARRIVE, "own"): (),
    (Step.ARRIVE, "unusable"): (),
    # CR, DX, MG and slices are scored as they arrive, so that completion costs the aggregation only; a
    # `score` that waits for them is done at once.
    (Step.SCORE_IMAGE, "scored"): (),
    (Step.SCORE_IMAGE, "later"): (),
    (Step.SCORE_IMAGE, "unusable"): (),
    # When is a study complete?
    (Step.ASSEMBLE, "waiting"): (Step.ASSEMBLE,),
    (Step.ASSEMBLE, "complete"): (Step.SCORE,),
    (Step.ASSEMBLE, "unchanged"): (),
    # What the model says of it, and where it stands on the worklist.
    (Step.SCORE, "scored"): (Step.TRIAGE,),
    (Step.SCORE, "scored_beside"): (Step.TRIAGE, Step.SHADOW),  # a candidate is in shadow
    (Step.SCORE, "waiting"): (Step.SCORE,),  # for its images' scores, or a package that can't be run now
    (Step.SCORE, "ineligible"): (Step.MIRROR,),
    (Step.SCORE, "superseded"): (),
    (Step.SHADOW, "shadowed"): (),
    (Step.SHADOW, "superseded"): (),
    (Step.TRIAGE, "placed"): (Step.SELECT,),
    (Step.TRIAGE, "superseded"): (),
    # Before any result leaves: is this one blind, asked for, or neither?
    (Step.SELECT, "blind"): (Step.MIRROR,),  # its place, as that of a study without a score
    (Step.SELECT, "asked"): (Step.REPORT,),
    (Step.SELECT, "unasked"): (Step.REPORT,),
    (Step.SELECT, "superseded"): (),
    (Step.REPORT, "reported"): (Step.MIRROR,),
    (Step.REPORT, "silent"): (Step.MIRROR,),
    (Step.REPORT, "superseded"): (),
    (Step.MIRROR, "mirrored"): (),
    (Step.MIRROR, "absent"): (),
    # What comes back.
    (Step.REVIEW, "read"): (Step.MIRROR,),
    (Step.REVIEW, "unblinded"): (Step.REPORT,),
    (Step.REVIEW, "not_a_read"): (),
    # What was said here, by page or API.
    (Step.SIGN, "signed"): (),
    (Step.SIGN, "silent"): (),
    # What is learned from it.
    (Step.RETRAIN, "promoted"): (),
    (Step.RETRAIN, "candidate"): (),
    (Step.RETRAIN, "kept"): (),
    (Step.RETRAIN, "in_shadow"): (),
    (Step.RETRAIN, "withdrawn"): (),
    (Step.RETRAIN, "alarm"): (),
    (Step.RETRAIN, "nothing_new"): (),
    # What the model is used on, each day.
    (Step.MONITOR, "alarm"): (),
    (Step.MONITOR, "quiet"): (),
}

# What `orthanc-al pause` stops: scoring and everything that follows from it. Forwarding goes on.
SCORING_STEPS: Final = frozenset(
    {Step.SCORE_IMAGE, Step.SCORE, Step.SHADOW, Step.TRIAGE, Step.SELECT, Step.REPORT, Step.MIRROR}
)

# What comes to the same however often it is done, from files of the spool and the ledger, and leaves nothing
# elsewhere that doing it again does not overwrite. No step in which something is drawn, that makes an object,
# or that a person's answer came by.
REPEATABLE: Final = frozenset(
    {Step.ARRIVE, Step.SCORE_IMAGE, Step.ASSEMBLE, Step.SCORE, Step.SHADOW, Step.TRIAGE, Step.MIRROR}
)

# What follows these has their place in the queue, before the images of what came later: a backlog would hold
# up until its end what is known of its first study.
KEEP_PLACE: Final = frozenset({Step.TRIAGE, Step.REPORT})

# Which process of `orthanc-al serve` does the work of a step.
WORKER_STEPS: Final = frozenset(set(Step) - {Step.RETRAIN, Step.MONITOR})
LEARNER_STEPS: Final = frozenset({Step.RETRAIN, Step.MONITOR})


def successors(step: Step, outcome: str) -> tuple[Step, ...]:
    """Return the steps that follow ``outcome`` of ``step``.

    Raises
    ------
    KeyError
        The table has no such outcome: a slip in the program, never of the data.
    """
    return TRANSITIONS[(step, outcome)]
