"""What the ledger says of studies that are to be scored, looked up for several of them by few statements."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from orthanc_al.domain import ImageScore, Study
from orthanc_al.ledger import Ledger, instances, predictions, shadow, studies, waiting
from orthanc_al.ledger.instances import KnownInstance
from orthanc_al.ledger.models import RegisteredModel
from orthanc_al.pipeline import Step
from orthanc_al.score.champions import Champions


@dataclass(frozen=True, slots=True)
class View:
    """What bears on some studies, all of one moment.

    Attributes
    ----------
    time
        Seconds since 1970.
    studies, known
        By Study Instance UID: the study, where it is known, and its instances.
    in_first_try
        Studies whose images are being scored, or soon are.
    champions
        By name of the model.
    scores
        By digest of the champion, then by instance id, in their order.
    beside
        Whether a candidate is in shadow.
    """

    time: float
    studies: Mapping[str, Study]
    in_first_try: Collection[str]
    known: Mapping[str, Sequence[KnownInstance]]
    champions: Mapping[str, RegisteredModel | None]
    scores: Mapping[str, Mapping[str, Sequence[ImageScore]]]
    beside: bool


def look(ledger: Ledger, scorer: Champions, uids: Sequence[str], time: float) -> View:
    """Return what the ledger says of studies."""
    with ledger.read() as connection:
        known = instances.of_studies(connection, uids)
        ids = [image.instance.id for of_study in known.values() for image in instances.images_of(of_study)]
        live = scorer.registered(connection)
        digests = {one.ref.digest for one in live.values() if one is not None}
        return View(
            time,
            studies.get_all(connection, uids),
            waiting.in_first_try(connection, Step.SCORE_IMAGE, uids, time),
            known,
            live,
            {digest: _scores(predictions.image_scores_of(connection, ids, digest)) for digest in digests},
            beside=any(shadow.in_shadow(connection, use.name) for use in scorer.uses),
        )


def _scores(scores: Sequence[ImageScore]) -> dict[str, list[ImageScore]]:
    return {key: list(group) for key, group in groupby(scores, key=lambda score: score.instance_id)}
