"""Builds the monitor from the settings, and runs it for `orthanc-al monitor`."""

from zoneinfo import ZoneInfo

from orthanc_al.learn import load_plan
from orthanc_al.ledger import Job, Ledger
from orthanc_al.ledger import monitoring as seen
from orthanc_al.monitor import MonitorStage, Promise, Watch
from orthanc_al.pipeline import Step
from orthanc_al.settings import Settings


def stage(settings: Settings, ledger: Ledger) -> MonitorStage:
    """Return the stage that looks at the days that are over."""
    audit = load_plan(settings.learn.pccp).audit
    triage = settings.triage
    return MonitorStage(
        ledger,
        Watch(settings.monitor.reference_days, settings.monitor.window_days, settings.monitor.alpha),
        Promise(triage.miss_rate, triage.delta, triage.groups, audit.max_unread_share),
        audit.rule.after_seconds,
        ZoneInfo(settings.site.timezone),
    )


def look_now(settings: Settings, ledger: Ledger, names: list[str]) -> list[seen.StoredPoint]:
    """Look at the days that are over, in this process; return the newest day of each model."""
    for name in names:
        outcome = stage(settings, ledger).run(Job(0, Step.MONITOR, name, 1, "monitor"))
        with ledger.write() as connection:
            outcome.write(connection)
    with ledger.read() as connection:
        return [one for one in seen.latest(connection) if one.model_name in names]
