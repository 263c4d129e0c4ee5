"""Lets a package go live by a person's word, as far as the plan of changes lets it."""

from orthanc_al.errors import ModelError
from orthanc_al.inference.package import load_known
from orthanc_al.learn import load_plan
from orthanc_al.ledger import Ledger, models, shadow
from orthanc_al.ledger.models import RegisteredModel
from orthanc_al.observe import now
from orthanc_al.settings import Settings


def promote(
    settings: Settings, ledger: Ledger, name: str, version: str, *, approver: str, reason: str
) -> RegisteredModel:
    """Make a package live: head, calibrator and thresholds as one.

    Parameters
    ----------
    version
        Or the start of its digest.

    Raises
    ------
    ModelError
        There is no such package, the gate refused it, it has not been in shadow as long as the plan asks, or
        no reason is given.
    PackageRefusedError
        Its digests do not hold, which would stop scoring, or its folder holds another one than was judged.
    """
    reason = _said(reason)
    rule = load_plan(settings.learn.pccp).shadow.rule
    with ledger.write() as connection:
        model = models.find(connection, name, version)
        if model is None:
            raise ModelError(f"There is no package {name} {version}; see `models list`.")
        load_known(model.folder, model.ref)
        rule.check(connection, model, now())
        if model.state == "candidate" and rule.asks:
            reason = f"{reason} ({shadow.seen_by(connection, model.ref.digest)})"
        models.promote(connection, model.ref.digest, approver=approver, reason=reason)
    return model


def roll_back(ledger: Ledger, name: str, *, approver: str, reason: str) -> RegisteredModel:
    """Make the package live again that was so before the champion.

    Raises
    ------
    ModelError
        Nothing was live before, or no reason is given.
    PackageRefusedError
        It does not hold any more: going back to it would stop scoring.
    """
    with ledger.write() as connection:
        return models.rollback(connection, name, approver, _said(reason), holds=load_known)


def _said(reason: str) -> str:
    """Return a reason as it is recorded."""
    said = " ".join(reason.split())
    if not said:
        raise ModelError("Give a reason: it stays in the record of what was live when, and why.")
    return said
